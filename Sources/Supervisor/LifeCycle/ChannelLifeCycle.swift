// SPDX-License-Identifier: Apache-2.0
import Channel

/// A channel's lives: event in, actions out, no I/O.
///
///     sound ─declared broken→ ending ─both sides have let go, the pause is over→ sound …
///
/// A side that breaks the channel again and again makes it new ever more rarely.
struct ChannelLifeCycle: Equatable, Sendable {
  enum State: Equatable, Sendable {
    /// Sides come and go as their domains do.
    case sound(since: Seconds)
    case ending(Ending)
  }

  struct Ending: Equatable, Sendable {
    /// Who declared it broken.
    var by: ChannelSide
    var since: Seconds
    /// Not to be made new before.
    var earliest: Seconds
    /// That a side takes too long was said.
    var isOverdue = false
  }

  enum Event: Equatable, Sendable {
    case declared(by: ChannelSide)
    /// Whether the service says that it has let go of a life that goes on.
    case left(Bool)
    /// Whether both sides have let go of everything.
    case looked(haveLeft: Bool)
  }

  enum Action: Equatable, Sendable {
    /// Tell both sides that their lives have failed.
    case announceFailure
    /// Say that a side does not let go.
    case complain
    case renew
  }

  /// One that was sound for so long may be made new at once.
  static let soundAfter: Seconds = 60
  static let firstPause: Seconds = 0.1
  static let longestPause: Seconds = 10
  /// A side lets go within a few looks, and then its daemon starts again.
  static let overdueAfter: Seconds = 15

  /// A service may say so for a moment, when it looked just before the new life was told. One that
  /// goes on saying it has read something else: our own words were changed meanwhile.
  static let leftFor: Seconds = 5

  private(set) var state: State
  /// Since when the service says that it has let go.
  private var leftSince: Seconds?
  /// How often it was made new.
  private(set) var renewals = 0
  private var pause: Seconds = 0

  init(at now: Seconds) {
    // The first time counts as after a long good life.
    state = .sound(since: now - Self.soundAfter)
  }

  var isSound: Bool { if case .sound = state { true } else { false } }

  mutating func handle(_ event: Event, at now: Seconds) -> [Action] {
    switch (state, event) {
    case (.sound, .left(let hasLeft)):
      leftSince = hasLeft ? leftSince ?? now : nil
      guard let leftSince, now - leftSince >= Self.leftFor else { return [] }
      return handle(.declared(by: .service), at: now)
    case (.sound(let since), .declared(let side)):
      leftSince = nil
      pause =
        now - since >= Self.soundAfter
        ? 0 : min(max(2 * pause, Self.firstPause), Self.longestPause)
      state = .ending(Ending(by: side, since: now, earliest: now + pause))
      return [.announceFailure]
    case (.ending(let ending), .looked(haveLeft: true)):
      guard now >= ending.earliest else { return [] }
      state = .sound(since: now)
      renewals += 1
      return [.renew]
    case (.ending(var ending), .looked(haveLeft: false)):
      guard !ending.isOverdue, now - ending.since >= Self.overdueAfter else { return [] }
      ending.isOverdue = true
      state = .ending(ending)
      return [.complain]
    case (.sound, .looked), (.ending, .declared), (.ending, .left): return []
    }
  }

  /// When to look again though nobody rings; `nil`: not at all.
  func nextLook(at now: Seconds) -> Seconds? {
    guard case .ending(let ending) = state else { return leftSince.map { $0 + Self.leftFor } }
    return ending.isOverdue ? now + 1 : now + 0.1
  }
}
