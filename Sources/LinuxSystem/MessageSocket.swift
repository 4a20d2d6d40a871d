// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// One end of a UNIX socket that carries whole messages with descriptors (`SOCK_SEQPACKET`).
public struct MessageSocket: ~Copyable, Sendable {
  /// A message as it came: its bytes and the descriptors that came along, now the receiver's.
  public struct Message: ~Copyable {
    public let bytes: [UInt8]
    public let descriptors: DescriptorList
  }

  public let descriptor: OwnedDescriptor

  /// Takes a connected socket.
  public init(owning descriptor: consuming OwnedDescriptor) {
    self.descriptor = descriptor
  }

  /// Two connected ends, close-on-exec.
  public static func pair() throws(SystemCallError) -> MessageSocketPair {
    var numbers: [Int32] = [-1, -1]
    try retrying("create a socket pair") {
      // SAFETY: the call fills two entries, which the array has.
      unsafe socketpair(
        AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &numbers)
    }
    return MessageSocketPair(
      first: MessageSocket(owning: OwnedDescriptor(owning: numbers[0])),
      second: MessageSocket(owning: OwnedDescriptor(owning: numbers[1])))
  }

  /// Sends one message; the descriptors stay the caller's.
  public func send(_ bytes: [UInt8], descriptors: [Int32] = []) throws(SystemCallError) {
    try retrying("send a message of \(bytes.count) bytes") {
      // SAFETY: both arrays outlive the call, which reads no more than their counts.
      unsafe clinux_send_descriptors(
        descriptor.rawValue, bytes, bytes.count, descriptors, descriptors.count)
    }
  }

  /// Receives one message of at most `maximum` bytes; `nil` when the other end is gone.
  public func receive(maximum: Int = 65536) throws(SystemCallError) -> Message? {
    var bytes = [UInt8](repeating: 0, count: maximum)
    var numbers = [Int32](repeating: -1, count: DescriptorList.maximum)
    var descriptorCount = numbers.count
    let count = try retrying("receive a message") {
      // SAFETY: the call writes at most `maximum` bytes and `descriptorCount` numbers.
      unsafe clinux_receive_descriptors(
        descriptor.rawValue, &bytes, maximum, &numbers, &descriptorCount)
    }
    let descriptors = DescriptorList(owning: Array(numbers.prefix(descriptorCount)))
    if count == 0 { return nil }
    return Message(bytes: Array(bytes.prefix(count)), descriptors: descriptors)
  }
}

/// The two ends of a new connection.
@frozen
public struct MessageSocketPair: ~Copyable {
  public var first: MessageSocket
  public var second: MessageSocket
}

/// Descriptors that came with a message; those that nobody takes are closed.
public final class DescriptorList: @unchecked Sendable {
  // @unchecked: used by the one thread that took the message apart.

  /// The kernel's limit for one message (SCM_MAX_FD).
  public static let maximum = 253

  private var numbers: [Int32]

  init(owning numbers: [Int32]) {
    self.numbers = numbers
  }

  deinit {
    for number in numbers where number >= 0 { _ = close(number) }
  }

  /// How many came, taken or not.
  public var count: Int { numbers.count }

  /// Takes descriptor `index`; `nil` if there is none or it was taken already.
  public func take(_ index: Int) -> OwnedDescriptor? {
    guard numbers.indices.contains(index), numbers[index] >= 0 else { return nil }
    defer { numbers[index] = -1 }
    return OwnedDescriptor(owning: numbers[index])
  }
}
