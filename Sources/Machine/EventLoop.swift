// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LinuxSystem

/// The way to the supervisor: reports go out without ever waiting, commands come in.
final class SupervisorLink: Sendable {
  private let socket: MessageSocket
  var number: Int32 { socket.descriptor.rawValue }

  /// What the supervisor says.
  enum Command: Equatable {
    case stop
    /// Tell how often each CPU has left the guest.
    case statistics
    /// Something this monitor does not know; ignored.
    case unknown
    /// The supervisor is gone; the domain lives on.
    case gone
  }

  init(_ socket: consuming MessageSocket) throws(SystemCallError) {
    try socket.descriptor.setNonBlocking(true)
    self.socket = socket
  }

  /// Sends one line; it is dropped if nobody takes it.
  func report(_ text: String) {
    let limit = 4000
    do throws(SystemCallError) {
      try socket.send(Array(text.utf8.prefix(limit)))
    } catch {
      // Dropped: the supervisor is gone or does not read, and finds out by other means.
    }
  }

  /// Takes the next command; `nil` if there is none now.
  func takeCommand() -> Command? {
    do throws(SystemCallError) {
      guard let message = try socket.receive(maximum: 4096) else { return .gone }
      switch String(decoding: message.bytes, as: UTF8.self) {
      case "stop": return .stop
      case "statistics": return .statistics
      default: return .unknown
      }
    } catch  where error.errno == .wouldBlock || error.errno == .resourceTemporarilyUnavailable {
      return nil
    } catch  where error.errno == .init(rawValue: EMSGSIZE) {
      return .unknown
    } catch {
      return .gone
    }
  }
}

/// An event from outside that is the supervisor's business.
struct OutsideEvent: Sendable {
  let event: SharedEvent
  /// What the supervisor is told when it rings.
  let report: String
}

/// Waits for everything that does not come from the guest.
struct EventLoop: ~Copyable {
  private enum Token {
    static let link: UInt64 = 0
    static let ending: UInt64 = 1
    static let console: UInt64 = 2
    static let consoleTimer: UInt64 = 3
    static let consoleInput: UInt64 = 4
    static let firstEvent: UInt64 = 16
  }

  private let epoll: Epoll
  private let link: SupervisorLink
  private let ending: Ending
  private let console: ConsoleOutput
  private let events: [OutsideEvent]
  private let input: Int32

  /// - Parameter input: the eventfd that rings when the guest has read all its console input.
  init(
    link: SupervisorLink, ending: Ending, console: ConsoleOutput, input: Int32,
    events: [OutsideEvent]
  ) throws(SystemCallError) {
    let epoll = try Epoll()
    try epoll.add(link.number, interest: .readable, token: Token.link)
    try epoll.add(
      ending.event.descriptor.rawValue, interest: [.readable, .edge], token: Token.ending)
    try epoll.add(
      console.socket.rawValue, interest: [.readable, .writable, .edge], token: Token.console)
    try epoll.add(console.timer.rawValue, interest: .readable, token: Token.consoleTimer)
    try epoll.add(input, interest: [.readable, .edge], token: Token.consoleInput)
    for (index, event) in events.enumerated() {
      try epoll.add(
        event.event.event.descriptor.rawValue, interest: [.readable, .edge],
        token: Token.firstEvent + UInt64(index))
    }
    self.epoll = epoll
    self.link = link
    self.ending = ending
    self.console = console
    self.input = input
    self.events = events
  }

  /// Waits until the machine ends. `feed` hands the guest what waits on the console; `statistics`
  /// says what the supervisor is told when it asks.
  func run(feed: () -> Void, statistics: () -> String) -> Outcome {
    while true {
      if let outcome = ending.first { return outcome }
      do throws(SystemCallError) {
        for event in try epoll.wait(maximum: 8) { handle(event.token, feed, statistics) }
      } catch {
        // The CPUs come back from the guest only when the machine is ending.
        ending.end(.failed(reason: "\(error)"))
      }
    }
  }

  private func handle(
    _ token: UInt64, _ feed: () -> Void, _ statistics: () -> String
  ) {
    switch token {
    case Token.link: takeCommand(statistics)
    case Token.console:
      console.flush()
      feed()
    case Token.consoleTimer: console.flush()
    case Token.consoleInput: feed()
    case Token.firstEvent...:
      let index = Int(token - Token.firstEvent)
      if events.indices.contains(index), events[index].event.event.take() > 0 {
        link.report(events[index].report)
      }
    default: break  // the ending is looked at before each wait
    }
  }

  private func takeCommand(_ statistics: () -> String) {
    switch link.takeCommand() {
    case .stop: ending.end(.stopped)
    case .statistics: link.report("statistics " + statistics())
    case .gone:
      // The domain lives on without its supervisor.
      do throws(SystemCallError) { try epoll.remove(link.number) } catch { return }
    case .unknown, nil: break
    }
  }
}
