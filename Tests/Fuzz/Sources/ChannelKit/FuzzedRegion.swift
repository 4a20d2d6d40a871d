// SPDX-License-Identifier: Apache-2.0
public import CVosABI
public import Channel
public import FuzzKit

/// A formatted channel whose neighbours may not be touched, and the hand of the peer on it.
public final class FuzzedRegion {
  private let pages: Pages
  public let region: ChannelRegion
  public var geometry: Geometry { region.geometry }

  public init(slices: Int = 3, slots: Int = 4, arenaBytes: Int = 4096, events: Int = 8) {
    guard
      let geometry = try? Geometry.layout(
        channel: 1, carries: VOS_CARRIES_SOCKETS, sliceCount: slices, slotCount: slots,
        arenaBytes: arenaBytes, eventCount: events)
    else { fatalError("the layout is a constant") }
    pages = Pages(byteCount: geometry.regionBytes)
    guard
      let region = try? ChannelRegion(
        formatting: pages.base, geometry: geometry, name: Array("fuzz".utf8).span)
    else { fatalError("the name is a constant") }
    self.region = region
    region.announce(.client, life: .alive, generation: 1)
    region.announce(.service, life: .alive, generation: 1)
    for slice in 0..<slices {
      region.publish(
        SliceEntry(state: .live, generation: 1, pid: UInt32(100 + slice)), slice: slice)
    }
  }

  /// The bytes of all slices.
  public var slices: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(
      start: pages.base + geometry.slicesOffset, count: geometry.sliceCount * geometry.sliceStride)
  }

  /// One word, anywhere behind the superblock, most often one that means something.
  public func scribble(_ input: inout Input) {
    let slice = geometry.slicesOffset + input.below(geometry.sliceCount) * geometry.sliceStride
    let slot = slice + geometry.slotsOffset + input.below(geometry.slotCount) * 64
    switch input.below(10) {
    case 0: store(input.number(), at: (1024 + input.below(geometry.regionBytes / 4 - 1024)) * 4)
    case 1: store(UInt32(input.below(70)), at: slice)
    case 2: store(UInt32(truncatingIfNeeded: input.interesting()), at: slot + 4 * input.below(16))
    case 3: store(UInt32(input.below(8)) | UInt32(input.below(4)) << 8, at: slot)
    case 4:
      let entry = geometry.sliceTableOffset + input.below(geometry.sliceCount) * 64
      store(UInt32(input.below(4)), at: entry + 4 * input.below(2))
    case 5:
      let ring = geometry.eventRingOffset + input.below(geometry.eventCount) * 32
      store(UInt32(input.below(4)), at: ring + 4 * input.below(8))
    case 6: store(input.number(), at: Int(VOS_CLIENT_PAGE_OFFSET) + 4 * input.below(20))
    case 7: store(UInt32(input.below(20)), at: Int(VOS_SERVICE_PAGE_OFFSET) + 64)
    case 8:
      // A whole reply, with a length of its own.
      store(UInt32(truncatingIfNeeded: input.interesting()), at: slot + 20)
      store(VOS_SLOT_DONE | UInt32(input.below(4)) << VOS_SLOT_SEQUENCE_SHIFT, at: slot)
    default: store(UInt32(truncatingIfNeeded: input.interesting()), at: slot + 56)
    }
  }

  private func store(_ value: UInt32, at offset: Int) {
    pages.base.storeBytes(of: value, toByteOffset: offset & ~3, as: UInt32.self)
  }
}

extension Call {
  /// Any call, with a window that often fits.
  public init(_ number: UInt16, from input: inout Input, arenaBytes: Int) {
    let isWild = input.byte() < 32
    func size(_ input: inout Input) -> UInt32 {
      isWild ? UInt32(truncatingIfNeeded: input.interesting()) : UInt32(input.below(arenaBytes / 3))
    }
    self.init(
      number, object: input.interesting(),
      arguments: (input.interesting(), input.interesting(), input.interesting()),
      data: DataWindow(offset: size(&input), length: size(&input), capacity: size(&input)))
  }
}
