// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// The kernel threads that user-level threads run on. As many as may run at once are kept active;
/// one that stays in the kernel, or computes for long, while threads are ready is replaced.
enum Carriers {
  // SAFETY (all below): static table and counters, changed under the scheduler's lock.

  /// A sleeping one, which is about to be woken. Lock held.
  static func takeSleeper() -> Carrier? {
    let all = unsafe mn_all()
    guard unsafe all.pointee.sleeping > 0 else { return nil }
    for index in 0..<(unsafe all.pointee.carriers) {
      let carrier = Carrier(index)
      guard carrier.isSleeping, !carrier.isSpare else { continue }
      unsafe vos_store_release32(carrier.sleepWord, 0)
      unsafe vos_store_release32(mn_sleeping_word(all), all.pointee.sleeping &- 1)
      // In its name: until it has looked, nobody else need be woken.
      unsafe vos_store_release32(mn_spinning_word(all), all.pointee.spinning &+ 1)
      return carrier
    }
    return nil
  }

  /// There is a new time or call to mind, and this kernel thread has other threads to run: one that
  /// sleeps looks again. Lock held.
  static func mindNewWork(isNext: Bool) {
    let all = unsafe mn_all()
    guard unsafe all.pointee.ready > 0 && all.pointee.spinning == 0 else { return }
    if isNext, let sleeper = takeSleeper() {
      unsafe Kernel.wakeSleeper(on: sleeper.sleepWord)
    } else {
      Watcher.wakeUp()
    }
  }

  /// Whether the caller is to make another kernel thread active. Lock held.
  static func claimSpawn() -> Bool {
    let all = unsafe mn_all()
    guard unsafe all.pointee.active < all.pointee.parallel else { return false }
    unsafe all.pointee.active &+= 1
    return true
  }

  /// Makes a spare kernel thread active, or a new one; `claimSpawn` has counted it.
  static func spawn() {
    Scheduler.enter()
    let all = unsafe mn_all()
    let count = unsafe all.pointee.carriers
    for index in 0..<count {
      let carrier = Carrier(index)
      guard carrier.isSpare else { continue }
      carrier.isSpare = false
      unsafe vos_store_release32(carrier.sleepWord, 0)
      Scheduler.leave()
      return unsafe Kernel.wakeSleeper(on: carrier.sleepWord)
    }
    guard unsafe count < all.pointee.limit else {
      unsafe all.pointee.active &-= 1
      return Scheduler.leave()
    }
    unsafe all.pointee.carriers = count &+ 1
    Scheduler.leave()
    if unsafe start(MN_CARRIER_MAIN.rawValue, unsafe UnsafeMutableRawPointer(mn_carrier_at(count)))
    {
      return
    }
    // The entry stays, without an idle thread, and nobody runs on it.
    Scheduler.enter()
    unsafe all.pointee.active &-= 1
    Scheduler.leave()
  }

  private static let stackBytes = 256 * 1024
  private static let minimalStack = 0x1_0000

  /// A kernel thread of libc's making that runs one of our routines.
  static func start(_ routine: UInt32, _ argument: UnsafeMutableRawPointer?) -> Bool {
    var attributes = InlineArray<7, UInt64>(repeating: 0)  // pthread_attr_t
    var number: UInt64 = 0
    let saved = errorNumber
    defer { errorNumber = saved }
    return unsafe withUnsafeMutableBytes(of: &attributes) { place in
      guard let attribute = place.baseAddress else { return false }
      _ = unsafe pthread_attr_init(attribute)
      _ = unsafe pthread_attr_setdetachstate(attribute, 1)
      _ = unsafe pthread_attr_setstacksize(attribute, stackBytes)
      let result = unsafe real().pointee.pthread_create(
        &number, attribute, mn_routine(routine), argument)
      _ = unsafe pthread_attr_destroy(attribute)
      return result == 0
    }
  }

  /// A kernel thread begins: its own stack is where it idles.
  static func begin(_ carrier: Carrier) {
    Kernel.endRestartableSequences()
    let me = Thread.current
    unsafe me.pointer.pointee.kind = MN_IDLE
    unsafe me.pointer.pointee.base = unsafe mn_thread_pointer()
    unsafe me.pointer.pointee.carrier = unsafe carrier.pointer
    unsafe carrier.pointer.pointee.tid = Kernel.threadNumber
    unsafe carrier.pointer.pointee.signals = Kernel.blockedSignals
    unsafe carrier.pointer.pointee.current = unsafe me.pointer
    Scheduler.enter()
    unsafe carrier.pointer.pointee.idle = unsafe me.pointer
    Idle.run(me, carrier)
  }

  /// A stuck one is back; true if others have taken its place, so that it becomes spare. Lock held.
  static func comeBack(_ carrier: Carrier) -> Bool {
    let all = unsafe mn_all()
    carrier.isStuck = false
    if unsafe all.pointee.active >= all.pointee.parallel {
      carrier.isSpare = true
      return true
    }
    unsafe all.pointee.active &+= 1
    return false
  }
}

/// What a kernel thread does when no thread is ready: it spins a little, then sleeps.
enum Idle {
  // SAFETY (all below): as for Carriers.

  /// Called with the lock held; never returns.
  static func run(_ me: Thread, _ carrier: Carrier) -> Never {
    while true {
      if carrier.isSpare {
        holdSignals(carrier)
        sleepAsSpare(carrier)
      }
      if let next = Scheduler.takeReady() {
        wakeAnother()
        Scheduler.run(next, after: me, on: carrier)
        continue
      }
      holdSignals(carrier)
      Scheduler.lookAround()
      if Scheduler.readyCount > 0 || spin() { continue }
      // From here on an answer rings; one that came meanwhile is collected.
      if Calls.arm() { continue }
      sleep(carrier)
    }
  }

  /// One that has found work sees to it that more work finds another. Lock held.
  private static func wakeAnother() {
    let all = unsafe mn_all()
    guard unsafe all.pointee.ready > 0 && all.pointee.spinning == 0,
      let sleeper = Carriers.takeSleeper()
    else { return }
    unsafe Kernel.wakeSleeper(on: sleeper.sleepWord)
  }

  /// True if there is something to do. The lock is released meanwhile.
  private static func spin() -> Bool {
    let all = unsafe mn_all()
    unsafe vos_store_release32(mn_spinning_word(all), all.pointee.spinning &+ 1)
    Scheduler.leave()
    let budget = Spinning.budget
    var left = budget
    while left > 0, Scheduler.readyCount == 0, !Calls.isAnyDone {
      Spinning.pause()
      left = left &- 1
    }
    Spinning.learn(budget, left: left)
    // Before a sleep others get the processor: one of them may be who is to answer.
    var yields = Spinning.yieldsBeforeSleep
    while yields > 0, Scheduler.readyCount == 0, !Calls.isAnyDone {
      Kernel.yield()
      yields = yields &- 1
    }
    Scheduler.enter()
    unsafe vos_store_release32(mn_spinning_word(all), all.pointee.spinning &- 1)
    Scheduler.lookAround()
    return Scheduler.readyCount > 0
  }

  private static func sleep(_ carrier: Carrier) {
    let all = unsafe mn_all()
    unsafe vos_store_release32(carrier.sleepWord, 1)
    unsafe vos_store_release32(mn_sleeping_word(all), all.pointee.sleeping &+ 1)
    let deadline = Timers.next
    Scheduler.leave()
    unsafe Kernel.sleep(on: carrier.sleepWord, while: 1, until: deadline)
    Watcher.wakeUp()
    Scheduler.enter()
    if carrier.isSleeping {
      unsafe vos_store_release32(carrier.sleepWord, 0)
      unsafe vos_store_release32(mn_sleeping_word(all), all.pointee.sleeping &- 1)
    } else {
      // Whoever woke it counted it as spinning.
      unsafe vos_store_release32(mn_spinning_word(all), all.pointee.spinning &- 1)
    }
  }

  private static var hasWork: Bool {
    let all = unsafe mn_all()
    return unsafe all.pointee.ready > 0 || all.pointee.heap_count > 0
      || all.pointee.pending_calls > 0
  }

  /// An idle kernel thread takes no signals: whoever had them unblocked may be gone. Lock held.
  private static func holdSignals(_ carrier: Carrier) {
    guard unsafe carrier.pointer.pointee.signals != UInt64.max else { return }
    unsafe carrier.pointer.pointee.signals = UInt64.max
    Kernel.setBlockedSignals(UInt64.max)
  }

  private static func sleepAsSpare(_ carrier: Carrier) {
    while carrier.isSpare {
      unsafe vos_store_release32(carrier.sleepWord, 1)
      // Threads, times and answers are left to those in whose favour it steps back: one that is
      // asleep must look again.
      let sleeper = hasWork ? Carriers.takeSleeper() : nil
      Scheduler.leave()
      if let sleeper { unsafe Kernel.wakeSleeper(on: sleeper.sleepWord) }
      unsafe Kernel.sleep(on: carrier.sleepWord, while: 1, until: 0)
      Scheduler.enter()
    }
    unsafe vos_store_release32(carrier.sleepWord, 0)
  }
}

@c(mn_carrier_main)
public func carrierMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  // SAFETY: `spawn` passes an entry of the static table.
  if let place = unsafe argument?.assumingMemoryBound(to: mn_carrier.self) {
    unsafe Carriers.begin(Carrier(place))
  }
  return nil
}

/// How long to look before a sleep: as long as it takes usually, if that is short enough. Now and then
/// it is tried with all the patience there may be, or a shorter one would never learn that it pays.
enum Spinning {
  private static let fewestPauses: UInt32 = 64
  private static let nanosecondsPerPause: UInt32 = 40
  private static let usualLimit: UInt32 = 1250
  private static let trialMask: UInt32 = 15
  private static let mostYields: UInt32 = 32
  static let yieldsBeforeSleep = 4

  // SAFETY (all below): static words; a lost update costs nothing.

  /// `nanoseconds` nil: what is usual.
  static func setLimit(_ nanoseconds: UInt32?) {
    let limit = nanoseconds.map { $0 / nanosecondsPerPause } ?? usualLimit
    unsafe mn_all().pointee.spin = limit
    unsafe mn_all().pointee.spin_now = limit
  }

  /// On one processor a look only keeps the others from working: yields take the pauses' place.
  static func setAlone(_ isAlone: Bool) {
    unsafe mn_all().pointee.alone = isAlone ? 1 : 0
    if isAlone {
      let limit = unsafe min(mn_all().pointee.spin, mostYields)
      unsafe mn_all().pointee.spin = limit
      unsafe mn_all().pointee.spin_now = limit
    }
  }

  static func pause() {
    if unsafe mn_all().pointee.alone != 0 { Kernel.yield() } else { vos_pause() }
  }

  /// Pauses of one look.
  static var budget: UInt32 {
    let all = unsafe mn_all()
    unsafe all.pointee.spins &+= 1
    return unsafe all.pointee.spins & trialMask == 0 ? all.pointee.spin : all.pointee.spin_now
  }

  /// How a look of `budget` pauses ended, with `left` of them.
  static func learn(_ budget: UInt32, left: UInt32) {
    let all = unsafe mn_all()
    let limit = unsafe all.pointee.spin
    let now = unsafe all.pointee.spin_now
    if left > 0 {
      let wanted = min(limit, (budget &- left) &* 2 &+ fewestPauses)
      unsafe all.pointee.spin_now = max(wanted, now &- now / 16)
    } else {
      unsafe all.pointee.spin_now = max(min(fewestPauses, limit), now &- now / 8)
    }
  }
}
