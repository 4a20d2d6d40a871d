// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// One call, as it goes into a slot.
struct Request {
  var call: UInt32
  var object: UInt64
  var argument: UInt64
  /// Bytes of request in the slot's piece of the arena.
  var length: Int
  /// Bytes that the reply may put there.
  var capacity: Int
}

/// A call in flight: the slot, and the state word that was published.
struct Ticket {
  var slot: Int32 = -1
  var submitted: UInt32 = 0
}

/// How a call over a slot ended.
enum Outcome {
  case done(Int64)
  /// Nobody will answer: the service is gone. The real call knows what that means.
  case lost
}

/// This process's slice of one channel. Everything is lock-free, so a signal handler may use it
/// while the interrupted thread has a call in flight: it gets another slot.
@safe
struct Channel {
  let pointer: UnsafeMutablePointer<libvos_channel>
  let index: Int32

  /// Most repeated asks of a receive that found nothing.
  static let againLimit: UInt32 = 16
  private static let fewestPauses: UInt32 = 64
  /// How long one sleep lasts before the service's life is looked at again.
  private static let sleepMilliseconds: Int32 = 500

  // SAFETY (all below): a channel in the table is mapped until the process ends; slot numbers
  // come from `allocate`, below the slot count that was checked against the mapping.

  var carries: UInt32 { unsafe pointer.pointee.carries }
  var slice: UInt32 { unsafe pointer.pointee.slice }
  var pieceBytes: Int { unsafe Int(pointer.pointee.piece_bytes) }
  var isAlive: Bool { unsafe libvos_service_alive(pointer) != 0 }
  var generation: UInt64 { unsafe libvos_service_generation(pointer) }

  func countFast() { _ = unsafe vos_fetch_add64(libvos_fast_calls(libvos_header(pointer)), 1) }
  func countFallback() {
    _ = unsafe vos_fetch_add64(libvos_fallback_calls(libvos_header(pointer)), 1)
  }

  /// The slot's own part of the arena.
  func piece(_ slot: Int32) -> UnsafeMutableRawPointer {
    unsafe UnsafeMutableRawPointer(libvos_piece(pointer, slot))
  }

  /// The lowest free slot: the service then looks at few; nil if all are in use.
  func allocate() -> Int32? {
    let busy = unsafe libvos_busy(pointer)
    let all = unsafe pointer.pointee.slot_count
    while true {
      let free = ~(unsafe vos_load_acquire64(busy))
      let slot = UInt32(truncatingIfNeeded: free.trailingZeroBitCount)
      guard slot < all else { return nil }
      if unsafe vos_fetch_or64(busy, 1 << UInt64(slot)) & (1 << UInt64(slot)) == 0 {
        raiseLimit(slot &+ 1)
        return Int32(bitPattern: slot)
      }
    }
  }

  func release(_ slot: Int32) {
    _ = unsafe vos_fetch_and64(libvos_busy(pointer), ~(1 << UInt64(UInt32(bitPattern: slot))))
  }

  private func raiseLimit(_ wanted: UInt32) {
    let limit = unsafe libvos_slot_limit(libvos_header(pointer))
    while true {
      let now = unsafe vos_load_acquire32(limit)
      if unsafe now >= wanted || vos_compare_exchange32(limit, now, wanted) != 0 { return }
    }
  }

  /// Publishes a call whose data already lies in the slot's piece.
  func submit(_ request: Request, in slot: Int32) -> Ticket {
    let line = unsafe libvos_slot(pointer, slot)
    let state = unsafe libvos_slot_state(line)
    let sequence = unsafe (vos_load_acquire32(state) >> VOS_SLOT_SEQUENCE_SHIFT) &+ 1
    let word = (sequence & VOS_SLOT_SEQUENCE_MASK) << VOS_SLOT_SEQUENCE_SHIFT | VOS_SLOT_SUBMITTED
    unsafe line.pointee.call = UInt16(truncatingIfNeeded: request.call)
    unsafe line.pointee.flags = 0
    unsafe line.pointee.object = request.object
    unsafe line.pointee.data_offset =
      UInt32(bitPattern: slot) &* pointer.pointee.piece_bytes
    unsafe line.pointee.data_length = UInt32(truncatingIfNeeded: request.length)
    unsafe line.pointee.data_capacity = UInt32(truncatingIfNeeded: request.capacity)
    unsafe line.pointee.argument = (request.argument, 0, 0)
    unsafe vos_store_release32(state, word)
    // Store, then look whether the service sleeps; it stores, then looks for calls.
    vos_full_fence()
    if unsafe vos_load_acquire32(libvos_sleeping(libvos_header(pointer))) != 0 { ring() }
    return Ticket(slot: slot, submitted: word)
  }

  private func ring() {
    let device = unsafe libvos_device(index).pointee &- 1
    _ = keepingErrorNumber {
      unsafe real().pointee.ioctl(device, UInt(VOS_IOC_DOORBELL), UInt(VOS_PEER_SERVICE))
    }
  }

  /// Waits for the answer; the slot stays the caller's until `release`. After `lost` it must not
  /// be released: a service that comes back may still write to it.
  func finish(_ ticket: Ticket) -> Outcome {
    let line = unsafe libvos_slot(pointer, ticket.slot)
    let state = unsafe libvos_slot_state(line)
    let isThere =
      unsafe park(on: state, ticket)
      ?? (spin(on: state, until: ticket.submitted) || sleep(on: state, ticket))
    guard isThere else { return .lost }
    return .done(unsafe line.pointee.result)
  }

  private func isDone(_ word: UInt32, _ submitted: UInt32) -> Bool {
    word & VOS_SLOT_PHASE_MASK == VOS_SLOT_DONE
      && word >> VOS_SLOT_SEQUENCE_SHIFT == submitted >> VOS_SLOT_SEQUENCE_SHIFT
  }

  /// Leaves the waiting to the registered waiter; nil if there is none, or not for this thread.
  private func park(on state: UnsafeMutablePointer<UInt32>, _ ticket: Ticket) -> Bool? {
    guard let waiter = Waiter.current else { return nil }
    let old = generation
    while true {
      if unsafe isDone(vos_load_acquire32(state), ticket.submitted) { return true }
      guard isAlive, generation == old else {
        return unsafe isDone(vos_load_acquire32(state), ticket.submitted)
      }
      let device = unsafe libvos_device(index).pointee &- 1
      let pending = unsafe vos_pending(
        state: state, submitted: ticket.submitted, slot: UInt32(bitPattern: ticket.slot),
        device: device, carries: carries)
      guard unsafe waiter.park(pending) else { return nil }
    }
  }

  /// True if the answer came within the budget, which follows how often that happens.
  private func spin(on state: UnsafeMutablePointer<UInt32>, until submitted: UInt32) -> Bool {
    let budget = unsafe pointer.pointee.spin
    let limit = unsafe libvos_set().pointee.spin_limit
    for _ in 0..<budget {
      if unsafe isDone(vos_load_acquire32(state), submitted) {
        if budget < limit { unsafe pointer.pointee.spin = min(limit, budget &+ budget / 8 &+ 1) }
        return true
      }
      vos_pause()
    }
    unsafe pointer.pointee.spin = max(min(Self.fewestPauses, limit), budget / 2)
    return false
  }

  /// Announces the sleeper, then sleeps in the kernel until the slot is done. False: the service
  /// is gone. A signal does not end the wait: the call cannot be taken back.
  private func sleep(on state: UnsafeMutablePointer<UInt32>, _ ticket: Ticket) -> Bool {
    let waiting = ticket.submitted | VOS_SLOT_WAITER
    let old = generation
    while true {
      _ = unsafe vos_compare_exchange32(state, ticket.submitted, waiting)
      if unsafe isDone(vos_load_acquire32(state), ticket.submitted) { return true }
      guard isAlive, generation == old else {
        return unsafe isDone(vos_load_acquire32(state), ticket.submitted)
      }
      // Without the device (the program closed it behind our back) there is only looking again.
      if !wait(UInt32(bitPattern: ticket.slot), waiting) { _ = sched_yield() }
    }
  }

  private func wait(_ slot: UInt32, _ state: UInt32) -> Bool {
    var request = vos_ioc_wait(
      slot: slot, state: state, timeout_ms: Self.sleepMilliseconds, reserved0: 0)
    let device = unsafe libvos_device(index).pointee &- 1
    return keepingErrorNumber {
      unsafe withUnsafeMutablePointer(to: &request) { place in
        unsafe real().pointee.ioctl(device, UInt(VOS_IOC_WAIT), UInt(bitPattern: place)) == 0
      }
    }
  }
}
