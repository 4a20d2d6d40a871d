// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// Part of a slice's arena that belongs to one call. In bytes.
public struct DataWindow: Equatable, Sendable {
  /// Within the arena.
  public var offset: UInt32
  /// Of the request.
  public var length: UInt32
  /// From `offset`, that the reply may use.
  public var capacity: UInt32

  public init(offset: UInt32 = 0, length: UInt32 = 0, capacity: UInt32 = 0) {
    self.offset = offset
    self.length = length
    self.capacity = capacity
  }

  /// Whether request and reply lie within an arena of `arenaBytes`.
  func fits(_ arenaBytes: Int) -> Bool {
    // 64-bit sums of 32-bit numbers: nothing overflows.
    Int(offset) + Int(max(length, capacity)) <= arenaBytes
  }
}

/// A call as its caller posts it.
public struct Call: Sendable {
  /// `VOS_CALL_*`.
  public var number: UInt16
  public var object: UInt64
  public var arguments: (UInt64, UInt64, UInt64)
  public var data: DataWindow

  public init(
    _ number: UInt16, object: UInt64 = 0, arguments: (UInt64, UInt64, UInt64) = (0, 0, 0),
    data: DataWindow = DataWindow()
  ) {
    self.number = number
    self.object = object
    self.arguments = arguments
    self.data = data
  }
}

/// What a call came back with.
public struct Reply: Equatable, Sendable {
  /// At least 0, or minus a Linux errno.
  public var result: Int64
  /// Bytes of reply at the call's data offset.
  public var dataLength: UInt32

  public init(result: Int64, dataLength: UInt32 = 0) {
    self.result = result
    self.dataLength = dataLength
  }

  /// EPROTO on x86-64 Linux: the peer broke the protocol.
  public static let protocolError = Reply(result: -71)
  /// EINVAL on x86-64 Linux: the slot's flags or window were not valid.
  static let invalid = Reply(result: -22)
  /// An earlier service took the call and died before it answered.
  static let lost = Reply(result: Int64(VOS_RESULT_LOST))
  /// Whether nobody knows if the call was executed, because its service died with it.
  public var isLost: Bool { result == Int64(VOS_RESULT_LOST) }
  /// Errnos end here (MAX_ERRNO, include/linux/err.h).
  static let lowestResult: Int64 = -4095
}

/// A call as the service took it: a checked copy that the client can no longer change.
public struct Request: Sendable {
  public let slice: Int
  public let slot: Int
  /// The slice's generation when the call was taken.
  public let generation: UInt32
  let sequence: UInt32
  public let call: Call
}

/// A posted call, to wait for it.
public struct Ticket: Sendable {
  public let slot: Int
  let sequence: UInt32
  let capacity: UInt32
}

/// How long to poll before sleeping.
public struct SpinPolicy: Sendable {
  /// Looks with a pause between.
  public var spins: UInt32
  /// Looks with a yield of the processor between, after the spins.
  public var yields: UInt32

  public init(spins: UInt32 = 4000, yields: UInt32 = 0) {
    self.spins = spins
    self.yields = yields
  }
}
