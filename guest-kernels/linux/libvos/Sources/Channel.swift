// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// One call, as it goes into a slot.
struct Request {
  var call: UInt32
  var object: UInt64
  var argument: UInt64
  /// The arguments after that.
  var more: (UInt64, UInt64) = (0, 0)
  /// Bytes of request in the slot's piece of the arena.
  var length: Int
  /// Bytes that the reply may put there.
  var capacity: Int
}

/// A call in flight: the slot, the state word that was published, and what the service must leave
/// as it is.
struct Ticket {
  var slot: Int32 = -1
  var submitted: UInt32 = 0
  /// The service's, when the call was posted.
  var generation: UInt64 = 0
  var request = Request(call: 0, object: 0, argument: 0, length: 0, capacity: 0)
}

/// How a call over a slot ended.
enum Outcome {
  case done(Int64)
  /// Nobody will answer: the service is gone. The real call knows what that means.
  case lost
  /// The service broke the protocol, or somebody the memory: it may have been executed.
  case damaged
}

/// This process's slice of one channel. Everything is lock-free, so a signal handler may use it
/// while the interrupted thread has a call in flight: it gets another slot.
@safe
struct Channel {
  let pointer: UnsafeMutablePointer<libvos_channel>
  let index: Int32

  // SAFETY (all below): a channel in the table is mapped until the process ends; slot numbers
  // come from `allocate`, below the slot count that was checked against the mapping.

  var carries: UInt32 { unsafe pointer.pointee.carries }
  var slice: UInt32 { unsafe pointer.pointee.slice }
  var pieceBytes: Int { unsafe Int(pointer.pointee.piece_bytes) }
  var isAlive: Bool { unsafe libvos_service_alive(pointer) != 0 && !isBroken(in: generation) }
  var generation: UInt64 { unsafe libvos_service_generation(pointer) }

  func countFast() { _ = unsafe vos_fetch_add64(libvos_fast_calls(libvos_header(pointer)), 1) }
  func countFallback() {
    _ = unsafe vos_fetch_add64(libvos_fallback_calls(libvos_header(pointer)), 1)
  }

  /// The slot's own part of the arena.
  func piece(_ slot: Int32) -> UnsafeMutableRawPointer {
    unsafe UnsafeMutableRawPointer(libvos_piece(pointer, slot))
  }

  /// The lowest free slot: the service then looks at few; nil if all are in use. `waits`: the
  /// caller holds none, so a user-level thread may wait for one.
  func allocate(waits: Bool = false) -> Int32? {
    let busy = unsafe libvos_busy(pointer)
    let all = unsafe pointer.pointee.slot_count
    while true {
      let used = unsafe vos_load_acquire64(busy)
      let slot = UInt32(truncatingIfNeeded: (~used).trailingZeroBitCount)
      guard slot < all else {
        guard waits, unsafe Waiter.current?.awaitSlot(busy, used) == true else { return nil }
        continue
      }
      if unsafe vos_fetch_or64(busy, 1 << UInt64(slot)) & (1 << UInt64(slot)) == 0 {
        raiseLimit(slot &+ 1)
        return Int32(bitPattern: slot)
      }
    }
  }

  /// Of the slot's own part of the arena, within it.
  func place(_ slot: Int32) -> UInt32 {
    unsafe UInt32(bitPattern: slot) &* pointer.pointee.piece_bytes
  }

  func release(_ slot: Int32) {
    let busy = unsafe libvos_busy(pointer)
    _ = unsafe vos_fetch_and64(busy, ~(1 << UInt64(UInt32(bitPattern: slot))))
    unsafe Waiter.current?.tellFreed(busy)
  }

  private func raiseLimit(_ wanted: UInt32) {
    let limit = unsafe libvos_slot_limit(libvos_header(pointer))
    while true {
      let now = unsafe vos_load_acquire32(limit)
      if unsafe now >= wanted || vos_compare_exchange32(limit, now, wanted) != 0 { return }
    }
  }

  /// Publishes a call whose data already lies in the slot's piece.
  func submit(_ request: Request, in slot: Int32) -> Ticket {
    let line = unsafe libvos_slot(pointer, slot)
    let state = unsafe libvos_slot_state(line)
    let last = unsafe libvos_sequence(pointer, slot)
    let sequence = unsafe (last.pointee &+ 1) & VOS_SLOT_SEQUENCE_MASK
    unsafe last.pointee = sequence
    let word = sequence << VOS_SLOT_SEQUENCE_SHIFT | VOS_SLOT_SUBMITTED
    let generation = generation
    unsafe line.pointee.call = UInt16(truncatingIfNeeded: request.call)
    unsafe line.pointee.flags = 0
    unsafe line.pointee.object = request.object
    unsafe line.pointee.data_offset = place(slot)
    unsafe line.pointee.data_length = UInt32(truncatingIfNeeded: request.length)
    unsafe line.pointee.data_capacity = UInt32(truncatingIfNeeded: request.capacity)
    unsafe line.pointee.argument = (
      request.argument, request.more.0, request.more.1
    )
    unsafe vos_store_release32(state, word)
    // Store, then look whether the service sleeps; it stores, then looks for calls.
    vos_full_fence()
    if unsafe vos_load_acquire32(libvos_sleeping(libvos_header(pointer))) != 0 { ring() }
    return Ticket(slot: slot, submitted: word, generation: generation, request: request)
  }

  /// Whether somebody is to be told of reads or writes of the file: the kernel path tells them.
  @inline(__always)
  func isWatched(_ descriptor: Int32, _ entry: Entry, known: Bool = false) -> Bool {
    let count = unsafe vos_load_acquire32(libvos_watch_count(libvos_header(pointer)))
    if known, count == entry.watchCount { return false }
    return askWatched(descriptor, entry, count)
  }

  @inline(never)
  private func askWatched(_ descriptor: Int32, _ entry: Entry, _ count: UInt32) -> Bool {
    keepingErrorNumber {
      let device = unsafe libvos_device(index).pointee &- 1
      let result = unsafe real().pointee.ioctl(
        device, UInt(VOS_IOC_WATCHED), UInt(UInt32(bitPattern: descriptor)))
      // A module that does not know the question (ENOTTY) leaves such files to be fast.
      if result <= 0 { entry.watchCount = count }
      return result > 0
    }
  }

  private func ring() {
    let device = unsafe libvos_device(index).pointee &- 1
    _ = keepingErrorNumber {
      unsafe real().pointee.ioctl(device, UInt(VOS_IOC_DOORBELL), UInt(VOS_PEER_SERVICE))
    }
  }
}
