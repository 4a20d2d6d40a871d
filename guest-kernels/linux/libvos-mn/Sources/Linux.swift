// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// Linux's and libc's numbers on x86-64 that libvos-mn uses; libc's headers stay out (see mn_c.h).
enum Linux {
  static let notPermitted: Int32 = 1
  static let noSuchThread: Int32 = 3
  static let interrupted: Int32 = 4
  static let again: Int32 = 11
  static let noMemory: Int32 = 12
  static let busy: Int32 = 16
  static let invalid: Int32 = 22
  static let outOfRange: Int32 = 34
  static let deadlock: Int32 = 35
  static let notOffered: Int32 = 38
  static let notSupported: Int32 = 95
  static let timedOut: Int32 = 110

  static let realTime: Int32 = 0
  static let monotonic: Int32 = 1

  static let callMprotect = 10
  static let callSignalMask = 14
  static let callYield = 24
  static let callSignalStack = 131
  static let callThreadNumber = 186
  static let callFutex = 202
  static let callKill = 234  // tgkill
  static let callRestartable = 334  // rseq
}

/// System calls by number. They leave errno alone: the scheduler runs in every thread's name.
enum Kernel {
  private static let wait = 128 | 9  // FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG
  private static let wake = 128 | 1
  private static let anyBit = 0xffff_ffff

  // SAFETY (all below): the words are static, or outlive the wait by their owner's protocol; the
  // kernel only reads what is passed by address.

  /// Sleeps while the word is `expected`, until the deadline (CLOCK_MONOTONIC, ns; 0: none).
  @discardableResult
  static func sleep(on word: UnsafeMutablePointer<UInt32>, while expected: UInt32, until: UInt64)
    -> Int
  {
    var time = mn_time(
      seconds: Int64(until / Clock.second), nanoseconds: Int64(until % Clock.second))
    return unsafe withUnsafeMutablePointer(to: &time) { place in
      mn_syscall(
        Linux.callFutex, Int(bitPattern: word), wait, Int(expected),
        until == 0 ? 0 : Int(bitPattern: place), 0, anyBit)
    }
  }

  static func wakeSleeper(on word: UnsafeMutablePointer<UInt32>, count: Int = 1) {
    _ = mn_syscall(Linux.callFutex, Int(bitPattern: word), wake, count, 0, 0, 0)
  }

  /// Sleeps, as a kernel thread.
  static func pause(_ nanoseconds: UInt64) {
    var never: UInt32 = 0
    unsafe sleep(on: &never, while: 0, until: Clock.now &+ nanoseconds)
  }

  static func yield() { _ = mn_syscall(Linux.callYield, 0, 0, 0, 0, 0, 0) }

  static var threadNumber: Int32 {
    Int32(truncatingIfNeeded: mn_syscall(Linux.callThreadNumber, 0, 0, 0, 0, 0, 0))
  }

  static func setBlockedSignals(_ signals: UInt64) {
    var signals = signals
    let set = 2  // SIG_SETMASK
    _ = unsafe withUnsafeMutablePointer(to: &signals) { place in
      mn_syscall(Linux.callSignalMask, set, Int(bitPattern: place), 0, 8, 0, 0)
    }
  }

  static var blockedSignals: UInt64 {
    var signals: UInt64 = 0
    _ = unsafe withUnsafeMutablePointer(to: &signals) { place in
      mn_syscall(Linux.callSignalMask, 0, 0, Int(bitPattern: place), 8, 0, 0)
    }
    return signals
  }

  static func setSignalStack(_ stack: mn_signal_stack) {
    var stack = unsafe stack
    let disabled: Int32 = 2
    if unsafe stack.base == nil { unsafe stack.flags = disabled }
    _ = unsafe withUnsafeMutablePointer(to: &stack) { place in
      mn_syscall(Linux.callSignalStack, Int(bitPattern: place), 0, 0, 0, 0, 0)
    }
  }

  /// From now on the kernel writes to no descriptor on behalf of this kernel thread.
  static func endRestartableSequences() {
    let descriptor = unsafe mn_descriptor_of(mn_thread_pointer())
    let offset = 2336  // rseq_area of struct pthread
    let unregister = 1
    let signature = 0x5305_3053
    _ = mn_syscall(
      Linux.callRestartable, Int(bitPattern: descriptor) &+ offset, 32, unregister, signature, 0, 0)
    unsafe descriptor.pointee.cpu = MN_RSEQ_FAILED
  }
}

enum Clock {
  static let second: UInt64 = 1_000_000_000
  static let millisecond: UInt64 = 1_000_000

  static func read(_ clock: Int32) -> UInt64 {
    var time = mn_time()
    // SAFETY: libc fills the structure.
    guard unsafe clock_gettime(clock, &time) == 0 else { return 0 }
    return UInt64(bitPattern: time.seconds) &* second &+ UInt64(bitPattern: time.nanoseconds)
  }

  static var now: UInt64 { read(Linux.monotonic) }

  /// A span as nanoseconds; nil if it is no valid one.
  static func span(_ time: UnsafePointer<mn_time>?) -> UInt64? {
    // SAFETY: the program's structure, read as libc would.
    guard let time = unsafe time?.pointee, time.seconds >= 0,
      (0..<Int64(second)).contains(time.nanoseconds)
    else { return nil }
    let limit = Int64(1) << 33  // beyond any uptime
    return UInt64(min(time.seconds, limit)) &* second &+ UInt64(time.nanoseconds)
  }

  /// A point of `clock` as one of CLOCK_MONOTONIC, never 0; nil if it is no valid time. What has
  /// passed is the past: 1.
  static func deadline(_ clock: Int32, _ time: UnsafePointer<mn_time>?) -> UInt64? {
    guard let raw = unsafe time?.pointee, (0..<Int64(second)).contains(raw.nanoseconds) else {
      return nil
    }
    guard let point = unsafe span(time) else { return 1 }
    if clock == Linux.monotonic { return max(point, 1) }
    let passed = read(clock)
    return point <= passed ? 1 : now &+ (point &- passed)
  }
}

/// The real functions, found once, also before our own start has run.
@inline(__always)
func real() -> UnsafeMutablePointer<mn_next> {
  // SAFETY: static storage; `resolved` is stored after the table is filled.
  if unsafe vos_load_acquire32(mn_resolved_word(mn_all())) == 0 { resolve() }
  return unsafe mn_real()
}

/// Names by dlsym(RTLD_NEXT). What the C library lacks fails with ENOSYS.
func resolve() {
  // SAFETY: both tables are static; the names stand in the order of the structure's fields.
  let table = unsafe UnsafeMutableRawPointer(mn_real())
  let word = MemoryLayout<UInt>.size
  for index in 0..<MemoryLayout<mn_next>.size / word {
    let name = unsafe mn_names()[index]
    unsafe table.storeBytes(
      of: nextSymbol(name.name, name.version), toByteOffset: index &* word, as: UInt.self)
  }
  let thunks = unsafe mn_first_thunk()
  for index in 0..<mn_thunk_count() {
    unsafe thunks[index].next = UnsafeMutableRawPointer(
      bitPattern: nextSymbol(thunks[index].name, nil))
  }
  unsafe vos_store_release32(mn_resolved_word(mn_all()), 1)
}

private func nextSymbol(_ name: UnsafePointer<CChar>?, _ version: UnsafePointer<CChar>?) -> UInt {
  // SAFETY: RTLD_NEXT is -1; the names are static strings.
  let next = unsafe UnsafeMutableRawPointer(bitPattern: -1)
  guard let name = unsafe name else { return 0 }
  if let version = unsafe version, let found = unsafe dlvsym(next, name, version) {
    return UInt(bitPattern: found)
  }
  if let found = unsafe dlsym(next, name) { return UInt(bitPattern: found) }
  let missing: @convention(c) () -> Int = missingFunction
  return unsafe unsafeBitCast(missing, to: UInt.self)
}

@c(mn_missing)
func missingFunction() -> Int { failed(Linux.notOffered) }

var errorNumber: Int32 {
  // SAFETY: libc gives each thread its own errno.
  get { unsafe __errno_location().pointee }
  set { unsafe __errno_location().pointee = newValue }
}

/// As libc's calls fail that are no pthread functions.
func failed(_ error: Int32) -> Int {
  errorNumber = error
  return -1
}
