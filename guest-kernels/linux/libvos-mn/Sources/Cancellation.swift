// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// Deferred cancellation: libc's own flag in the descriptor, which libc's own functions look at. We
/// set it for our threads, and wake them where they are parked at a cancellation point.
enum Cancellation {
  // SAFETY (all below): a descriptor of ours is never unmapped.

  /// Whether the running thread is to end at its next cancellation point.
  static var isPending: Bool {
    let word = unsafe mn_cancellation_word(mn_descriptor_of(mn_thread_pointer()))
    return unsafe isDue(vos_load_acquire32(word))
  }

  private static func isDue(_ state: UInt32) -> Bool {
    state & (MN_CANCELED | MN_CANCEL_DISABLED | MN_EXITING) == MN_CANCELED
  }

  static func cancel(_ thread: Thread) -> Int32 {
    guard let descriptor = unsafe thread.descriptor else { return Linux.noSuchThread }
    let word = unsafe mn_cancellation_word(descriptor)
    let state = unsafe mn_or32(word, MN_CANCELED) | MN_CANCELED
    guard isDue(state) else { return 0 }
    let asynchronous: UInt32 = 2
    if thread == Thread.current {
      if state & asynchronous != 0 { pthread_testcancel() }
      return 0
    }
    Scheduler.enter()
    let place = unsafe thread.pointer.pointee
    if unsafe place.outcome == MN_WAITING, unsafe place.cancellable != 0 {
      Parking.end(thread, MN_CANCELLED)
    }
    Scheduler.leaveAndKick()
    return 0
  }
}
