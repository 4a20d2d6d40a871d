// SPDX-License-Identifier: Apache-2.0

/// Little-endian fields at byte offsets of a structure.
///
/// Offsets are the caller's constants, or were checked against `count`.
extension [UInt8] {
  /// Stores `value`, low byte first, at `offset`.
  mutating func store<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    for index in 0..<(T.bitWidth / 8) {
      self[offset + index] = UInt8(truncatingIfNeeded: value >> (index * 8))
    }
  }

  /// Appends `value`, low byte first.
  mutating func append<T: FixedWidthInteger>(littleEndian value: T) {
    for index in 0..<(T.bitWidth / 8) {
      append(UInt8(truncatingIfNeeded: value >> (index * 8)))
    }
  }

  /// The `T` whose low byte is at `offset`.
  func load<T: FixedWidthInteger & UnsignedInteger>(_: T.Type, at offset: Int) -> T {
    var value: T = 0
    for index in 0..<(T.bitWidth / 8) { value |= T(self[offset + index]) << (index * 8) }
    return value
  }
}

/// `value` rounded up to a multiple of `alignment`, a power of two; nil beyond 64 bits.
func roundedUp(_ value: UInt64, to alignment: UInt64) -> UInt64? {
  let (sum, overflow) = value.addingReportingOverflow(alignment - 1)
  return overflow ? nil : sum & ~(alignment - 1)
}
