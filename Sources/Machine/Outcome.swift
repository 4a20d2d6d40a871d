// SPDX-License-Identifier: Apache-2.0
internal import Devices
internal import LinuxSystem
internal import Synchronization

/// How a domain ended.
public enum Outcome: Equatable, Sendable {
  /// The guest powered itself off.
  case powerOff
  /// The supervisor said `stop`.
  case stopped
  /// The guest asked for a reset, or died of a triple fault.
  case reset(reason: String)
  /// The guest's kernel told of its panic.
  case panic
  /// An exit that the monitor cannot handle.
  case failed(reason: String)

  /// The monitor's exit status.
  public var exitCode: Int32 {
    switch self {
    case .powerOff, .stopped: 0
    case .reset: 2
    case .panic: 3
    case .failed: 4
    }
  }

  /// What the supervisor is told; `nil` if it knows already.
  public var report: String? {
    switch self {
    case .powerOff: "guest-poweroff"
    case .stopped: nil
    case .reset: "guest-reset"
    case .panic: "guest-panic"
    case .failed(let reason): "failed \(reason)"
    }
  }
}

/// The one outcome of a machine: the first that anybody reports.
final class Ending: Sendable {
  private let outcome = Mutex<Outcome?>(nil)
  private let ended = Atomic(false)
  /// Rung when there is an outcome.
  let event: EventDescriptor

  init() throws(SystemCallError) {
    event = try EventDescriptor()
  }

  /// Whether there is an outcome; cheap enough to ask after each exit.
  var isEnding: Bool { ended.load(ordering: .acquiring) }

  /// The outcome; `nil` while the machine runs.
  var first: Outcome? { outcome.withLock { $0 } }

  /// Ends the machine, unless it is ending already.
  func end(_ new: Outcome) {
    outcome.withLock { $0 = $0 ?? new }
    ended.store(true, ordering: .releasing)
    event.ring()
  }
}

/// Turns what the guest asks of its platform into the machine's outcome.
final class PlatformEvents: PlatformEventSink, Sendable {
  private let ending: Ending
  private let log: Log

  init(_ ending: Ending, log: Log) {
    self.ending = ending
    self.log = log
  }

  func report(_ event: PlatformEvent) {
    switch event {
    case .powerOff: ending.end(.powerOff)
    case .reset: ending.end(.reset(reason: "asked for by the guest"))
    case .panicked: ending.end(.panic)
    case .crashLoaded: log.warn("the guest's kernel has panicked and boots its crash kernel")
    }
  }
}
