// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// The inside of a slice, the same for all slices of a channel.
public struct SliceShape: Equatable, Sendable {
  /// 1...64.
  public let slotCount: Int
  public let slotsOffset: Int
  public let arenaOffset: Int
  public let arenaBytes: Int

  public init(_ geometry: Geometry) {
    slotCount = geometry.slotCount
    slotsOffset = geometry.slotsOffset
    arenaOffset = geometry.arenaOffset
    arenaBytes = geometry.arenaBytes
  }

  /// Checks a shape that came from the kernel module (`vos_ioc_info`) against the bytes mapped.
  public init(
    slotCount: UInt32, slotsOffset: UInt32, arenaOffset: UInt32, arenaBytes: UInt32, mapBytes: Int
  ) throws(GeometryError) {
    guard (1...UInt32(Geometry.maximumSlots)).contains(slotCount), arenaBytes > 0 else {
      throw .badCount
    }
    self.slotCount = Int(slotCount)
    self.slotsOffset = Int(slotsOffset)
    self.arenaOffset = Int(arenaOffset)
    self.arenaBytes = Int(arenaBytes)
    // 64-bit sums of 32-bit numbers: nothing overflows.
    guard self.slotsOffset & (Geometry.lineBytes - 1) == 0,
      self.slotsOffset >= MemoryLayout<vos_slice_header>.size,
      self.slotsOffset + self.slotCount * Geometry.lineBytes <= self.arenaOffset,
      self.arenaOffset + self.arenaBytes <= mapBytes
    else { throw .outOfBounds }
  }
}

/// The bits of a slot's state word.
enum SlotWord {
  static let phaseMask = VOS_SLOT_PHASE_MASK
  static let submitted = VOS_SLOT_SUBMITTED
  static let done = VOS_SLOT_DONE
  static let waiter = VOS_SLOT_WAITER
  static let sequenceMask = VOS_SLOT_SEQUENCE_MASK

  static func make(_ phase: UInt32, _ sequence: UInt32) -> UInt32 {
    phase | (sequence & sequenceMask) << VOS_SLOT_SEQUENCE_SHIFT
  }

  static func phase(_ word: UInt32) -> UInt32 { word & phaseMask }
  static func sequence(_ word: UInt32) -> UInt32 { word >> VOS_SLOT_SEQUENCE_SHIFT }
}

/// A mapped slice: its words by name. Slot indices are checked by the callers, who own them.
@safe
struct SliceMemory: @unchecked Sendable {
  // @unchecked: an address and a shape that never change; every access is atomic.

  @unsafe private let base: UnsafeMutableRawPointer
  let shape: SliceShape

  /// - Parameter base: a mapped slice, page-aligned, of at least the shape's extent.
  @unsafe
  init(at base: UnsafeMutableRawPointer, shape: SliceShape) {
    unsafe self.base = base
    self.shape = shape
  }

  @unsafe
  private func word32(_ offset: Int) -> UnsafeMutablePointer<UInt32> {
    // SAFETY: offsets are header fields or lie in a slot below the slot count.
    unsafe (base + offset).assumingMemoryBound(to: UInt32.self)
  }

  @unsafe
  private func word64(_ offset: Int) -> UnsafeMutablePointer<UInt64> {
    // SAFETY: offsets are header fields or lie in a slot below the slot count.
    unsafe (base + offset).assumingMemoryBound(to: UInt64.self)
  }

  private enum Header {
    static let slotLimit = 0
    static let sleeping = 64
    static let servedGeneration = 68
    static let releasedGeneration = 72
    static let fastCalls = 128
    static let fallbackCalls = 136
    static let taken = 192
  }

  /// Offsets within a slot.
  private enum Slot {
    static let callAndFlags = 4
    static let object = 8
    static let offsetAndLength = 16
    static let dataLength = 20
    static let capacity = 24
    static let argument = 32
    static let result = 56
  }

  /// Slots that the client uses, as it says: 0...slotCount.
  var slotLimit: Int {
    // SAFETY: a word of the header.
    min(Int(unsafe vos_load_acquire32(word32(Header.slotLimit))), shape.slotCount)
  }

  /// Makes the service look at slot `index` too. Bounded: a peer that scribbles over the word
  /// cannot hold the caller.
  func raiseSlotLimit(over index: Int) {
    for _ in 0..<Geometry.maximumSlots {
      // SAFETY: a word of the header.
      let limit = unsafe vos_load_acquire32(word32(Header.slotLimit))
      if limit > UInt32(index) { return }
      if unsafe vos_compare_exchange32(word32(Header.slotLimit), limit, UInt32(index) + 1) != 0 {
        return
      }
    }
  }

  var sleeping: Bool {
    // SAFETY: a word of the header.
    get { unsafe vos_load_acquire32(word32(Header.sleeping)) != 0 }
    nonmutating set { unsafe vos_store_release32(word32(Header.sleeping), newValue ? 1 : 0) }
  }

  var servedGeneration: UInt32 {
    // SAFETY: a word of the header.
    get { unsafe vos_load_acquire32(word32(Header.servedGeneration)) }
    nonmutating set { unsafe vos_store_release32(word32(Header.servedGeneration), newValue) }
  }

  var releasedGeneration: UInt32 {
    // SAFETY: a word of the header.
    get { unsafe vos_load_acquire32(word32(Header.releasedGeneration)) }
    nonmutating set { unsafe vos_store_release32(word32(Header.releasedGeneration), newValue) }
  }

  func countCall(fast: Bool) {
    // SAFETY: a word of the header.
    _ = unsafe vos_fetch_add64(word64(fast ? Header.fastCalls : Header.fallbackCalls), 1)
  }

  private func slotOffset(_ index: Int) -> Int {
    // Holds for every caller; kept because everything below hangs on it.
    precondition(index >= 0 && index < shape.slotCount)
    return shape.slotsOffset + index * Geometry.lineBytes
  }

  func state(_ slot: Int) -> UInt32 {
    // SAFETY: a slot below the slot count.
    unsafe vos_load_acquire32(word32(slotOffset(slot)))
  }

  func setState(_ slot: Int, _ word: UInt32) {
    // SAFETY: a slot below the slot count.
    unsafe vos_store_release32(word32(slotOffset(slot)), word)
  }

  /// The state word of the call that was taken of the slot last; 0: none was.
  func taken(_ slot: Int) -> UInt32 {
    precondition(slot >= 0 && slot < Geometry.maximumSlots)
    // SAFETY: a word of the header, which has one for each slot that there can be.
    return unsafe vos_load_acquire32(word32(Header.taken + slot * 4))
  }

  func setTaken(_ slot: Int, _ word: UInt32) {
    precondition(slot >= 0 && slot < Geometry.maximumSlots)
    // SAFETY: a word of the header, which has one for each slot that there can be.
    unsafe vos_store_release32(word32(Header.taken + slot * 4), word)
  }

  /// Fetches the slot's line early, because it will be written.
  func prefetch(_ slot: Int) {
    // SAFETY: a slot below the slot count.
    unsafe vos_prefetch_write(word32(slotOffset(slot)))
  }

  /// Fetches early what a reply is written to first: its data, if it may have any, else the slot.
  /// The slot's line would not stay: the client, which looks at it all the time, takes it back
  /// while the data is written.
  func prefetchReply(_ slot: Int, _ data: DataWindow) {
    if data.capacity == 0 { return prefetch(slot) }
    guard data.fits(shape.arenaBytes) else { return }
    // SAFETY: the window was checked to lie within the arena; nothing is read or written.
    unsafe vos_prefetch_write(base + shape.arenaOffset + Int(data.offset))
  }

  func exchangeState(_ slot: Int, _ word: UInt32) -> UInt32 {
    // SAFETY: a slot below the slot count.
    unsafe vos_exchange32(word32(slotOffset(slot)), word)
  }

  func replaceState(_ slot: Int, _ old: UInt32, with new: UInt32) -> Bool {
    // SAFETY: a slot below the slot count.
    unsafe vos_compare_exchange32(word32(slotOffset(slot)), old, new) != 0
  }

  /// Writes all of a call but its state.
  func writeCall(_ slot: Int, _ call: Call) {
    let at = slotOffset(slot)
    let window = UInt64(call.data.offset) | UInt64(call.data.length) << 32
    // SAFETY: words of one slot, 64 bytes, below the slot count.
    unsafe vos_store_release32(word32(at + Slot.callAndFlags), UInt32(call.number))
    unsafe vos_store_release64(word64(at + Slot.object), call.object)
    unsafe vos_store_release64(word64(at + Slot.offsetAndLength), window)
    unsafe vos_store_release64(word64(at + Slot.capacity), UInt64(call.data.capacity))
    unsafe vos_store_release64(word64(at + Slot.argument), call.arguments.0)
    unsafe vos_store_release64(word64(at + Slot.argument + 8), call.arguments.1)
    unsafe vos_store_release64(word64(at + Slot.argument + 16), call.arguments.2)
  }

  /// Copies a submitted call: each word is read once. The second value is its flags.
  func readCall(_ slot: Int) -> (Call, UInt16) {
    let at = slotOffset(slot)
    // SAFETY: words of one slot, 64 bytes, below the slot count.
    let callAndFlags = unsafe vos_load_acquire32(word32(at + Slot.callAndFlags))
    let window = unsafe vos_load_acquire64(word64(at + Slot.offsetAndLength))
    let capacity = unsafe vos_load_acquire64(word64(at + Slot.capacity))
    let call = Call(
      UInt16(truncatingIfNeeded: callAndFlags),
      object: unsafe vos_load_acquire64(word64(at + Slot.object)),
      arguments: (
        unsafe vos_load_acquire64(word64(at + Slot.argument)),
        unsafe vos_load_acquire64(word64(at + Slot.argument + 8)),
        unsafe vos_load_acquire64(word64(at + Slot.argument + 16))
      ),
      data: DataWindow(
        offset: UInt32(truncatingIfNeeded: window),
        length: UInt32(truncatingIfNeeded: window >> 32),
        capacity: UInt32(truncatingIfNeeded: capacity)))
    return (call, UInt16(truncatingIfNeeded: callAndFlags >> 16))
  }

  func writeReply(_ slot: Int, _ reply: Reply) {
    let at = slotOffset(slot)
    // SAFETY: words of one slot, 64 bytes, below the slot count.
    unsafe vos_store_release32(word32(at + Slot.dataLength), reply.dataLength)
    unsafe vos_store_release64(word64(at + Slot.result), UInt64(bitPattern: reply.result))
  }

  func readReply(_ slot: Int) -> Reply {
    let at = slotOffset(slot)
    // SAFETY: words of one slot, 64 bytes, below the slot count.
    return Reply(
      result: Int64(bitPattern: unsafe vos_load_acquire64(word64(at + Slot.result))),
      dataLength: unsafe vos_load_acquire32(word32(at + Slot.dataLength)))
  }

  /// The arena's bytes from `window.offset`, as many as the request or its reply may use; empty if
  /// the window leaves the arena.
  @unsafe
  func bytes(_ window: DataWindow) -> UnsafeMutableRawBufferPointer {
    guard window.fits(shape.arenaBytes) else {
      // SAFETY: an empty buffer has no bytes to touch.
      return unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }
    // SAFETY: the window was checked to lie within the arena.
    return unsafe UnsafeMutableRawBufferPointer(
      start: base + shape.arenaOffset + Int(window.offset),
      count: Int(max(window.length, window.capacity)))
  }
}
