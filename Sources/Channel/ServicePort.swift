// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// What the service remembers of a slice, out of the client's reach.
@safe
struct ServedSlice {
  /// Not 0: a call of the slot is being executed. The poller sets the byte, who answers the call
  /// clears it: it has one writer at a time, and needs no locked instruction.
  var busy = InlineArray<64, UInt8>(repeating: 0)
  var generation: UInt32 = 0
  var isLive = false
  /// Calls of an earlier generation are still being executed.
  var isDraining = false
  /// Where the next scan of its slots begins, so that no slot starves another.
  var nextSlot = 0
  /// Some slots hold calls that an earlier service took and did not answer.
  var hasOrphans = false
  /// The sequence each slot was last served with; `nothing` before the first.
  var served = InlineArray<64, UInt32>(repeating: ServedSlice.nothing)

  /// No sequence number: those have 24 bits.
  static let nothing: UInt32 = 0xffff_ffff
}

/// The service's end of a channel: finds calls, hands out checked copies, completes them.
///
/// One thread at a time (the poller) may use it; other threads answer requests through a copy of
/// its `completer`.
@safe
public struct ServicePort: ~Copyable, @unchecked Sendable {
  // @unchecked: private state belongs to the poller but for the busy bytes, which are atomic.

  public let region: ChannelRegion
  @unsafe private let slices: UnsafeMutablePointer<ServedSlice>
  /// The slices that are live, in the order of their turns, so that a look costs nothing for others.
  @unsafe private let turns: UnsafeMutablePointer<Int>
  private var liveCount = 0
  /// Whose turn it is, and how many calls it still has.
  private var place = 0
  private var callsLeft = 1
  /// A slice has one call a turn, so that none waits for another's dozens; two while it is the only
  /// one with calls, which spares it half the looks at the others.
  private static let longestTurn = 2
  /// The slice with the last call.
  private var lastServed = -1
  /// A slice was adopted that an earlier service served.
  private var mayHaveOrphans = false
  /// Where calls are dense the line so many slots on is fetched while this one is served.
  private static let lead = 4

  /// What became of a slice.
  public enum SliceChange: Sendable {
    /// A process took it; its calls are served from now on.
    case adopted(slice: Int, generation: UInt32)
    /// Its process is gone: let go of everything of this generation, then call `released`.
    case died(slice: Int, generation: UInt32)
  }

  public init(region: ChannelRegion) {
    self.region = region
    unsafe slices = .allocate(capacity: region.geometry.sliceCount)
    // SAFETY: fresh memory for that many values.
    unsafe slices.initialize(repeating: ServedSlice(), count: region.geometry.sliceCount)
    unsafe turns = .allocate(capacity: region.geometry.sliceCount)
  }

  deinit {
    // SAFETY: allocated by `init`; nobody holds requests beyond the port.
    unsafe slices.deallocate()
    unsafe turns.deallocate()
  }

  @unsafe
  private func busyByte(_ slice: Int, _ slot: Int) -> UnsafeMutablePointer<UInt8> {
    // SAFETY: the bytes are the first field; slice and slot are below their counts.
    unsafe (UnsafeMutableRawPointer(slices + slice) + slot).assumingMemoryBound(to: UInt8.self)
  }

  /// Compares the slice table with what is served and reports one change; call it until `nil`.
  ///
  /// A slice whose process died, or which was given out again, is reported dead at once and
  /// adopted again only after `released`.
  public mutating func nextChange() -> SliceChange? {
    for slice in 0..<region.geometry.sliceCount {
      if let change = change(of: slice) { return change }
    }
    return nil
  }

  private mutating func change(of slice: Int) -> SliceChange? {
    let entry = region.sliceEntry(slice)
    // SAFETY: `slice` is below the slice count; the poller owns the fields.
    let known = unsafe slices[slice]
    if known.isLive, entry.state != .live || entry.generation != known.generation {
      unsafe slices[slice].isLive = false
      unsafe slices[slice].isDraining = true
      removeTurn(of: slice)
      return .died(slice: slice, generation: known.generation)
    }
    guard entry.state == .live, !known.isLive, !known.isDraining else {
      releaseUnserved(slice, entry, known)
      return nil
    }
    adopt(slice, entry.generation)
    return .adopted(slice: slice, generation: entry.generation)
  }

  private mutating func adopt(_ slice: Int, _ generation: UInt32) {
    // SAFETY: `slice` is below the slice count; the poller owns the fields.
    unsafe slices[slice].generation = generation
    unsafe slices[slice].isLive = true
    // SAFETY: a slice has one turn at most: there is room.
    unsafe turns[liveCount] = slice
    liveCount += 1
    // SAFETY: as above; forgotten so that the new process's first sequence is served.
    unsafe slices[slice].served = InlineArray(repeating: ServedSlice.nothing)
    inherit(slice, generation)
    region.slice(slice).servedGeneration = generation
  }

  /// A slice's header outlives a service: what the last one took in this generation is not taken
  /// again.
  private mutating func inherit(_ slice: Int, _ generation: UInt32) {
    let memory = region.slice(slice)
    let isInherited = memory.servedGeneration == generation
    for slot in 0..<region.geometry.slotCount {
      let word = memory.taken(slot)
      if !isInherited {
        memory.setTaken(slot, 0)
      } else if SlotWord.phase(word) == SlotWord.submitted {
        // SAFETY: `slice` is below the slice count, and `slot` below the slot count.
        unsafe slices[slice].served[slot] = SlotWord.sequence(word)
        unsafe slices[slice].hasOrphans = true
        mayHaveOrphans = true
      }
    }
  }

  /// Answers the calls that an earlier service took and died with (`VOS_RESULT_LOST`): whether they
  /// were executed nobody knows, so they are not executed again. `refused` counts events due. To be
  /// called after adopting and before saying READY; else `next` does it.
  public mutating func answerOrphans(refused: (Int, Int) -> Void = { _, _ in }) {
    guard mayHaveOrphans else { return }
    mayHaveOrphans = false
    for slice in 0..<region.geometry.sliceCount {
      // SAFETY: `slice` is below the slice count; the poller owns the fields.
      guard unsafe slices[slice].hasOrphans else { continue }
      unsafe slices[slice].hasOrphans = false
      for slot in 0..<region.geometry.slotCount where isOrphan(slice, slot) {
        if answerOrphan(slot, region.slice(slice)) { refused(slice, slot) }
      }
    }
  }

  private func isOrphan(_ slice: Int, _ slot: Int) -> Bool {
    let word = region.slice(slice).state(slot)
    // SAFETY: `slice` is below the slice count and `slot` below the slot count.
    return unsafe slices[slice].served[slot] == SlotWord.sequence(word)
      && SlotWord.phase(word) == SlotWord.submitted
  }

  /// True if its caller sleeps. By exchange: the caller may be giving it up at this moment.
  private func answerOrphan(_ slot: Int, _ memory: SliceMemory) -> Bool {
    let sequence = SlotWord.sequence(memory.state(slot))
    let (word, done) = (
      SlotWord.make(SlotWord.submitted, sequence), SlotWord.make(SlotWord.done, sequence)
    )
    memory.writeReply(slot, .lost)
    if memory.replaceState(slot, word, with: done) { return false }
    return memory.replaceState(slot, word | SlotWord.waiter, with: done)
  }

  private mutating func removeTurn(of slice: Int) {
    liveCount -= 1
    // SAFETY: the slice was live: it is among the first `liveCount + 1`.
    for index in 0..<liveCount where unsafe turns[index] == slice {
      unsafe turns[index] = turns[liveCount]
    }
    if place >= liveCount { place = 0 }
    callsLeft = 1
  }

  /// A slice that died before it was ever served holds nothing: say so.
  private func releaseUnserved(_ slice: Int, _ entry: SliceEntry, _ known: ServedSlice) {
    guard entry.state == .dead, !known.isDraining else { return }
    let memory = region.slice(slice)
    if memory.releasedGeneration != entry.generation {
      memory.releasedGeneration = entry.generation
    }
  }

  /// Whether no call of the slice is being executed.
  public func isIdle(_ slice: Int) -> Bool {
    precondition(slice >= 0 && slice < region.geometry.sliceCount)
    for slot in 0..<region.geometry.slotCount {
      // SAFETY: a private atomic byte; the slice was checked.
      if unsafe vos_load_acquire8(busyByte(slice, slot)) != 0 { return false }
    }
    return true
  }

  /// Whether `slice` is served in `generation` now.
  public func isLive(_ slice: Int, generation: UInt32) -> Bool {
    guard slice >= 0, slice < region.geometry.sliceCount else { return false }
    // SAFETY: the index was checked.
    return unsafe slices[slice].isLive && slices[slice].generation == generation
  }

  /// Says that nothing of the dead slice is held any more. It must be idle.
  public mutating func released(_ slice: Int, generation: UInt32) {
    precondition(slice >= 0 && slice < region.geometry.sliceCount)
    // SAFETY: the index was checked.
    unsafe slices[slice].isDraining = false
    region.slice(slice).releasedGeneration = generation
  }

  /// The next call that waits to be served, each slice and slot in turn; `nil` after one round
  /// without any. Calls that are not valid are refused on the spot; `refused` counts events due.
  public mutating func next(refused: (Int, Int) -> Void = { _, _ in }) -> Request? {
    answerOrphans(refused: refused)
    guard liveCount > 0 else { return nil }
    for _ in 0...liveCount {
      // SAFETY: `place` stays below the count of turns.
      let slice = unsafe turns[place]
      if callsLeft > 0, let request = next(of: slice, refused) {
        callsLeft -= 1
        lastServed = slice
        return request
      }
      place += 1
      if place == liveCount { place = 0 }
      // It comes round again, and nobody else had a call meanwhile.
      callsLeft = unsafe turns[place] == lastServed ? Self.longestTurn : 1
    }
    return nil
  }

  private mutating func next(of slice: Int, _ refused: (Int, Int) -> Void) -> Request? {
    let memory = region.slice(slice)
    let limit = memory.slotLimit
    // SAFETY (here and below): live slices are below the slice count.
    var slot = unsafe slices[slice].nextSlot
    for _ in 0..<limit {
      if slot >= limit { slot = 0 }
      let candidate = slot
      slot += 1
      if let request = take(candidate, of: slice, memory, refused) {
        unsafe slices[slice].nextSlot = slot
        return request
      }
    }
    return nil
  }

  private mutating func take(
    _ slot: Int, of slice: Int, _ memory: SliceMemory, _ refused: (Int, Int) -> Void
  ) -> Request? {
    let word = memory.state(slot)
    guard isNew(slice, slot, word) else { return nil }
    fetchAhead(of: slot, memory)
    let sequence = SlotWord.sequence(word)
    memory.setTaken(slot, SlotWord.make(SlotWord.submitted, sequence))
    let (call, flags) = memory.readCall(slot)
    // SAFETY: `slice` is below the slice count and `slot` below the slot count.
    unsafe slices[slice].served[slot] = sequence
    memory.prefetchReply(slot, call.data)
    unsafe vos_store_release8(busyByte(slice, slot), 1)
    let request = Request(
      slice: slice, slot: slot, generation: unsafe slices[slice].generation, sequence: sequence,
      call: call)
    if flags == 0, call.data.fits(memory.shape.arenaBytes) { return request }
    if complete(request, .invalid) { refused(slice, slot) }
    return nil
  }

  /// If the next slot has a call too: a service that is as fast as its client finds calls one by
  /// one, and must not take lines away that the client still reads.
  private func fetchAhead(of slot: Int, _ memory: SliceMemory) {
    guard slot + Self.lead < memory.slotLimit,
      SlotWord.phase(memory.state(slot + 1)) == SlotWord.submitted
    else { return }
    memory.prefetch(slot + Self.lead)
  }

  private func isNew(_ slice: Int, _ slot: Int, _ word: UInt32) -> Bool {
    // SAFETY: `slice` is below the slice count and `slot` below the slot count.
    unsafe isWaiting(slice, slot, word) && vos_load_acquire8(busyByte(slice, slot)) == 0
  }

  /// Whether the slot has a call that was not taken. It cannot be while another thread, which has
  /// just answered the last one, still holds the slot; nobody will ring when it lets go.
  private func isWaiting(_ slice: Int, _ slot: Int, _ word: UInt32) -> Bool {
    guard SlotWord.phase(word) == SlotWord.submitted else { return false }
    // SAFETY: `slice` is below the slice count and `slot` below the slot count.
    return unsafe slices[slice].served[slot] != SlotWord.sequence(word)
  }

  /// What any thread needs to answer a request; valid while the port lives.
  public var completer: ServiceCompleter { unsafe ServiceCompleter(region: region, slices: slices) }

  /// Answers a request; see `ServiceCompleter`.
  public func complete(_ request: Request, _ reply: Reply) -> Bool {
    completer.complete(request, reply)
  }

  /// The bytes of a request's window; see `ServiceCompleter`.
  @unsafe
  public func bytes(_ request: Request) -> UnsafeMutableRawBufferPointer {
    unsafe completer.bytes(request)
  }

  /// Announces that the service goes to sleep, then looks once more.
  ///
  /// - Returns: true if it may sleep; false if there is work (the announcement is taken back).
  public mutating func prepareToSleep() -> Bool {
    for slice in 0..<region.geometry.sliceCount { region.slice(slice).sleeping = true }
    // Announcement, fence, look; the client does submission, fence, look at the announcement.
    vos_full_fence()
    if !hasWork() { return true }
    wakeUp()
    return false
  }

  /// Takes the announcement back.
  public mutating func wakeUp() {
    for slice in 0..<region.geometry.sliceCount { region.slice(slice).sleeping = false }
  }

  private func hasWork() -> Bool {
    for slice in 0..<region.geometry.sliceCount {
      let entry = region.sliceEntry(slice)
      // SAFETY: `slice` is below the slice count.
      let (isLive, isDraining, generation) = unsafe (
        slices[slice].isLive, slices[slice].isDraining, slices[slice].generation
      )
      if (entry.state == .live) != isLive, !isDraining { return true }
      guard isLive else { continue }
      if entry.generation != generation { return true }
      let memory = region.slice(slice)
      for slot in 0..<memory.slotLimit where isWaiting(slice, slot, memory.state(slot)) {
        return true
      }
    }
    return false
  }
}
