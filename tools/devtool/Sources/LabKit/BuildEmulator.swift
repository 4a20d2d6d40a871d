// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The emulator that the lab host runs on: fetched and unpacked, never installed.
///
/// The one of Debian's backports. In that of the release itself (7.2), a #VMEXIT loses the guest's
/// interrupt shadow, so that an idle guest may sleep on what has just come; a processor may look up
/// a device access in a memory map that another is changing; and e1000e ends the emulator when MSI-X
/// goes off in the midst of an interrupt's throttling.
public struct EmulatorBuild {
  private static let package = "qemu-system-x86"

  let workspace: Workspace

  public init(_ workspace: Workspace) { self.workspace = workspace }

  /// The package's files and those of all that it needs.
  private var tree: URL { ImageBuild(workspace).tree(of: [Self.package], from: .backports) }

  /// Makes the tree, unless it is there.
  public func build() throws {
    try ImageBuild(workspace).packageTree([Self.package], name: "emulator", from: .backports)
  }

  /// The command, without arguments: with libraries, modules and firmware of its own.
  func command() throws -> [String] {
    let (root, usr) = (tree.path, tree.appending(path: "usr").path)
    guard FileManager.default.fileExists(atPath: "\(usr)/bin/qemu-system-x86_64") else {
      throw Failure("the emulator has not been fetched: run tools/dev build emulator")
    }
    let libraries = "\(usr)/lib/x86_64-linux-gnu"
    return [
      "env", "QEMU_MODULE_DIR=\(libraries)/qemu", "\(root)/lib64/ld-linux-x86-64.so.2",
      "--library-path", "\(root)/lib/x86_64-linux-gnu:\(libraries):\(libraries)/pulseaudio",
      "\(usr)/bin/qemu-system-x86_64",
      "-L", "\(usr)/share/qemu", "-L", "\(usr)/share/seabios", "-L", "\(usr)/lib/ipxe/qemu",
    ]
  }
}
