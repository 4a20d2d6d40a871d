// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// The one lock, the queue of threads that are ready, and the switch between threads.
///
/// Lock order: this lock is the innermost; under it nothing of libc is called but the clock. It is
/// handed over a switch: who parks takes it, who goes on next releases it.
enum Scheduler {
  private static let spins = 200
  /// Every so many switches a busy kernel thread looks for answers and at the clock.
  private static let lookMask: UInt64 = 15

  // SAFETY (all below): static state, changed under the lock; words that are peeked at without it
  // are read and written atomically.

  static func enter() {
    mn_depth_up()
    let lock = unsafe mn_lock_word(mn_all())
    if unsafe vos_compare_exchange32(lock, 0, 1) == 0 { unsafe enterSlowly(lock) }
  }

  private static func enterSlowly(_ lock: UnsafeMutablePointer<UInt32>) {
    for _ in 0..<spins {
      vos_pause()
      if unsafe vos_load_acquire32(lock) == 0, unsafe vos_compare_exchange32(lock, 0, 1) != 0 {
        return
      }
    }
    // Its holder may have been in the process that this one was forked from.
    if Rebirth.isDue { Rebirth.alone() }
    while unsafe vos_exchange32(lock, 2) != 0 { unsafe Kernel.sleep(on: lock, while: 2, until: 0) }
  }

  /// Ends what `enter` began, or what the thread that was switched away from began.
  static func leave() {
    let lock = unsafe mn_lock_word(mn_all())
    if unsafe vos_exchange32(lock, 0) == 2 { unsafe Kernel.wakeSleeper(on: lock) }
    mn_depth_down()
    if unsafe mn_deferred_at(0).pointee != 0, mn_depth_now() == 0 { Parking.wakeDeferred() }
  }

  /// The same, and gets a kernel thread for what has become ready, if one is idle or due.
  static func leaveAndKick() {
    let all = unsafe mn_all()
    guard unsafe all.pointee.ready > 0 && all.pointee.spinning == 0 else { return leave() }
    if let sleeper = Carriers.takeSleeper() {
      leave()
      unsafe Kernel.wakeSleeper(on: sleeper.sleepWord)
      return
    }
    let grows = Carriers.claimSpawn()
    leave()
    if grows { Carriers.spawn() } else { Watcher.wakeUp() }
  }

  static var readyCount: UInt32 { unsafe vos_load_acquire32(mn_ready_word(mn_all())) }

  /// Lock held.
  static func makeReady(_ thread: Thread) {
    let all = unsafe mn_all()
    thread.next = nil
    if let last = unsafe all.pointee.last {
      unsafe last.pointee.next = unsafe thread.pointer
    } else {
      unsafe all.pointee.first = unsafe thread.pointer
    }
    unsafe all.pointee.last = unsafe thread.pointer
    unsafe vos_store_release32(mn_ready_word(all), all.pointee.ready &+ 1)
  }

  /// Lock held.
  static func takeReady() -> Thread? {
    let all = unsafe mn_all()
    guard let first = unsafe all.pointee.first else { return nil }
    unsafe all.pointee.first = unsafe first.pointee.next
    if unsafe all.pointee.first == nil { unsafe all.pointee.last = nil }
    unsafe vos_store_release32(mn_ready_word(all), all.pointee.ready &- 1)
    return unsafe Thread(first)
  }

  /// Lets others run until somebody makes this thread ready again. The lock is held before and
  /// after; the thread stands in the queue that will wake it.
  static func switchAway() {
    let me = Thread.current
    guard let carrier = me.carrier, let idle = carrier.idle else { return }
    if unsafe carrier.pointer.pointee.switches & lookMask == 0 { lookAround() }
    var next = takeReady()
    if carrier.isStuck, Carriers.comeBack(carrier) {
      if let next { makeReady(next) }
      next = idle
    }
    // Made ready before it left: it just goes on.
    if let next, next == me { return }
    run(next ?? idle, after: me, on: carrier)
  }

  /// Answers that have come and times that have passed make threads ready. Lock held.
  static func lookAround() {
    if unsafe mn_all().pointee.pending_calls > 0 { Calls.collect() }
    if unsafe mn_all().pointee.heap_count > 0 { Timers.expire(Clock.now) }
  }

  /// The lock is held; `next` goes on with it held, as `me` does when it is run again.
  static func run(_ next: Thread, after me: Thread, on carrier: Carrier) {
    unsafe next.pointer.pointee.carrier = unsafe carrier.pointer
    unsafe carrier.pointer.pointee.current = unsafe next.pointer
    unsafe carrier.pointer.pointee.switches &+= 1
    if next.isUser {
      adopt(next, carrier)
      // Others must wait for it: how long, somebody must see.
      if unsafe mn_all().pointee.ready > 0 { Watcher.wakeUp() }
    }
    unsafe mn_switch(me.pointer, next.pointer)
  }

  /// What the kernel keeps per kernel thread is the running thread's.
  private static func adopt(_ next: Thread, _ carrier: Carrier) {
    let wanted = unsafe next.pointer.pointee.signals
    if unsafe carrier.pointer.pointee.signals != wanted {
      unsafe carrier.pointer.pointee.signals = wanted
      Kernel.setBlockedSignals(wanted)
    }
    if unsafe carrier.pointer.pointee.signal_stack.base != next.pointer.pointee.signal_stack.base {
      unsafe carrier.pointer.pointee.signal_stack = unsafe next.pointer.pointee.signal_stack
      unsafe Kernel.setSignalStack(next.pointer.pointee.signal_stack)
    }
  }

  /// Steps back behind all that are ready; false if nobody is.
  static func yield() -> Bool {
    enter()
    lookAround()
    guard unsafe mn_all().pointee.ready > 0 else {
      leave()
      return false
    }
    makeReady(Thread.current)
    switchAway()
    leave()
    return true
  }
}
