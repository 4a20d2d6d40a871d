// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import Guest

/// Two file systems of one kind: one to look at directly, one through the mount.
private final class TwinDisks {
  let folder: String
  var local: String { folder + "/local" }
  var export: String { folder + "/export" }

  init() throws {
    folder = try scratchFolder()
    try shell(
      """
      cd \(folder)
      for d in 0 1 2 3 4 5 6 7; do test -b /dev/loop$d || mknod /dev/loop$d b 7 $d; done
      for disk in local export; do
        truncate -s 512M $disk.img
        mkfs.ext4 -q -N 150000 $disk.img
        mkdir $disk
        mount -o loop,nosuid,nodev $disk.img $disk
        rmdir $disk/lost+found
      done
      """)
  }

  deinit {
    _ = try? shell("cd \(folder) && umount local export; rm -rf \(folder)")
  }
}

@Suite(.serialized, .enabled(if: canMount, "needs root and /dev/fuse"))
struct FuseConformanceTests {
  /// Tests/Conformance/storage.c says what it sees of a local file system and of the mount.
  @Test func programsSeeALocalFileSystem() throws {
    let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let conformance = tests.appending(path: "Conformance").path
    let table = tests.appending(path: "../../../../docs/storage.md").path
    let disks = try TwinDisks()
    // Fewer entries than a run by hand: making them takes the time. CHECKS="name name" runs those.
    let environment = ProcessInfo.processInfo.environment
    let names = environment["CHECKS"] ?? ""
    let many = environment["MANY"] ?? "2000"
    try shell(
      """
      cd \(disks.folder)
      cc -O1 -static -o storage \(conformance)/storage.c
      MANY=\(many) ./storage \(disks.local) \(names) > local.txt
      """)
    let it = try Mounted(export: disks.export)
    defer { it.end() }
    let differences = try shell(
      """
      cd \(disks.folder)
      MANY=\(many) ./storage \(it.mount) \(names) > storage.txt
      \(conformance)/compare \(table) local.txt storage.txt || true
      """)
    #expect(differences == "")
  }

  /// Listed with attributes, removed while it is listed; more entries than the service holds nodes.
  @Test func aDirectoryOfManyEntries() throws {
    let disks = try TwinDisks()
    let it = try Mounted(export: disks.export)
    defer { it.end() }
    #expect(it.served.handler.nodes.areLasting)
    try shell(
      """
      python3 - <<'END'
      import os
      far, near, many = "\(it.mount)/d", "\(disks.export)/d", 100000
      os.mkdir(far)
      folder = os.open(near, os.O_RDONLY)
      for i in range(many): os.mknod(f"entry-with-a-number-{i:06}", 0o100644, dir_fd=folder)
      names, size = set(), 0
      with os.scandir(far) as entries:
        for entry in entries:
          assert entry.is_file(follow_symlinks=False) and entry.name not in names
          names.add(entry.name)
          if len(names) % 997 == 0: size += entry.stat().st_size + 1
      assert len(names) == many and size == many // 997
      # The other way of reading it, by places that are kept.
      assert len(os.listdir(far)) == many
      for i in range(many):
        if i % 100: os.unlink(f"entry-with-a-number-{i:06}", dir_fd=folder)
      left = 0
      with os.scandir(far) as entries:
        for entry in entries:
          os.unlink(entry.path)
          left += 1
      assert left == many // 100, left
      os.rmdir(far)
      END
      """)
  }
}
