// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// A kernel thread of its own that looks, while any other is awake, whether threads are ready that
/// nobody runs. What runs may sleep in the kernel for the very thing that they would do (a lock of
/// stdio, a pipe), or compute for ever: then another kernel thread is made active.
enum Watcher {
  private static let tick = 2 * Clock.millisecond
  /// One that computes is let be that long.
  private static let patience: UInt64 = 10
  /// Ticks without anything to look at, after which it sleeps until it is woken.
  private static let idleTicks = 10
  /// How often a call's thread looks at the service's life.
  private static let lifeTicks = 200

  // SAFETY (all below): as for Carriers.

  static func wakeUp() {
    let word = unsafe mn_watcher_word(mn_all())
    if unsafe vos_load_acquire32(word) == 1, unsafe vos_exchange32(word, 0) == 1 {
      unsafe Kernel.wakeSleeper(on: word)
    }
  }

  static func run() -> Never {
    let word = unsafe mn_watcher_word(mn_all())
    var quiet = 0
    var ticks = 0
    while true {
      if quiet > idleTicks {
        unsafe vos_store_release32(word, 1)
        vos_full_fence()
        if isQuiet { unsafe Kernel.sleep(on: word, while: 1, until: 0) }
        unsafe vos_store_release32(word, 0)
        quiet = 0
      }
      Kernel.pause(tick)
      ticks = ticks &+ 1
      Scheduler.enter()
      if ticks % lifeTicks == 0 { Calls.endAll() }
      quiet = look() ? quiet &+ 1 : 0
    }
  }

  private static var isQuiet: Bool {
    Scheduler.enter()
    let quiet = allSleep
    Scheduler.leave()
    return quiet
  }

  /// Lock held.
  private static var allSleep: Bool {
    let all = unsafe mn_all()
    return unsafe all.pointee.sleeping >= all.pointee.active && all.pointee.ready == 0 && !hasCalls
  }

  private static var hasCalls: Bool { unsafe mn_all().pointee.pending_calls > 0 }

  /// Called with the lock held, releases it. True if every kernel thread is asleep.
  private static func look() -> Bool {
    let all = unsafe mn_all()
    Scheduler.lookAround()
    let waits = unsafe all.pointee.ready > 0
    for index in 0..<(unsafe all.pointee.carriers) { judge(Carrier(index), waits) }
    let quiet = allSleep
    Scheduler.leaveAndKick()
    return quiet
  }

  /// Counts a kernel thread out that has not switched for a tick while others are ready.
  private static func judge(_ carrier: Carrier, _ waits: Bool) {
    let place = unsafe carrier.pointer
    let moved = unsafe place.pointee.switches != place.pointee.seen
    unsafe place.pointee.seen = unsafe place.pointee.switches
    guard !carrier.isSpare, !carrier.isStuck, !carrier.isSleeping, carrier.idle != nil, !moved,
      waits
    else {
      unsafe place.pointee.cpu_time = 0
      return
    }
    // What computes is given some ticks; what sleeps in the kernel is replaced at once.
    if unsafe computes(place) { return }
    carrier.isStuck = true
    unsafe place.pointee.cpu_time = 0
    unsafe mn_all().pointee.active &-= 1
  }

  /// Whether it has used a processor since its first idle-looking tick, and not for long.
  private static func computes(_ place: UnsafeMutablePointer<mn_carrier>) -> Bool {
    let perThreadSchedule: Int32 = 6
    let used = unsafe Clock.read(~place.pointee.tid << 3 | perThreadSchedule)
    let before = unsafe place.pointee.cpu_time
    if before == 0 {
      unsafe place.pointee.cpu_time = max(used, 1)
      return true
    }
    let spent = used &- before
    return spent > tick / 2 && spent < patience &* tick
  }
}

@c(mn_watch)
public func watch(_ unused: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? { Watcher.run() }
