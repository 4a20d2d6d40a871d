// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// What a call had come to that was taken back.
public enum Withdrawal: Equatable, Sendable {
  /// No service took it: it may be asked again, whatever it is.
  case untouched
  /// It may have been executed, or not, or in part.
  case lost
  case answered(Reply)
}

/// The private half of a slice's client: what the service must not be able to change.
@safe
public struct SliceClientStorage {
  /// Bit set: the slot is free.
  var free: UInt64 = 0
  /// The last sequence number of each slot; touched by the slot's holder alone.
  var sequences = InlineArray<64, UInt32>(repeating: 0)

  public init() {}
}

/// Posts calls on one slice. Any number of threads may use one value; each holds its own slots.
///
///     let slot = client.takeSlot()          // nil: all in use
///     let ticket = client.submit(call, in: slot)
///     if client.mustRing { ring the service's doorbell }
///     reply = client.spin(ticket, policy) ?? sleep: client.announceWaiter(ticket) …
///     client.giveBack(slot)
@safe
public struct SliceClient: ~Copyable, @unchecked Sendable {
  // @unchecked: the bitmap is changed by atomic operations, a sequence only by its slot's holder.

  let memory: SliceMemory
  @unsafe private let storage: UnsafeMutablePointer<SliceClientStorage>
  private let ownsStorage: Bool

  /// Serves from storage of the caller, who keeps it while the value lives.
  ///
  /// - Parameters:
  ///   - slice: a mapped slice of at least the shape's extent, kept mapped as long.
  @unsafe
  public init(
    slice: UnsafeMutableRawPointer, shape: SliceShape,
    storage: UnsafeMutablePointer<SliceClientStorage>
  ) {
    memory = unsafe SliceMemory(at: slice, shape: shape)
    unsafe self.storage = storage
    ownsStorage = false
    reset()
  }

  /// Serves from storage of its own.
  ///
  /// - Parameters:
  ///   - slice: a mapped slice of at least the shape's extent, kept mapped as long.
  @unsafe
  public init(slice: UnsafeMutableRawPointer, shape: SliceShape) {
    memory = unsafe SliceMemory(at: slice, shape: shape)
    unsafe storage = .allocate(capacity: 1)
    // SAFETY: fresh memory for one value.
    unsafe storage.initialize(to: SliceClientStorage())
    ownsStorage = true
    reset()
  }

  /// Slice `index` of a region mapped whole: the host on a control channel, and tests.
  public init(region: ChannelRegion, slice index: Int) {
    precondition(index >= 0 && index < region.geometry.sliceCount)
    // SAFETY: the geometry places the slice within the region.
    unsafe self.init(
      slice: region.base + region.geometry.slicesOffset + index * region.geometry.sliceStride,
      shape: SliceShape(region.geometry))
  }

  deinit {
    // SAFETY: allocated by `init`, used by nobody else.
    if ownsStorage { unsafe storage.deallocate() }
  }

  private borrowing func reset() {
    let count = memory.shape.slotCount
    // SAFETY: the storage outlives the value.
    unsafe storage.pointee.free = count == 64 ? ~0 : (1 << UInt64(count)) - 1
  }

  @unsafe
  private var freeWord: UnsafeMutablePointer<UInt64> {
    // SAFETY: the bitmap is the storage's first field.
    unsafe UnsafeMutableRawPointer(storage).assumingMemoryBound(to: UInt64.self)
  }

  /// The sequence numbers one by one: threads must not touch the array as a whole.
  @unsafe
  private var sequences: UnsafeMutablePointer<UInt32> {
    // SAFETY: the array follows the bitmap; the layout test holds the offset.
    unsafe (UnsafeMutableRawPointer(storage) + MemoryLayout<UInt64>.size)
      .assumingMemoryBound(to: UInt32.self)
  }

  /// The inside of the slice.
  public var shape: SliceShape { memory.shape }

  /// Takes the lowest free slot; `nil` if all are in use.
  public borrowing func takeSlot() -> Int? {
    while true {
      // SAFETY: private storage.
      let free = unsafe vos_load_acquire64(freeWord)
      if free == 0 { return nil }
      let bit = free & (0 &- free)
      if unsafe vos_fetch_and64(freeWord, ~bit) & bit != 0 {
        let slot = bit.trailingZeroBitCount
        memory.raiseSlotLimit(over: slot)
        return slot
      }
    }
  }

  /// Gives a slot back whose call is over.
  public borrowing func giveBack(_ slot: Int) {
    precondition(slot >= 0 && slot < memory.shape.slotCount)
    // SAFETY: private storage.
    _ = unsafe vos_fetch_or64(freeWord, 1 << UInt64(slot))
  }

  /// The part of the arena that is `slot`'s when the arena is split evenly.
  public borrowing func window(of slot: Int) -> DataWindow {
    let bytes = memory.shape.arenaBytes / memory.shape.slotCount & ~(Geometry.lineBytes - 1)
    return DataWindow(offset: UInt32(slot * bytes), length: 0, capacity: UInt32(bytes))
  }

  /// The bytes of a window: as many as request or reply may use; empty if it leaves the arena.
  ///
  /// The service may change them at any time: copy, then use.
  @unsafe
  public borrowing func bytes(_ window: DataWindow) -> UnsafeMutableRawBufferPointer {
    unsafe memory.bytes(window)
  }

  /// Posts `call` in a slot that the caller holds. Look at `mustRing` afterwards.
  public borrowing func submit(_ call: Call, in slot: Int) -> Ticket {
    precondition(slot >= 0 && slot < memory.shape.slotCount)
    // SAFETY: the slot was checked, and its sequence is the slot holder's.
    let last = unsafe sequences + slot
    let sequence = unsafe (last.pointee &+ 1) & SlotWord.sequenceMask
    unsafe last.pointee = sequence
    memory.writeCall(slot, call)
    memory.setState(slot, SlotWord.make(SlotWord.submitted, sequence))
    return Ticket(slot: slot, sequence: sequence, capacity: call.data.capacity)
  }

  /// Whether the service sleeps, so that its doorbell must be rung after a `submit`.
  public var mustRing: Bool {
    // Submission, fence, look: the service does announcement, fence, look at the slots.
    vos_full_fence()
    return memory.sleeping
  }

  /// The reply, if it is there. EPROTO if it claims more data than there is room for, or an errno
  /// that does not exist, and if the slot's word is none that a call in flight can have: nobody would
  /// ever answer.
  public borrowing func poll(_ ticket: Ticket) -> Reply? {
    let word = memory.state(ticket.slot) & ~SlotWord.waiter
    guard word == SlotWord.make(SlotWord.done, ticket.sequence) else {
      return word == SlotWord.make(SlotWord.submitted, ticket.sequence) ? nil : .protocolError
    }
    let reply = memory.readReply(ticket.slot)
    guard reply.dataLength <= ticket.capacity, reply.result >= Reply.lowestResult else {
      return .protocolError
    }
    return reply
  }

  /// Whether all that the caller alone writes is as it wrote it: the call's line (but for its
  /// length, where the reply's goes) and the limit that makes the service look at the slot. If not,
  /// the channel is broken, and the call may never be answered, or not be the one that was meant.
  /// Look now and then while waiting, and before a reply is believed.
  public borrowing func isIntact(_ ticket: Ticket, _ call: Call) -> Bool {
    let (found, flags) = memory.readCall(ticket.slot)
    return flags == 0 && found.number == call.number && found.object == call.object
      && found.arguments == call.arguments && found.data.offset == call.data.offset
      && found.data.capacity == call.data.capacity && memory.slotLimit > ticket.slot
  }

  /// Polls as `policy` says; `nil` if the reply did not come in time.
  public borrowing func spin(
    _ ticket: Ticket, _ policy: SpinPolicy, yield: () -> Void = {}
  ) -> Reply? {
    for _ in 0..<policy.spins {
      if let reply = poll(ticket) { return reply }
      vos_pause()
    }
    for _ in 0..<policy.yields {
      if let reply = poll(ticket) { return reply }
      yield()
    }
    return poll(ticket)
  }

  /// Announces that the caller goes to sleep: the service then sends an event when it is done.
  ///
  /// - Returns: the state word to wait on (`vos_ioc_wait.state`), or `nil` if the call is done (or
  ///   the word is no longer ours): look with `poll` instead of sleeping.
  public borrowing func announceWaiter(_ ticket: Ticket) -> UInt32? {
    let word = SlotWord.make(SlotWord.submitted, ticket.sequence)
    let waiting = word | SlotWord.waiter
    if memory.replaceState(ticket.slot, word, with: waiting) { return waiting }
    return memory.state(ticket.slot) == waiting ? waiting : nil
  }

  /// Takes a call back that nobody will answer, because the service's life has ended: the next
  /// life must not execute it. The slot is then free of it.
  public borrowing func withdraw(_ ticket: Ticket) -> Withdrawal {
    let word = SlotWord.make(SlotWord.submitted, ticket.sequence)
    let free = SlotWord.make(VOS_SLOT_FREE, ticket.sequence)
    if memory.replaceState(ticket.slot, word, with: free)
      || memory.replaceState(ticket.slot, word | SlotWord.waiter, with: free)
    {
      return memory.taken(ticket.slot) == word ? .lost : .untouched
    }
    // A word that is neither: the region was made new, or somebody scribbled.
    guard let reply = poll(ticket), reply != .protocolError, !reply.isLost else { return .lost }
    return .answered(reply)
  }

  /// Counts a call for people who count: one over slots, or one by the kernel's path.
  public borrowing func count(fast: Bool) {
    memory.countCall(fast: fast)
  }

  /// The generation that the service serves; a new slice is not served before it shows here.
  public var servedGeneration: UInt32 { memory.servedGeneration }
}
