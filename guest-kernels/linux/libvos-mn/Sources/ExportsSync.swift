// SPDX-License-Identifier: Apache-2.0

public import CMN
internal import CVosABI

// Reader-writer locks, semaphores, barriers, spin locks of one process; shared ones are libc's.
// SAFETY (all below): the program's objects, laid out as libc's initialisers leave them. After a
// word says that an object is free, only its address is used: it may be gone.

private let forEver: UInt64 = 0
private let writersFirst: UInt32 = 2

/// One try to read; nil: taken. Else the word as it was seen, marked as waited for.
private func tryRead(_ lock: UnsafeMutablePointer<mn_rwlock>, _ marks: Bool) -> UInt32? {
  let state = unsafe mn_rwlock_state(lock)
  while true {
    let seen = unsafe vos_load_acquire32(state)
    let yields = unsafe lock.pointee.flags == writersFirst && seen & MN_WAITED != 0
    if seen & MN_WRITER == 0 && !yields {
      if unsafe vos_compare_exchange32(state, seen, seen &+ 1) != 0 { return nil }
    } else {
      let marked = seen | (marks ? MN_WAITED : 0)
      if unsafe marked == seen || vos_compare_exchange32(state, seen, marked) != 0 { return marked }
    }
  }
}

/// The same to write.
private func tryWrite(_ lock: UnsafeMutablePointer<mn_rwlock>, _ marks: Bool) -> UInt32? {
  let state = unsafe mn_rwlock_state(lock)
  while true {
    let seen = unsafe vos_load_acquire32(state)
    if seen & ~MN_WAITED == 0 {
      if unsafe vos_compare_exchange32(state, seen, seen | MN_WRITER) != 0 { break }
    } else {
      let marked = seen | (marks ? MN_WAITED : 0)
      if unsafe marked == seen || vos_compare_exchange32(state, seen, marked) != 0 { return marked }
    }
  }
  unsafe lock.pointee.writer = Thread.currentNumber
  return nil
}

/// 0, or an errno.
private func hold(_ lock: UnsafeMutablePointer<mn_rwlock>, toWrite: Bool, _ deadline: UInt64)
  -> Int32
{
  let state = unsafe mn_rwlock_state(lock)
  while let seen = unsafe toWrite ? tryWrite(lock, true) : tryRead(lock, true) {
    if seen & MN_WRITER != 0, unsafe lock.pointee.writer == Thread.currentNumber {
      return Linux.deadlock
    }
    if case .timedOut = unsafe Parking.wait(on: state, while: seen, until: deadline) {
      return Linux.timedOut
    }
  }
  return 0
}

private func letGo(_ lock: UnsafeMutablePointer<mn_rwlock>) {
  let state = unsafe mn_rwlock_state(lock)
  if unsafe vos_load_acquire32(state) & MN_WRITER != 0 {
    unsafe lock.pointee.writer = 0
    if unsafe vos_exchange32(state, 0) & MN_WAITED != 0 {
      unsafe Parking.wake(state, count: Int.max)
    }
    return
  }
  while true {
    let seen = unsafe vos_load_acquire32(state)
    let isLast = seen & ~MN_WAITED == 1
    if unsafe vos_compare_exchange32(state, seen, isLast ? 0 : seen &- 1) == 0 { continue }
    if isLast, seen & MN_WAITED != 0 { unsafe Parking.wake(state, count: Int.max) }
    return
  }
}

private func isShared(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Bool {
  unsafe lock.pointee.shared != 0
}

@c(pthread_rwlock_rdlock)
public func pthread_rwlock_rdlock(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Int32 {
  if unsafe isShared(lock) { return unsafe real().pointee.pthread_rwlock_rdlock(lock) }
  return unsafe hold(lock, toWrite: false, forEver)
}

@c(__pthread_rwlock_rdlock)
public func readLockByOldName(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Int32 {
  unsafe pthread_rwlock_rdlock(lock)
}

@c(pthread_rwlock_tryrdlock)
public func pthread_rwlock_tryrdlock(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Int32 {
  if unsafe isShared(lock) { return unsafe real().pointee.pthread_rwlock_tryrdlock(lock) }
  return unsafe tryRead(lock, false) == nil ? 0 : Linux.busy
}

@c(__pthread_rwlock_tryrdlock)
public func tryReadLockByOldName(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Int32 {
  unsafe pthread_rwlock_tryrdlock(lock)
}

@c(pthread_rwlock_clockrdlock)
public func pthread_rwlock_clockrdlock(
  _ lock: UnsafeMutablePointer<mn_rwlock>, _ clock: Int32, _ time: UnsafePointer<mn_time>?
) -> Int32 {
  if unsafe isShared(lock) {
    return unsafe real().pointee.pthread_rwlock_clockrdlock(lock, clock, time)
  }
  guard let deadline = unsafe Clock.deadline(clock, time) else { return Linux.invalid }
  return unsafe hold(lock, toWrite: false, deadline)
}

@c(pthread_rwlock_timedrdlock)
public func pthread_rwlock_timedrdlock(
  _ lock: UnsafeMutablePointer<mn_rwlock>, _ time: UnsafePointer<mn_time>?
) -> Int32 {
  unsafe pthread_rwlock_clockrdlock(lock, Linux.realTime, time)
}

@c(pthread_rwlock_wrlock)
public func pthread_rwlock_wrlock(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Int32 {
  if unsafe isShared(lock) { return unsafe real().pointee.pthread_rwlock_wrlock(lock) }
  return unsafe hold(lock, toWrite: true, forEver)
}

@c(__pthread_rwlock_wrlock)
public func writeLockByOldName(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Int32 {
  unsafe pthread_rwlock_wrlock(lock)
}

@c(pthread_rwlock_trywrlock)
public func pthread_rwlock_trywrlock(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Int32 {
  if unsafe isShared(lock) { return unsafe real().pointee.pthread_rwlock_trywrlock(lock) }
  return unsafe tryWrite(lock, false) == nil ? 0 : Linux.busy
}

@c(__pthread_rwlock_trywrlock)
public func tryWriteLockByOldName(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Int32 {
  unsafe pthread_rwlock_trywrlock(lock)
}

@c(pthread_rwlock_clockwrlock)
public func pthread_rwlock_clockwrlock(
  _ lock: UnsafeMutablePointer<mn_rwlock>, _ clock: Int32, _ time: UnsafePointer<mn_time>?
) -> Int32 {
  if unsafe isShared(lock) {
    return unsafe real().pointee.pthread_rwlock_clockwrlock(lock, clock, time)
  }
  guard let deadline = unsafe Clock.deadline(clock, time) else { return Linux.invalid }
  return unsafe hold(lock, toWrite: true, deadline)
}

@c(pthread_rwlock_timedwrlock)
public func pthread_rwlock_timedwrlock(
  _ lock: UnsafeMutablePointer<mn_rwlock>, _ time: UnsafePointer<mn_time>?
) -> Int32 {
  unsafe pthread_rwlock_clockwrlock(lock, Linux.realTime, time)
}

@c(pthread_rwlock_unlock)
public func pthread_rwlock_unlock(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Int32 {
  if unsafe isShared(lock) { return unsafe real().pointee.pthread_rwlock_unlock(lock) }
  unsafe letGo(lock)
  return 0
}

@c(__pthread_rwlock_unlock)
public func releaseByOldName(_ lock: UnsafeMutablePointer<mn_rwlock>) -> Int32 {
  unsafe pthread_rwlock_unlock(lock)
}

// Semaphores, in the layout that libc's sem_init, sem_trywait and sem_getvalue know.

private let oneWaiter: UInt = 1 << 32

private func takeOne(_ semaphore: UnsafeMutablePointer<mn_semaphore>, _ extra: UInt) -> Bool {
  let word = unsafe mn_semaphore_word(semaphore)
  while true {
    let seen = unsafe UInt(mn_load64(word))
    guard seen & 0xffff_ffff != 0 else { return false }
    if unsafe mn_compare_exchange64(word, seen, seen &- 1 &- extra) != 0 { return true }
  }
}

/// 0, or an errno.
private func wait(_ semaphore: UnsafeMutablePointer<mn_semaphore>, _ deadline: UInt64) -> Int32 {
  pthread_testcancel()
  if unsafe takeOne(semaphore, 0) { return 0 }
  let word = unsafe mn_semaphore_word(semaphore)
  _ = unsafe mn_add64(word, oneWaiter)
  while unsafe !takeOne(semaphore, oneWaiter) {
    let outcome = unsafe Parking.wait(
      on: mn_semaphore_value(semaphore), while: 0, until: deadline, cancellable: true)
    switch outcome {
    case .timedOut, .cancelled:
      _ = unsafe mn_add64(word, 0 &- oneWaiter)
      if case .timedOut = outcome { return Linux.timedOut }
      pthread_testcancel()
      _ = unsafe mn_add64(word, oneWaiter)
    default: break
    }
  }
  return 0
}

@c(sem_wait)
public func sem_wait(_ semaphore: UnsafeMutablePointer<mn_semaphore>) -> Int32 {
  if unsafe semaphore.pointee.shared != 0 { return unsafe real().pointee.sem_wait(semaphore) }
  return unsafe wait(semaphore, forEver)
}

@c(sem_clockwait)
public func sem_clockwait(
  _ semaphore: UnsafeMutablePointer<mn_semaphore>, _ clock: Int32, _ time: UnsafePointer<mn_time>?
) -> Int32 {
  if unsafe semaphore.pointee.shared != 0 {
    return unsafe real().pointee.sem_clockwait(semaphore, clock, time)
  }
  if unsafe takeOne(semaphore, 0) { return 0 }
  guard let deadline = unsafe Clock.deadline(clock, time) else {
    return Int32(failed(Linux.invalid))
  }
  let error = unsafe wait(semaphore, deadline)
  return error == 0 ? 0 : Int32(failed(error))
}

@c(sem_timedwait)
public func sem_timedwait(
  _ semaphore: UnsafeMutablePointer<mn_semaphore>, _ time: UnsafePointer<mn_time>?
) -> Int32 {
  unsafe sem_clockwait(semaphore, Linux.realTime, time)
}

@c(sem_post)
public func sem_post(_ semaphore: UnsafeMutablePointer<mn_semaphore>) -> Int32 {
  if unsafe semaphore.pointee.shared != 0 { return unsafe real().pointee.sem_post(semaphore) }
  let limit: UInt = 0x7fff_ffff  // SEM_VALUE_MAX
  let word = unsafe mn_semaphore_word(semaphore)
  let value = unsafe mn_semaphore_value(semaphore)
  while true {
    let seen = unsafe UInt(mn_load64(word))
    guard seen & 0xffff_ffff < limit else {
      let overflow: Int32 = 75
      return Int32(failed(overflow))
    }
    if unsafe mn_compare_exchange64(word, seen, seen &+ 1) == 0 { continue }
    if seen >= oneWaiter { unsafe Parking.wake(value) }
    return 0
  }
}

@c(pthread_barrier_wait)
public func pthread_barrier_wait(_ barrier: UnsafeMutablePointer<mn_barrier>) -> Int32 {
  if unsafe barrier.pointee.shared != 0 {
    return unsafe real().pointee.pthread_barrier_wait(barrier)
  }
  let last: Int32 = -1  // PTHREAD_BARRIER_SERIAL_THREAD
  let me = Thread.current
  let switches = me.canSwitch
  Scheduler.enter()
  unsafe barrier.pointee.arrived &+= 1
  guard unsafe barrier.pointee.arrived < barrier.pointee.count else {
    unsafe barrier.pointee.arrived = 0
    unsafe Parking.wakeEntered(mn_barrier_round(barrier), Int.max)
    Scheduler.leaveAndKick()
    return last
  }
  let key = unsafe UInt(bitPattern: mn_barrier_round(barrier))
  _ = Parking.waitEntered(me, on: key, forEver, false, switches)
  return 0
}

/// Who holds it may be parked: after some looks others run.
@c(pthread_spin_lock)
public func pthread_spin_lock(_ lock: UnsafeMutablePointer<UInt32>) -> Int32 {
  let free: UInt32 = 1  // glibc's, on x86
  var looks = 0
  while unsafe vos_load_acquire32(lock) != free || vos_compare_exchange32(lock, free, 0) == 0 {
    vos_pause()
    looks = looks &+ 1
    if looks & 127 == 0 { _ = sched_yield() }
  }
  return 0
}
