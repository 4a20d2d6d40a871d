// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
internal import LinuxSystem
internal import SystemPackage

/// The bytes of a VFIO structure with whatever follows it, read and written at checked offsets.
///
/// Every structure starts with `argsz` and `flags`. An answer may be longer than was asked for: the
/// kernel then says so in `argsz`, and the call is made again with that many bytes.
struct AnswerBuffer: Equatable {
  /// Where `flags` lies in every structure.
  static let flagsOffset = 4
  /// No answer is longer: the longest is a region's sparse areas or a bus's functions.
  private static let maximumByteCount = 1 << 20
  /// A chain of capabilities longer than this is a loop.
  private static let maximumCapabilities = 64

  private(set) var bytes: [UInt8]

  /// A structure of `byteCount` bytes: zero, but for `argsz`.
  init(byteCount: Int) {
    bytes = [UInt8](repeating: 0, count: byteCount)
    set(0, to: UInt32(truncatingIfNeeded: byteCount))
  }

  /// Bytes as the kernel gave them.
  init(bytes: [UInt8]) {
    self.bytes = bytes
  }

  mutating func set(_ offset: Int, to value: UInt32) {
    set(offset, width: 4, to: UInt64(value))
  }

  mutating func set64(_ offset: Int, to value: UInt64) {
    set(offset, width: 8, to: value)
  }

  private mutating func set(_ offset: Int, width: Int, to value: UInt64) {
    guard offset >= 0, offset <= bytes.count - width else { return }
    for index in 0..<width {
      bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
    }
  }

  /// The number of `width` bytes at `offset`; `nil` beyond the end.
  func value(_ offset: Int, width: Int) -> UInt64? {
    guard offset >= 0, width <= bytes.count, offset <= bytes.count - width else { return nil }
    var value: UInt64 = 0
    for index in 0..<width { value |= UInt64(bytes[offset + index]) << (8 * index) }
    return value
  }

  /// The 32-bit number at `offset`; 0 beyond the end.
  func value32(_ offset: Int) -> UInt32 { UInt32(value(offset, width: 4) ?? 0) }

  /// The 64-bit number at `offset`; 0 beyond the end.
  func value64(_ offset: Int) -> UInt64 { value(offset, width: 8) ?? 0 }

  var flags: UInt32 { value32(Self.flagsOffset) }

  /// Offsets of the capabilities by identifier, in the chain that starts at `first`.
  func capabilities(from first: UInt32) throws(VFIOError) -> [(identifier: UInt16, offset: Int)] {
    var found: [(identifier: UInt16, offset: Int)] = []
    var offset = Int(first)
    while offset != 0 {
      guard
        found.count < Self.maximumCapabilities, let identifier = value(offset, width: 2),
        let next = value(offset + 4, width: 4)
      else { throw .malformed("a chain of capabilities") }
      found.append((UInt16(identifier), offset))
      offset = Int(next)
    }
    return found
  }

  /// Makes the call; again with more room if the answer is longer than the buffer.
  mutating func exchange(
    _ descriptor: Int32, _ request: UInt, _ operation: String
  ) throws(VFIOError) {
    let asked = self
    try call(descriptor, request, operation)
    let needed = Int(value32(0))
    guard needed > bytes.count else { return }
    guard needed <= Self.maximumByteCount else { throw .malformed("an answer's length") }
    bytes = asked.bytes + [UInt8](repeating: 0, count: needed - asked.bytes.count)
    set(0, to: UInt32(truncatingIfNeeded: needed))
    try call(descriptor, request, operation)
  }

  /// Makes the call once; gives its result.
  @discardableResult
  mutating func call(
    _ descriptor: Int32, _ request: UInt, _ operation: String
  ) throws(VFIOError) -> Int32 {
    // SAFETY: `argsz` tells the kernel how many bytes the buffer has, and it writes no more.
    let result = unsafe bytes.withUnsafeMutableBytes {
      unsafe clinux_ioctl_pointer(descriptor, request, $0.baseAddress)
    }
    guard result >= 0 else { throw .call(lastError(operation)) }
    return result
  }
}

/// The calling thread's `errno` as an error; call it right after the failure.
func lastError(_ operation: String) -> SystemCallError {
  SystemCallError(operation, errno: Errno(rawValue: clinux_errno()))
}
