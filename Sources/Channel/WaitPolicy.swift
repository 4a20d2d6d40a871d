// SPDX-License-Identifier: Apache-2.0

/// How long a side of a channel waits before it sleeps: it looks again and again (spin), then lets
/// others of its domain run between looks (yield), then sleeps until it is woken.
///
/// The patience is learnt: it is the one that would have cost least over the recent waits, where a
/// sleep costs `Limits.sleepCost`. So answers that come quickly are looked for, and for those that
/// never come in time no processor is kept busy: neither for a slow device, nor when the peer can
/// only run once this side lets go of the processor.
///
/// A value without input or output. The caller has the clock; times are in its ticks.
///
///     var policy = WaitPolicy(limits)              // one for each kind of wait
///     loop: look; switch policy.step(after: elapsed) { .spin: pause; .yield: yield; .sleep: break loop }
///     policy.finished(after: elapsed)              // also after a sleep
public struct WaitPolicy: Equatable, Sendable {
  /// Bounds that no learning exceeds. In ticks.
  public struct Limits: Equatable, Sendable {
    /// Longest time of looking without letting go of the processor.
    public var spin: UInt64
    /// Longest time of yields after that.
    public var yield: UInt64
    /// What it costs to sleep and to be woken.
    public var sleepCost: UInt64

    public init(spin: UInt64, yield: UInt64, sleepCost: UInt64) {
      self.spin = spin
      self.yield = yield
      self.sleepCost = sleepCost
    }

    /// Both together; what does not fit is cut off.
    var longest: UInt64 {
      let (sum, overflow) = spin.addingReportingOverflow(yield)
      return min(overflow ? .max : sum, Self.greatest)
    }
    /// Sums of 64 products of it stay within 64 bits.
    static let greatest: UInt64 = 1 << 48
  }

  public enum Step: Equatable, Sendable { case spin, yield, sleep }

  public let limits: Limits
  public private(set) var history: WaitHistory
  private let patience: UInt64

  public init(_ limits: Limits, _ history: WaitHistory = WaitHistory()) {
    self.limits = limits
    self.history = history
    patience = history.patience(limits.longest)
  }

  /// What to do next, when nothing has come for `elapsed` ticks.
  public func step(after elapsed: UInt64) -> Step {
    if elapsed >= patience { return .sleep }
    return elapsed < limits.spin ? .spin : .yield
  }

  /// A wait is over; the next one is a value of its own.
  public mutating func finished(after elapsed: UInt64) {
    history.record(
      elapsed, longest: limits.longest, sleepCost: min(limits.sleepCost, Limits.greatest))
    self = WaitPolicy(limits, history)
  }
}

/// What a wait policy remembers: 64 bits, so that threads that share one may read and store it
/// whole. A lost update is one forgotten wait.
///
/// Bits 0–55: eight counts of seven bits, of waits that ended within longest/64, /32, … /1, and of
/// longer ones. Bits 56–58: the learnt patience, 7 − n: n halvings of the longest; 7: none. So all
/// zeros is the beginning: full patience. Bits 59–62: waits since the last probe.
public struct WaitHistory: Equatable, Sendable {
  public private(set) var raw: UInt64

  static let classes = 8
  private static let countBits: UInt64 = 7
  private static let countMask: UInt64 = 0x7f
  private static let countsMask: UInt64 = (1 << 56) - 1
  private static let choiceShift: UInt64 = 56
  private static let choiceMask: UInt64 = 7
  private static let turnShift: UInt64 = 59
  /// One wait of so many is a probe: made with full patience, or it could never be learnt that
  /// answers have become quick.
  static let probeInterval: UInt64 = 16
  /// Waits remembered; then all counts are halved.
  private static let memory: UInt64 = 64

  public init(raw: UInt64 = 0) { self.raw = raw }

  private var choice: UInt64 { raw >> Self.choiceShift & Self.choiceMask }
  private var turn: UInt64 { raw >> Self.turnShift & (Self.probeInterval - 1) }
  private var isProbe: Bool { turn == 0 }

  private func count(_ index: Int) -> UInt64 {
    raw >> (UInt64(index) &* Self.countBits) & Self.countMask
  }

  /// Upper end of a class: the longest patience, halved for each class before the last.
  private static func edge(_ index: Int, _ longest: UInt64) -> UInt64 {
    longest >> UInt64(classes &- 2 &- index)
  }

  /// How long to look and yield before the next sleep.
  func patience(_ longest: UInt64) -> UInt64 {
    if isProbe { return longest }
    return choice == Self.choiceMask ? 0 : longest >> choice
  }

  /// Adds a wait, and chooses anew. With less than full patience only probes count: of the others
  /// nobody knows how soon the answer was there.
  mutating func record(_ elapsed: UInt64, longest: UInt64, sleepCost: UInt64) {
    let counts = isProbe || choice == 0
    let turn = (turn &+ 1) % Self.probeInterval
    var choice = choice
    var next = raw & Self.countsMask
    if counts {
      var index = Self.classes &- 1
      while index > 0, elapsed <= Self.edge(index &- 1, longest) { index = index &- 1 }
      next = next &+ 1 << (UInt64(index) &* Self.countBits)
      raw = next
      if total >= Self.memory { next = Self.halved(next) }
      raw = next
      choice = cheapest(longest, sleepCost)
    }
    raw = next | choice << Self.choiceShift | turn << Self.turnShift
  }

  private var total: UInt64 {
    var sum: UInt64 = 0
    for index in 0..<Self.classes { sum = sum &+ count(index) }
    return sum
  }

  private static func halved(_ counts: UInt64) -> UInt64 {
    var result: UInt64 = 0
    for index in 0..<classes {
      let shift = UInt64(index) &* countBits
      result |= (counts >> shift & countMask) / 2 << shift
    }
    return result
  }

  /// The choice under which the remembered waits would have cost least; of equals the most patient.
  private func cheapest(_ longest: UInt64, _ sleepCost: UInt64) -> UInt64 {
    var later = total
    // No patience: all sleep at once.
    var best = (cost: later &* sleepCost, choice: Self.choiceMask)
    var caught: UInt64 = 0
    for index in 0..<(Self.classes &- 1) {
      let edge = Self.edge(index, longest)
      // Waits of a class last three quarters of its end on average.
      caught = caught &+ count(index) &* (edge / 4 &* 3)
      later = later &- count(index)
      let cost = caught &+ later &* (edge &+ sleepCost)
      if cost <= best.cost { best = (cost, UInt64(Self.classes &- 2 &- index)) }
    }
    return best.choice
  }
}
