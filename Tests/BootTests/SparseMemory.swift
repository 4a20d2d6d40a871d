// SPDX-License-Identifier: Apache-2.0
import DeviceModel

/// Guest RAM for tests: `byteCount` zeros from 0, held by page once written.
final class SparseMemory: GuestMemory {
  let byteCount: UInt64
  private var pages: [UInt64: [UInt8]] = [:]

  init(byteCount: UInt64) { self.byteCount = byteCount }

  /// Bytes of pages that were ever written.
  var touchedByteCount: Int { pages.count * 4096 }

  private func check(_ address: UInt64, _ count: Int) throws(GuestMemoryError) {
    guard address <= byteCount, UInt64(count) <= byteCount - address else {
      throw GuestMemoryError(address: address, byteCount: count)
    }
  }

  func write(_ bytes: Span<UInt8>, at address: UInt64) throws(GuestMemoryError) {
    try check(address, bytes.count)
    for index in 0..<bytes.count {
      let at = address + UInt64(index)
      pages[at >> 12, default: [UInt8](repeating: 0, count: 4096)][Int(at & 4095)] = bytes[index]
    }
  }

  func read(at address: UInt64, byteCount count: Int) throws(GuestMemoryError) -> [UInt8] {
    try check(address, count)
    return (0..<count).map { index in
      let at = address + UInt64(index)
      return pages[at >> 12]?[Int(at & 4095)] ?? 0
    }
  }

  func load<T: FixedWidthInteger>(_: T.Type, at address: UInt64) throws -> T {
    let bytes = try read(at: address, byteCount: T.bitWidth / 8)
    return bytes.reversed().reduce(0) { $0 << 8 | T(truncatingIfNeeded: $1) }
  }
}
