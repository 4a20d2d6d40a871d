// SPDX-License-Identifier: Apache-2.0

/// Loads from guest-physical addresses, which are mapped onto themselves.
public enum Memory {
  /// A `T` at `address`, which need not be aligned.
  public static func load<T: BitwiseCopyable>(_: T.Type, at address: UInt64) -> T {
    // SAFETY: callers name RAM or a mapped BAR; address 0 is never asked for.
    unsafe pointer(address).loadUnaligned(as: T.self)
  }

  public static func store<T: BitwiseCopyable>(_ value: T, at address: UInt64) {
    // SAFETY: as above.
    unsafe pointer(address).storeBytes(of: value, as: T.self)
  }

  @unsafe
  public static func pointer(_ address: UInt64) -> UnsafeMutableRawPointer {
    guard let pointer = unsafe UnsafeMutableRawPointer(bitPattern: UInt(address)) else {
      fatalError("address 0")
    }
    return unsafe pointer
  }

  /// A NUL-terminated string of at most 255 bytes.
  static func string(at address: UInt64) -> String {
    var text = ""
    guard address != 0 else { return text }
    for offset in 0..<255 as Range<UInt64> {
      let byte = load(UInt8.self, at: address &+ offset)
      if byte == 0 { break }
      text.unicodeScalars.append(UnicodeScalar(byte))
    }
    return text
  }
}
