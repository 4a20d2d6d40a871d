// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// The beginning and the end of threads.
enum Births {
  private static let pageMask = 4095
  private static let leastStack = 16384  // PTHREAD_STACK_MIN
  private static let detached: Int32 = 1
  private static let explicitSchedule: Int32 = 1  // PTHREAD_EXPLICIT_SCHED

  static func pages(_ bytes: Int) -> Int { (bytes &+ pageMask) & ~pageMask }

  /// What a pthread_attr_t asks for.
  struct Wish {
    var stack: UInt = 0  // 0: ours
    var bytes = 0
    var guardBytes = 0
    var isDetached = false
    var changesSchedule = false
  }

  // SAFETY (all below): attributes are the program's, read by libc's own functions; a new thread's
  // storage is seen by nobody else until it is ready.

  static func wish(_ attributes: UnsafeRawPointer?) -> Wish {
    let all = unsafe mn_all()
    guard let attributes = unsafe attributes else {
      return unsafe Wish(bytes: all.pointee.default_stack, guardBytes: all.pointee.default_guard)
    }
    var wish = Wish()
    var address: UnsafeMutableRawPointer?
    var state: Int32 = 0
    _ = unsafe pthread_attr_getstack(attributes, &address, &wish.bytes)
    _ = unsafe pthread_attr_getguardsize(attributes, &wish.guardBytes)
    _ = unsafe pthread_attr_getdetachstate(attributes, &state)
    wish.isDetached = state == detached
    _ = unsafe pthread_attr_getinheritsched(attributes, &state)
    if state == explicitSchedule {
      _ = unsafe pthread_attr_getschedpolicy(attributes, &state)
      wish.changesSchedule = state != 0
    }
    let start = UInt(bitPattern: address)
    // Without an address, libc gives zero minus the size.
    if start != 0, start &+ UInt(bitPattern: wish.bytes) != 0 {
      wish.stack = start
      wish.guardBytes = 0
    } else {
      if wish.bytes == 0 { wish.bytes = unsafe all.pointee.default_stack }
      wish.guardBytes = pages(wish.guardBytes)
      let isUsual = unsafe wish.bytes == all.pointee.default_stack
      wish.bytes = isUsual ? wish.bytes : pages(max(wish.bytes, leastStack)) &+ wish.guardBytes
    }
    return wish
  }

  /// 0, or an errno.
  static func create(
    _ number: UnsafeMutablePointer<UInt64>, _ wish: Wish,
    _ start: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?,
    _ argument: UnsafeMutableRawPointer?
  ) -> Int32 {
    guard !wish.changesSchedule else { return Linux.notPermitted }
    Runtime.ensureWatcher()
    guard let descriptor = unsafe Storage.takeDescriptor() else { return Linux.again }
    guard unsafe Storage.renew(descriptor) else { return Linux.again }
    let raw = UnsafeMutableRawPointer(descriptor)
    let thread = unsafe Thread(mn_thread_of(raw))
    unsafe thread.pointer.pointee.base = unsafe raw
    let stack =
      wish.stack == 0
      ? unsafe Storage.takeStack(wish.bytes, wish.guardBytes)
      : unsafe UnsafeMutableRawPointer(bitPattern: wish.stack)
    guard let stack = unsafe stack else {
      Scheduler.enter()
      Storage.putBack(thread)
      Scheduler.leave()
      return Linux.again
    }
    unsafe thread.pointer.pointee.stack = unsafe stack
    unsafe thread.pointer.pointee.stack_bytes = wish.bytes
    unsafe thread.pointer.pointee.guard_bytes = wish.guardBytes
    unsafe thread.pointer.pointee.owns_stack = wish.stack == 0 ? 1 : 0
    unsafe thread.pointer.pointee.start = unsafe start
    unsafe thread.pointer.pointee.argument = unsafe argument
    unsafe thread.pointer.pointee.detached = wish.isDetached ? 1 : 0
    unsafe thread.pointer.pointee.kind = MN_USER
    unsafe thread.pointer.pointee.alive = 1
    unsafe thread.pointer.pointee.signals = Signals.blocked
    unsafe Storage.fill(descriptor, thread)
    prepareStack(thread)
    unsafe number.pointee = UInt64(UInt(bitPattern: raw))
    Scheduler.enter()
    unsafe mn_all().pointee.alive &+= 1
    unsafe mn_all().pointee.created &+= 1
    Signals.count(unsafe thread.pointer.pointee.signals, 1)
    let change = Signals.refresh()
    Scheduler.makeReady(thread)
    Scheduler.leaveAndKick()
    if let change { Signals.tell(change) }
    return 0
  }

  /// As if the thread had switched away at `mn_entry`. The top is left to the list of free stacks.
  static func prepareStack(_ thread: Thread) {
    let place = unsafe thread.pointer.pointee
    guard let stack = unsafe place.stack else { return }
    let top = unsafe (UInt(bitPattern: stack) &+ UInt(place.stack_bytes) &- 64) & ~15
    let defaultControl: UInt64 = 0x037f_0000_1f80  // x87 control word, MXCSR
    let frame = unsafe UnsafeMutablePointer<UInt64>(bitPattern: top &- 64)
    let record = unsafe UInt64(UInt(bitPattern: thread.pointer))
    let entry = unsafe UInt64(UInt(bitPattern: mn_routine(MN_ENTRY.rawValue)))
    // Control words, r15, r14, r13, r12, rbx, rbp, return address.
    let words: InlineArray<8, UInt64> = [defaultControl, 0, 0, 0, record, 0, 0, entry]
    for index in 0..<8 { unsafe frame?[index] = words[index] }
    unsafe thread.pointer.pointee.stack_pointer = UnsafeMutableRawPointer(frame)
    // Whoever switches to it holds the scheduler's lock.
    if let base = unsafe place.base { unsafe mn_depth_of(base).pointee = 1 }
  }

  /// libc would end the kernel thread that runs the first thread when that calls pthread_exit: the
  /// outermost place it unwinds to becomes ours.
  static func redirectFirst() {
    guard let descriptor = unsafe Thread.current.descriptor,
      var buffer = unsafe descriptor.pointee.cleanup_buffer
    else { return }
    // struct pthread_unwind_buf: 8 registers, a flag, then the link to the one before.
    let linkAt = 72
    let programCounterAt = 56
    while let outer = unsafe UnsafeMutableRawPointer(
      bitPattern: (buffer + linkAt).load(as: UInt.self))
    {
      unsafe buffer = unsafe outer
    }
    let address = unsafe UInt(bitPattern: mn_routine(MN_FIRST_END.rawValue))
    let mixed = unsafe address ^ descriptor.pointee.pointer_guard
    let mangled = mixed << 17 | mixed >> 47  // PTR_MANGLE
    unsafe (buffer + programCounterAt).storeBytes(of: mangled, as: UInt.self)
  }

  /// A thread has returned, or was unwound: its last lines.
  static func end(_ me: Thread) -> Never {
    guard let descriptor = unsafe me.descriptor else { fatal() }
    _ = unsafe mn_or32(mn_cancellation_word(descriptor), MN_EXITING)
    __call_tls_dtors()
    unsafe Keys.destroyAll(descriptor)
    unsafe giveBack(descriptor)
    // No signal is taken in the name of a thread that has ended.
    Kernel.setBlockedSignals(UInt64.max)
    if let carrier = me.carrier { unsafe carrier.pointer.pointee.signals = UInt64.max }
    Scheduler.enter()
    unsafe mn_all().pointee.alive &-= 1
    if unsafe mn_all().pointee.alive == 0 {
      Scheduler.leave()
      exit(0)
    }
    Signals.count(unsafe me.pointer.pointee.signals, -1)
    let change = Signals.refresh()
    Scheduler.leave()
    if let change { Signals.tell(change) }
    Storage.cool(me)
    Scheduler.enter()
    unsafe vos_store_release32(mn_finished_word(me.pointer), 1)
    if unsafe me.pointer.pointee.detached != 0 {
      if unsafe me.pointer.pointee.first == 0 { Storage.recycle(me) }
    } else {
      unsafe Parking.wakeEntered(mn_finished_word(me.pointer), Int.max)
    }
    Scheduler.switchAway()
    fatal()
  }

  /// What libc frees when a thread ends (__libc_thread_freeres), but for the allocator's own.
  private static func giveBack(_ descriptor: UnsafeMutablePointer<mn_descriptor>) {
    _ = unsafe dlerror()
    _ = unsafe dlerror()
    let globalLocale = unsafe UnsafeMutableRawPointer(bitPattern: -1)
    _ = unsafe uselocale(globalLocale)
    let resolver = unsafe mn_resolver(descriptor)
    let optionsAt = 8
    if unsafe resolver.load(fromByteOffset: optionsAt, as: UInt.self) != 0 {
      _ = unsafe __res_nclose(resolver)
    }
    for index in 0..<2 {
      let text = unsafe mn_text_at(descriptor, index)
      unsafe free(text.pointee)
      unsafe text.pointee = nil
    }
  }

  static func fatal() -> Never {
    Runtime.say("libvos-mn: a thread went on after its end\n")
    let exitGroup = 231
    while true { _ = mn_syscall(exitGroup, 134, 0, 0, 0, 0, 0) }
  }
}

/// Thread-specific data: libc keeps it in the descriptor; only its destruction is ours.
enum Keys {
  private static let rounds = 4  // PTHREAD_DESTRUCTOR_ITERATIONS

  // SAFETY (all below): the thread's own descriptor, laid out as libc's pthread_setspecific does.
  static func destroyAll(_ descriptor: UnsafeMutablePointer<mn_descriptor>) {
    for _ in 0..<rounds where unsafe descriptor.pointee.specific_used != 0 {
      unsafe descriptor.pointee.specific_used = 0
      for block in 0..<Int(MN_KEYS / MN_KEYS_PER_BLOCK) {
        if let data = unsafe mn_block_at(descriptor, block).pointee {
          unsafe destroy(data, block &* Int(MN_KEYS_PER_BLOCK))
        }
      }
    }
    for block in 1..<Int(MN_KEYS / MN_KEYS_PER_BLOCK) {
      let place = unsafe mn_block_at(descriptor, block)
      if let data = unsafe place.pointee { unsafe free(data) }
      unsafe place.pointee = nil
    }
  }

  private static func destroy(_ data: UnsafeMutablePointer<mn_specific>, _ first: Int) {
    for index in 0..<Int(MN_KEYS_PER_BLOCK) {
      let value = unsafe data[index]
      guard let content = unsafe value.data else { continue }
      unsafe data[index].data = nil
      let key = unsafe mn_key_at(first &+ index).pointee
      if unsafe value.sequence == key.sequence, let destructor = unsafe key.destructor {
        unsafe destructor(content)
      }
    }
  }
}

@c(mn_thread_begin)
public func threadBegin() {
  let me = Thread.current
  if unsafe me.pointer.pointee.kind == MN_IDLE, let carrier = me.carrier { Idle.run(me, carrier) }
  Scheduler.leave()
  errorNumber = 0
  __ctype_init()
}

@c(mn_thread_end)
public func threadEnd() { Births.end(Thread.current) }

@c(mn_first_ended)
public func firstEnded() {
  let me = Thread.current
  // SAFETY: the thread's own descriptor.
  unsafe me.pointer.pointee.result = unsafe me.descriptor?.pointee.result
  Births.end(me)
}

@c(mn_hook_exit)
public func hookExit() {
  _ = unsafe real()
  let me = Thread.current
  if me.isUser, unsafe me.pointer.pointee.first != 0 { Births.redirectFirst() }
}
