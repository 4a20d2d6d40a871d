// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// Why a superblock was refused, or a layout is not possible.
public enum GeometryError: Error, Equatable {
  /// The region is smaller than its three fixed pages.
  case regionTooSmall
  case wrongMagic
  case wrongVersion
  /// A count is zero, too large, or not a power of two where one is due.
  case badCount
  /// An offset is not aligned as its area needs.
  case misaligned
  /// Areas overlap, are in the wrong order or leave the region.
  case outOfBounds
  /// The channel's name has no end, or is empty.
  case badName
}

/// Where everything is in a channel's region: a checked copy of the superblock's fixed fields.
///
/// Every offset and count was checked against the region's true size when the value was made, so
/// addresses computed from it by `ChannelRegion` cannot leave the region.
public struct Geometry: Equatable, Sendable {
  /// Number of the channel within its system.
  public let channel: UInt32
  /// `VOS_CARRIES_*` bits.
  public let carries: UInt32
  public let regionBytes: Int
  public let sliceCount: Int
  public let sliceTableOffset: Int
  public let eventRingOffset: Int
  /// A power of two.
  public let eventCount: Int
  /// Slots in each slice, 1...64.
  public let slotCount: Int
  public let slicesOffset: Int
  public let sliceStride: Int
  /// Of slot 0 within a slice.
  public let slotsOffset: Int
  /// Of the data arena within a slice.
  public let arenaOffset: Int
  public let arenaBytes: Int

  /// Most slices of a channel: keeps a service's poll and its private state small.
  public static let maximumSlices = 4096
  /// Slots fit one bitmap word.
  public static let maximumSlots = 64
  /// Most entries of an event ring.
  public static let maximumEvents = 1 << 20
  static let lineBytes = 64
  static let eventBytes = 32
  static let pageBytes = Int(VOS_PAGE_BYTES)
  static let fixedBytes = 3 * pageBytes

  /// Lays a region out.
  ///
  /// - Parameters:
  ///   - arenaBytes: data bytes of one slice; rounded up to whole pages.
  ///   - eventCount: a power of two.
  public static func layout(
    channel: UInt32, carries: UInt32, sliceCount: Int, slotCount: Int, arenaBytes: Int,
    eventCount: Int = 1024
  ) throws(GeometryError) -> Geometry {
    guard (1...maximumSlices).contains(sliceCount), (1...maximumSlots).contains(slotCount),
      (1...1 << 30).contains(arenaBytes), (1...maximumEvents).contains(eventCount),
      eventCount & (eventCount - 1) == 0
    else { throw .badCount }
    // Nothing below overflows: 4096 slices of at most 1 GiB and a page or two.
    let ring = roundUp(fixedBytes + sliceCount * lineBytes)
    let slices = roundUp(ring + eventCount * eventBytes)
    let slots = MemoryLayout<vos_slice_header>.size
    let arena = roundUp(slots + slotCount * lineBytes)
    let stride = arena + roundUp(arenaBytes)
    return Geometry(
      channel: channel, carries: carries, regionBytes: powerOfTwo(slices + sliceCount * stride),
      sliceCount: sliceCount, sliceTableOffset: fixedBytes, eventRingOffset: ring,
      eventCount: eventCount, slotCount: slotCount, slicesOffset: slices, sliceStride: stride,
      slotsOffset: slots, arenaOffset: arena, arenaBytes: roundUp(arenaBytes))
  }

  private static func roundUp(_ bytes: Int) -> Int {
    (bytes + pageBytes - 1) & ~(pageBytes - 1)
  }

  /// A PCI base address register spans a power of two.
  private static func powerOfTwo(_ bytes: Int) -> Int {
    var size = pageBytes
    while size < bytes { size <<= 1 }
    return size
  }
}

extension Geometry {
  /// Copies the superblock at `base` once and checks it against the region's true size.
  ///
  /// - Parameters:
  ///   - base: start of the region, page-aligned, `byteCount` bytes readable.
  @unsafe
  public init(
    superblockAt base: UnsafeRawPointer, byteCount: Int
  ) throws(GeometryError) {
    guard byteCount >= Geometry.fixedBytes else { throw .regionTooSmall }
    // SAFETY: the superblock is 168 bytes at the start of a region of at least 12 KiB.
    let copy = unsafe base.load(as: vos_superblock.self)
    try self.init(copy, byteCount: byteCount)
  }

  init(_ block: vos_superblock, byteCount: Int) throws(GeometryError) {
    guard block.magic == VOS_MAGIC else { throw .wrongMagic }
    guard block.abi_version == VOS_ABI_VERSION else { throw .wrongVersion }
    guard Geometry.endsWithin(block.name) else { throw .badName }
    guard let bytes = Int(exactly: block.region_bytes), bytes <= byteCount,
      let table = Int(exactly: block.slice_table_offset),
      let ring = Int(exactly: block.event_ring_offset),
      let slices = Int(exactly: block.slices_offset), let stride = Int(exactly: block.slice_stride)
    else { throw .outOfBounds }
    channel = block.channel
    carries = block.carries
    regionBytes = bytes
    sliceCount = Int(block.slice_count)
    sliceTableOffset = table
    eventRingOffset = ring
    eventCount = Int(block.event_count)
    slotCount = Int(block.slot_count)
    slicesOffset = slices
    sliceStride = stride
    slotsOffset = Int(block.slots_offset)
    arenaOffset = Int(block.arena_offset)
    arenaBytes = Int(block.arena_bytes)
    try checkCounts()
    try checkAlignment()
    try checkBounds()
  }

  private func checkCounts() throws(GeometryError) {
    guard (1...Geometry.maximumSlices).contains(sliceCount),
      (1...Geometry.maximumSlots).contains(slotCount),
      (1...Geometry.maximumEvents).contains(eventCount), eventCount & (eventCount - 1) == 0
    else { throw .badCount }
  }

  /// Slices are mapped into processes one by one, so they are whole pages; so is whatever one
  /// side may only read.
  private func checkAlignment() throws(GeometryError) {
    let pages = sliceTableOffset | eventRingOffset | slicesOffset | sliceStride | arenaOffset
    guard pages & (Geometry.pageBytes - 1) == 0, slotsOffset & (Geometry.lineBytes - 1) == 0
    else { throw .misaligned }
  }

  /// Areas stand in the order of the ABI's picture, so none overlaps another.
  private func checkBounds() throws(GeometryError) {
    let headerBytes = MemoryLayout<vos_slice_header>.size
    guard sliceTableOffset >= Geometry.fixedBytes,
      let tableEnd = Geometry.end(sliceTableOffset, sliceCount, Geometry.lineBytes),
      tableEnd <= eventRingOffset,
      let ringEnd = Geometry.end(eventRingOffset, eventCount, Geometry.eventBytes),
      ringEnd <= slicesOffset,
      let slicesEnd = Geometry.end(slicesOffset, sliceCount, sliceStride),
      slicesEnd <= regionBytes, slotsOffset >= headerBytes,
      let slotsEnd = Geometry.end(slotsOffset, slotCount, Geometry.lineBytes),
      slotsEnd <= arenaOffset, arenaBytes > 0,
      let arenaEnd = Geometry.end(arenaOffset, 1, arenaBytes), arenaEnd <= sliceStride
    else { throw .outOfBounds }
  }

  /// `offset + count * size`, `nil` if that is not a number of bytes.
  private static func end(_ offset: Int, _ count: Int, _ size: Int) -> Int? {
    let (bytes, tooMany) = count.multipliedReportingOverflow(by: size)
    let (end, tooFar) = offset.addingReportingOverflow(bytes)
    return tooMany || tooFar || bytes < 0 ? nil : end
  }

  private static func endsWithin<Name>(_ name: Name) -> Bool {
    // SAFETY: the tuple is 64 plain bytes; only its own bytes are read.
    unsafe withUnsafeBytes(of: name) { bytes in
      unsafe bytes.first != 0 && bytes.contains(0)
    }
  }
}
