// SPDX-License-Identifier: Apache-2.0
import CMicro

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

  // One processor, one thread; asked for in ring 0 alone.
  nonisolated(unsafe) private static var nextFree: UInt64 = 0
  private static let largePage: UInt64 = 1 << 21
  private static let usable: UInt32 = 1

  /// Zeroed RAM behind the image, for good, which ring 3 may touch too; nil if there is too little.
  ///
  /// - Parameter byteCount: rounded up to 2 MiB, so that large pages map it.
  @unsafe
  public static func reserve(_ byteCount: Int) -> UnsafeMutableRawBufferPointer? {
    let start = unsafe max(nextFree, (micro_address_of_end() + largePage - 1) & ~(largePage - 1))
    let end = (start + UInt64(byteCount) + largePage - 1) & ~(largePage - 1)
    let isRAM = StartInfo()?.memoryMap.contains {
      $0.type == usable && $0.start <= start && end - $0.start <= $0.byteCount
    }
    guard isRAM == true, Paging.map(start..<end, forUser: true) else { return nil }
    unsafe nextFree = end
    return unsafe UnsafeMutableRawBufferPointer(start: pointer(start), count: byteCount)
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
