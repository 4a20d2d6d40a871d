// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// A forked child: of all threads only the one that forked lives, on one kernel thread.
enum Rebirth {
  // SAFETY (all below): nobody else runs in the child yet.

  /// Everything that told of other threads is forgotten; their memory stays, as libc's does not.
  static func alone() {
    let all = unsafe mn_all()
    let me = Thread.current
    unsafe all.pointee.process = getpid()
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
