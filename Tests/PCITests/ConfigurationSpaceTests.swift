// SPDX-License-Identifier: Apache-2.0
import PCI
import Testing

@Suite struct ConfigurationSpaceTests {
  private func space() -> ConfigurationSpace {
    ConfigurationSpace(
      identity: PCIIdentity(
        vendor: 0x1AF4, device: 0x1110, revision: 1, classCode: 0x05_00_00,
        subsystemVendor: 0x1AF4, subsystem: 0x1100))
  }

  @Test func identityIsReadOnly() {
    var space = space()
    for offset in stride(from: 0, to: 0x40, by: 4) { space.write(offset, width: 4, value: .max) }
    #expect(space.read(0, width: 4) == 0x1110_1AF4)
    #expect(space.read(8, width: 4) == 0x0500_0001)
    #expect(space.read(0x2C, width: 4) == 0x1100_1AF4)
    #expect(space.read(PCIRegister.command, width: 2) == UInt32(PCICommand.writable.rawValue))
    #expect(space.read(PCIRegister.interruptLine, width: 1) == 0xFF)
    #expect(space.read(PCIRegister.interruptPin, width: 1) == 0)
  }

  @Test func accessesOutsideReadOnesAndWriteNothing() {
    var space = space()
    #expect(space.read(254, width: 4) == .max)
    #expect(space.read(-1, width: 1) == 0xFF)
    #expect(space.read(256, width: 2) == 0xFFFF)
    space.write(255, width: 2, value: 0)
    space.write(.max, width: 4, value: 0)
  }

  @Test func bitsClearedByOnesStayUntilThen() {
    var space = space()
    space.allowClear(PCIRegister.status, width: 2, bits: 0xF900)
    space.set(PCIRegister.status, width: 2, to: 0x2800)
    space.write(PCIRegister.status, width: 2, value: 0x2000)
    #expect(space.read(PCIRegister.status, width: 2) == 0x0800)
  }

  private static let sizes: [(BARDescription, UInt32)] = [
    (BARDescription(index: 0, kind: .memory32(prefetchable: false), byteCount: 256), 0xFFFF_FF00),
    (BARDescription(index: 1, kind: .memory32(prefetchable: true), byteCount: 4096), 0xFFFF_F008),
    (BARDescription(index: 2, kind: .io, byteCount: 32), 0xFFFF_FFE1),
  ]

  @Test(arguments: sizes)
  func sizing(bar: BARDescription, mask: UInt32) throws {
    var space = space()
    try space.addBAR(bar)
    let offset = 0x10 + 4 * bar.index
    space.write(offset, width: 4, value: .max)
    #expect(space.read(offset, width: 4) == mask)
    space.write(offset, width: 4, value: 0xC000_1234)
    #expect(space.address(of: bar) == UInt64(0xC000_1234 & mask & ~bar.kind.flagMask))
  }

  @Test func sizingOf64BitBAR() throws {
    var space = space()
    let bar = BARDescription(
      index: 2, kind: .memory64(prefetchable: true), byteCount: 8 << 30)
    try space.addBAR(bar)
    space.write(0x18, width: 4, value: .max)
    space.write(0x1C, width: 4, value: .max)
    #expect(space.read(0x18, width: 4) == 0xC)
    #expect(space.read(0x1C, width: 4) == 0xFFFF_FFFE)
    space.write(0x18, width: 4, value: 0)
    space.write(0x1C, width: 4, value: 0x12)
    #expect(space.address(of: bar) == 0x12_0000_0000)
  }

  @Test func impossibleBARsAreRefused() throws {
    var space = space()
    let bars: [BARDescription] = [
      .init(index: 5, kind: .memory64(prefetchable: true), byteCount: 4096),
      .init(index: 6, kind: .io, byteCount: 16), .init(index: -1, kind: .io, byteCount: 16),
      .init(index: 0, kind: .io, byteCount: 3), .init(index: 0, kind: .io, byteCount: 0),
      .init(index: 0, kind: .memory32(prefetchable: false), byteCount: 8),
      .init(index: 0, kind: .memory32(prefetchable: false), byteCount: 1 << 32),
    ]
    for bar in bars {
      #expect(throws: PCIError.invalidBAR(index: bar.index, byteCount: bar.byteCount)) {
        try space.addBAR(bar)
      }
    }
    try space.addBAR(.init(index: 2, kind: .memory64(prefetchable: true), byteCount: 4096))
    #expect(throws: PCIError.self) {
      try space.addBAR(.init(index: 3, kind: .io, byteCount: 16))
    }
  }

  @Test func capabilitiesAreLinkedInOrder() throws {
    var space = space()
    #expect(space.read(PCIRegister.status, width: 2) == 0)
    let first = try space.addCapability(0x09, body: [1, 2, 3], writable: [0, 0xF0])
    let second = try space.addCapability(0x01, body: [9, 9, 9, 9, 9, 9])
    #expect(space.read(PCIRegister.capabilities, width: 1) == UInt32(first))
    #expect(space.read(first, width: 4) == 0x0201_0009 | UInt32(second) << 8)
    #expect(space.read(second, width: 2) == 0x0001)
    #expect(space.read(PCIRegister.status, width: 2) == 0x10)
    space.write(first + 3, width: 1, value: 0xFF)
    #expect(space.read(first + 3, width: 1) == 0xF2)
    #expect(throws: PCIError.self) {
      try space.addCapability(0x09, body: [UInt8](repeating: 0, count: 250))
    }
  }

  @Test func decodingFollowsTheCommandRegister() throws {
    var space = space()
    let memory = BARDescription(index: 0, kind: .memory32(prefetchable: false), byteCount: 4096)
    let ports = BARDescription(index: 1, kind: .io, byteCount: 16)
    try space.addBAR(memory)
    try space.addBAR(ports)
    space.write(0x10, width: 4, value: 0xC000_0000)
    space.write(0x14, width: 4, value: 0x1000)
    #expect(space.decodedBARs.isEmpty)
    space.write(PCIRegister.command, width: 2, value: 2)
    #expect(space.decodedBARs == [DecodedBAR(bar: memory, address: 0xC000_0000)])
    space.write(PCIRegister.command, width: 2, value: 1)
    #expect(space.decodedBARs == [DecodedBAR(bar: ports, address: 0x1000)])
  }
}
