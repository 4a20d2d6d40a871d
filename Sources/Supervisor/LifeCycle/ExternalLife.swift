// SPDX-License-Identifier: Apache-2.0

/// The life of a domain whose monitor somebody else runs: it comes and goes by itself.
///
///     created ─start→ awaited ─joined→ booting ─announced→ ready ─stop→ stopping → stopped
///                        └───────────────── left ────────────┘
extension DomainLifeCycle {
  mutating func handleExternal(_ event: Event, at now: Seconds) -> [Action] {
    switch event {
    case .start: return startAwaiting()
    case .joined:
      guard state == .awaited else { return [] }
      generation &+= 1
      state = .booting(since: now)
      return [.admit(generation: generation)]
    case .announced: return announced(now)
    case .left: return left()
    case .stop: return stopExternal(now)
    case .tick:
      guard case .stopping(let stopping) = state, now >= stopping.deadline else { return [] }
      return end()
    // It has no monitor of ours.
    case .reported, .ended: return []
    }
  }

  private mutating func startAwaiting() -> [Action] {
    switch state {
    case .created, .stopped, .failed:
      state = .awaited
      return [.expect(generation: generation &+ 1)]
    case .awaited, .booting, .ready, .stopping: return []
    }
  }

  private mutating func left() -> [Action] {
    switch state {
    case .booting, .ready:
      state = .awaited
      return [.dismiss, .announceAbsence, .expect(generation: generation &+ 1)]
    case .stopping: return end()
    case .created, .awaited, .stopped, .failed: return []
    }
  }

  /// Whoever started it has to end it; all that we can do is hang up.
  private mutating func end() -> [Action] {
    state = .stopped
    return [.dismiss, .announceAbsence]
  }

  private mutating func stopExternal(_ now: Seconds) -> [Action] {
    switch state {
    case .created, .awaited, .booting: return end()
    case .ready:
      state = .stopping(Stopping(step: .asked, deadline: now + limits.powerOff))
      return [.askPowerOff]
    case .stopping, .stopped, .failed: return []
    }
  }
}
