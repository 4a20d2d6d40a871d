// SPDX-License-Identifier: Apache-2.0

/// An access that guest memory does not cover.
public struct GuestMemoryError: Error, Equatable, CustomStringConvertible {
  /// First guest-physical address of the access.
  public let address: UInt64
  /// Bytes of the access.
  public let byteCount: Int

  public init(address: UInt64, byteCount: Int) {
    self.address = address
    self.byteCount = byteCount
  }

  public var description: String {
    "guest memory has no \(byteCount) bytes at 0x\(String(address, radix: 16))"
  }
}

/// Guest RAM as loaders and devices see it: bytes at guest-physical addresses.
///
/// Every access is a copy: guest memory changes under the reader, so it is read once and then used.
public protocol GuestMemory {
  /// Copies `bytes` to guest-physical `address`.
  func write(_ bytes: Span<UInt8>, at address: UInt64) throws(GuestMemoryError)
  /// Copies `byteCount` bytes from guest-physical `address`.
  func read(at address: UInt64, byteCount: Int) throws(GuestMemoryError) -> [UInt8]
}

extension GuestMemory {
  /// Copies `bytes` to guest-physical `address`.
  public func write(_ bytes: [UInt8], at address: UInt64) throws(GuestMemoryError) {
    try write(bytes.span, at: address)
  }
}
