// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// An epoll instance; each watched descriptor has a token of the caller's choice.
public struct Epoll: ~Copyable, Sendable {
  /// What to be told of, and what was told.
  public struct Interest: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let readable = Interest(rawValue: 0x001)
    public static let writable = Interest(rawValue: 0x004)
    public static let error = Interest(rawValue: 0x008)
    public static let hangUp = Interest(rawValue: 0x010)
    public static let readHangUp = Interest(rawValue: 0x2000)
    public static let oneShot = Interest(rawValue: 1 << 30)
    public static let edge = Interest(rawValue: 1 << 31)
  }

  /// One descriptor that has something to tell.
  public struct Event: Equatable, Sendable {
    public let token: UInt64
    public let interest: Interest
  }

  /// The instance's own descriptor, which can be watched in turn.
  public let descriptor: OwnedDescriptor

  public init() throws(SystemCallError) {
    descriptor = OwnedDescriptor(
      owning: try retrying("create epoll") { epoll_create1(Int32(EPOLL_CLOEXEC)) })
  }

  /// Starts to watch `number`.
  public func add(_ number: Int32, interest: Interest, token: UInt64) throws(SystemCallError) {
    try control(EPOLL_CTL_ADD, number, interest, token)
  }

  /// Changes what is told of `number`.
  public func modify(_ number: Int32, interest: Interest, token: UInt64) throws(SystemCallError) {
    try control(EPOLL_CTL_MOD, number, interest, token)
  }

  /// Stops watching `number`.
  public func remove(_ number: Int32) throws(SystemCallError) {
    try control(EPOLL_CTL_DEL, number, [], 0)
  }

  /// Waits for at most `timeoutMilliseconds` (-1: for ever); an interruption is an empty answer.
  public func wait(
    timeoutMilliseconds: Int32 = -1, maximum: Int = 64
  ) throws(SystemCallError) -> [Event] {
    // SAFETY: an event is plain data; any bits are a value. The call fills at most `maximum` entries, which is the array's size.
    var events = unsafe [epoll_event](repeating: epoll_event(), count: maximum)
    let count = unsafe epoll_wait(
      descriptor.rawValue, &events, Int32(maximum), timeoutMilliseconds)
    if count < 0 {
      let error = SystemCallError.last("wait for events")
      if error.errno == .interrupted { return [] }
      throw error
    }
    // SAFETY: the token was stored through the same member of the union.
    return unsafe events.prefix(Int(count)).map {
      unsafe Event(token: $0.data.u64, interest: Interest(rawValue: $0.events))
    }
  }

  private func control(
    _ operation: Int32, _ number: Int32, _ interest: Interest, _ token: UInt64
  ) throws(SystemCallError) {
    // SAFETY: an event is plain data; the union's member is only ever this one.
    var event = unsafe epoll_event()
    unsafe event.events = interest.rawValue
    unsafe event.data.u64 = token
    try retrying("change the watch on descriptor \(number)") {
      // SAFETY: the call reads a local of the type it expects.
      unsafe epoll_ctl(descriptor.rawValue, operation, number, &event)
    }
  }
}
