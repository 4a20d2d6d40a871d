// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// A kernel thread of its own that looks, while there is anything to look at, whether threads are
/// ready that nobody runs. What runs may sleep in the kernel for the very thing that they would do (a
/// lock of stdio, a pipe), or compute for ever: then another kernel thread is made active.
enum Watcher {
  private static let tick = 2 * Clock.millisecond
  /// Ticks that one is let be that computes.
  private static let patience: UInt32 = 10
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
    let quiet = nothingToWatch
    Scheduler.leave()
    return quiet
  }

  /// No thread is ready, and a kernel thread that sleeps minds times and answers, if there are any.
  /// Lock held.
  private static var nothingToWatch: Bool {
    let all = unsafe mn_all()
    let minds = unsafe all.pointee.sleeping > 0
    return unsafe all.pointee.ready == 0
      && (minds || (all.pointee.heap_count == 0 && all.pointee.pending_calls == 0))
  }

  /// Called with the lock held, releases it. True if there is nothing to watch.
  private static func look() -> Bool {
    let all = unsafe mn_all()
    Scheduler.lookAround()
    let waits = unsafe all.pointee.ready > 0
    for index in 0..<(unsafe all.pointee.carriers) { judge(Carrier(index), waits) }
    let quiet = nothingToWatch
    Scheduler.leaveAndKick()
    return quiet
  }

  /// Counts a kernel thread out that has not switched for a tick while others are ready: one that
  /// sleeps in the kernel at once, one that computes after some ticks.
  private static func judge(_ carrier: Carrier, _ waits: Bool) {
    let place = unsafe carrier.pointer
    let moved = unsafe place.pointee.switches != place.pointee.seen
    unsafe place.pointee.seen = unsafe place.pointee.switches
    guard !carrier.isSpare, !carrier.isStuck, !carrier.isSleeping, carrier.idle != nil, !moved,
      waits
    else {
      unsafe place.pointee.computed = 0
      return
    }
    unsafe place.pointee.computed &+= 1
    if unsafe place.pointee.computed < patience && isRunnable(place.pointee.tid) { return }
    carrier.isStuck = true
    unsafe place.pointee.computed = 0
    unsafe mn_all().pointee.active &-= 1
  }

  /// Whether the kernel thread wants a processor, as /proc tells; false if it does not tell.
  private static func isRunnable(_ thread: Int32) -> Bool {
    let open = 2
    let read = 0
    let close = 3
    var path = InlineArray<40, UInt8>(repeating: 0)
    var length = 0
    append("/proc/self/task/")
    var divisor: Int32 = 1
    while thread / divisor > 9 { divisor = divisor &* 10 }
    while divisor > 0 {
      append(UInt8(truncatingIfNeeded: thread / divisor % 10) &+ 48)
      divisor = divisor / 10
    }
    append("/stat")
    func append(_ byte: UInt8) {
      path[length] = byte
      length = length &+ 1
    }
    func append(_ part: StaticString) {
      for index in 0..<part.utf8CodeUnitCount { append(unsafe part.utf8Start[index]) }
    }
    var text = InlineArray<256, UInt8>(repeating: 0)
    // SAFETY: the path ends with zero bytes; the kernel writes at most what fits.
    let file = unsafe withUnsafeMutableBytes(of: &path) { place in
      mn_syscall(open, Int(bitPattern: place.baseAddress), 0o2000000, 0, 0, 0, 0)
    }
    guard file >= 0 else { return false }
    let count = unsafe withUnsafeMutableBytes(of: &text) { place in
      mn_syscall(read, file, Int(bitPattern: place.baseAddress), 256, 0, 0, 0)
    }
    _ = mn_syscall(close, file, 0, 0, 0, 0, 0)
    // The state stands behind the last parenthesis, which ends the name.
    var at = min(count, 256) &- 1
    while at > 0, text[at] != UInt8(ascii: ")") { at = at &- 1 }
    return at > 0 && at &+ 2 < count && text[at &+ 2] == UInt8(ascii: "R")
  }
}

@c(mn_watch)
public func watch(_ unused: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? { Watcher.run() }
