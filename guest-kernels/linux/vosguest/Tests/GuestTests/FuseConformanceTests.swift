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

/// A difference that docs/storage.md admits: the words that a local file system says for a check,
/// and those of /storage in their place.
private struct Admitted {
  let local: String
  let storage: String

  /// The table's rows: check, words here, words there, why.
  static func table(_ path: String) throws -> [String: [Admitted]] {
    var rows: [String: [Admitted]] = [:]
    for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") {
      let cells = line.split(separator: "|", omittingEmptySubsequences: true).map {
        $0.trimmingCharacters(in: .whitespaces).trimmingCharacters(in: ["`"])
      }
      guard cells.count == 4 else { continue }
      rows[cells[0], default: []].append(Admitted(local: cells[1], storage: cells[2]))
    }
    return rows
  }
}

@Suite(.serialized, .enabled(if: canMount, "needs root and /dev/fuse"))
struct FuseConformanceTests {
  /// Tests/Conformance/storage.c says what it sees of a local file system and of the mount.
  @Test func programsSeeALocalFileSystem() throws {
    let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let source = tests.appending(path: "Conformance/storage.c").path
    let document = tests.appending(path: "../../../../docs/storage.md").path
    let disks = try TwinDisks()
    let program = disks.folder + "/storage"
    try shell("cc -O1 -static -o \(program) \(source)")
    // Fewer entries than a run by hand: making them takes the time.
    // CHECKS="name name" runs only those.
    let environment = ProcessInfo.processInfo.environment
    let run = "MANY=\(environment["MANY"] ?? "2000") \(program)"
    let names = environment["CHECKS"] ?? ""
    let local = try shell("\(run) \(disks.local) \(names)").split(separator: "\n")
    let it = try Mounted(export: disks.export)
    defer { it.end() }
    let storage = try shell("\(run) \(it.mount) \(names)").split(separator: "\n")
    #expect(local.count == storage.count && (local.count > 80 || !names.isEmpty))
    let admitted = try Admitted.table(document)
    for (here, there) in zip(local, storage) where here != there {
      let (name, difference) = Self.difference(String(here), String(there))
      let isAdmitted = admitted[name, default: []].contains {
        $0.local == difference.local && $0.storage == difference.storage
      }
      #expect(isAdmitted, "| `\(name)` | `\(difference.local)` | `\(difference.storage)` |")
    }
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

  /// The words that differ; all of them if there is not one for each.
  private static func difference(_ here: String, _ there: String) -> (String, Admitted) {
    let local = here.split(separator: " ")
    let storage = there.split(separator: " ")
    let name = String(local[0].dropLast())
    guard local.count == storage.count else { return (name, Admitted(local: here, storage: there)) }
    let pairs = zip(local, storage).filter { $0 != $1 }
    let words = Admitted(
      local: pairs.map(\.0).joined(separator: " "), storage: pairs.map(\.1).joined(separator: " "))
    return (name, words)
  }
}
