// SPDX-License-Identifier: Apache-2.0

public import CMN
internal import CVosABI

// Mutexes and condition variables of one process. Those that processes share, and what has a
// protocol with the kernel, are libc's.
// SAFETY (all below): the program's objects, laid out as libc's initialisers leave them.

private let kindMask: UInt32 = 3
private let recursive: UInt32 = 1
private let errorChecking: UInt32 = 2
/// Robust, priority-inheriting, priority-protected, process-shared.
private let libraryKinds: UInt32 = 16 | 32 | 64 | 128
private let forEver: UInt64 = 0

private func isLibrarys(_ mutex: UnsafeMutablePointer<mn_mutex>) -> Bool {
  unsafe mutex.pointee.kind & libraryKinds != 0
}

/// 0, or an errno. `deadline`: CLOCK_MONOTONIC, ns; 0 is none.
private func lock(_ mutex: UnsafeMutablePointer<mn_mutex>, _ deadline: UInt64) -> Int32 {
  let kind = unsafe mutex.pointee.kind & kindMask
  let me = Thread.currentNumber
  if kind == recursive || kind == errorChecking, unsafe mutex.pointee.owner == me {
    if kind == errorChecking { return Linux.deadlock }
    guard unsafe mutex.pointee.count < UInt32.max else { return Linux.again }
    unsafe mutex.pointee.count &+= 1
    return 0
  }
  let word = unsafe mn_mutex_word(mutex)
  if unsafe vos_compare_exchange32(word, 0, 1) == 0 {
    while unsafe vos_exchange32(word, 2) != 0 {
      if case .timedOut = unsafe Parking.wait(on: word, while: 2, until: deadline) {
        return Linux.timedOut
      }
    }
  }
  unsafe taken(mutex, me)
  return 0
}

private func taken(_ mutex: UnsafeMutablePointer<mn_mutex>, _ me: UInt32) {
  unsafe mutex.pointee.owner = me
  unsafe mutex.pointee.count = 1
  unsafe mutex.pointee.users &+= 1
}

private func unlock(_ mutex: UnsafeMutablePointer<mn_mutex>) -> Int32 {
  let kind = unsafe mutex.pointee.kind & kindMask
  if kind == recursive || kind == errorChecking {
    guard unsafe mutex.pointee.owner == Thread.currentNumber else { return Linux.notPermitted }
    if kind == recursive, unsafe mutex.pointee.count > 1 {
      unsafe mutex.pointee.count &-= 1
      return 0
    }
  }
  unsafe mutex.pointee.owner = 0
  unsafe mutex.pointee.users &-= 1
  let word = unsafe mn_mutex_word(mutex)
  if unsafe vos_exchange32(word, 0) == 2 { unsafe Parking.wake(word) }
  return 0
}

@c(pthread_mutex_lock)
public func pthread_mutex_lock(_ mutex: UnsafeMutablePointer<mn_mutex>) -> Int32 {
  unsafe isLibrarys(mutex) ? real().pointee.pthread_mutex_lock(mutex) : lock(mutex, forEver)
}

@c(__pthread_mutex_lock)
public func lockByOldName(_ mutex: UnsafeMutablePointer<mn_mutex>) -> Int32 {
  unsafe pthread_mutex_lock(mutex)
}

@c(pthread_mutex_trylock)
public func pthread_mutex_trylock(_ mutex: UnsafeMutablePointer<mn_mutex>) -> Int32 {
  if unsafe isLibrarys(mutex) { return unsafe real().pointee.pthread_mutex_trylock(mutex) }
  let me = Thread.currentNumber
  if unsafe mutex.pointee.kind & kindMask == recursive, unsafe mutex.pointee.owner == me {
    return unsafe lock(mutex, forEver)
  }
  guard unsafe vos_compare_exchange32(mn_mutex_word(mutex), 0, 1) != 0 else { return Linux.busy }
  unsafe taken(mutex, me)
  return 0
}

@c(__pthread_mutex_trylock)
public func tryLockByOldName(_ mutex: UnsafeMutablePointer<mn_mutex>) -> Int32 {
  unsafe pthread_mutex_trylock(mutex)
}

@c(pthread_mutex_clocklock)
public func pthread_mutex_clocklock(
  _ mutex: UnsafeMutablePointer<mn_mutex>, _ clock: Int32, _ time: UnsafePointer<mn_time>?
) -> Int32 {
  if unsafe isLibrarys(mutex) {
    return unsafe real().pointee.pthread_mutex_clocklock(mutex, clock, time)
  }
  let free = unsafe pthread_mutex_trylock(mutex)
  if free != Linux.busy { return free }
  guard let deadline = unsafe Clock.deadline(clock, time) else { return Linux.invalid }
  return unsafe lock(mutex, deadline)
}

@c(pthread_mutex_timedlock)
public func pthread_mutex_timedlock(
  _ mutex: UnsafeMutablePointer<mn_mutex>, _ time: UnsafePointer<mn_time>?
) -> Int32 {
  unsafe pthread_mutex_clocklock(mutex, Linux.realTime, time)
}

@c(pthread_mutex_unlock)
public func pthread_mutex_unlock(_ mutex: UnsafeMutablePointer<mn_mutex>) -> Int32 {
  unsafe isLibrarys(mutex) ? real().pointee.pthread_mutex_unlock(mutex) : unlock(mutex)
}

@c(__pthread_mutex_unlock)
public func unlockByOldName(_ mutex: UnsafeMutablePointer<mn_mutex>) -> Int32 {
  unsafe pthread_mutex_unlock(mutex)
}

/// Owners are numbers of one process: a shared mutex that compares them cannot be had.
@c(pthread_mutex_init)
public func pthread_mutex_init(
  _ mutex: UnsafeMutablePointer<mn_mutex>, _ attributes: UnsafeRawPointer?
) -> Int32 {
  let result = unsafe real().pointee.pthread_mutex_init(mutex, attributes)
  let processShared: UInt32 = 128
  let kind = unsafe mutex.pointee.kind
  guard result == 0, kind & processShared != 0, kind & kindMask != 0 else { return result }
  return kind & kindMask == 3 ? 0 : Linux.notSupported  // 3: adaptive
}

/// The kernel knows owners of such mutexes by the numbers of kernel threads.
@c(pthread_mutexattr_setprotocol)
public func pthread_mutexattr_setprotocol(
  _ attributes: UnsafeMutableRawPointer?, _ protocolNumber: Int32
) -> Int32 {
  if (1...2).contains(protocolNumber) { return Linux.notSupported }
  return unsafe real().pointee.pthread_mutexattr_setprotocol(attributes, protocolNumber)
}

@c(pthread_mutexattr_setrobust)
public func pthread_mutexattr_setrobust(
  _ attributes: UnsafeMutableRawPointer?, _ robust: Int32
) -> Int32 {
  if robust == 1 { return Linux.notSupported }
  return unsafe real().pointee.pthread_mutexattr_setrobust(attributes, robust)
}

// Condition variables: a thread stands in the condition's queue before it lets go of the mutex, so
// nothing need be kept in the object, and it may be gone as soon as its waiters are woken.

private func isShared(_ condition: UnsafeMutablePointer<mn_condition>) -> Bool {
  unsafe condition.pointee.flags & 1 != 0
}

private func mayUnlock(_ mutex: UnsafeMutablePointer<mn_mutex>) -> Bool {
  let kind = unsafe mutex.pointee.kind & kindMask
  return unsafe isLibrarys(mutex) || (kind != recursive && kind != errorChecking)
    || mutex.pointee.owner == Thread.currentNumber
}

private func wait(
  _ condition: UnsafeMutablePointer<mn_condition>, _ mutex: UnsafeMutablePointer<mn_mutex>,
  _ deadline: UInt64
) -> Int32 {
  pthread_testcancel()
  guard unsafe mayUnlock(mutex) else { return Linux.notPermitted }
  let me = Thread.current
  let switches = me.canSwitch
  Scheduler.enter()
  let outcome = Parking.waitEntered(
    me, on: UInt(bitPattern: condition), deadline, true, switches,
    afterwards: { unsafe release(mutex) })
  _ = unsafe pthread_mutex_lock(mutex)
  switch outcome {
  case .cancelled:
    pthread_testcancel()
    return 0
  case .timedOut: return Linux.timedOut
  default: return 0
  }
}

/// Unlocks, with the scheduler's lock held.
private func release(_ mutex: UnsafeMutablePointer<mn_mutex>) {
  if unsafe isLibrarys(mutex) {
    _ = unsafe real().pointee.pthread_mutex_unlock(mutex)
    return
  }
  if unsafe mutex.pointee.kind & kindMask == recursive, unsafe mutex.pointee.count > 1 {
    unsafe mutex.pointee.count &-= 1
    return
  }
  unsafe mutex.pointee.owner = 0
  unsafe mutex.pointee.users &-= 1
  let word = unsafe mn_mutex_word(mutex)
  if unsafe vos_exchange32(word, 0) == 2 { unsafe Parking.wakeEntered(word, 1) }
}

@c(pthread_cond_wait)
public func pthread_cond_wait(
  _ condition: UnsafeMutablePointer<mn_condition>, _ mutex: UnsafeMutablePointer<mn_mutex>
) -> Int32 {
  if unsafe isShared(condition) { return unsafe real().pointee.pthread_cond_wait(condition, mutex) }
  return unsafe wait(condition, mutex, forEver)
}

@c(pthread_cond_timedwait)
public func pthread_cond_timedwait(
  _ condition: UnsafeMutablePointer<mn_condition>, _ mutex: UnsafeMutablePointer<mn_mutex>,
  _ time: UnsafePointer<mn_time>?
) -> Int32 {
  if unsafe isShared(condition) {
    return unsafe real().pointee.pthread_cond_timedwait(condition, mutex, time)
  }
  let clock = unsafe condition.pointee.flags & 2 != 0 ? Linux.monotonic : Linux.realTime
  return unsafe pthread_cond_clockwait(condition, mutex, clock, time)
}

@c(pthread_cond_clockwait)
public func pthread_cond_clockwait(
  _ condition: UnsafeMutablePointer<mn_condition>, _ mutex: UnsafeMutablePointer<mn_mutex>,
  _ clock: Int32, _ time: UnsafePointer<mn_time>?
) -> Int32 {
  if unsafe isShared(condition) {
    return unsafe real().pointee.pthread_cond_clockwait(condition, mutex, clock, time)
  }
  guard (0...1).contains(clock), let deadline = unsafe Clock.deadline(clock, time) else {
    return Linux.invalid
  }
  return unsafe wait(condition, mutex, deadline)
}

private func signal(_ condition: UnsafeMutablePointer<mn_condition>, _ count: Int) {
  let key = unsafe UnsafeMutableRawPointer(condition).assumingMemoryBound(to: UInt32.self)
  // Who waits stood in the queue before its mutex was free.
  vos_full_fence()
  if unsafe Parking.mayWait(on: key) { unsafe Parking.wake(key, count: count) }
}

@c(pthread_cond_signal)
public func pthread_cond_signal(_ condition: UnsafeMutablePointer<mn_condition>) -> Int32 {
  if unsafe isShared(condition) { return unsafe real().pointee.pthread_cond_signal(condition) }
  unsafe signal(condition, 1)
  return 0
}

@c(pthread_cond_broadcast)
public func pthread_cond_broadcast(_ condition: UnsafeMutablePointer<mn_condition>) -> Int32 {
  if unsafe isShared(condition) { return unsafe real().pointee.pthread_cond_broadcast(condition) }
  unsafe signal(condition, Int.max)
  return 0
}
