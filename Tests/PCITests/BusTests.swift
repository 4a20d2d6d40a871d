// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import PCI
import Testing

private let windows = PCIWindows(memory64: 0x10_0000_0000..<0x50_0000_0000)
private let page = BARDescription(
  index: 0, kind: .memory32(prefetchable: false), byteCount: 4096)
private let small = BARDescription(index: 1, kind: .memory32(prefetchable: false), byteCount: 256)
private let shared = BARDescription(
  index: 2, kind: .memory64(prefetchable: true), byteCount: 64 << 20)
private let ports = BARDescription(index: 4, kind: .io, byteCount: 32)

@Suite struct AllocatorTests {
  @Test func rangesAreAlignedApartAndInTheirWindows() throws {
    let requests = (1...5).flatMap { slot in
      [page, small, shared, ports].map { BARAllocator.Request(slot: slot, bar: $0) }
    }
    let assigned = try BARAllocator.assign(requests, in: windows)
    #expect(assigned.count == 20)
    for (index, one) in assigned.enumerated() {
      #expect(one.decoded.address % one.decoded.bar.byteCount == 0)
      let window: Range<UInt64> =
        switch one.decoded.bar.kind {
        case .io: windows.io
        case .memory32: windows.memory32
        case .memory64: windows.memory64
        }
      #expect(window.contains(one.decoded.address))
      #expect(one.decoded.address + one.decoded.bar.byteCount <= window.upperBound)
      for other in assigned[..<index]
      where (one.decoded.bar.kind == .io) == (other.decoded.bar.kind == .io) {
        let apart =
          one.decoded.address >= other.decoded.address + other.decoded.bar.byteCount
          || other.decoded.address >= one.decoded.address + one.decoded.bar.byteCount
        #expect(apart)
      }
    }
  }

  @Test func memoryBARsGetTheirOwnPages() throws {
    let assigned = try BARAllocator.assign(
      (0..<3).map { .init(slot: $0, bar: small) }, in: windows)
    #expect(assigned.map(\.decoded.address) == [0xC000_0000, 0xC000_1000, 0xC000_2000])
  }

  @Test func fullWindowIsAnErrorThatNamesTheBAR() {
    let huge = BARDescription(index: 2, kind: .memory64(prefetchable: true), byteCount: 1 << 37)
    #expect(
      throws: PCIError.windowFull(window: "64-bit", slot: 6, bar: 2, byteCount: 1 << 37)
    ) {
      try BARAllocator.assign(
        [.init(slot: 5, bar: huge), .init(slot: 6, bar: huge)], in: windows)
    }
    let half = BARDescription(
      index: 0, kind: .memory32(prefetchable: false), byteCount: 1 << 31)
    #expect(throws: PCIError.self) {
      try BARAllocator.assign([.init(slot: 1, bar: half)], in: windows)
    }
  }
}

@Suite struct BusTests {
  private func make() throws -> (PCIBus, RecordingMapper, TestFunction, TestFunction) {
    let mapper = RecordingMapper()
    let bus = PCIBus(windows: windows, mapper: mapper)
    let first = try TestFunction([page, ports], device: 1)
    let second = try TestFunction([page, shared], device: 2)
    try bus.insert(HostBridge(), slot: 0)
    try bus.insert(first, slot: 3)
    try bus.insert(second, slot: 5)
    try bus.assignBARs()
    return (bus, mapper, first, second)
  }

  @Test func slotsAreChecked() throws {
    let (bus, _, _, _) = try make()
    #expect(throws: PCIError.slotTaken(3)) { try bus.insert(HostBridge(), slot: 3) }
    #expect(throws: PCIError.slotOutOfRange(32)) { try bus.insert(HostBridge(), slot: 32) }
  }

  @Test func mapperIsToldWhenDecodingChanges() throws {
    let (bus, mapper, _, _) = try make()
    #expect(mapper.trace.isEmpty)
    bus.writeConfiguration(slot: 3, offset: 4, width: 2, value: 3)
    #expect(mapper.trace == ["map 3.0 c0000000", "map 3.4 1000"])
    bus.writeConfiguration(slot: 3, offset: 4, width: 2, value: 7)
    #expect(mapper.trace.count == 2)
    bus.writeConfiguration(slot: 3, offset: 0x10, width: 4, value: 0xC800_0000)
    bus.writeConfiguration(slot: 3, offset: 4, width: 2, value: 1)
    #expect(
      mapper.trace.dropFirst(2) == [
        "unmap 3.0 c0000000", "map 3.0 c8000000", "unmap 3.0 c8000000",
      ])
  }

  @Test func hostileAddressesAreNotDecoded() throws {
    let (bus, mapper, _, _) = try make()
    bus.writeConfiguration(slot: 5, offset: 4, width: 2, value: 2)
    mapper.trace = []
    for address: UInt32 in [0, 0x1000, 0xFFFF_F000, 0xFEE0_0000, 0xE000_0000] {
      bus.writeConfiguration(slot: 5, offset: 0x10, width: 4, value: address)
    }
    #expect(mapper.trace == ["unmap 5.0 c0001000"])
    bus.writeConfiguration(slot: 5, offset: 0x1C, width: 4, value: .max)
    #expect(mapper.trace.last == "unmap 5.2 1000000000")
  }

  @Test func lowerSlotWinsACollision() throws {
    let (bus, mapper, _, _) = try make()
    bus.writeConfiguration(slot: 3, offset: 4, width: 2, value: 2)
    bus.writeConfiguration(slot: 5, offset: 0x10, width: 4, value: 0xC000_0000)
    bus.writeConfiguration(slot: 5, offset: 4, width: 2, value: 2)
    #expect(mapper.trace == ["map 3.0 c0000000", "map 5.2 1000000000"])
    bus.writeConfiguration(slot: 3, offset: 4, width: 2, value: 0)
    #expect(mapper.trace.suffix(2) == ["unmap 3.0 c0000000", "map 5.0 c0000000"])
  }

  @Test func windowsRouteAccessesToBARs() throws {
    let (bus, _, first, second) = try make()
    let low = BARWindow(bus, .memory32)
    let high = BARWindow(bus, .memory64)
    let io = BARWindow(bus, .io)
    #expect(low.read(offset: 0, width: 4) == 0xFFFF_FFFF)
    for slot in [3, 5] { bus.writeConfiguration(slot: slot, offset: 4, width: 2, value: 3) }
    low.write(offset: 0xC, width: 4, value: 0xAB_0000_0001)
    #expect(low.read(offset: 8, width: 1) == 1)
    _ = low.read(offset: 0xFFE, width: 4)  // crosses the end of the BAR
    io.write(offset: 4, width: 2, value: 9)
    high.write(offset: 0x1000, width: 8, value: 5)
    #expect(high.read(offset: (64 << 20) - 4, width: 8) == .max)
    #expect(high.read(offset: .max, width: 8) == .max)
    #expect(first.accesses == ["w0+12/4=1", "r0+8/1", "w4+4/2=9"])
    #expect(second.accesses == ["w2+4096/8=5"])
  }

  @Test func interruptInputsRotate() {
    #expect(PCIBus.interruptInput(slot: 0, pin: 1) == 16)
    #expect(PCIBus.interruptInput(slot: 9, pin: 2) == 18)
  }
}

@Suite struct ConfigurationAccessTests {
  private func make() throws -> PCIBus {
    let bus = PCIBus(windows: windows)
    try bus.insert(HostBridge(), slot: 0)
    try bus.insert(TestFunction([page]), slot: 2)
    return bus
  }

  @Test func ecamReadsEveryWidth() throws {
    let ecam = ECAMWindow(try make())
    #expect(ecam.read(offset: 0, width: 4) == 0x0008_1B36)
    #expect(ecam.read(offset: 0, width: 8) == 0x0000_0000_0008_1B36)
    #expect(ecam.read(offset: 0xB, width: 1) == 0x06)
    let slot2: UInt64 = 2 << 15
    #expect(ecam.read(offset: slot2, width: 2) == 0x1AF4)
    #expect(ecam.read(offset: slot2 + 1, width: 2) == 0x341A)
    ecam.write(offset: slot2 + 0x3C, width: 1, value: 0x5A)
    #expect(ecam.read(offset: slot2 + 0x3C, width: 4) == 0x5A)
    ecam.write(offset: slot2 + 0x11, width: 4, value: 0xC012_3456)
    #expect(ecam.read(offset: slot2 + 0x10, width: 4) == 0x1234_5000)
  }

  @Test func ecamAnswersOnesForWhatIsAbsent() throws {
    let ecam = ECAMWindow(try make())
    #expect(ecam.read(offset: 1 << 15, width: 4) == 0xFFFF_FFFF)
    #expect(ecam.read(offset: 1 << 12, width: 2) == 0xFFFF)
    #expect(ecam.read(offset: 1 << 20, width: 1) == 0xFF)
    #expect(ecam.read(offset: .max - 1, width: 8) == .max)
    #expect(ecam.read(offset: 0x100, width: 4) == 0xFFFF_FFFF)
    #expect(ecam.read(offset: 0xFFE, width: 4) == 0xFFFF_FFFF)
    for offset in [UInt64(1) << 15, 1 << 20, .max] {
      ecam.write(offset: offset, width: 8, value: .max)
    }
  }

  @Test func portsSelectAndReach() throws {
    let access = ConfigurationPorts(try make())
    #expect(access.read(offset: 4, width: 4) == 0xFFFF_FFFF)
    access.write(offset: 0, width: 4, value: 0xFFFF_FFFF)
    #expect(access.read(offset: 0, width: 4) == 0x80FF_FFFC)
    access.write(offset: 0, width: 4, value: 0x8000_1000)
    #expect(access.read(offset: 4, width: 4) == 0x1234_1AF4)
    #expect(access.read(offset: 6, width: 2) == 0x1234)
    #expect(access.read(offset: 7, width: 1) == 0x12)
    #expect(access.read(offset: 6, width: 4) == 0xFFFF_FFFF)
    #expect(access.read(offset: 5, width: 2) == 0x341A)
    access.write(offset: 0, width: 4, value: 0x8000_103C)
    access.write(offset: 4, width: 1, value: 0x77)
    #expect(access.read(offset: 4, width: 2) == 0x0077)
  }

  @Test func portsIgnoreOtherBusesFunctionsAndWidths() throws {
    let access = ConfigurationPorts(try make())
    for address: UInt64 in [0x0000_1000, 0x8001_1000, 0x8000_1100, 0x8000_0800] {
      access.write(offset: 0, width: 4, value: address)
      #expect(access.read(offset: 4, width: 4) == 0xFFFF_FFFF)
      access.write(offset: 4, width: 4, value: 0)
    }
    access.write(offset: 0, width: 1, value: 0x55)
    #expect(access.read(offset: 0, width: 4) == 0x8000_0800)
    #expect(access.read(offset: 1, width: 1) == 0xFF)
    #expect(access.read(offset: .max, width: 4) == 0xFFFF_FFFF)
  }
}
