// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// Debian's stock kernel: fetched and unpacked, never installed.
public struct KernelBuild {
  let workspace: Workspace

  public init(_ workspace: Workspace) { self.workspace = workspace }

  /// The kernel whose headers are installed: name as `uname -r` prints it, and the package's version.
  public func release() throws -> (name: String, version: String) {
    let text = try capture([
      "dpkg-query", "-W", "-f", "${Depends} ${Version}", "linux-headers-amd64",
    ])
    // "linux-headers-6.1.0-56-amd64 (= 6.1.192-2) 6.1.192-2"
    let words = text.split(separator: " ")
    let prefix = "linux-headers-"
    guard let package = words.first, let version = words.last, package.hasPrefix(prefix) else {
      throw Failure("linux-headers-amd64 depends on \"\(text)\", not on one kernel's headers")
    }
    return (String(package.dropFirst(prefix.count)), String(version))
  }

  /// Where the modules of the unpacked kernel are.
  public func modules() throws -> URL {
    workspace.kernel.appending(path: "lib/modules/\(try release().name)")
  }

  /// Makes out/kernel: vmlinuz, config, lib/modules/… and modules → lib/modules/….
  public func build() throws {
    let (name, version) = try release()
    let stamp = try Stamp(workspace, "kernel")
    let inputs = "\(name) \(version)\n"
    let target = workspace.kernel
    if stamp.matches(inputs), exists(target.appending(path: "vmlinuz")) { return }
    let log = try workspace.log("kernel")
    try Console.shared.step("fetch Debian's kernel \(name) (\(version), 67 MB)") {
      try fetch("linux-image-\(name)=\(version)", log: log)
    }
    try Console.shared.step("unpack the kernel") {
      stamp.forget()
      try remove(target)
      let package = workspace.cache.appending(path: "linux-image-\(name)_\(version)_amd64.deb")
      try run(["dpkg-deb", "-x", package.path, target.path], log: log)
      for file in ["vmlinuz", "config", "System.map"] {
        try FileManager.default.moveItem(
          at: target.appending(path: "boot/\(file)-\(name)"), to: target.appending(path: file))
      }
      let depmod = try requireProgram("depmod", package: "kmod")
      try run([depmod, "-b", target.path, name], log: log, append: true)
      try FileManager.default.createSymbolicLink(
        atPath: target.appending(path: "modules").path,
        withDestinationPath: "lib/modules/\(name)")
      try stamp.write(inputs)
    }
  }

  /// Downloads into out/cache; apt checks the archive's signature and the package's hash.
  private func fetch(_ package: String, log: URL) throws {
    try workspace.makeFolder(workspace.cache)
    do {
      try run(["apt-get", "download", package], directory: workspace.cache, log: log)
    } catch {
      guard !Interrupts.raised else { throw error }
      // No package lists yet, or old ones.
      try run(["apt-get", "update"], log: log, append: true)
      try run(["apt-get", "download", package], directory: workspace.cache, log: log, append: true)
    }
  }
}
