// SPDX-License-Identifier: Apache-2.0

/// A whole system's life: brings domains up, waits for them, takes them down in order.
///
///     preparing → starting → running → stopping(primary) → stopping(services) → releasing → ended
///
/// A failure before `running` undoes everything; after it, the other domains go on.
public struct SystemLifeCycle: Equatable, Sendable {
  public enum State: Equatable, Sendable {
    /// Devices, memory and channels are being made.
    case preparing
    /// Monitors run; not every domain has announced itself.
    case starting
    case running
    case stopping(Phase, Outcome)
    /// Devices are being given back.
    case releasing(Outcome)
    case ended(Outcome)
  }

  /// Who is being stopped.
  public enum Phase: Equatable, Sendable {
    case primary
    case services
  }

  /// Why a system ends.
  public enum Outcome: Equatable, Sendable {
    case asked
    case cancelled
    case failed(String)
  }

  public enum Event: Equatable, Sendable {
    case prepared
    case failed(String)
    /// A domain has got somewhere.
    case domain(String, DomainPhase)
    case stop
    /// Who asked for `up` went away, or pressed ^C, before it was done.
    case cancel
    case released
  }

  /// What a domain's state means to the system.
  public enum DomainPhase: Equatable, Sendable {
    case pending
    /// It comes and goes as somebody else likes: nobody waits for it, and nothing fails with it.
    case awaited
    case ready
    case gone
    case failed(String)
  }

  public enum Action: Equatable, Sendable {
    case startAll
    case announceUp
    case stop([String])
    /// Give devices back, remove what lies about.
    case release
    case exit(Outcome)
  }

  public private(set) var state = State.preparing
  private let primary: String
  private var phases: [String: DomainPhase]
  /// Names in manifest order.
  private let names: [String]

  public init(domains: [String], primary: String) {
    self.primary = primary
    names = domains
    phases = Dictionary(domains.map { ($0, .pending) }) { first, _ in first }
  }

  /// Takes an event; returns what to do, in order.
  public mutating func handle(_ event: Event) -> [Action] {
    switch event {
    case .prepared:
      guard state == .preparing else { return [] }
      state = .starting
      return [.startAll]
    case .failed(let text): return end(.failed(text))
    case .cancel: return canBeCancelled ? end(.cancelled) : []
    case .stop: return end(.asked)
    case .domain(let name, let phase): return domain(name, phase)
    case .released:
      guard case .releasing(let outcome) = state else { return [] }
      state = .ended(outcome)
      return [.exit(outcome)]
    }
  }

  private var canBeCancelled: Bool {
    state == .preparing || state == .starting
  }

  private mutating func domain(_ name: String, _ phase: DomainPhase) -> [Action] {
    guard phases[name] != nil else { return [] }
    phases[name] = phase
    switch state {
    case .starting: return starting(name, phase)
    case .stopping: return advance()
    case .preparing, .running, .releasing, .ended: return []
    }
  }

  private mutating func starting(_ name: String, _ phase: DomainPhase) -> [Action] {
    switch phase {
    case .failed(let reason): return end(failure(of: name, "failed: \(reason)"))
    case .gone: return end(failure(of: name, "ended before all were ready"))
    case .pending: return []
    case .ready, .awaited:
      guard names.allSatisfy({ phases[$0] == .ready || phases[$0] == .awaited }) else { return [] }
      state = .running
      return [.announceUp]
    }
  }

  /// What ends `up`; the domain's last console lines are shown with it.
  private func failure(of name: String, _ what: String) -> Outcome {
    .failed(
      "domain \"\(name)\" \(what); read above what its console said last, if anything, or "
        + "keep more of it with \"vosctl up --log-file FILE\"")
  }

  private mutating func end(_ outcome: Outcome) -> [Action] {
    switch state {
    case .preparing:
      state = .releasing(outcome)
      return [.release]
    case .starting, .running:
      state = .stopping(.primary, outcome)
      return [.stop([primary])] + advance()
    case .stopping, .releasing, .ended: return []
    }
  }

  /// Goes to the next phase when everybody in this one is gone.
  private mutating func advance() -> [Action] {
    guard case .stopping(let phase, let outcome) = state else { return [] }
    switch phase {
    case .primary:
      guard isGone(primary) else { return [] }
      state = .stopping(.services, outcome)
      return [.stop(names.filter { $0 != primary })] + advance()
    case .services:
      guard names.allSatisfy(isGone) else { return [] }
      state = .releasing(outcome)
      return [.release]
    }
  }

  private func isGone(_ name: String) -> Bool {
    switch phases[name] {
    case .gone, .failed, nil: true
    case .pending, .awaited, .ready: false
    }
  }
}
