// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Builds what runs inside Linux guests: out/guest/{vosguest,libvos.so,libvos-mn.so,vos-load,vos-run,vos.ko}.
public struct GuestBuild {
  let workspace: Workspace
  /// Where make works, so that no product lands among the sources.
  private var copy: URL { workspace.out.appending(path: "build") }

  public init(_ workspace: Workspace) { self.workspace = workspace }

  public func build() throws {
    try module()
    try vosguest()
    try linked("libvos.so", "libvos")
    try linked("libvos-mn.so", "libvos-mn")
    try linked("vos-load", "vos-load")
    try linked("vos-run", "vos-run")
    try micro()
  }

  /// The kernel module, against the headers of the very kernel that the domains boot.
  private func module() throws {
    let sources = ["guest-kernels/linux/module", "Sources/CVosABI"].map(workspace.path)
    let target = workspace.guest.appending(path: "vos.ko")
    let (release, version) = try KernelBuild(workspace).release()
    let swift = SwiftBuild(workspace)
    try swift.incremental("vos.ko", sources, extra: "\(release) \(version)", products: [target]) {
      log in
      try Console.shared.step("build vos.ko for \(release)") {
        let folder = try copySources("guest-kernels/linux/module")
        try run(
          [
            "make", "-C", folder.path, "KDIR=/usr/src/linux-headers-\(release)",
            "-j\(ProcessInfo.processInfo.activeProcessorCount)", "modules",
          ], log: log)
        let stripped = folder.appending(path: "vos.ko")
        try run(["strip", "--strip-debug", stripped.path], log: log, append: true)
        try install(stripped, at: target)
      }
    }
  }

  private func vosguest() throws {
    let package = workspace.path("guest-kernels/linux/vosguest")
    let sources = [package, workspace.path("Sources/CVosABI"), workspace.path("Sources/Channel")]
    let swift = SwiftBuild(workspace)
    let target = workspace.guest.appending(path: "vosguest")
    try swift.incremental("vosguest", sources, products: [target]) { log in
      try Console.shared.step("build vosguest (static)") {
        try swift.swift(
          SwiftBuild.staticFlags, products: ["vosguest"], package: package,
          scratch: "guest-kernels/linux/vosguest/.build", into: workspace.guest, log: log)
        // Each image carries it: what no guest reads costs boot time.
        try run(["strip", target.path], log: log, append: true)
      }
    }
  }

  /// What a folder's own `build` script makes: Embedded Swift for Linux programs.
  private func linked(_ name: String, _ leaf: String) throws {
    let folder = "guest-kernels/linux/" + leaf
    // libvos waits by the same policy as every other side of a channel; libvos-mn writes its line as
    // libvos does; vos-load has all of libvos in it.
    let libvos = ["Sources", "CLibvos"].map { "guest-kernels/linux/libvos/" + $0 }
    let sources = ([folder, "Sources/CVosABI", "Sources/Channel"] + libvos).map(workspace.path)
    let target = workspace.guest.appending(path: name)
    try SwiftBuild(workspace).incremental(name, sources, products: [target]) { log in
      try Console.shared.step("build \(name)") {
        let fresh = try workspace.makeFolder(workspace.guest).appending(path: "." + name)
        try run([workspace.path(folder + "/build").path, fresh.path], log: log)
        try move(fresh, over: target)
      }
    }
  }

  /// The micro guests, PVH ELF files: out/guest/micro/NAME.
  private func micro() throws {
    let folder = "guest-kernels/micro"
    guard exists(workspace.path(folder + "/build")) else { return }
    let sources = [folder, "Sources/CVosABI", "Sources/Channel", "Sources/MicroHost"]
      .map(workspace.path)
    let target = workspace.guest.appending(path: "micro")
    try SwiftBuild(workspace).incremental("micro", sources, products: [target]) { log in
      try Console.shared.step("build the micro guests") {
        let scratch = workspace.path(folder + "/.build")
        try run([workspace.path(folder + "/build").path, scratch.path], log: log)
        let built = scratch.appending(path: "x86_64-unknown-none-elf/release")
        try remove(target)
        for name in try FileManager.default.contentsOfDirectory(atPath: built.path) {
          let file = built.appending(path: name)
          if !name.contains("."), isProgram(file) {
            try install(file, at: target.appending(path: name))
          }
        }
      }
    }
  }

  /// Whether `file` begins as an ELF file does.
  private func isProgram(_ file: URL) -> Bool {
    guard let handle = try? FileHandle(forReadingFrom: file) else { return false }
    defer { try? handle.close() }
    return (try? handle.read(upToCount: 4)) == Data([0x7f, 0x45, 0x4c, 0x46])
  }

  /// Copies a folder of the checkout to out/build, at the same place relative to Sources.
  private func copySources(_ relative: String) throws -> URL {
    let folder = copy.appending(path: relative)
    try workspace.makeFolder(folder)
    let sources = copy.appending(path: "Sources")
    // Anew each time: the checkout may have been moved.
    try? FileManager.default.removeItem(at: sources)
    try FileManager.default.createSymbolicLink(
      at: sources, withDestinationURL: workspace.path("Sources"))
    // Only what git would keep: an engineer may have built in the folder itself.
    let listing = try capture([
      "git", "-C", workspace.root.path, "ls-files", "-co", "--exclude-standard", "--", relative,
    ])
    try remove(folder)
    for line in listing.split(separator: "\n") where exists(workspace.path(String(line))) {
      try install(workspace.path(String(line)), at: copy.appending(path: String(line)))
    }
    return folder
  }
}
