// SPDX-License-Identifier: Apache-2.0
import Channel
import Testing

/// Runs waits with a policy on a clock of its own.
private struct Waiter {
  var policy: WaitPolicy
  /// Ticks looked and yielded, ticks of it that were spun, and sleeps.
  private(set) var looked: UInt64 = 0
  private(set) var spun: UInt64 = 0
  private(set) var sleeps = 0
  private let tick: UInt64 = 10

  init(_ limits: WaitPolicy.Limits, _ history: WaitHistory = WaitHistory()) {
    policy = WaitPolicy(limits, history)
  }

  /// An answer that is there after `latency` ticks.
  mutating func wait(for latency: UInt64) {
    var elapsed: UInt64 = 0
    while elapsed < latency {
      let step = policy.step(after: elapsed)
      if step == .sleep {
        sleeps += 1
        looked += elapsed
        policy.finished(after: max(latency, elapsed) + policy.limits.sleepCost)
        return
      }
      elapsed += tick
      if step == .spin { spun += tick }
    }
    looked += elapsed
    policy.finished(after: elapsed)
  }

  mutating func wait(for latency: UInt64, times: Int) {
    for _ in 0..<times { wait(for: latency) }
  }

  var cost: UInt64 { looked + UInt64(sleeps) * policy.limits.sleepCost }
}

@Suite struct WaitPolicyTests {
  private static let limits = WaitPolicy.Limits(spin: 5000, yield: 5000, sleepCost: 5000)

  @Test func quickAnswersAreLookedFor() {
    var waiter = Waiter(Self.limits)
    waiter.wait(for: 200, times: 1000)
    #expect(waiter.sleeps == 0)
    #expect(waiter.spun == 200 * 1000)
  }

  @Test func yieldsComeAfterSpins() {
    let policy = WaitPolicy(Self.limits)
    #expect(policy.step(after: 0) == .spin)
    #expect(policy.step(after: 4999) == .spin)
    #expect(policy.step(after: 5000) == .yield)
    #expect(policy.step(after: 9999) == .yield)
    #expect(policy.step(after: 10_000) == .sleep)
    #expect(policy.step(after: .max) == .sleep)
  }

  @Test func slowAnswersAreSleptFor() {
    var waiter = Waiter(Self.limits)
    waiter.wait(for: 1_000_000, times: 100)
    let before = waiter.looked
    waiter.wait(for: 1_000_000, times: 1600)
    #expect(waiter.sleeps == 1700)
    // Only probes look.
    #expect(waiter.looked - before <= 101 * 10_000)
  }

  @Test func answersThatBecomeQuickAreFoundAgain() {
    var waiter = Waiter(Self.limits)
    waiter.wait(for: 1_000_000, times: 500)
    waiter.wait(for: 100, times: 1500)
    let before = waiter.sleeps
    waiter.wait(for: 100, times: 1000)
    #expect(waiter.sleeps == before)
  }

  @Test func answersThatBecomeSlowAreGivenUp() {
    var waiter = Waiter(Self.limits)
    waiter.wait(for: 100, times: 1000)
    waiter.wait(for: 1_000_000, times: 200)
    let before = waiter.looked
    waiter.wait(for: 1_000_000, times: 160)
    // Probes, and little patience for the quick answers that are still remembered.
    #expect(waiter.looked - before <= 11 * 10_000 + 160 * 10_000 / 64)
  }

  @Test func ofTwoKindsTheQuickOneIsLookedFor() {
    var waiter = Waiter(Self.limits)
    for turn in 0..<2000 { waiter.wait(for: turn % 3 == 0 ? 1_000_000 : 140) }
    let (before, sleeps) = (waiter.looked, waiter.sleeps)
    for turn in 0..<3000 { waiter.wait(for: turn % 3 == 0 ? 1_000_000 : 140) }
    #expect((1000..<1200).contains(waiter.sleeps - sleeps))
    // Neither all patience for the slow ones, nor none for the quick ones.
    #expect(waiter.looked - before < 2000 * 140 + 1000 * 2500)
  }

  @Test func aProcessorOfItsOwnIsNeverSpunOn() {
    var waiter = Waiter(WaitPolicy.Limits(spin: 0, yield: 5000, sleepCost: 5000))
    for latency in [10, 3000, 100_000] as [UInt64] { waiter.wait(for: latency, times: 300) }
    #expect(waiter.spun == 0)
  }

  @Test func withoutPatienceEveryWaitSleeps() {
    var waiter = Waiter(WaitPolicy.Limits(spin: 0, yield: 0, sleepCost: 5000))
    waiter.wait(for: 10, times: 100)
    #expect(waiter.sleeps == 100)
    #expect(waiter.looked == 0)
  }

  @Test func limitsOfAnySizeAreHeld() {
    for spin in [0, 1, 63, 1 << 47, .max] as [UInt64] {
      for yield in [0, 1, 1 << 48, .max] as [UInt64] {
        for cost in [0, 1, .max] as [UInt64] {
          let limits = WaitPolicy.Limits(spin: spin, yield: yield, sleepCost: cost)
          var policy = WaitPolicy(limits)
          for elapsed in [0, 1, 5, 1 << 20, 1 << 50, .max] as [UInt64] {
            for _ in 0..<40 {
              policy.finished(after: elapsed)
              if policy.step(after: spin) == .spin { Issue.record("spins beyond \(spin)") }
            }
          }
        }
      }
    }
  }

  @Test func anyHistoryIsTaken() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<100 {
      let raw = generator.next() as UInt64
      var waiter = Waiter(Self.limits, WaitHistory(raw: raw))
      waiter.wait(for: 300, times: 3000)
      let before = waiter.sleeps
      waiter.wait(for: 300, times: 100)
      #expect(waiter.sleeps == before, "history \(raw)")
    }
  }

  /// The best patience in hindsight costs at most half.
  @Test(arguments: [40, 700, 4000, 9000, 20_000] as [UInt64])
  func costsAtMostTwiceTheBest(mean: UInt64) {
    var waiter = Waiter(Self.limits)
    var latencies: [UInt64] = []
    var state: UInt64 = 88_172_645_463_325_252
    for _ in 0..<5000 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      latencies.append(10 + state % (2 * mean))
    }
    for latency in latencies { waiter.wait(for: latency) }
    let best = stride(from: 0 as UInt64, through: 10_000, by: 100).map { patience in
      latencies.reduce(0 as UInt64) {
        $0 + ($1 <= patience ? $1 : patience + Self.limits.sleepCost)
      }
    }.min()
    #expect(waiter.cost <= (best ?? 0) * 2)
  }
}
