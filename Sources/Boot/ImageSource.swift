// SPDX-License-Identifier: Apache-2.0
public import DeviceModel

/// A file that is loaded into a guest: read piece by piece, never held whole.
public protocol ImageSource {
  /// What errors call it, such as its path.
  var name: String { get }
  /// Bytes in all.
  var byteCount: UInt64 { get }
  /// Reads exactly `byteCount` bytes from `offset`; the caller stays within `self.byteCount`.
  func read(at offset: UInt64, byteCount: Int) throws(BootError) -> [UInt8]
  /// Copies `byteCount` bytes from `offset` to guest-physical `address`.
  ///
  /// The default reads and writes in pieces; a source that can read straight into guest memory
  /// should.
  func copy(
    from offset: UInt64, byteCount: UInt64, to memory: some GuestMemory,
    at address: UInt64
  ) throws(BootError)
}

/// Bytes copied at a time from an image to guest memory.
private let copyChunkByteCount: UInt64 = 1 << 20

extension ImageSource {
  public func copy(
    from offset: UInt64, byteCount: UInt64, to memory: some GuestMemory,
    at address: UInt64
  ) throws(BootError) {
    var done: UInt64 = 0
    while done < byteCount {
      let count = min(copyChunkByteCount, byteCount - done)
      let piece = try read(at: offset &+ done, byteCount: Int(count))
      try memory.put(piece, at: address &+ done)
      done += count
    }
  }

  /// Reads `byteCount` bytes from `offset`, or says that the image is truncated.
  func checkedRead(at offset: UInt64, byteCount count: UInt64) throws(BootError) -> [UInt8] {
    try check(offset: offset, byteCount: count)
    let bytes = try read(at: offset, byteCount: Int(count))
    guard bytes.count == Int(count) else {
      throw .unreadable(image: name, reason: "\(bytes.count) of \(count) bytes at \(offset)")
    }
    return bytes
  }

  /// Says that the image is truncated if it does not hold the range.
  func check(offset: UInt64, byteCount count: UInt64) throws(BootError) {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= byteCount else {
      throw .truncated(image: name, byteCount: byteCount, needed: overflow ? .max : end)
    }
  }
}

/// An image that is already in memory.
public struct BytesImage: ImageSource, Sendable {
  public let name: String
  public let bytes: [UInt8]

  public init(name: String, bytes: [UInt8]) {
    self.name = name
    self.bytes = bytes
  }

  public var byteCount: UInt64 { UInt64(bytes.count) }

  public func read(at offset: UInt64, byteCount count: Int) throws(BootError) -> [UInt8] {
    guard offset <= byteCount, count >= 0, UInt64(count) <= byteCount - offset else {
      throw .truncated(image: name, byteCount: byteCount, needed: offset &+ UInt64(max(0, count)))
    }
    return Array(bytes[Int(offset)..<(Int(offset) + count)])
  }
}

extension GuestMemory {
  /// `write` with this module's error.
  func put(_ bytes: [UInt8], at address: UInt64) throws(BootError) {
    do { try write(bytes.span, at: address) } catch { throw .memory(error) }
  }
}
