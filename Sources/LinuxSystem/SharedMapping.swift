// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// A shared mapping of a file or device, unmapped when it goes.
@safe
public struct SharedMapping: ~Copyable, @unchecked Sendable {
  // @unchecked: the address and size never change; what lies behind is shared with other
  // processes anyway, so its users copy, check and use atomics.

  /// First byte of the mapping.
  @unsafe public let baseAddress: UnsafeMutableRawPointer
  /// Bytes mapped.
  public let byteCount: Int

  /// Maps `byteCount` bytes of `descriptor` from `offset`.
  public init(
    _ descriptor: borrowing OwnedDescriptor, byteCount: Int, offset: Int = 0, writable: Bool = true
  ) throws(SystemCallError) {
    let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
    // SAFETY: the kernel chooses a fresh range; nothing else points there.
    let address = unsafe mmap(
      nil, byteCount, protection, MAP_SHARED, descriptor.rawValue, offset)
    guard let address = unsafe address, unsafe address != MAP_FAILED else {
      throw SystemCallError.last("map \(byteCount) bytes of descriptor \(descriptor.rawValue)")
    }
    unsafe self.baseAddress = address
    self.byteCount = byteCount
  }

  deinit {
    // SAFETY: the range came from mmap and is owned by this value alone.
    _ = unsafe munmap(baseAddress, byteCount)
  }

  /// All bytes of the mapping.
  @unsafe public var bytes: UnsafeMutableRawBufferPointer {
    // SAFETY: the mapping covers exactly these bytes while `self` lives.
    unsafe UnsafeMutableRawBufferPointer(start: baseAddress, count: byteCount)
  }

  /// Copies `count` bytes from `offset`; `nil` if the mapping does not hold them.
  public func copy(from offset: Int, count: Int) -> [UInt8]? {
    guard covers(offset, count) else { return nil }
    // SAFETY: the range was checked to lie within the mapping.
    return unsafe [UInt8](bytes[offset..<offset + count])
  }

  /// Copies `source` to `offset`; false if the mapping does not hold that many bytes there.
  public func copy(_ source: Span<UInt8>, to offset: Int) -> Bool {
    guard covers(offset, source.count) else { return false }
    // SAFETY: the range was checked to lie within the mapping; the source is borrowed meanwhile.
    unsafe source.withUnsafeBytes { buffer in
      if let start = buffer.baseAddress {
        unsafe (baseAddress + offset).copyMemory(from: start, byteCount: buffer.count)
      }
    }
    return true
  }

  /// Whether `count` bytes at `offset` lie within the mapping.
  public func covers(_ offset: Int, _ count: Int) -> Bool {
    offset >= 0 && count >= 0 && offset <= byteCount && count <= byteCount - offset
  }
}
