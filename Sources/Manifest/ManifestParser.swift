// SPDX-License-Identifier: Apache-2.0
import Foundation
import Yams

extension Manifest {
  /// Reads and checks the manifest at `path`; relative paths in it start at its directory.
  ///
  /// - Parameter checkFiles: also look at the kernels and initrds it names.
  /// - Throws: everything that is wrong, not just the first.
  public static func load(
    path: String, checkFiles: Bool = true
  ) throws(ManifestError) -> Manifest {
    let text: String
    do {
      text = try readManifest(path)
    } catch {
      throw ManifestError(diagnostics: [
        Diagnostic(file: path, line: nil, column: nil, message: error.message)
      ])
    }
    let working = FileManager.default.currentDirectoryPath
    return try parse(
      text, file: path, absolutePath: resolve(path, against: working), checkFiles: checkFiles)
  }

  /// Checks `text`, the manifest at `absolutePath`, called `file` in messages.
  public static func parse(
    _ text: String, file: String, absolutePath: String, checkFiles: Bool
  ) throws(ManifestError) -> Manifest {
    guard text.utf8.count <= ManifestLimits.fileBytes else {
      throw ManifestError(diagnostics: [
        Diagnostic(
          file: file, line: nil, column: nil,
          message: "the manifest has \(text.utf8.count) bytes; expected at most "
            + "\(ManifestLimits.fileBytes)")
      ])
    }
    let result = YAMLDocument.onDeepStack { () -> Result<Manifest, ManifestError> in
      do throws(ManifestError) {
        let root = try YAMLDocument.compose(text, file: file)
        let parser = ManifestParser(
          reader: NodeReader(file: file), path: absolutePath, checkFiles: checkFiles)
        return .success(try parser.parse(root))
      } catch {
        return .failure(error)
      }
    }
    guard let result else { throw ManifestError(diagnostics: []) }
    return try result.get()
  }
}

private struct UnreadableManifest: Error {
  let message: String
}

private func readManifest(_ path: String) throws(UnreadableManifest) -> String {
  var isDirectory: ObjCBool = false
  // SAFETY: the flag is a local of the type the call fills.
  guard unsafe FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
    throw UnreadableManifest(message: "there is no such file; give the path of a manifest")
  }
  guard !isDirectory.boolValue, let handle = FileHandle(forReadingAtPath: path) else {
    throw UnreadableManifest(message: "cannot be read; expected a YAML file you may read")
  }
  defer { try? handle.close() }
  // One byte more than allowed tells an oversized file without reading all of it.
  guard let data = try? handle.read(upToCount: ManifestLimits.fileBytes + 1) else {
    throw UnreadableManifest(message: "cannot be read; expected a YAML file you may read")
  }
  guard let text = String(data: data, encoding: .utf8) else {
    throw UnreadableManifest(message: "is not UTF-8 text; expected a YAML file")
  }
  return text
}

/// Reads the top level and checks what one part says against another.
struct ManifestParser {
  let reader: NodeReader
  let path: String
  let checkFiles: Bool

  func parse(_ root: Node) throws(ManifestError) -> Manifest {
    guard let top = reader.fields(root, of: "the manifest", keys: ManifestKeys.top) else {
      throw ManifestError(diagnostics: reader.sorted)
    }
    checkVersion(top)
    _ = top.required("system", expected: "the system's name, such as lab")
    let system =
      top.text(
        "system", expected: "a name of small letters, digits and \"-\", starting with a letter",
        isName)
      ?? ""
    let domains = readDomains(top)
    let primary = primaryDomain(top, domains)
    let channels = ChannelReader(reader: reader, domains: domains, primary: primary).read(top)
    checkDomains(domains, channels: channels)
    if checkFiles { domains.forEach(checkFiles(of:)) }
    guard reader.diagnostics.isEmpty else { throw ManifestError(diagnostics: reader.sorted) }
    return Manifest(
      path: path, system: system, primary: primary, domains: domains.map(\.domain),
      channels: channels,
      bootTimeoutSeconds: top.integer(
        "boot-timeout", in: ManifestLimits.bootTimeoutSeconds, unit: " (seconds)") ?? 300)
  }

  private func checkVersion(_ top: Fields) {
    guard let node = top.required("vos", expected: "the syntax version, \"vos: 1\"") else { return }
    if node.string != String(ManifestLimits.version) {
      top.mismatch("vos", node, expected: "1, the only version this program knows")
    }
  }

  private func readDomains(_ top: Fields) -> [ReadDomain] {
    guard let node = top.required("domains", expected: "a mapping with at least one domain"),
      let entries = reader.named(node, of: "domains", example: "primary: {kernel: …}")
    else { return [] }
    if !(1...ManifestLimits.domains).contains(entries.count) {
      reader.report(
        node, "found \(entries.count) domains; expected 1 to \(ManifestLimits.domains)")
    }
    let directory = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
      .joined(separator: "/")
    let domainReader = DomainReader(reader: reader, directory: directory)
    return entries.prefix(ManifestLimits.domains).compactMap {
      domainReader.read(name: $0.name, key: $0.key, value: $0.value)
    }
  }

  private func primaryDomain(_ top: Fields, _ domains: [ReadDomain]) -> String {
    let names = domains.map(\.domain.name)
    guard let node = top["primary"] else {
      if !names.contains("primary"), !names.isEmpty {
        reader.report(
          top.node,
          "no domain is called \"primary\"; call one so, or name it with \"primary: NAME\"")
      }
      return "primary"
    }
    guard let name = node.string, names.contains(name) else {
      top.mismatch("primary", node, expected: "one of the domains \(names.joined(separator: ", "))")
      return ""
    }
    return name
  }

  private func checkDomains(_ domains: [ReadDomain], channels: [ChannelSettings]) {
    var owners: [String: String] = [:]
    for entry in domains {
      for (address, node) in zip(entry.domain.devices, entry.deviceNodes) {
        if let owner = owners[address] {
          reader.report(
            node,
            "device \(address) belongs to domain \"\(owner)\" already; a device has one owner")
        }
        owners[address] = entry.domain.name
      }
      checkRole(entry, "network", .sockets)
      checkRole(entry, "storage", .files)
    }
  }

  private func checkRole(_ entry: ReadDomain, _ key: String, _ kind: ServiceKind) {
    let serves = entry.domain.serves
    if let node = entry.fields[key], serves != kind {
      reader.report(
        node,
        "\(entry.fields.subject) has \"\(key)\" but does not serve \(kind.rawValue); "
          + "add \"serves: \(kind.rawValue)\"")
    }
    if kind == .files, serves == .files, entry.fields[key] == nil {
      reader.report(
        entry.key, "\(entry.fields.subject) serves files but lacks \"storage\"; say what to mount")
    }
  }

  private func checkFiles(of entry: ReadDomain) {
    if let node = entry.fields["kernel"], !entry.domain.kernel.isEmpty,
      let problem = KernelFile.problem(of: entry.domain.kernel)
    {
      reader.report(node, "kernel \(quoted(entry.domain.kernel)) \(problem)")
    }
    if let node = entry.fields["initrd"], let initrd = entry.domain.initrd,
      let problem = KernelFile.initrdProblem(of: initrd, memoryBytes: entry.domain.memoryBytes)
    {
      reader.report(node, "initrd \(quoted(initrd)) \(problem)")
    }
  }
}
