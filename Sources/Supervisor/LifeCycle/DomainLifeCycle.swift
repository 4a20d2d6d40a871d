// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Seconds on the monotonic clock.
public typealias Seconds = Double

/// One domain's life: event in, actions out, no I/O.
///
///     created ─start→ booting ─announced→ ready ─stop→ stopping → stopped
///                        └──────── ended, timed out, reported ─→ failed ─start→ booting …
public struct DomainLifeCycle: Equatable, Sendable {
  public enum State: Equatable, Sendable {
    case created
    /// Nobody runs it; an external monitor may come.
    case awaited
    /// Its monitor runs; its agent has not announced itself.
    case booting(since: Seconds)
    case ready(since: Seconds, bootSeconds: Seconds)
    case stopping(Stopping)
    /// Ended as asked, or powered itself off.
    case stopped
    /// Ended otherwise. Its monitor may still have to be reaped.
    case failed(reason: String)
  }

  /// How far a stop has come, and when the next, ruder step is due.
  public struct Stopping: Equatable, Sendable {
    public enum Step: Int, Sendable {
      /// The agent was asked to power off.
      case asked
      /// The monitor was told to stop.
      case told
      /// The monitor was killed.
      case killed
    }
    public var step: Step
    public var deadline: Seconds
    /// Kept if the stop is the answer to a failure.
    public var failure: String?
  }

  public enum Event: Equatable, Sendable {
    case start
    /// The agent's page of the control channel says that it is ready.
    case announced
    /// A line from the monitor.
    case reported(MonitorReport)
    /// The monitor's process is gone.
    case ended(ProcessEnd)
    case stop
    /// Time passes.
    case tick
    /// An external monitor has connected.
    case joined
    /// It is gone.
    case left
  }

  public enum Action: Equatable, Sendable {
    /// Make everything new and start a monitor for this generation.
    case launch(generation: UInt32)
    /// Ask the agent to power off.
    case askPowerOff
    /// Send `stop` to the monitor.
    case tellStop
    /// Send SIGKILL to the monitor.
    case kill
    /// Tell the peers on all channels that this generation failed.
    case announceFailure(String)
    /// Tell the peers on all channels that the domain left in good order.
    case announceAbsence
    case becameReady(bootSeconds: Seconds)
    /// Be ready for an external monitor; its life will be of this generation.
    case expect(generation: UInt32)
    /// Let it in.
    case admit(generation: UInt32)
    /// Hang up on it.
    case dismiss
  }

  /// How long each step may take.
  public struct Limits: Equatable, Sendable {
    public var boot: Seconds
    public var powerOff: Seconds
    public var stop: Seconds

    public init(boot: Seconds = 300, powerOff: Seconds = 30, stop: Seconds = 5) {
      self.boot = boot
      self.powerOff = powerOff
      self.stop = stop
    }
  }

  public internal(set) var state = State.created
  /// Counts the domain's lives; 0 before the first.
  public internal(set) var generation: UInt32 = 0
  public var limits: Limits
  /// Whether somebody else starts and ends its monitor.
  public let isExternal: Bool
  /// What the monitor said last about the guest's end.
  private var lastWord: MonitorReport?

  public init(limits: Limits = Limits(), isExternal: Bool = false) {
    self.limits = limits
    self.isExternal = isExternal
  }

  /// Takes an event at `now`; returns what to do, in order.
  public mutating func handle(_ event: Event, at now: Seconds) -> [Action] {
    if isExternal { return handleExternal(event, at: now) }
    return switch event {
    case .start: start(now)
    case .announced: announced(now)
    case .reported(let report): reported(report)
    case .ended(let end): ended(end)
    case .stop: stop(now)
    case .tick: tick(now)
    case .joined, .left: []
    }
  }

  /// When `tick` is due next; `nil` if nothing is waited for.
  public var deadline: Seconds? {
    switch state {
    // An external monitor takes the time it takes.
    case .booting(let since): isExternal ? nil : since + limits.boot
    case .stopping(let stopping): stopping.deadline
    case .created, .awaited, .ready, .stopped, .failed: nil
    }
  }

  /// Whether a monitor may be running for it.
  public var isAlive: Bool {
    switch state {
    case .booting, .ready, .stopping: true
    case .created, .awaited, .stopped, .failed: false
    }
  }

  private mutating func start(_ now: Seconds) -> [Action] {
    guard !isAlive else { return [] }
    generation &+= 1
    lastWord = nil
    state = .booting(since: now)
    return [.launch(generation: generation)]
  }

  mutating func announced(_ now: Seconds) -> [Action] {
    guard case .booting(let since) = state else { return [] }
    state = .ready(since: now, bootSeconds: now - since)
    return [.becameReady(bootSeconds: now - since)]
  }

  private mutating func reported(_ report: MonitorReport) -> [Action] {
    switch report {
    case .guestPowerOff, .guestReset, .guestPanic, .failed: lastWord = report
    case .running, .deviceError, .deviceRequest, .statistics: break
    }
    return []
  }

  private mutating func ended(_ end: ProcessEnd) -> [Action] {
    switch state {
    case .created, .awaited, .stopped, .failed: return []
    case .stopping(let stopping):
      guard let failure = stopping.failure else {
        state = .stopped
        return [.announceAbsence]
      }
      state = .failed(reason: failure)
      return []
    case .ready where end == .code(0):
      state = .stopped
      return [.announceAbsence]
    case .booting, .ready:
      let reason = explanation(of: end)
      state = .failed(reason: reason)
      return [.announceFailure(reason)]
    }
  }

  private func explanation(of end: ProcessEnd) -> String {
    // Whatever it said before: a monitor that does this is not to be believed.
    if end == .signal(SIGSYS) { return "its monitor made a system call it must not make" }
    switch lastWord {
    case .guestPanic: return "its kernel panicked"
    case .guestReset: return "it reset itself"
    case .failed(let text): return text
    default: break
    }
    return switch end {
    case .code(0): "it powered off before it announced itself"
    case .code(let code): "its monitor ended with code \(code)"
    case .signal(let number): "its monitor was killed by signal \(number)"
    case .unknown: "its monitor is gone"
    }
  }

  private mutating func stop(_ now: Seconds) -> [Action] {
    switch state {
    case .created, .awaited:
      state = .stopped
      return []
    case .ready:
      state = .stopping(Stopping(step: .asked, deadline: now + limits.powerOff))
      return [.askPowerOff]
    case .booting:
      // No agent to ask yet.
      state = .stopping(Stopping(step: .told, deadline: now + limits.stop))
      return [.tellStop]
    case .stopping, .stopped, .failed: return []
    }
  }

  private mutating func tick(_ now: Seconds) -> [Action] {
    guard let deadline, now >= deadline else { return [] }
    switch state {
    case .booting:
      let reason = "it did not announce itself within \(Int(limits.boot)) s"
      state = .stopping(Stopping(step: .killed, deadline: now + limits.stop, failure: reason))
      return [.announceFailure(reason), .kill]
    case .stopping(var stopping):
      stopping.deadline = now + limits.stop
      defer { state = .stopping(stopping) }
      if stopping.step == .asked {
        stopping.step = .told
        return [.tellStop]
      }
      stopping.step = .killed
      return [.kill]
    case .created, .awaited, .ready, .stopped, .failed: return []
    }
  }
}

/// How a monitor's process ended.
public enum ProcessEnd: Equatable, Sendable {
  case code(Int32)
  case signal(Int32)
  /// Not our child: only that it is gone is known.
  case unknown
}

/// A line that a monitor sends on its launch socket.
public enum MonitorReport: Equatable, Sendable {
  case running
  case guestPowerOff
  case guestReset
  case guestPanic
  case deviceError(String)
  case deviceRequest(String)
  case failed(String)
  /// Exits from the guest by KVM's own count, summed over its CPUs.
  case statistics(ExitCounts)

  /// Longest text taken over from a monitor.
  static let textLimit = 512

  /// Reads a message; `nil` if it is none that we know.
  public init?(_ bytes: [UInt8]) {
    let word = Array("statistics ".utf8)
    if bytes.starts(with: word) {
      self = .statistics(ExitCounts(bytes.dropFirst(word.count)))
      return
    }
    let cut = bytes.prefix(Self.textLimit)
    // The monitor is another process: its bytes are shown, so control characters go.
    let text = String(decoding: cut, as: UTF8.self).unicodeScalars
      .map { $0.value < 32 || $0.value == 127 ? " " : String($0) }.joined()
    let words = text.split(separator: " ", maxSplits: 1)
    let rest = words.count > 1 ? words[1].trimmed : ""
    switch words.first {
    case "running": self = .running
    case "guest-poweroff": self = .guestPowerOff
    case "guest-reset": self = .guestReset
    case "guest-panic": self = .guestPanic
    case "device-error": self = .deviceError(rest)
    case "device-request": self = .deviceRequest(rest)
    case "failed": self = .failed(rest)
    default: return nil
    }
  }
}

/// How often a domain's CPUs left the guest. Keys are part of `ps --json`.
public struct ExitCounts: Codable, Equatable, Sendable {
  public var exits: UInt64 = 0
  public var io: UInt64 = 0
  public var mmio: UInt64 = 0
  public var halt: UInt64 = 0
  public var interrupts: UInt64 = 0

  /// Sums words such as `cpu0.exits=7`; others are passed over, sums wrap.
  init(_ text: ArraySlice<UInt8>) {
    for word in text.split(separator: UInt8(ascii: " ")) {
      let parts = String(decoding: word, as: UTF8.self).split(separator: "=")
      guard parts.count == 2, let value = UInt64(parts[1]),
        let name = parts[0].split(separator: ".").last
      else { continue }
      switch name {
      case "exits": exits &+= value
      case "io_exits": io &+= value
      case "mmio_exits": mmio &+= value
      case "halt_exits": halt &+= value
      case "irq_exits": interrupts &+= value
      default: break
      }
    }
  }
}

extension Substring {
  /// Without spaces at either end.
  var trimmed: String {
    var view = self
    while view.first == " " { view.removeFirst() }
    while view.last == " " { view.removeLast() }
    return String(view)
  }
}
