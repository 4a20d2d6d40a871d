// SPDX-License-Identifier: Apache-2.0

public import CMN
internal import CVosABI

/// What the kernel keeps per kernel thread, kept per thread: blocked signals, the signal stack.
enum Signals {
  // SAFETY (all below): the running thread's own record and its kernel thread's.

  static var blocked: UInt64 {
    Thread.current.isUser
      ? unsafe Thread.current.pointer.pointee.signals : Kernel.blockedSignals
  }

  /// The kernel's view has changed in the running thread's name.
  static func note() {
    let me = Thread.current
    // What a handler changes, its end undoes.
    guard me.isUser, unsafe me.pointer.pointee.handlers == 0, let carrier = me.carrier else {
      return
    }
    let signals = Kernel.blockedSignals
    let before = unsafe me.pointer.pointee.signals
    guard signals != before else { return }
    unsafe me.pointer.pointee.signals = signals
    unsafe carrier.pointer.pointee.signals = signals
    Scheduler.enter()
    count(before, -1)
    count(signals, 1)
    let change = refresh()
    Scheduler.leave()
    if let change { tell(change) }
  }

  /// Threads that block a signal, by signal. Lock held.
  static func count(_ signals: UInt64, _ step: Int32) {
    var left = signals
    while left != 0 {
      unsafe mn_blockers(UInt32(truncatingIfNeeded: left.trailingZeroBitCount)).pointee &+= step
      left &= left &- 1
    }
  }

  /// What the receiver blocks: what every thread blocks. A new value of its version, and whether
  /// signals were added; nil: no change. Lock held.
  static func refresh() -> (version: UInt32, isNarrower: Bool)? {
    let all = unsafe mn_all()
    var blocked: UInt64 = 0
    for signal in 0..<UInt32(64)
    where unsafe mn_blockers(signal).pointee >= Int32(bitPattern: all.pointee.alive) {
      blocked |= 1 << UInt64(signal)
    }
    let before = unsafe all.pointee.receiver_blocks
    guard blocked != before else { return nil }
    unsafe all.pointee.receiver_blocks = blocked
    let version = unsafe mn_add32(mn_receiver_wanted(all), 1) &+ 1
    return (version, blocked & ~before != 0)
  }

  /// Has the receiver follow. A signal that all threads block must not be delivered from then on.
  static func tell(_ change: (version: UInt32, isNarrower: Bool)) {
    let all = unsafe mn_all()
    unsafe Kernel.wakeSleeper(on: mn_receiver_wanted(all))
    guard change.isNarrower, unsafe all.pointee.receiving != 0 else { return }
    let done = unsafe mn_receiver_done(all)
    while true {
      let seen = unsafe vos_load_acquire32(done)
      if Int32(bitPattern: seen &- change.version) >= 0 { return }
      unsafe Kernel.sleep(on: done, while: seen, until: Clock.now &+ Clock.millisecond)
    }
  }

  /// The receiver: a kernel thread that takes the signals sent to the process while every thread
  /// that would take them is parked. The handlers run on it.
  static func receive() -> Never {
    let all = unsafe mn_all()
    let wanted = unsafe mn_receiver_wanted(all)
    let done = unsafe mn_receiver_done(all)
    Kernel.endRestartableSequences()
    while true {
      Scheduler.enter()
      let version = unsafe vos_load_acquire32(wanted)
      let blocked = unsafe all.pointee.receiver_blocks
      Scheduler.leave()
      Kernel.setBlockedSignals(blocked)
      unsafe vos_store_release32(done, version)
      unsafe Kernel.wakeSleeper(on: done, count: Int(Int32.max))
      unsafe Kernel.sleep(on: wanted, while: version, until: 0)
    }
  }
}

@c(mn_receive)
public func receive(_ unused: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  Signals.receive()
}

@c(pthread_sigmask)
public func pthread_sigmask(
  _ how: Int32, _ set: UnsafePointer<UInt64>?, _ old: UnsafeMutablePointer<UInt64>?
) -> Int32 {
  let result = unsafe real().pointee.pthread_sigmask(how, set, old)
  if unsafe set != nil { Signals.note() }
  return result
}

@c(sigprocmask)
public func sigprocmask(
  _ how: Int32, _ set: UnsafePointer<UInt64>?, _ old: UnsafeMutablePointer<UInt64>?
) -> Int32 {
  let result = unsafe real().pointee.sigprocmask(how, set, old)
  if unsafe set != nil { Signals.note() }
  return result
}

@c(sigaltstack)
public func sigaltstack(
  _ stack: UnsafePointer<mn_signal_stack>?, _ old: UnsafeMutablePointer<mn_signal_stack>?
) -> Int32 {
  let result = unsafe real().pointee.sigaltstack(stack, old)
  if result == 0, let stack = unsafe stack {
    let disabled: Int32 = 2
    let me = Thread.current
    var now = unsafe stack.pointee
    if unsafe now.flags & disabled != 0 { unsafe now.base = nil }
    unsafe me.pointer.pointee.signal_stack = unsafe now
    if let carrier = me.carrier { unsafe carrier.pointer.pointee.signal_stack = unsafe now }
  }
  return result
}

/// Handlers run through `mn_call_handler`, which notes that the thread is in one.
@c(sigaction)
public func sigaction(
  _ signal: Int32, _ action: UnsafePointer<mn_action>?, _ old: UnsafeMutablePointer<mn_action>?
) -> Int32 {
  guard (1...64).contains(signal) else {
    return unsafe real().pointee.sigaction(signal, action, old)
  }
  let kept = unsafe mn_action_of(signal)
  let before = unsafe kept.pointee
  var passed = unsafe mn_action()
  if let action = unsafe action {
    unsafe passed = unsafe action.pointee
    if unsafe UInt(bitPattern: passed.handler) > 1 {
      let tellsMore: Int32 = 4  // SA_SIGINFO
      // Before the kernel may call it.
      unsafe kept.pointee = unsafe action.pointee
      unsafe passed.handler = unsafe mn_routine(MN_CALL_HANDLER.rawValue)
      unsafe passed.flags |= tellsMore
    }
  }
  var found = unsafe mn_action()
  let result = unsafe withUnsafeMutablePointer(to: &passed) { place in
    unsafe real().pointee.sigaction(signal, action == nil ? nil : place, &found)
  }
  if result != 0 { unsafe kept.pointee = unsafe before }
  if result == 0, let old = unsafe old {
    let isOurs = unsafe found.handler == mn_routine(MN_CALL_HANDLER.rawValue)
    unsafe old.pointee = unsafe isOurs ? before : found
  }
  return result
}

@c(signal)
public func signal(_ number: Int32, _ handler: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?
{
  let restart: Int32 = 0x1000_0000
  let error = unsafe UnsafeMutableRawPointer(bitPattern: -1)
  var action = unsafe mn_action()
  var old = unsafe mn_action()
  unsafe action.handler = unsafe handler
  unsafe action.flags = restart
  return unsafe sigaction(number, &action, &old) == 0 ? old.handler : error
}

/// A jump out of a signal handler ends it; one that restores blocked signals changes them.
@c(mn_hook_jump)
public func hookJump(_ buffer: UnsafeRawPointer?) {
  _ = unsafe real()
  let me = Thread.current
  let wasInHandler = unsafe me.pointer.pointee.handlers > 0
  unsafe me.pointer.pointee.handlers = 0
  guard me.isUser, let carrier = me.carrier, let buffer = unsafe buffer else { return }
  // struct __jmp_buf_tag: 8 registers, whether the mask was saved, the mask.
  guard unsafe buffer.load(fromByteOffset: 64, as: Int32.self) != 0 else {
    if wasInHandler { Signals.note() }
    return
  }
  let signals = unsafe buffer.load(fromByteOffset: 72, as: UInt64.self)
  Scheduler.enter()
  Signals.count(unsafe me.pointer.pointee.signals, -1)
  Signals.count(signals, 1)
  unsafe me.pointer.pointee.signals = signals
  unsafe carrier.pointer.pointee.signals = signals
  let change = Signals.refresh()
  Scheduler.leave()
  if let change { Signals.tell(change) }
}
