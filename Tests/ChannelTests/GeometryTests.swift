// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Testing

@testable import Channel

@Suite struct GeometryTests {
  private func block(_ change: (inout vos_superblock) -> Void = { _ in }) throws -> vos_superblock {
    let region = try TestRegion()
    var block = region.base.load(as: vos_superblock.self)
    change(&block)
    return block
  }

  private func refusal(_ change: (inout vos_superblock) -> Void) throws -> GeometryError? {
    let changed = try block(change)
    do throws(GeometryError) {
      _ = try Geometry(changed, byteCount: 1 << 20)
      return nil
    } catch { return error }
  }

  @Test func aWrittenSuperblockReadsBack() throws {
    let region = try TestRegion(slices: 5, slots: 33, arenaBytes: 10000, events: 16)
    let read = try Geometry(superblockAt: region.base, byteCount: region.byteCount)
    #expect(read == region.region.geometry)
    #expect(read.arenaBytes == 12288)
    #expect(read.regionBytes.nonzeroBitCount == 1)
  }

  @Test func theFieldOffsetsAreTheHeaders() {
    #expect(
      MemoryLayout<vos_superblock>.offset(of: \.client_life) == ChannelRegion.Field.clientLife)
    #expect(
      MemoryLayout<vos_superblock>.offset(of: \.service_life) == ChannelRegion.Field.serviceLife)
    #expect(
      MemoryLayout<vos_superblock>.offset(of: \.client_generation)
        == ChannelRegion.Field.clientGeneration)
    #expect(
      MemoryLayout<vos_superblock>.offset(of: \.service_generation)
        == ChannelRegion.Field.serviceGeneration)
    #expect(MemoryLayout<vos_superblock>.offset(of: \.name) == ChannelRegion.Field.name)
    #expect(MemoryLayout<vos_side_page>.offset(of: \.event_index) == 64)
    #expect(MemoryLayout<vos_slice_header>.offset(of: \.sleeping) == 64)
    #expect(MemoryLayout<vos_slice_header>.offset(of: \.released_generation) == 72)
    #expect(MemoryLayout<vos_slice_header>.offset(of: \.fast_calls) == 128)
    #expect(MemoryLayout<vos_slot>.offset(of: \.data_capacity) == 24)
    #expect(MemoryLayout<vos_slot>.offset(of: \.argument) == 32)
    #expect(MemoryLayout<vos_slot>.offset(of: \.result) == 56)
    #expect(MemoryLayout<vos_event>.offset(of: \.value) == 16)
    #expect(MemoryLayout<SliceClientStorage>.offset(of: \.sequences) == 8)
    #expect(MemoryLayout<ServedSlice>.offset(of: \.busy) == 0)
  }

  @Test func aRegionWithoutItsPagesIsRefused() throws {
    let whole = try block()
    #expect(throws: GeometryError.outOfBounds) { try Geometry(whole, byteCount: 8192) }
    let region = try TestRegion()
    #expect(throws: GeometryError.regionTooSmall) {
      try Geometry(superblockAt: region.base, byteCount: 4096)
    }
    #expect(throws: GeometryError.outOfBounds) {
      try Geometry(superblockAt: region.base, byteCount: region.byteCount / 2)
    }
  }

  @Test func everyBadFieldIsRefused() throws {
    #expect(try refusal { $0.magic = 0 } == .wrongMagic)
    #expect(try refusal { $0.abi_version = 2 } == .wrongVersion)
    #expect(try refusal { $0.slot_count = 0 } == .badCount)
    #expect(try refusal { $0.slot_count = 65 } == .badCount)
    #expect(try refusal { $0.slice_count = 0 } == .badCount)
    #expect(try refusal { $0.slice_count = .max } == .badCount)
    #expect(try refusal { $0.event_count = 48 } == .badCount)
    #expect(try refusal { $0.slices_offset += 64 } == .misaligned)
    #expect(try refusal { $0.slots_offset = 200 } == .misaligned)
    #expect(try refusal { $0.slots_offset = 128 } == .outOfBounds)
    #expect(try refusal { $0.region_bytes = .max } == .outOfBounds)
    #expect(try refusal { $0.region_bytes = 4096 } == .outOfBounds)
    #expect(try refusal { $0.slice_stride = 0 } == .outOfBounds)
    #expect(try refusal { $0.slice_stride = 1 << 62 } == .outOfBounds)
    #expect(try refusal { $0.slice_stride = UInt64.max << 12 } == .outOfBounds)
    #expect(try refusal { $0.slice_table_offset = 0x2000 } == .outOfBounds)
    #expect(try refusal { $0.event_ring_offset = 0x3000 } == .outOfBounds)
    #expect(try refusal { $0.slices_offset = 0x4000 } == .outOfBounds)
    #expect(try refusal { $0.arena_offset = 0 } == .outOfBounds)
    #expect(try refusal { $0.arena_bytes = .max } == .outOfBounds)
    #expect(try refusal { $0.arena_bytes = 0 } == .outOfBounds)
    #expect(try refusal { $0.name.0 = 0 } == .badName)
    #expect(
      try refusal { block in
        withUnsafeMutableBytes(of: &block.name) { bytes in
          for index in bytes.indices { bytes[index] = 0x41 }
        }
      } == .badName)
  }

  @Test func randomSuperblocksNeverPlaceASliceOutside() throws {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<20000 {
      let random = try block { block in
        withUnsafeMutableBytes(of: &block) { bytes in
          for _ in 0..<3 {
            bytes[Int.random(in: 8..<88, using: &generator)] = .random(
              in: 0...255, using: &generator)
          }
        }
      }
      guard let geometry = try? Geometry(random, byteCount: 1 << 20) else { continue }
      let last = geometry.slicesOffset + geometry.sliceCount * geometry.sliceStride
      #expect(last <= 1 << 20)
      #expect(geometry.arenaOffset + geometry.arenaBytes <= geometry.sliceStride)
      #expect(geometry.eventRingOffset + geometry.eventCount * 32 <= geometry.slicesOffset)
    }
  }

  @Test func impossibleLayoutsAreRefused() {
    #expect(throws: GeometryError.badCount) {
      try Geometry.layout(channel: 0, carries: 1, sliceCount: 1, slotCount: 65, arenaBytes: 4096)
    }
    #expect(throws: GeometryError.badCount) {
      try Geometry.layout(
        channel: 0, carries: 1, sliceCount: 1, slotCount: 1, arenaBytes: 4096, eventCount: 3)
    }
  }

  @Test func theHostsWordOnASideIsRead() throws {
    let test = try TestRegion()
    #expect(test.region.life(of: .service) == .absent)
    test.region.announce(.service, life: .alive, generation: 4)
    #expect(test.region.life(of: .service) == .alive)
    #expect(test.region.generation(of: .service) == 4)
    #expect(test.region.life(of: .client) == .absent)
  }

  @Test func aSideAnnouncesItselfAndBeats() throws {
    let page = try TestRegion().region.page(of: .service)
    page.announce(.ready, generation: 9)
    page.beat()
    page.beat()
    #expect(page.state == .ready)
    #expect(page.generation == 9)
    #expect(page.heartbeat == 2)
    #expect(page.version == VOS_ABI_VERSION)
  }

  @Test func aShapeFromTheKernelIsChecked() throws {
    let shape = try SliceShape(
      slotCount: 64, slotsOffset: 512, arenaOffset: 8192, arenaBytes: 4096, mapBytes: 12288)
    #expect(shape.arenaOffset == 8192)
    #expect(throws: GeometryError.outOfBounds) {
      try SliceShape(
        slotCount: 64, slotsOffset: 512, arenaOffset: 8192, arenaBytes: 4097, mapBytes: 12288)
    }
    #expect(throws: GeometryError.outOfBounds) {
      try SliceShape(
        slotCount: 64, slotsOffset: 512, arenaOffset: 4096, arenaBytes: 4096, mapBytes: 12288)
    }
  }
}
