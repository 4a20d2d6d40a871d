// SPDX-License-Identifier: Apache-2.0
import CGuest
import Channel
import Glibc

/// How long a service without work looks for some before it sleeps: as long as that has paid lately
/// (`WaitPolicy`).
struct Patience {
  private var policy: WaitPolicy
  /// When the work ran out, in ticks; `nil` while there is some.
  private var start: UInt64?

  init(_ limits: WaitPolicy.Limits) { policy = WaitPolicy(limits) }

  /// Sleeps at once.
  static let none = WaitPolicy.Limits(spin: 0, yield: 0, sleepCost: 0)

  /// Never sleeps, but lets others run.
  static let endless = WaitPolicy.Limits(spin: 0, yield: .max, sleepCost: .max)

  /// The kernel command line may say `vos.wait=sleep` or `vos.wait=spin` to have it one way.
  private static let setting: Substring = "vos.wait="

  /// For this machine.
  static func limits() -> WaitPolicy.Limits {
    switch Setup.commandLine().last(where: { $0.hasPrefix(setting) })?.dropFirst(setting.count) {
    case "sleep": return none
    case "spin": return endless
    default: return learntLimits()
    }
  }

  private static func learntLimits() -> WaitPolicy.Limits {
    let cost = sleepTicks()
    // On one processor a look only keeps the others from working: there are yields instead.
    let isAlone = sysconf(Int32(_SC_NPROCESSORS_ONLN)) == 1
    return WaitPolicy.Limits(spin: isAlone ? 0 : cost, yield: cost, sleepCost: cost)
  }

  /// What to do, there being nothing to do.
  mutating func next() -> WaitPolicy.Step {
    let now = guest_ticks()
    let start = start ?? now
    self.start = start
    return policy.step(after: now &- start)
  }

  /// There is work.
  mutating func found() {
    guard let start else { return }
    policy.finished(after: guest_ticks() &- start)
    self.start = nil
  }

  /// A sleep costs the client a doorbell and both sides an interrupt and a switch of context: some
  /// 50 µs where a trap takes 0.1 µs. Measured in traps, so that it holds on slower machines, too.
  private static let sleepTraps: UInt64 = 500
  private static let measuredTraps: UInt64 = 64

  private static func sleepTicks() -> UInt64 {
    let start = guest_ticks()
    for _ in 0..<measuredTraps { kernel(Int(SYS_getppid)) }
    return (guest_ticks() &- start) / measuredTraps &* sleepTraps
  }
}
