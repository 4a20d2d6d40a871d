// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// A forked child: of all threads only the one that forked lives, on one kernel thread.
enum Rebirth {
  // SAFETY (all below): nobody else runs in the child yet.

  private static let marked: UInt32 = 1
  private static let adviseWipeOnFork: Int32 = 18

  /// From now on a forked child can be told from its parent.
  static func mark() -> Bool {
    let page = unsafe mn_marked()
    guard unsafe madvise(page, Int(MN_MARK_WORDS) &* 4, adviseWipeOnFork) == 0 else { return false }
    unsafe page.pointee = marked
    return true
  }

  /// Whether this process was forked from the one whose state this is.
  static var isDue: Bool { Runtime.isRunning && (unsafe mn_marked().pointee) != marked }

  /// Everything that told of other threads is forgotten; their memory stays, as libc's does not.
  static func alone() {
    let all = unsafe mn_all()
    let me = Thread.current
    unsafe mn_marked().pointee = marked
    unsafe all.pointee.first = nil
    unsafe all.pointee.last = nil
    unsafe all.pointee.free_threads = nil
    unsafe all.pointee.free_stacks = nil
    unsafe all.pointee.doomed_stacks = nil
    unsafe all.pointee.free_stack_count = 0
    unsafe all.pointee.ready = 0
    unsafe all.pointee.sleeping = 0
    unsafe all.pointee.spinning = 0
    unsafe all.pointee.heap_count = 0
    unsafe all.pointee.pending_calls = 0
    unsafe all.pointee.watching = 0
    unsafe all.pointee.watcher = 0
    unsafe all.pointee.receiving = 0
    unsafe all.pointee.poller = 0
    unsafe all.pointee.alive = 1
    for index in 0..<UInt32(MN_BUCKETS) { unsafe mn_bucket_at(index).pointee = nil }
    for index in 0..<UInt32(MN_CARRIERS) { unsafe mn_carrier_at(index).pointee = mn_carrier() }
    for index in 0..<UInt32(MN_CHANNELS) { mn_reset_channel(index) }
    unsafe vos_store_release32(mn_lock_word(all), 0)
    unsafe me.pointer.pointee.heap = 0
    unsafe me.pointer.pointee.key = 0
    _ = Runtime.settle(me)
  }
}
