// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// Waiting for a word of memory to change, as the kernel's futex does it, but so that other threads
/// run on the kernel thread meanwhile. Mutexes, condition variables and the like are built on it.
///
/// A thread that cannot be switched away from (no thread of ours, or in a signal handler) waits in
/// the same queue, asleep in the kernel.
enum Parking {
  enum Outcome {
    case woken, changed, timedOut, cancelled
  }

  // SAFETY (all below): buckets are static and change under the scheduler's lock; a record stays
  // in a bucket only while its thread waits in `wait`.

  private static func bucket(_ key: UInt) -> UnsafeMutablePointer<UnsafeMutablePointer<mn_thread>?>
  {
    let mixed = UInt64(key >> 2) &* 0x9e37_79b9_7f4a_7c15
    return unsafe mn_bucket_at(UInt32(truncatingIfNeeded: mixed >> 54))
  }

  /// Waits while the word is `expected`, until the deadline (CLOCK_MONOTONIC, ns; 0: none).
  static func wait(
    on word: UnsafeMutablePointer<UInt32>, while expected: UInt32, until deadline: UInt64 = 0,
    cancellable: Bool = false
  ) -> Outcome {
    let me = Thread.current
    let switches = me.canSwitch
    Scheduler.enter()
    guard unsafe vos_load_acquire32(word) == expected else {
      Scheduler.leave()
      return .changed
    }
    if cancellable, Cancellation.isPending {
      Scheduler.leave()
      return .cancelled
    }
    return waitEntered(me, on: UInt(bitPattern: word), deadline, cancellable, switches)
  }

  /// The same with the lock held and nothing left to check; key 0: only the deadline ends it.
  /// `afterwards` runs when the thread stands in the queue.
  static func waitEntered(
    _ me: Thread, on key: UInt, _ deadline: UInt64, _ cancellable: Bool, _ switches: Bool,
    afterwards: () -> Void = {}
  ) -> Outcome {
    me.outcome = MN_WAITING
    unsafe me.pointer.pointee.cancellable = cancellable ? 1 : 0
    let parks = switches && (deadline == 0 || Timers.add(me, deadline))
    if parks, deadline != 0 { Carriers.mindNewWork(isNext: unsafe me.pointer.pointee.heap == 1) }
    unsafe me.pointer.pointee.parked = parks ? 1 : 0
    add(me, key)
    afterwards()
    if parks {
      Scheduler.switchAway()
      Scheduler.leave()
    } else {
      sleepInKernel(me, deadline)
    }
    switch me.outcome {
    case MN_WOKEN: return .woken
    case MN_CANCELLED: return .cancelled
    default: return .timedOut
    }
  }

  private static func sleepInKernel(_ me: Thread, _ deadline: UInt64) {
    let word = unsafe mn_thread_word(me.pointer)
    unsafe vos_store_release32(word, 0)
    Scheduler.leave()
    while unsafe vos_load_acquire32(word) == 0 {
      let result = unsafe Kernel.sleep(on: word, while: 0, until: deadline)
      guard result == -Int(Linux.timedOut) else { continue }
      Scheduler.enter()
      if me.outcome == MN_WAITING {
        remove(me)
        me.outcome = MN_TIMED_OUT
        unsafe vos_store_release32(word, 1)
      }
      Scheduler.leave()
    }
  }

  private static func add(_ thread: Thread, _ key: UInt) {
    unsafe thread.pointer.pointee.key = key
    thread.next = nil
    guard key != 0 else { return }
    let head = unsafe bucket(key)
    // A ring: the first one's `previous` is the last.
    guard let first = unsafe head.pointee else {
      unsafe thread.pointer.pointee.previous = unsafe thread.pointer
      unsafe head.pointee = unsafe thread.pointer
      return
    }
    let last = unsafe first.pointee.previous
    unsafe last?.pointee.next = unsafe thread.pointer
    unsafe thread.pointer.pointee.previous = unsafe last
    unsafe first.pointee.previous = unsafe thread.pointer
  }

  /// Lock held.
  static func remove(_ thread: Thread) {
    let key = unsafe thread.pointer.pointee.key
    unsafe thread.pointer.pointee.key = 0
    guard key != 0 else { return }
    let head = unsafe bucket(key)
    let next = unsafe thread.pointer.pointee.next
    let previous = unsafe thread.pointer.pointee.previous
    if unsafe head.pointee == thread.pointer {
      unsafe head.pointee = unsafe next
      unsafe next?.pointee.previous = unsafe previous
    } else {
      unsafe previous?.pointee.next = unsafe next
      if let next = unsafe next {
        unsafe next.pointee.previous = unsafe previous
      } else if let first = unsafe head.pointee {
        unsafe first.pointee.previous = unsafe previous
      }
    }
    thread.next = nil
  }

  /// Ends a thread's wait. Lock held; the thread waits.
  static func end(_ thread: Thread, _ outcome: UInt32) {
    remove(thread)
    Timers.remove(thread)
    thread.outcome = outcome
    if unsafe thread.pointer.pointee.parked != 0 {
      Scheduler.makeReady(thread)
    } else {
      let word = unsafe mn_thread_word(thread.pointer)
      unsafe vos_store_release32(word, 1)
      unsafe Kernel.wakeSleeper(on: word)
    }
  }

  /// False if nobody waits on the word. Without the lock: for who has seen to it that a thread
  /// that must be woken is in the queue already.
  static func mayWait(on word: UnsafeMutablePointer<UInt32>) -> Bool {
    unsafe mn_load_pointer(bucket(UInt(bitPattern: word))) != nil
  }

  /// Wakes up to `count` of those that wait on the word, the longest first.
  static func wake(_ word: UnsafeMutablePointer<UInt32>, count: Int = 1) {
    // A signal handler that interrupted the scheduler leaves it a note.
    if mn_depth_now() != 0 { return `defer`(UInt(bitPattern: word)) }
    Scheduler.enter()
    unsafe wakeEntered(word, count)
    Scheduler.leaveAndKick()
  }

  /// Lock held.
  static func wakeEntered(_ word: UnsafeMutablePointer<UInt32>, _ count: Int) {
    let key = UInt(bitPattern: word)
    var left = count
    var next = unsafe bucket(key).pointee
    while left > 0, let candidate = unsafe next {
      unsafe next = unsafe candidate.pointee.next
      guard unsafe candidate.pointee.key == key else { continue }
      unsafe end(Thread(candidate), MN_WOKEN)
      left = left &- 1
    }
  }

  private static func `defer`(_ key: UInt) {
    for index in 0..<UInt32(MN_DEFERRED) {
      let place = unsafe mn_deferred_at(index)
      if unsafe place.pointee == key { return }
      if unsafe mn_compare_exchange64(place, 0, key) != 0 { return }
    }
  }

  static func wakeDeferred() {
    for index in (0..<UInt32(MN_DEFERRED)).reversed() {
      let key = unsafe UInt(mn_exchange64(mn_deferred_at(index), 0))
      if let word = unsafe UnsafeMutablePointer<UInt32>(bitPattern: key) { unsafe wake(word) }
    }
  }

  /// Waits for the deadline alone.
  static func sleep(until deadline: UInt64, cancellable: Bool) -> Outcome {
    let me = Thread.current
    Scheduler.enter()
    if cancellable, Cancellation.isPending {
      Scheduler.leave()
      return .cancelled
    }
    return waitEntered(me, on: 0, deadline, cancellable, true)
  }
}
