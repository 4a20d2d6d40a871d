// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// From a program with one thread to one with user-level threads: at its first pthread_create.
enum Runtime {
  private static let notStarted: UInt32 = 0
  private static let running: UInt32 = 1
  private static let refused: UInt32 = 2
  /// No kernel thread's number: those end at 2^22 (PID_MAX_LIMIT).
  private static let firstNumber: UInt32 = 1 << 22 | 1
  private static let idleStack = 256 * 1024

  // SAFETY (all below): static state; `starting` lets one thread begin.

  static var isRunning: Bool { unsafe vos_load_acquire32(mn_started_word(mn_all())) == running }

  /// False: pthread_create is libc's own, for good.
  static func begin() -> Bool {
    let word = unsafe mn_started_word(mn_all())
    while true {
      let state = unsafe vos_load_acquire32(word)
      if state != notStarted { return state == running }
      if unsafe vos_compare_exchange32(mn_starting_word(mn_all()), 0, 1) != 0 { break }
      Kernel.yield()
    }
    let fits = isFirstThread && mn_library_fits() != 0 && adoptFirst()
    if !fits {
      say("libvos-mn: not this C library, or no first thread: threads stay kernel threads\n")
    }
    unsafe vos_store_release32(word, fits ? running : refused)
    guard fits else { return false }
    Kernel.endRestartableSequences()
    _ = mn_register_waiter()
    return true
  }

  /// There is a watcher from the first thread on, in a forked child too.
  static func ensureWatcher() {
    let word = unsafe mn_watching_word(mn_all())
    if unsafe vos_load_acquire32(word) == 0, unsafe vos_compare_exchange32(word, 0, 1) != 0 {
      _ = unsafe startBlocked(MN_WATCH.rawValue, nil)
    }
  }

  /// Only the program's first thread can become a user-level thread; it is the first to create one.
  private static var isFirstThread: Bool { Kernel.threadNumber == getpid() }

  private static func adoptFirst() -> Bool {
    let all = unsafe mn_all()
    guard unsafe all.pointee.libc_tls_bytes <= Storage.libraryLimit else { return false }
    unsafe all.pointee.next_number = firstNumber
    learnDefaults()
    let me = Thread.current
    unsafe me.pointer.pointee.kind = MN_USER
    unsafe me.pointer.pointee.first = 1
    unsafe me.pointer.pointee.alive = 1
    unsafe me.pointer.pointee.base = unsafe mn_thread_pointer()
    unsafe all.pointee.alive = 1
    return Rebirth.mark() && settle(me)
  }

  /// Puts the one thread there is on the kernel thread it runs on, which becomes a carrier.
  static func settle(_ me: Thread) -> Bool {
    let all = unsafe mn_all()
    let carrier = Carrier(0)
    let signals = Kernel.blockedSignals
    guard let idle = makeIdle(carrier) else { return false }
    unsafe me.pointer.pointee.carrier = unsafe carrier.pointer
    unsafe me.pointer.pointee.signals = signals
    unsafe carrier.pointer.pointee.idle = unsafe idle.pointer
    unsafe carrier.pointer.pointee.current = unsafe me.pointer
    unsafe carrier.pointer.pointee.signals = signals
    unsafe carrier.pointer.pointee.signal_stack = unsafe me.pointer.pointee.signal_stack
    unsafe carrier.pointer.pointee.tid = Kernel.threadNumber
    unsafe all.pointee.carriers = 1
    unsafe all.pointee.active = 1
    for signal in 0..<UInt32(64) { unsafe mn_blockers(signal).pointee = 0 }
    Signals.count(signals, 1)
    unsafe all.pointee.receiver_blocks = signals
    return true
  }

  /// The first kernel thread's stack is the program's: what it idles on is made like a thread.
  private static func makeIdle(_ carrier: Carrier) -> Thread? {
    guard let descriptor = unsafe Storage.takeDescriptor(), unsafe Storage.renew(descriptor),
      let stack = unsafe Storage.takeStack(idleStack, 4096)
    else { return nil }
    let raw = UnsafeMutableRawPointer(descriptor)
    let idle = unsafe Thread(mn_thread_of(raw))
    unsafe idle.pointer.pointee.base = unsafe raw
    unsafe idle.pointer.pointee.kind = MN_IDLE
    unsafe idle.pointer.pointee.carrier = unsafe carrier.pointer
    unsafe idle.pointer.pointee.stack = unsafe stack
    unsafe idle.pointer.pointee.stack_bytes = idleStack
    unsafe Storage.fill(descriptor, idle)
    Births.prepareStack(idle)
    return idle
  }

  private static func learnDefaults() {
    let all = unsafe mn_all()
    var attributes = InlineArray<7, UInt64>(repeating: 0)
    unsafe withUnsafeMutableBytes(of: &attributes) { place in
      guard let attribute = place.baseAddress else { return }
      _ = unsafe pthread_getattr_default_np(attribute)
      var address: UnsafeMutableRawPointer?
      _ = unsafe pthread_attr_getstack(attribute, &address, &all.pointee.default_stack)
      _ = unsafe pthread_attr_getguardsize(attribute, &all.pointee.default_guard)
      _ = unsafe pthread_attr_destroy(attribute)
    }
    unsafe all.pointee.default_guard = Births.pages(all.pointee.default_guard)
    unsafe all.pointee.default_stack =
      Births.pages(all.pointee.default_stack) &+ all.pointee.default_guard
    let count = processors
    if unsafe all.pointee.parallel == 0 { unsafe all.pointee.parallel = count }
    Spinning.setAlone(count == 1)
    unsafe all.pointee.limit = UInt32(MN_CARRIERS)
  }

  private static var processors: UInt32 {
    var set = InlineArray<128, UInt64>(repeating: 0)
    let bytes = unsafe withUnsafeMutableBytes(of: &set) { place in
      unsafe place.baseAddress.map { unsafe sched_getaffinity(0, place.count, $0) } ?? -1
    }
    var count = 0
    if bytes >= 0 { for index in 0..<128 { count = count &+ set[index].nonzeroBitCount } }
    return UInt32(max(count, 1))
  }

  /// A kernel thread that handles no signals of the program's.
  static func startBlocked(_ routine: UInt32, _ argument: UnsafeMutableRawPointer?) -> Bool {
    let saved = Kernel.blockedSignals
    Kernel.setBlockedSignals(UInt64.max)
    let started = unsafe Carriers.start(routine, argument)
    Kernel.setBlockedSignals(saved)
    return started
  }

  static func say(_ text: StaticString) {
    let write = 1
    _ = unsafe mn_syscall(
      write, 2, Int(bitPattern: text.utf8Start), text.utf8CodeUnitCount, 0, 0, 0)
  }
}

/// DT_INIT: the C library passes what main will get.
@c(mn_start)
public func start(
  _ count: Int32, _ arguments: UnsafeRawPointer?,
  _ environment: UnsafePointer<UnsafePointer<CChar>?>?
) {
  _ = unsafe real()
  let all = unsafe mn_all()
  Spinning.setLimit(nil)
  guard var next = unsafe environment else { return }
  // SAFETY: the environment is an array of strings that ends with a null pointer.
  while let entry = unsafe next.pointee {
    unsafe next = unsafe next + 1
    if let number = unsafe number(entry, "VOS_MN_THREADS=") {
      unsafe all.pointee.parallel = min(number, UInt32(MN_CARRIERS))
    } else if let number = unsafe number(entry, "VOS_DEBUG=") {
      unsafe all.pointee.debug = number
    } else if let number = unsafe number(entry, "VOS_SPIN=") {
      Spinning.setLimit(number)
    }
  }
}

private func number(_ entry: UnsafePointer<CChar>, _ name: StaticString) -> UInt32? {
  for index in 0..<name.utf8CodeUnitCount
  where unsafe entry[index] != CChar(bitPattern: name.utf8Start[index]) { return nil }
  var result: UInt32 = 0
  var at = name.utf8CodeUnitCount
  while case let digit = unsafe UInt8(bitPattern: entry[at]) &- 48, digit < 10, result < 1 << 20 {
    result = result &* 10 &+ UInt32(digit)
    at = at &+ 1
  }
  return result
}

/// DT_FINI: with VOS_DEBUG=1, one line on standard error.
@c(mn_stop)
public func stop() {
  let all = unsafe mn_all()
  guard unsafe all.pointee.debug != 0 else { return }
  var switches: UInt64 = 0
  for index in 0..<(unsafe all.pointee.carriers) {
    switches &+= unsafe Carrier(index).pointer.pointee.switches
  }
  var line = Line()
  line.add("libvos-mn: pid ")
  line.add(UInt64(UInt32(bitPattern: getpid())))
  line.add(": ")
  line.add(UInt64(unsafe all.pointee.created))
  line.add(" threads on ")
  line.add(UInt64(unsafe all.pointee.carriers))
  line.add(" kernel threads, ")
  line.add(switches)
  line.add(" switches")
  let write = 1
  // SAFETY: the text is alive during the call.
  unsafe line.end { _ = mn_syscall(write, 2, Int(bitPattern: $0.baseAddress), $0.count, 0, 0, 0) }
}
