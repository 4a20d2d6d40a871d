// SPDX-License-Identifier: Apache-2.0

public import CMN
internal import CVosABI

/// Calls over slots whose threads are parked. This is the ready queue of answers: whoever has
/// nothing better to do looks at the slots' words, and what is answered makes its thread ready.
///
/// When all kernel threads go to sleep, the slots are marked as waited for, and one bell thread a
/// channel sleeps in VOS_IOC_WAIT in their place.
enum Calls {
  // SAFETY (all below): the table is static and changes under the scheduler's lock; a slot's word
  // is mapped as long as a call in it is pending.

  static func index(_ carries: UInt32) -> UInt32 { carries & VOS_CARRIES_SOCKETS != 0 ? 0 : 1 }

  /// libvos's thread waits here for the answer to its call. False: it must wait by itself.
  static func park(_ pending: UnsafePointer<vos_pending>) -> Bool {
    let me = Thread.current
    let call = unsafe pending.pointee
    guard me.canSwitch, unsafe call.slot < MN_SLOTS, unsafe call.device >= 0 else { return false }
    if unsafe spin(call) { return true }
    let channel = unsafe mn_channel_at(index(call.carries))
    guard unsafe Bell.exists(channel) else { return false }
    Scheduler.enter()
    let bit: UInt64 = unsafe 1 << UInt64(call.slot)
    guard unsafe channel.pointee.mask & bit == 0 else {
      Scheduler.leave()
      return false
    }
    unsafe channel.pointee.device = call.device
    unsafe mn_call_at(channel, call.slot).pointee = unsafe mn_call(
      thread: me.pointer, state: call.state, submitted: call.submitted)
    unsafe vos_store_release64(mn_channel_mask(channel), channel.pointee.mask | bit)
    let all = unsafe mn_all()
    unsafe vos_store_release32(mn_pending_word(all), all.pointee.pending_calls &+ 1)
    me.outcome = MN_WAITING
    unsafe me.pointer.pointee.parked = 1
    // Only its answer makes it ready: it stands in no queue that a cancellation could take it from.
    unsafe me.pointer.pointee.cancellable = 0
    Carriers.mindNewWork(isNext: true)
    Scheduler.switchAway()
    Scheduler.leave()
    return true
  }

  /// With nothing else to run, a quick answer is awaited on the spot.
  private static func spin(_ call: vos_pending) -> Bool {
    let budget = Spinning.budget
    var left = budget
    while Scheduler.readyCount == 0 {
      if unsafe isAnswered(call.state, call.submitted) {
        Spinning.learn(budget, left: max(left, 1))
        return true
      }
      guard left > 0 else {
        Spinning.learn(budget, left: 0)
        break
      }
      Spinning.pause()
      left = left &- 1
    }
    return unsafe isAnswered(call.state, call.submitted)
  }

  private static func isAnswered(_ state: UnsafePointer<UInt32>, _ submitted: UInt32) -> Bool {
    unsafe vos_load_acquire32(state) & ~UInt32(VOS_SLOT_WAITER) != submitted
  }

  private static func forEach(
    _ channel: UnsafeMutablePointer<mn_channel>,
    _ body: (UInt32, UnsafeMutablePointer<mn_call>) -> Void
  ) {
    var left = unsafe vos_load_acquire64(mn_channel_mask(channel))
    while left != 0 {
      let slot = UInt32(truncatingIfNeeded: left.trailingZeroBitCount)
      left &= left &- 1
      unsafe body(slot, mn_call_at(channel, slot))
    }
  }

  /// Without the lock: a guess that an answer has come.
  static var isAnyDone: Bool {
    guard unsafe vos_load_acquire32(mn_pending_word(mn_all())) > 0 else { return false }
    var found = false
    for index in 0..<UInt32(MN_CHANNELS) {
      unsafe forEach(mn_channel_at(index)) { _, call in
        if let state = unsafe call.pointee.state {
          if unsafe isAnswered(state, call.pointee.submitted) { found = true }
        }
      }
    }
    return found
  }

  /// Makes ready whose answers have come. Lock held.
  static func collect() {
    for index in 0..<UInt32(MN_CHANNELS) {
      let channel = unsafe mn_channel_at(index)
      unsafe forEach(channel) { slot, call in
        if let state = unsafe call.pointee.state {
          if unsafe isAnswered(state, call.pointee.submitted) { unsafe end(channel, slot, call) }
        }
      }
    }
  }

  private static func end(
    _ channel: UnsafeMutablePointer<mn_channel>, _ slot: UInt32,
    _ call: UnsafeMutablePointer<mn_call>
  ) {
    let all = unsafe mn_all()
    unsafe vos_store_release64(
      mn_channel_mask(channel), channel.pointee.mask & ~(1 << UInt64(slot)))
    unsafe vos_store_release32(mn_pending_word(all), all.pointee.pending_calls &- 1)
    guard let thread = unsafe call.pointee.thread else { return }
    unsafe thread.pointee.outcome = MN_WOKEN
    unsafe Scheduler.makeReady(Thread(thread))
  }

  /// Every waiter looks for itself, also whether the service lives. Lock held.
  static func endAll() {
    for index in 0..<UInt32(MN_CHANNELS) { unsafe endAll(mn_channel_at(index)) }
  }

  static func endAll(_ channel: UnsafeMutablePointer<mn_channel>) {
    unsafe forEach(channel) { slot, call in unsafe end(channel, slot, call) }
  }

  /// Marks all slots as waited for and sets the bells; true if an answer came meanwhile, whose
  /// thread then is ready. Lock held.
  static func arm() -> Bool {
    guard unsafe mn_all().pointee.pending_calls > 0 else { return false }
    for index in 0..<UInt32(MN_CHANNELS) { unsafe mark(mn_channel_at(index)) }
    collect()
    if Scheduler.readyCount > 0 { return true }
    for index in 0..<UInt32(MN_CHANNELS) { unsafe Bell.set(mn_channel_at(index)) }
    return false
  }

  /// Lock held.
  static func mark(_ channel: UnsafeMutablePointer<mn_channel>) {
    unsafe forEach(channel) { _, call in
      guard let state = unsafe call.pointee.state else { return }
      let submitted = unsafe call.pointee.submitted
      _ = unsafe vos_compare_exchange32(
        UnsafeMutablePointer(mutating: state), submitted, submitted | VOS_SLOT_WAITER)
    }
  }
}

/// The kernel thread of a channel that sleeps for all its pending calls.
enum Bell {
  private static let longest: Int32 = 500
  /// Where the kernel cannot wait for many slots: how long one is waited for.
  private static let shortest: Int32 = 1
  private static let anySlot: UInt32 = 0xffff_ffff  // VOS_WAIT_ANY

  // SAFETY (all below): as for Calls.

  /// Made on first need; false if it cannot be.
  static func exists(_ channel: UnsafeMutablePointer<mn_channel>) -> Bool {
    if unsafe channel.pointee.bell == 1 { return true }
    Scheduler.enter()
    let known = unsafe channel.pointee.bell
    unsafe channel.pointee.bell = 1
    Scheduler.leave()
    if known == 1 { return true }
    let made = unsafe Runtime.startBlocked(MN_RING.rawValue, UnsafeMutableRawPointer(channel))
    if !made { unsafe channel.pointee.bell = 0 }
    return made
  }

  /// Lock held.
  static func set(_ channel: UnsafeMutablePointer<mn_channel>) {
    guard unsafe channel.pointee.mask != 0 && channel.pointee.armed == 0 else { return }
    let word = unsafe mn_channel_armed(channel)
    unsafe vos_store_release32(word, 1)
    unsafe Kernel.wakeSleeper(on: word)
  }

  static func run(_ channel: UnsafeMutablePointer<mn_channel>) -> Never {
    let word = unsafe mn_channel_armed(channel)
    var mode = Mode.any(seen: UInt32.max)
    while true {
      while unsafe vos_load_acquire32(word) == 0 {
        unsafe Kernel.sleep(on: word, while: 0, until: 0)
      }
      unsafe ring(channel, &mode)
    }
  }

  /// How the kernel is asked: for any completion after those counted so far, or, where it cannot
  /// do that, for one slot.
  private enum Mode {
    case any(seen: UInt32)
    /// And how many more times before every waiter looks for itself.
    case single(Int32)
  }

  private static let patience = longest / shortest

  private static func ring(_ channel: UnsafeMutablePointer<mn_channel>, _ mode: inout Mode) {
    Scheduler.enter()
    unsafe Calls.mark(channel)
    Calls.collect()
    let mask = unsafe channel.pointee.mask
    // Whoever is awake looks by itself; the last one to sleep sets the bell again.
    if mask == 0 || Scheduler.readyCount > 0 {
      unsafe vos_store_release32(mn_channel_armed(channel), 0)
      return Scheduler.leaveAndKick()
    }
    let device = unsafe channel.pointee.device
    let slot = UInt32(truncatingIfNeeded: mask.trailingZeroBitCount)
    let word = unsafe mn_call_at(channel, slot).pointee.submitted | VOS_SLOT_WAITER
    Scheduler.leave()
    switch mode {
    case .any(let seen):
      let count = wait(device, anySlot, seen, longest)
      if count >= 0 {
        mode = .any(seen: UInt32(bitPattern: count))
      } else if errorNumber == Linux.timedOut {
        unsafe haveAllLook(channel)
      } else if !isHarmless(errorNumber) {
        mode = .single(patience)
      }
    case .single(let left):
      let answer = wait(device, slot, word, shortest)
      let isBroken = answer < 0 && !isHarmless(errorNumber)
      if isBroken || left == 0 { unsafe haveAllLook(channel) }
      mode = .single(left > 0 ? left &- 1 : patience)
    }
  }

  /// The service is lost, or the device is, or it takes long: libvos knows what to do.
  private static func haveAllLook(_ channel: UnsafeMutablePointer<mn_channel>) {
    Scheduler.enter()
    unsafe Calls.endAll(channel)
    Scheduler.leaveAndKick()
  }

  private static func isHarmless(_ error: Int32) -> Bool {
    error == Linux.interrupted || error == Linux.timedOut || error == Linux.again
  }

  private static func wait(
    _ device: Int32, _ slot: UInt32, _ state: UInt32, _ milliseconds: Int32
  ) -> Int32 {
    var request = vos_ioc_wait(slot: slot, state: state, timeout_ms: milliseconds, reserved0: 0)
    return unsafe withUnsafeMutablePointer(to: &request) { place in
      ioctl(device, UInt(VOS_IOC_WAIT), UInt(bitPattern: place))
    }
  }
}

@c(mn_ring)
public func ring(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  // SAFETY: `exists` passes an entry of the static table.
  if let channel = unsafe argument?.assumingMemoryBound(to: mn_channel.self) {
    unsafe Bell.run(channel)
  }
  return nil
}

@c(mn_park_call)
public func parkCall(_ pending: UnsafePointer<vos_pending>?) -> Int32 {
  // SAFETY: libvos's contract: the structure lives as long as the call.
  guard let pending = unsafe pending else { return 0 }
  return unsafe Calls.park(pending) ? 1 : 0
}

/// libvos: all slots are in use. As for a call in one of them, others run meanwhile.
@c(mn_await_slot)
public func awaitSlot(_ busy: UnsafePointer<UInt>?, _ seen: UInt) -> Int32 {
  let longest = Clock.second / 2
  let me = Thread.current
  guard me.canSwitch, let busy = unsafe busy else { return 0 }
  let waiters = unsafe mn_slot_waiters(mn_all())
  // Counted before it looks: who frees one changes the bitmap before it looks at the count.
  _ = unsafe mn_add32(waiters, 1)
  defer { _ = unsafe mn_add32(waiters, UInt32.max) }
  Scheduler.enter()
  guard unsafe mn_load64(busy) == seen else {
    Scheduler.leave()
    return 1
  }
  let key = UInt(bitPattern: busy)
  let outcome = Parking.waitEntered(me, on: key, Clock.now &+ longest, false, true)
  if case .timedOut = outcome { return 0 }
  return 1
}

@c(mn_slot_freed)
public func slotFreed(_ busy: UnsafePointer<UInt>?) {
  guard unsafe vos_load_acquire32(mn_slot_waiters(mn_all())) > 0,
    let word = unsafe UnsafeMutablePointer<UInt32>(bitPattern: UInt(bitPattern: busy))
  else { return }
  unsafe Parking.wake(word)
}
