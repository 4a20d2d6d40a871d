// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// Deadlines of parked threads: a binary heap, the next one first. All with the lock held.
enum Timers {
  private static let pageBytes = 4096

  // SAFETY (all below): the heap's memory is ours, `heap_room` long; `heap` of a record is its
  // place + 1 while it is in the heap.

  private static func slot(_ index: UInt32) -> UnsafeMutablePointer<mn_thread>? {
    unsafe mn_all().pointee.heap?[Int(index)]
  }

  private static func deadline(_ index: UInt32) -> UInt64 {
    unsafe slot(index)?.pointee.deadline ?? UInt64.max
  }

  private static func put(_ thread: UnsafeMutablePointer<mn_thread>?, _ index: UInt32) {
    unsafe mn_all().pointee.heap?[Int(index)] = unsafe thread
    unsafe thread?.pointee.heap = index &+ 1
  }

  /// False if there is no memory for it.
  static func add(_ thread: Thread, _ deadline: UInt64) -> Bool {
    let count = unsafe mn_all().pointee.heap_count
    if unsafe count == mn_all().pointee.heap_room, !grow() { return false }
    unsafe thread.pointer.pointee.deadline = deadline
    unsafe mn_all().pointee.heap_count = count &+ 1
    unsafe put(thread.pointer, count)
    rise(count)
    return true
  }

  private static func grow() -> Bool {
    let all = unsafe mn_all()
    let old = unsafe Int(all.pointee.heap_room) &* 8
    let bytes = max(old &* 2, pageBytes)
    let anonymous: Int32 = 0x22  // MAP_PRIVATE | MAP_ANONYMOUS
    let fresh = unsafe mmap(nil, bytes, 3, anonymous, -1, 0)
    guard let fresh = unsafe fresh, UInt(bitPattern: fresh) != UInt.max else { return false }
    let heap = unsafe fresh.assumingMemoryBound(to: UnsafeMutablePointer<mn_thread>?.self)
    for index in 0..<Int(unsafe all.pointee.heap_count) {
      unsafe heap[index] = unsafe all.pointee.heap?[index]
    }
    if let past = unsafe all.pointee.heap { _ = unsafe munmap(past, old) }
    unsafe all.pointee.heap = unsafe heap
    unsafe all.pointee.heap_room = UInt32(bytes / 8)
    return true
  }

  static func remove(_ thread: Thread) {
    let place = unsafe thread.pointer.pointee.heap
    guard place > 0 else { return }
    unsafe thread.pointer.pointee.heap = 0
    let last = unsafe mn_all().pointee.heap_count &- 1
    unsafe mn_all().pointee.heap_count = last
    guard place &- 1 != last else { return }
    unsafe put(slot(last), place &- 1)
    rise(place &- 1)
    sink(place &- 1)
  }

  private static func exchange(_ one: UInt32, _ other: UInt32) {
    let kept = unsafe slot(one)
    unsafe put(slot(other), one)
    unsafe put(kept, other)
  }

  private static func rise(_ start: UInt32) {
    var at = start
    while at > 0, deadline(at) < deadline((at &- 1) / 2) {
      exchange(at, (at &- 1) / 2)
      at = (at &- 1) / 2
    }
  }

  private static func sink(_ start: UInt32) {
    let count = unsafe mn_all().pointee.heap_count
    var at = start
    while true {
      var least = at
      for child in at &* 2 &+ 1...at &* 2 &+ 2
      where child < count && deadline(child) < deadline(least) { least = child }
      if least == at { return }
      exchange(at, least)
      at = least
    }
  }

  /// The next deadline, 0 if there is none.
  static var next: UInt64 { unsafe mn_all().pointee.heap_count > 0 ? deadline(0) : 0 }

  /// Ends the waits whose time has come.
  static func expire(_ now: UInt64) {
    while unsafe mn_all().pointee.heap_count > 0, deadline(0) <= now, let first = unsafe slot(0) {
      unsafe Parking.end(Thread(first), MN_TIMED_OUT)
    }
  }
}
