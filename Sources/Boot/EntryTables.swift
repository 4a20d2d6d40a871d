// SPDX-License-Identifier: Apache-2.0
import DeviceModel

/// The descriptor table and page tables that a guest starts on.
enum EntryTables {
  /// Writes a GDT with `code` at 0x10, data at 0x18 and a task state at 0x20.
  static func writeGDT(
    code: Segment, into memory: some GuestMemory
  ) throws(BootError) -> DescriptorTable {
    var table: [UInt8] = []
    // A 64-bit task state descriptor takes two entries; the upper half of its base is zero.
    for descriptor in [
      0, 0, code.descriptor, Segment.data.descriptor, Segment.task.descriptor, 0,
    ] as [UInt64] {
      table.append(littleEndian: descriptor)
    }
    try memory.put(table, at: BootLayout.gdt)
    return DescriptorTable(base: BootLayout.gdt, limit: UInt16(table.count - 1))
  }

  private static let present: UInt64 = 1 << 0
  private static let writable: UInt64 = 1 << 1
  private static let large: UInt64 = 1 << 7
  private static let entriesPerTable = 512
  private static let mappedGiB = 4

  /// Writes page tables that map the first 4 GiB onto themselves; returns CR3.
  static func writeIdentityMap(into memory: some GuestMemory) throws(BootError) -> UInt64 {
    let page = BootLayout.pageByteCount
    let root = BootLayout.pageTables
    let pointers = root + page
    let directories = pointers + page
    var tables = [UInt8](repeating: 0, count: Int(page) * (2 + mappedGiB))
    tables.store(pointers | present | writable, at: 0)
    for gib in 0..<mappedGiB {
      let directory = directories + UInt64(gib) * page
      tables.store(directory | present | writable, at: Int(page) + gib * 8)
    }
    for entry in 0..<(mappedGiB * entriesPerTable) {
      let frame = UInt64(entry) << 21
      tables.store(frame | present | writable | large, at: Int(page) * 2 + entry * 8)
    }
    try memory.put(tables, at: root)
    return root
  }
}
