// SPDX-License-Identifier: Apache-2.0

public import CMN
internal import CVosABI

// Sleeping and stepping back. A thread that cannot be parked does it in the kernel.
// SAFETY (all below): a program's pointers are read and written as libc would.

/// Parks until the deadline; false: the real call is to be made.
private func sleep(until deadline: UInt64) -> Bool {
  guard Thread.current.canSwitch else { return false }
  pthread_testcancel()
  while case .cancelled = Parking.sleep(until: deadline, cancellable: true) { pthread_testcancel() }
  return true
}

@c(clock_nanosleep)
public func clock_nanosleep(
  _ clock: Int32, _ flags: Int32, _ time: UnsafePointer<mn_time>?,
  _ left: UnsafeMutablePointer<mn_time>?
) -> Int32 {
  let absolute: Int32 = 1  // TIMER_ABSTIME
  let known = clock == Linux.realTime || clock == Linux.monotonic
  guard known, Thread.current.isUser, let span = unsafe Clock.span(time) else {
    return unsafe real().pointee.clock_nanosleep(clock, flags, time, left)
  }
  let deadline =
    flags & absolute != 0 ? unsafe Clock.deadline(clock, time) : Clock.now &+ span
  if let deadline, sleep(until: deadline) { return 0 }
  return unsafe real().pointee.clock_nanosleep(clock, flags, time, left)
}

@c(nanosleep)
public func nanosleep(
  _ time: UnsafePointer<mn_time>?, _ left: UnsafeMutablePointer<mn_time>?
) -> Int32 {
  let error = unsafe clock_nanosleep(Linux.realTime, 0, time, left)
  return error == 0 ? 0 : Int32(failed(error))
}

@c(usleep)
public func usleep(_ microseconds: UInt32) -> Int32 {
  var time = mn_time(
    seconds: Int64(microseconds / 1_000_000),
    nanoseconds: Int64(microseconds % 1_000_000) &* 1000)
  return unsafe nanosleep(&time, nil)
}

@c(sleep)
public func sleep(_ seconds: UInt32) -> UInt32 {
  var time = mn_time(seconds: Int64(seconds), nanoseconds: 0)
  var left = mn_time()
  return unsafe nanosleep(&time, &left) == 0 ? 0 : UInt32(truncatingIfNeeded: left.seconds)
}

@c(sched_yield)
public func sched_yield() -> Int32 {
  if Thread.current.canSwitch, Scheduler.yield() { return 0 }
  return unsafe real().pointee.sched_yield()
}

@c(pthread_yield)
public func pthread_yield() -> Int32 { sched_yield() }
