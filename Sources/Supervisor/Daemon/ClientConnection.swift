// SPDX-License-Identifier: Apache-2.0
import LinuxSystem

/// A program at the control socket. Whatever it sends or fails to read, it costs no more than its
/// limits.
final class ClientConnection {
  /// What the connection is for.
  enum Role {
    /// Its request has not come yet.
    case new
    /// Waits for the end of `up` or `down`.
    case waiting
    /// Waits for the monitors' statistics, but not for long.
    case status(until: Seconds)
    case log(DomainRuntime, position: UInt64, end: UInt64?)
    case console(DomainRuntime, position: UInt64)
    case exec(ExecSession)
  }

  /// Output that may wait before its producer must pause.
  static let highWater = 256 << 10
  /// Output that may wait at all: one who lets progress pile up is dropped.
  static let limit = 1 << 20
  /// Seconds that a connection may take to say what it wants.
  static let requestTimeout: Seconds = 5

  /// Seconds that `ps` waits for monitors that do not answer.
  static let statisticsTimeout: Seconds = 0.5

  let socket: OwnedDescriptor
  let since: Seconds
  var role = Role.new
  var watch: EventLoop.Watch?
  var decoder = FrameDecoder()
  private(set) var outgoing: [UInt8] = []
  /// No more is read from it, and it is closed when all is written.
  private(set) var isEnding = false
  private(set) var isBroken = false
  /// The one that waits for `up`: its going away means cancel.
  var isLauncher = false

  init(_ socket: consuming OwnedDescriptor, at now: Seconds) {
    self.socket = socket
    since = now
  }

  var isCongested: Bool { outgoing.count >= Self.highWater }
  var isFinished: Bool { isBroken || (isEnding && outgoing.isEmpty) }

  func send(_ frame: Frame) {
    guard !isBroken, !isEnding else { return }
    outgoing += frame.bytes
    if outgoing.count > Self.limit { isBroken = true }
  }

  func send(_ reply: Reply) { send(Wire.frame(reply)) }

  /// Sends the last reply.
  func finish(_ reply: Reply) {
    send(reply)
    isEnding = true
  }

  func breakOff() { isBroken = true }

  /// Writes what goes now.
  func flush() {
    while !outgoing.isEmpty, !isBroken {
      switch socket.sendAvailable(outgoing[...]) {
      case .bytes(let count): outgoing.removeFirst(count)
      case .wouldBlock: return
      case .closed: isBroken = true
      }
    }
  }

  /// What to watch for: reading stops while it does not take what it was sent.
  var interest: Epoll.Interest {
    var interest: Epoll.Interest = isEnding || isCongested ? [] : .readable
    if !outgoing.isEmpty { interest.insert(.writable) }
    return interest
  }
}
