// SPDX-License-Identifier: Apache-2.0

public import CMN
internal import CVosABI

// pthread_create and what takes a pthread_t. Threads that are not ours are left to libc.
// SAFETY (all below): a program's pointers are read and written as libc would.

@c(pthread_create)
public func pthread_create(
  _ number: UnsafeMutablePointer<UInt64>?, _ attributes: UnsafeRawPointer?,
  _ start: (@convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?)?,
  _ argument: UnsafeMutableRawPointer?
) -> Int32 {
  guard let number = unsafe number, let start = unsafe start else { return Linux.invalid }
  guard Runtime.begin() else {
    return unsafe real().pointee.pthread_create(
      number, attributes, unsafeBitCast(start, to: UnsafeMutableRawPointer.self), argument)
  }
  return unsafe Births.create(number, Births.wish(attributes), start, argument)
}

/// A thread of ours that has not been joined; nil: libc's.
@inline(__always)
private func ours(_ number: UInt64) -> Thread? {
  guard Runtime.isRunning, let thread = Thread(number), thread.isUser,
    unsafe thread.pointer.pointee.alive != 0
  else { return nil }
  return thread
}

/// A thread of ours that has ended and was joined, or was detached: libc would wait for it for ever.
@inline(__always)
private func isGone(_ number: UInt64) -> Bool {
  guard Runtime.isRunning, let thread = Thread(number) else { return false }
  return unsafe UInt64(UInt(bitPattern: thread.pointer.pointee.base)) == number
    && thread.pointer.pointee.kind != MN_IDLE && thread.pointer.pointee.alive == 0
}

/// Waits for the end of `thread`; 0, or an errno.
private func join(
  _ thread: Thread, _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ deadline: UInt64
) -> Int32 {
  if thread == Thread.current { return Linux.deadlock }
  Scheduler.enter()
  let refused = unsafe thread.pointer.pointee.detached != 0 || thread.pointer.pointee.joined != 0
  unsafe thread.pointer.pointee.joined = 1
  Scheduler.leave()
  if refused { return Linux.invalid }
  let word = unsafe mn_finished_word(thread.pointer)
  while unsafe vos_load_acquire32(word) == 0 {
    switch unsafe Parking.wait(on: word, while: 0, until: deadline, cancellable: true) {
    case .timedOut:
      unsafe thread.pointer.pointee.joined = 0
      return Linux.timedOut
    case .cancelled:
      unsafe thread.pointer.pointee.joined = 0
      pthread_testcancel()
      unsafe thread.pointer.pointee.joined = 1
    default: break
    }
  }
  let value = unsafe thread.pointer.pointee.result
  unsafe result?.pointee = unsafe value
  Scheduler.enter()
  if unsafe thread.pointer.pointee.first == 0 { Storage.recycle(thread) }
  Scheduler.leave()
  return 0
}

@c(pthread_join)
public func pthread_join(
  _ number: UInt64, _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
  guard let thread = ours(number) else {
    return isGone(number) ? Linux.noSuchThread : unsafe real().pointee.pthread_join(number, result)
  }
  return unsafe join(thread, result, 0)
}

@c(pthread_tryjoin_np)
public func pthread_tryjoin_np(
  _ number: UInt64, _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
  guard let thread = ours(number) else {
    return unsafe real().pointee.pthread_tryjoin_np(number, result)
  }
  guard unsafe vos_load_acquire32(mn_finished_word(thread.pointer)) != 0 else { return Linux.busy }
  return unsafe join(thread, result, 0)
}

@c(pthread_clockjoin_np)
public func pthread_clockjoin_np(
  _ number: UInt64, _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ clock: Int32,
  _ time: UnsafePointer<mn_time>?
) -> Int32 {
  guard let thread = ours(number) else {
    return unsafe real().pointee.pthread_clockjoin_np(number, result, clock, time)
  }
  guard let time = unsafe time else { return unsafe join(thread, result, 0) }
  guard let deadline = unsafe Clock.deadline(clock, time) else { return Linux.invalid }
  return unsafe join(thread, result, deadline)
}

@c(pthread_timedjoin_np)
public func pthread_timedjoin_np(
  _ number: UInt64, _ result: UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
  _ time: UnsafePointer<mn_time>?
) -> Int32 {
  unsafe pthread_clockjoin_np(number, result, Linux.realTime, time)
}

@c(pthread_detach)
public func pthread_detach(_ number: UInt64) -> Int32 {
  guard let thread = ours(number) else {
    return isGone(number) ? Linux.noSuchThread : unsafe real().pointee.pthread_detach(number)
  }
  Scheduler.enter()
  defer { Scheduler.leave() }
  if unsafe thread.pointer.pointee.detached != 0 { return Linux.invalid }
  unsafe thread.pointer.pointee.detached = 1
  if unsafe thread.pointer.pointee.finished != 0, unsafe thread.pointer.pointee.first == 0 {
    Storage.recycle(thread)
  }
  return 0
}

@c(pthread_cancel)
public func pthread_cancel(_ number: UInt64) -> Int32 {
  guard let thread = ours(number) else {
    return isGone(number) ? Linux.noSuchThread : unsafe real().pointee.pthread_cancel(number)
  }
  return Cancellation.cancel(thread)
}

/// A signal goes to a kernel thread; only the running thread knows which one is its own.
@c(pthread_kill)
public func pthread_kill(_ number: UInt64, _ signal: Int32) -> Int32 {
  guard let thread = ours(number), thread != Thread.current else {
    if isGone(number) { return Linux.noSuchThread }
    return unsafe real().pointee.pthread_kill(number, signal)
  }
  if !(0...64).contains(signal) { return Linux.invalid }
  return signal == 0 ? 0 : Linux.notSupported
}

@c(pthread_sigqueue)
public func pthread_sigqueue(
  _ number: UInt64, _ signal: Int32, _ value: UnsafeMutableRawPointer?
) -> Int32 {
  if ours(number) != nil { return Linux.notSupported }
  return unsafe real().pointee.pthread_sigqueue(number, signal, value)
}

@c(pthread_getattr_np)
public func pthread_getattr_np(_ number: UInt64, _ attributes: UnsafeMutableRawPointer?) -> Int32 {
  guard let thread = ours(number), unsafe thread.pointer.pointee.first == 0,
    let attributes = unsafe attributes, let stack = unsafe thread.pointer.pointee.stack
  else { return unsafe real().pointee.pthread_getattr_np(number, attributes) }
  let place = unsafe thread.pointer.pointee
  _ = unsafe pthread_attr_init(attributes)
  _ = unsafe pthread_attr_setstack(
    attributes, stack + place.guard_bytes, place.stack_bytes &- place.guard_bytes)
  _ = unsafe pthread_attr_setguardsize(attributes, place.guard_bytes)
  _ = unsafe pthread_attr_setdetachstate(attributes, place.detached != 0 ? 1 : 0)
  return 0
}

@c(pthread_setname_np)
public func pthread_setname_np(_ number: UInt64, _ name: UnsafePointer<CChar>?) -> Int32 {
  guard let thread = ours(number), let name = unsafe name else {
    return unsafe real().pointee.pthread_setname_np(number, name)
  }
  var length = 0
  while unsafe name[length] != 0 { length = length &+ 1 }
  guard length < MN_NAME_BYTES else { return Linux.outOfRange }
  let place = unsafe mn_name(thread.pointer)
  for index in 0...length { unsafe place[index] = unsafe name[index] }
  return 0
}

@c(pthread_getname_np)
public func pthread_getname_np(
  _ number: UInt64, _ name: UnsafeMutablePointer<CChar>?, _ room: Int
) -> Int32 {
  guard let thread = ours(number), let name = unsafe name,
    unsafe mn_name(thread.pointer)[0] != 0
  else {
    let running =
      ours(number) == nil ? number : unsafe UInt64(UInt(bitPattern: mn_thread_pointer()))
    return unsafe real().pointee.pthread_getname_np(running, name, room)
  }
  guard room >= MN_NAME_BYTES else { return Linux.outOfRange }
  let place = unsafe mn_name(thread.pointer)
  for index in 0..<Int(MN_NAME_BYTES) { unsafe name[index] = unsafe place[index] }
  return 0
}

// What belongs to a kernel thread: not a thread's of ours to choose.

@c(pthread_setaffinity_np)
public func pthread_setaffinity_np(
  _ number: UInt64, _ bytes: Int, _ set: UnsafeRawPointer?
) -> Int32 {
  if ours(number) != nil { return Linux.notSupported }
  return unsafe real().pointee.pthread_setaffinity_np(number, bytes, set)
}

/// The process's, which is where any of its threads may run.
@c(pthread_getaffinity_np)
public func pthread_getaffinity_np(
  _ number: UInt64, _ bytes: Int, _ set: UnsafeMutableRawPointer?
) -> Int32 {
  guard ours(number) != nil, let set = unsafe set else {
    return unsafe real().pointee.pthread_getaffinity_np(number, bytes, set)
  }
  return unsafe sched_getaffinity(getpid(), bytes, set) == 0 ? 0 : errorNumber
}

@c(pthread_setschedparam)
public func pthread_setschedparam(
  _ number: UInt64, _ policy: Int32, _ priority: UnsafePointer<Int32>?
) -> Int32 {
  guard ours(number) != nil else {
    return unsafe real().pointee.pthread_setschedparam(number, policy, priority)
  }
  return unsafe policy == 0 && priority?.pointee == 0 ? 0 : Linux.notSupported
}

@c(pthread_getschedparam)
public func pthread_getschedparam(
  _ number: UInt64, _ policy: UnsafeMutablePointer<Int32>?,
  _ priority: UnsafeMutablePointer<Int32>?
) -> Int32 {
  guard ours(number) != nil else {
    return unsafe real().pointee.pthread_getschedparam(number, policy, priority)
  }
  unsafe policy?.pointee = 0
  unsafe priority?.pointee = 0
  return 0
}

@c(pthread_setschedprio)
public func pthread_setschedprio(_ number: UInt64, _ priority: Int32) -> Int32 {
  guard ours(number) != nil else {
    return unsafe real().pointee.pthread_setschedprio(number, priority)
  }
  return priority == 0 ? 0 : Linux.notSupported
}

@c(pthread_getcpuclockid)
public func pthread_getcpuclockid(_ number: UInt64, _ clock: UnsafeMutablePointer<Int32>?) -> Int32
{
  if ours(number) != nil { return Linux.notSupported }
  return unsafe real().pointee.pthread_getcpuclockid(number, clock)
}

/// Programs take it for a thread's identity; a kernel thread's number would be shared by many.
@c(gettid)
public func gettid() -> Int32 {
  guard Thread.current.isUser else { return unsafe real().pointee.gettid() }
  return Int32(bitPattern: Thread.currentNumber)
}
