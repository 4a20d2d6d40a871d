// SPDX-License-Identifier: Apache-2.0
import CMicro

/// The page tables: everything is mapped onto itself, little of it for ring 3.
public enum Paging {
  private static let pageByteCount: UInt64 = 4096
  private static let largeByteCount: UInt64 = 1 << 21
  private static let present: UInt64 = 1 << 0
  private static let writable: UInt64 = 1 << 1
  private static let user: UInt64 = 1 << 2
  private static let large: UInt64 = 1 << 7
  private static let addressMask: UInt64 = 0x000F_FFFF_FFFF_F000

  // One processor, one thread.
  nonisolated(unsafe) private static var nextTable: UInt64 = 0

  /// Gives ring 3 the image's own pages.
  static func prepare() {
    unsafe nextTable = micro_address_of_page_pool()
    map(micro_address_of_user_start()..<micro_address_of_user_end(), forUser: true)
  }

  /// Maps whole pages around `range` onto themselves. False if page tables ran out.
  @discardableResult
  public static func map(_ range: Range<UInt64>, forUser: Bool) -> Bool {
    var address = range.lowerBound & ~(pageByteCount - 1)
    while address < range.upperBound {
      let isLarge =
        address & (largeByteCount - 1) == 0 && range.upperBound - address >= largeByteCount
      guard let entry = entry(for: address, isLarge: isLarge) else { return false }
      let flags = present | writable | (forUser ? user : 0) | (isLarge ? large : 0)
      Memory.store(address | flags, at: entry)
      address += isLarge ? largeByteCount : pageByteCount
    }
    micro_flush_translations()
    return true
  }

  /// The address of the entry that maps `address`, with tables made on the way.
  private static func entry(for address: UInt64, isLarge: Bool) -> UInt64? {
    var table = micro_address_of_page_root()
    var shift: UInt64 = 39
    while true {
      let entry = table + (address >> shift & 511) * 8
      if shift == (isLarge ? 21 : 12) { return entry }
      let value = Memory.load(UInt64.self, at: entry)
      if value & present == 0 || value & large != 0 {
        guard let new = makeTable(from: value, below: shift) else { return nil }
        Memory.store(new | present | writable | user, at: entry)
        table = new
      } else {
        table = value & addressMask
      }
      shift -= 9
    }
  }

  /// An empty table, or one of small pages that map what the large page `value` did.
  private static func makeTable(from value: UInt64, below shift: UInt64) -> UInt64? {
    let table = unsafe nextTable
    guard table + pageByteCount <= micro_address_of_page_pool_end() else { return nil }
    unsafe nextTable = table + pageByteCount
    guard value & present != 0, shift == 21 else { return table }
    for index in 0..<512 as Range<UInt64> {
      let small = (value & ~large) + index * pageByteCount
      Memory.store(small, at: table + index * 8)
    }
    return table
  }
}
