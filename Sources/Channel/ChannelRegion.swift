// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// A side of a channel.
public enum ChannelSide: UInt32, Sendable {
  case client = 0
  case service = 1

  /// The side that this one talks to.
  public var other: ChannelSide { self == .client ? .service : .client }
}

/// What the host says of a side (`VOS_LIFE_*`).
public enum SideLife: UInt32, Sendable {
  case absent = 0
  case alive = 1
  case failed = 2
}

/// A mapped channel: the region's address with the geometry that was checked for it.
///
/// The value does not own the mapping: whoever made it keeps the mapping while it is in use.
/// All reads and writes of shared words are atomic and happen once.
@safe
public struct ChannelRegion: @unchecked Sendable {
  // @unchecked: the address never changes; what lies behind is shared with other machines, so
  // every access is atomic, and copied before it is looked at.

  @unsafe let base: UnsafeMutableRawPointer
  public let geometry: Geometry

  /// Takes a mapped region whose superblock the host has written.
  ///
  /// - Parameters:
  ///   - base: page-aligned, `byteCount` bytes mapped for as long as the value is used.
  /// - Throws: what is wrong with the superblock.
  @unsafe
  public init(
    mappedAt base: UnsafeMutableRawPointer, byteCount: Int
  ) throws(GeometryError) {
    geometry = try unsafe Geometry(superblockAt: base, byteCount: byteCount)
    unsafe self.base = base
  }

  /// Formats zeroed memory as a channel (the host, before anybody else sees it).
  ///
  /// - Parameters:
  ///   - base: page-aligned, `geometry.regionBytes` zero bytes, mapped while the value is used.
  ///   - name: 1...63 bytes without a zero.
  @unsafe
  public init(
    formatting base: UnsafeMutableRawPointer, geometry: Geometry, name: Span<UInt8>
  ) throws(GeometryError) {
    self.geometry = geometry
    unsafe self.base = base
    try format(name)
  }

  private func format(_ name: Span<UInt8>) throws(GeometryError) {
    guard (1...63).contains(name.count) else { throw .badName }
    for index in name.indices where name[index] == 0 { throw .badName }
    writeSuperblock()
    for index in name.indices {
      // SAFETY: the name lies within the superblock, 64 bytes of which 63 are used at most.
      unsafe base.storeBytes(
        of: name[index], toByteOffset: Field.name + index, as: UInt8.self)
    }
    // The magic goes last: a region with it is a whole one.
    // SAFETY: the superblock's first word, aligned.
    unsafe vos_store_release64(word64(0), VOS_MAGIC)
  }

  private func writeSuperblock() {
    var block = vos_superblock()
    block.abi_version = VOS_ABI_VERSION
    block.channel = geometry.channel
    block.region_bytes = UInt64(geometry.regionBytes)
    block.carries = geometry.carries
    block.slice_count = UInt32(geometry.sliceCount)
    block.slice_table_offset = UInt64(geometry.sliceTableOffset)
    block.event_ring_offset = UInt64(geometry.eventRingOffset)
    block.event_count = UInt32(geometry.eventCount)
    block.slot_count = UInt32(geometry.slotCount)
    block.slices_offset = UInt64(geometry.slicesOffset)
    block.slice_stride = UInt64(geometry.sliceStride)
    block.slots_offset = UInt32(geometry.slotsOffset)
    block.arena_offset = UInt32(geometry.arenaOffset)
    block.arena_bytes = UInt32(geometry.arenaBytes)
    // SAFETY: the superblock is the region's first 168 bytes.
    unsafe base.storeBytes(of: block, as: vos_superblock.self)
  }

  /// Offsets of the superblock's words that change, and of its name.
  enum Field {
    static let clientLife = 88
    static let serviceLife = 92
    static let clientGeneration = 96
    static let serviceGeneration = 100
    static let name = 104
  }

  /// A 32-bit word of the region; `offset` comes from checked geometry and is aligned.
  @unsafe
  func word32(_ offset: Int) -> UnsafeMutablePointer<UInt32> {
    // SAFETY: callers pass offsets within the checked geometry.
    unsafe (base + offset).assumingMemoryBound(to: UInt32.self)
  }

  /// A 64-bit word of the region; `offset` comes from checked geometry and is aligned.
  @unsafe
  func word64(_ offset: Int) -> UnsafeMutablePointer<UInt64> {
    // SAFETY: callers pass offsets within the checked geometry.
    unsafe (base + offset).assumingMemoryBound(to: UInt64.self)
  }

  /// The host's word on `side`; what is no known word counts as absent.
  public func life(of side: ChannelSide) -> SideLife {
    let offset = side == .client ? Field.clientLife : Field.serviceLife
    // SAFETY: a word of the superblock.
    return SideLife(rawValue: unsafe vos_load_acquire32(word32(offset))) ?? .absent
  }

  /// Which life of `side` the host counts now.
  public func generation(of side: ChannelSide) -> UInt32 {
    let offset = side == .client ? Field.clientGeneration : Field.serviceGeneration
    // SAFETY: a word of the superblock.
    return unsafe vos_load_acquire32(word32(offset))
  }

  /// The host announces a change of `side`: generation first, so that who sees the new life sees
  /// its generation.
  public func announce(_ side: ChannelSide, life: SideLife, generation: UInt32) {
    let client = side == .client
    // SAFETY: words of the superblock, which only the host writes.
    unsafe vos_store_release32(
      word32(client ? Field.clientGeneration : Field.serviceGeneration), generation)
    unsafe vos_store_release32(
      word32(client ? Field.clientLife : Field.serviceLife), life.rawValue)
  }

  /// What the host says of a side.
  public struct Life: Equatable, Sendable {
    public var life: SideLife
    public var generation: UInt32

    public init(_ life: SideLife, generation: UInt32) {
      (self.life, self.generation) = (life, generation)
    }
  }

  /// Makes the channel new after it was broken (the host): whatever anybody wrote is gone, and the
  /// sides begin new lives. Those that there were must have ended; one that has not spoils the new
  /// channel only, which is then broken again.
  ///
  /// - Parameters:
  ///   - name: as it was formatted with.
  ///   - isZero: the caller has already zeroed all from the client page on.
  public func renew(
    name: Span<UInt8>, client: Life, service: Life, isZero: Bool = false
  ) throws(GeometryError) {
    for side in [ChannelSide.client, .service] {
      announce(side, life: .absent, generation: generation(of: side))
    }
    let start = Self.renewedFrom
    if !isZero {
      // SAFETY: from the first page after the superblock's to the region's end.
      unsafe (base + start).initializeMemory(
        as: UInt8.self, repeating: 0, count: geometry.regionBytes - start)
    }
    try format(name)
    announce(.client, life: client.life, generation: client.generation)
    announce(.service, life: service.life, generation: service.generation)
  }

  /// Where that begins which `renew` makes new; it ends with the region.
  public static var renewedFrom: Int { Int(VOS_CLIENT_PAGE_OFFSET) }

  /// The page of `side`.
  public func page(of side: ChannelSide) -> SidePage {
    // SAFETY: both pages lie within every region.
    unsafe SidePage(
      at: base + Int(side == .client ? VOS_CLIENT_PAGE_OFFSET : VOS_SERVICE_PAGE_OFFSET))
  }

  /// Slice `index`, which is taken modulo nothing: it must be below the slice count.
  func slice(_ index: Int) -> SliceMemory {
    precondition(index >= 0 && index < geometry.sliceCount)
    // SAFETY: the geometry places every slice within the region.
    return unsafe SliceMemory(
      at: base + geometry.slicesOffset + index * geometry.sliceStride,
      shape: SliceShape(geometry))
  }
}
