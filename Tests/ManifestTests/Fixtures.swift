// SPDX-License-Identifier: Apache-2.0
import Foundation

@testable import Manifest

/// A manifest with everything in it that the lab uses.
let goodManifest = """
  vos: 1
  system: lab
  domains:
    primary:
      kernel: vmlinuz
      initrd: primary.cpio
      cmdline: console=ttyS0 quiet
      memory: 512MiB
      cpus: 2
    network:
      kernel: vmlinuz
      memory: 256MiB
      devices: [0000:01:00.0]
      modules: [e1000e]
      serves: sockets
      network:
        address: 10.0.2.15/24
        gateway: 10.0.2.2
    storage:
      kernel: /boot/vmlinuz
      memory: 256MiB
      devices:
        - 00:05.0
      serves: files
      storage: {source: /dev/sda, type: ext4, mount: /storage}

  """

/// What the parser says of `text`, one line each; empty if nothing is wrong.
func complaints(_ text: String, checkFiles: Bool = false) -> [String] {
  do {
    _ = try Manifest.parse(
      text, file: "m.yaml", absolutePath: "/etc/vos/m.yaml", checkFiles: checkFiles)
    return []
  } catch {
    return error.diagnostics.map(\.description)
  }
}

/// A copy of the good manifest with `old` replaced.
func changed(_ old: String, to new: String) -> String {
  goodManifest.replacingOccurrences(of: old, with: new)
}

/// The root of the checkout, found from this file's place in it.
let projectRoot: String = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
