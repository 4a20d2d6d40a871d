// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// What is waited for: each kind has a patience of its own.
enum WaitKind: Int32 {
  case socketReceive, socketSend, fileRead, fileWrite, other
  /// Data on a socket that had none.
  case arrival
  /// The same, asked by poll.
  case readiness
  /// A disk.
  case durability

  init(of call: UInt32) {
    switch call {
    case UInt32(VOS_CALL_READ): self = .socketReceive
    case UInt32(VOS_CALL_WRITE): self = .socketSend
    case UInt32(VOS_CALL_PREAD64): self = .fileRead
    case UInt32(VOS_CALL_PWRITE64): self = .fileWrite
    case UInt32(VOS_CALL_FSYNC), UInt32(VOS_CALL_FDATASYNC): self = .durability
    default: self = .other
    }
  }
}

/// One wait, with the patience that was learnt for its kind.
@safe
struct Wait {
  private var policy: WaitPolicy
  private let history: UnsafeMutablePointer<UInt64>
  private let start: UInt64

  init(_ channel: Channel, _ kind: WaitKind) {
    // SAFETY: the channel stays in the table; kinds are fewer than its histories.
    unsafe history = unsafe libvos_wait_history(channel.pointer, kind.rawValue)
    policy = WaitPolicy(Clock.limits, WaitHistory(raw: unsafe vos_load_acquire64(history)))
    start = libvos_ticks()
  }

  /// A counter that went backwards counts as a long time: then the caller sleeps.
  private var elapsed: UInt64 { libvos_ticks() &- start }

  /// Whether so many milliseconds are over; without a number they never are.
  func isOver(_ milliseconds: Int32) -> Bool {
    milliseconds >= 0 && elapsed >= UInt64(milliseconds) &* Clock.ticksPerMillisecond
  }

  func next() -> WaitPolicy.Step { policy.step(after: elapsed) }

  /// It is over, also after a sleep.
  mutating func end() { end(after: elapsed) }

  /// It is left to the kernel path, which will take its time.
  mutating func leave() { end(after: UInt64.max) }

  private mutating func end(after elapsed: UInt64) {
    policy.finished(after: elapsed)
    // Threads overwrite each other's: one wait is forgotten.
    unsafe vos_store_release64(history, policy.history.raw)
  }
}

/// Nanoseconds and ticks of the time-stamp counter.
enum Clock {
  /// A doorbell, an interrupt and two switches of context cost about as much as so many traps: 50 µs
  /// where one takes 140 ns, and more where all that is slower. So long may be looked, and so long
  /// yielded, without losing much more than sleeping at once would have cost.
  private static let trapsPerSleep: UInt64 = 350
  private static let sleepRange: ClosedRange<UInt64> = 20_000...2_000_000
  private static let measuredTraps = 8
  private static let getParent = 110  // __NR_getppid: does next to nothing
  private static let monotonic: Int32 = 1  // CLOCK_MONOTONIC
  private static let measuredPauses = 400
  private static let slowest: UInt64 = 50  // ticks in a microsecond
  private static let fastest: UInt64 = 20_000
  private static let assumed: UInt64 = 2_000

  static var limits: WaitPolicy.Limits {
    // SAFETY: static storage, written before the first channel shows.
    let set = unsafe libvos_set()
    return unsafe WaitPolicy.Limits(
      spin: set.pointee.spin_ticks, yield: set.pointee.yield_ticks,
      sleepCost: set.pointee.sleep_ticks)
  }

  /// After `prepare`.
  static var ticksPerMillisecond: UInt64 {
    unsafe libvos_set().pointee.tick_rate &* 1000
  }

  /// Measures the counter, once in a family of processes.
  static func prepare() {
    let set = unsafe libvos_set()
    guard unsafe set.pointee.sleep_ticks == 0 else { return }
    let rate = ticksPerMicrosecond()
    let usual = min(max(trap &* trapsPerSleep, sleepRange.lowerBound), sleepRange.upperBound)
    // On one processor a look only keeps the others from working: there are yields instead.
    let spin = unsafe said(set.pointee.spin_said) ?? (isAlone ? 0 : usual)
    let yield = unsafe said(set.pointee.yield_said) ?? usual
    unsafe set.pointee.spin_ticks = spin &* rate / 1000
    unsafe set.pointee.yield_ticks = yield &* rate / 1000
    unsafe set.pointee.tick_rate = rate
    unsafe set.pointee.sleep_ticks = usual &* rate / 1000
  }

  /// Nanoseconds of a system call: the quickest of a few, for others may run in between.
  private static var trap: UInt64 {
    var quickest = UInt64.max
    for _ in 0..<measuredTraps {
      let start = nanoseconds
      for _ in 0..<measuredTraps { _ = libvos_system_call(getParent, 0, 0, 0, 0, 0, 0) }
      quickest = min(quickest, nanoseconds &- start)
    }
    return quickest / UInt64(measuredTraps)
  }

  private static func said(_ value: UInt32) -> UInt64? {
    value == 0 ? nil : UInt64(value) &- 1
  }

  private static func ticksPerMicrosecond() -> UInt64 {
    let (start, startTicks) = (nanoseconds, libvos_ticks())
    for _ in 0..<measuredPauses { vos_pause() }
    let (time, ticks) = (nanoseconds &- start, libvos_ticks() &- startTicks)
    guard time > 0, ticks < 1 << 40, case let rate = ticks &* 1000 / time,
      (slowest...fastest).contains(rate)
    else { return assumed }
    return rate
  }

  private static var nanoseconds: UInt64 {
    var time = libvos_time()
    // SAFETY: Linux's timespec on x86-64.
    guard unsafe clock_gettime(monotonic, &time) == 0 else { return 0 }
    return UInt64(truncatingIfNeeded: time.seconds &* 1_000_000_000 &+ time.nanoseconds)
  }

  /// Whether this process may run on one processor only.
  private static var isAlone: Bool {
    var mask = libvos_signals()
    let bytes = MemoryLayout<libvos_signals>.size
    // SAFETY: as many bytes as are said; the call fails if the kernel has more to say.
    guard unsafe sched_getaffinity(0, bytes, &mask) == 0 else { return false }
    var count = 0
    unsafe withUnsafeBytes(of: &mask) {
      for index in $0.indices { count = unsafe count &+ $0[index].nonzeroBitCount }
    }
    return count == 1
  }
}

extension Channel {
  /// How long one sleep lasts before the service's life is looked at again.
  private static let sleepMilliseconds: Int32 = 500

  private enum Look { case done, pending, broken }

  /// Waits for the answer; the slot stays the caller's until `release`. After `lost` and `damaged`
  /// it must not be released: a service that comes back may still write to it.
  func finish(_ ticket: Ticket) -> Outcome {
    guard isAnswered(ticket) else { return isBroken(in: ticket.generation) ? .damaged : .lost }
    // SAFETY: the line lies within the mapping. Read once; the copy is what counts.
    let result = unsafe libvos_slot(pointer, ticket.slot).pointee.result
    if result == Int64(VOS_RESULT_LOST) {
      // By the next service, which executed nothing and will not write to the slot again.
      release(ticket.slot)
      return .lost
    }
    guard result > -Int64(VOS_ERRNO_LIMIT), isIntact(ticket) else {
      declareBroken(in: ticket.generation)
      return isBroken(in: ticket.generation) ? .damaged : .lost
    }
    return .done(result)
  }

  /// Spins, yields and sleeps, or leaves that to the registered waiter. False: nobody will answer.
  /// A signal does not end the wait: the call cannot be taken back.
  private func isAnswered(_ ticket: Ticket) -> Bool {
    var wait = Wait(self, WaitKind(of: ticket.request.call))
    var waiter = Waiter.current
    while true {
      switch look(ticket) {
      case .done:
        wait.end()
        return true
      case .broken:
        declareBroken(in: ticket.generation)
        return false
      case .pending: break
      }
      if waiter != nil {
        guard isServed(ticket) else { return look(ticket) == .done }
        if unsafe waiter?.park(pending(ticket)) != true { waiter = nil }
        continue
      }
      switch wait.next() {
      case .spin: vos_pause()
      case .yield: _ = sched_yield()
      case .sleep:
        guard isServed(ticket) else { return look(ticket) == .done }
        sleep(ticket)
      }
    }
  }

  /// Any word but these two is none that a call in flight can have: nobody would ever answer.
  private func look(_ ticket: Ticket) -> Look {
    let word = unsafe vos_load_acquire32(libvos_slot_state(libvos_slot(pointer, ticket.slot)))
    switch word & ~VOS_SLOT_WAITER {
    case ticket.submitted: return .pending
    case ticket.submitted & ~VOS_SLOT_PHASE_MASK | VOS_SLOT_DONE: return .done
    default: return .broken
    }
  }

  /// Whether the service that the call was posted to still lives, and can still find it.
  private func isServed(_ ticket: Ticket) -> Bool {
    guard isAlive, generation == ticket.generation else { return false }
    if look(ticket) == .pending, !isIntact(ticket) { declareBroken(in: ticket.generation) }
    return isAlive
  }

  /// Whether all that this process alone writes is as it wrote it. If not, the call may never be
  /// answered, or not be the one that was meant.
  private func isIntact(_ ticket: Ticket) -> Bool {
    let line = unsafe libvos_slot(pointer, ticket.slot)
    let request = ticket.request
    let limit = unsafe vos_load_acquire32(libvos_slot_limit(libvos_header(pointer)))
    return unsafe limit > UInt32(bitPattern: ticket.slot)
      && line.pointee.call == UInt16(truncatingIfNeeded: request.call)
      && line.pointee.flags == 0 && line.pointee.object == request.object
      && line.pointee.argument == (request.argument, request.more.0, request.more.1)
      && line.pointee.data_offset == place(ticket.slot)
      && line.pointee.data_capacity == UInt32(truncatingIfNeeded: request.capacity)
  }

  /// From now on the kernel path serves, until another life of the service; the channel itself is its
  /// module's to judge. Words of a life that is over may be anything: it was made new.
  private func declareBroken(in life: UInt64) {
    guard unsafe libvos_service_alive(pointer) != 0, generation == life else { return }
    unsafe vos_store_release32(libvos_broken(pointer), Self.mark(life))
  }

  func isBroken(in life: UInt64) -> Bool {
    unsafe vos_load_acquire32(libvos_broken(pointer)) == Self.mark(life)
  }

  private static func mark(_ life: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: life) &+ 1 }

  private func pending(_ ticket: Ticket) -> vos_pending {
    unsafe vos_pending(
      state: libvos_slot_state(libvos_slot(pointer, ticket.slot)), submitted: ticket.submitted,
      slot: UInt32(bitPattern: ticket.slot), device: libvos_device(index).pointee &- 1,
      carries: carries)
  }

  /// Announces the sleeper, then sleeps in the kernel until the slot's word changes.
  private func sleep(_ ticket: Ticket) {
    let waiting = ticket.submitted | VOS_SLOT_WAITER
    let state = unsafe libvos_slot_state(libvos_slot(pointer, ticket.slot))
    let isOurs = unsafe vos_compare_exchange32(state, ticket.submitted, waiting) != 0
    guard unsafe isOurs || vos_load_acquire32(state) == waiting else { return }
    var request = vos_ioc_wait(
      slot: UInt32(bitPattern: ticket.slot), state: waiting, timeout_ms: Self.sleepMilliseconds,
      reserved0: 0)
    let device = unsafe libvos_device(index).pointee &- 1
    let slept = keepingErrorNumber {
      unsafe withUnsafeMutablePointer(to: &request) { place in
        unsafe real().pointee.ioctl(device, UInt(VOS_IOC_WAIT), UInt(bitPattern: place)) == 0
      }
    }
    // Without the device (the program closed it behind our back) there is only looking again.
    if !slept { _ = sched_yield() }
  }
}
