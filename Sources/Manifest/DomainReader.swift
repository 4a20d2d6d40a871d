// SPDX-License-Identifier: Apache-2.0
import Yams

/// A domain as read, with the nodes that later checks point at.
struct ReadDomain {
  var domain: Domain
  var key: Node
  var fields: Fields
  var deviceNodes: [Node]
}

/// Reads the mapping of one domain. Relative paths start at `directory`.
struct DomainReader {
  let reader: NodeReader
  let directory: String

  func read(name: String, key: Node, value: Node) -> ReadDomain? {
    let subject = "domain \"\(name)\""
    guard let fields = reader.fields(value, of: subject, keys: ManifestKeys.domain) else {
      return nil
    }
    let monitor = monitor(fields)
    switch monitor {
    case .vosvmm:
      _ = fields.required("kernel", expected: "the path of a bzImage or PVH ELF kernel")
      _ = fields.required("memory", expected: "a size such as 512MiB")
    case .external: refuseMachine(fields)
    }
    let devices = devices(fields)
    let serves = fields.text("serves", expected: "sockets or files") {
      ServiceKind(rawValue: $0) != nil
    }
    let domain = Domain(
      name: name, monitor: monitor, kernel: path("kernel", fields) ?? "",
      initrd: path("initrd", fields),
      commandLine: commandLine(fields), memoryBytes: memory(fields) ?? 0,
      cpus: fields.integer("cpus", in: ManifestLimits.cpus) ?? (monitor == .vosvmm ? 1 : 0),
      hugePages: fields.flag("hugepages") ?? false, devices: devices.map(\.text),
      modules: fields.list(
        "modules", maximum: ManifestLimits.modulesPerDomain,
        expected: "a kernel module's name, such as e1000e"
      ) { isWord($0) ? $0 : nil }.map(\.text),
      serves: serves.flatMap(ServiceKind.init(rawValue:)), network: network(fields),
      storage: storage(fields, name: name))
    return ReadDomain(
      domain: domain, key: key, fields: fields, deviceNodes: devices.map(\.node))
  }

  private func monitor(_ fields: Fields) -> MonitorKind {
    fields.text("monitor", expected: "vosvmm or external") { MonitorKind(rawValue: $0) != nil }
      .flatMap(MonitorKind.init(rawValue:)) ?? .vosvmm
  }

  private func refuseMachine(_ fields: Fields) {
    for key in ManifestKeys.machine {
      guard let node = fields[key] else { continue }
      reader.report(
        node,
        "\(fields.subject) has \"\(key)\" and an external monitor; whoever starts that monitor says "
          + "so there, remove it here")
    }
  }

  private func path(_ key: String, _ fields: Fields) -> String? {
    fields.text(key, expected: "a path") { $0.utf8.count < 4096 }.map {
      resolve($0, against: directory)
    }
  }

  private func commandLine(_ fields: Fields) -> String {
    guard fields["cmdline"]?.string != "" else { return "" }
    let limit = ManifestLimits.commandLineBytes
    return fields.text("cmdline", expected: "one line of at most \(limit) bytes") {
      $0.utf8.count <= limit && $0.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 }
    } ?? ""
  }

  private func memory(_ fields: Fields) -> UInt64? {
    fields.byteCount(
      "memory", in: ManifestLimits.memoryBytes, granule: ManifestLimits.memoryGranule)
  }

  private func devices(_ fields: Fields) -> [(node: Node, text: String)] {
    let found = fields.list(
      "devices", maximum: ManifestLimits.devicesPerDomain,
      expected: "a PCI address such as 0000:01:00.0", canonicalPCIAddress)
    var seen: Set<String> = []
    return found.filter { entry in
      if seen.insert(entry.text).inserted { return true }
      reader.report(entry.node, "\(fields.subject) lists device \(entry.text) twice; remove one")
      return false
    }
  }

  private func network(_ fields: Fields) -> NetworkSettings? {
    guard let node = fields["network"],
      let inner = reader.fields(
        node, of: "\"network\" of \(fields.subject)", keys: ManifestKeys.network)
    else { return nil }
    _ = inner.required("address", expected: "an IPv4 address such as 10.0.2.15/24")
    let address = inner.text(
      "address", expected: "an IPv4 address with prefix length, such as 10.0.2.15/24"
    ) { parseIPv4Prefix($0) != nil }
    let expectedHost = "an IPv4 address such as 10.0.2.2"
    let gateway = inner.text("gateway", expected: expectedHost) { parseIPv4($0) != nil }
    checkGateway(gateway, address, inner)
    return NetworkSettings(
      address: address ?? "", gateway: gateway,
      nameserver: inner.text("nameserver", expected: expectedHost) { parseIPv4($0) != nil })
  }

  private func checkGateway(_ gateway: String?, _ address: String?, _ fields: Fields) {
    guard let gateway, let node = fields["gateway"], let router = parseIPv4(gateway) else { return }
    guard let address, let own = parseIPv4Prefix(address) else { return }
    let mask = UInt32.max << UInt32(32 - own.prefix)
    if router & mask != own.address & mask {
      reader.report(
        node, "gateway \(gateway) is outside \(address); expected an address of that network")
    }
  }

  private func storage(_ fields: Fields, name: String) -> StorageSettings? {
    guard let node = fields["storage"],
      let inner = reader.fields(
        node, of: "\"storage\" of \(fields.subject)", keys: ManifestKeys.storage)
    else { return nil }
    _ = inner.required("source", expected: "a block device such as /dev/sda")
    let absolute = { (text: String) in text.hasPrefix("/") && text.utf8.count < 256 }
    return StorageSettings(
      source: inner.text("source", expected: "a block device such as /dev/sda", absolute) ?? "",
      type: inner.text("type", expected: "a file system type such as ext4", isWord) ?? "ext4",
      options: inner.text("options", expected: "mount options, comma-separated") {
        $0.utf8.count < 256 && !$0.contains(" ")
      },
      mount: inner.text("mount", expected: "an absolute path such as /storage", absolute)
        ?? "/storage")
  }
}

/// `path` made absolute against `directory`, without `.` and `..` being touched: the kernel
/// resolves them, through symbolic links too.
func resolve(_ path: String, against directory: String) -> String {
  path.hasPrefix("/") ? path : directory + "/" + path
}
