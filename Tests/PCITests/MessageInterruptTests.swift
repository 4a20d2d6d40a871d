// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import PCI
import Testing

/// Carries out `change` and gives its result: `#expect` takes no mutating calls.
private func after<T>(_ change: () -> T) -> T { change() }

private func emptySpace() -> ConfigurationSpace {
  ConfigurationSpace(
    identity: PCIIdentity(vendor: 1, device: 2, revision: 0, classCode: 0))
}

@Suite struct MSITests {
  @Test func messagesFollowTheRegisters() throws {
    var space = emptySpace()
    var msi = try MSI(addingTo: &space, vectorCount: 4)
    let at = msi.offset
    #expect(space.read(at + 2, width: 2) == 0x0184)
    space.write(at + 4, width: 4, value: 0xFEE0_1003)
    space.write(at + 8, width: 4, value: 1)
    space.write(at + 12, width: 2, value: 0x4041)
    #expect(after { msi.refresh(&space) }.isEmpty)
    space.write(at + 2, width: 2, value: 0xFF91)  // enable, two vectors
    let changes = msi.refresh(&space)
    #expect(
      changes == [
        VectorChange(vector: 0, message: .init(address: 0x1_FEE0_1000, data: 0x4040)),
        VectorChange(vector: 1, message: .init(address: 0x1_FEE0_1000, data: 0x4041)),
      ])
    #expect(msi.enabledVectorCount(in: space) == 2)
    #expect(after { msi.refresh(&space) }.isEmpty)
    space.write(at + 2, width: 2, value: 0)
    #expect(after { msi.refresh(&space) }.map(\.message) == [nil, nil])
  }

  @Test func maskedVectorIsPendingUntilUnmasked() throws {
    var space = emptySpace()
    var msi = try MSI(addingTo: &space, vectorCount: 1)
    space.write(msi.offset + 16, width: 4, value: .max)
    #expect(space.read(msi.offset + 16, width: 4) == 1)
    space.write(msi.offset + 2, width: 2, value: 1)
    #expect(after { msi.refresh(&space) }.isEmpty)
    #expect(!after { msi.signal(0, in: &space) })
    #expect(space.read(msi.offset + 20, width: 4) == 1)
    space.write(msi.offset + 16, width: 4, value: 0)
    let sink = RecordingSink()
    sink.apply(msi.refresh(&space))
    #expect(sink.raised == [0])
    #expect(space.read(msi.offset + 20, width: 4) == 0)
    #expect(after { msi.signal(0, in: &space) })
    #expect(!after { msi.signal(7, in: &space) })
  }

  @Test func shortFormsKeepToTheirBytes() throws {
    var space = emptySpace()
    var msi = try MSI(
      addingTo: &space, vectorCount: 1, form: .init(is64Bit: false, isMaskable: false))
    #expect(msi.form.byteCount == 10)
    #expect(msi.form == MSI.Form(control: UInt16(space.read(msi.offset + 2, width: 2))))
    for offset in 0..<32 { space.write(msi.offset + offset, width: 1, value: 0xFF) }
    #expect(space.read(msi.offset + 10, width: 2) == 0)
    #expect(space.read(msi.offset + 12, width: 4) == 0)
    #expect(
      after { msi.refresh(&space) }
        == [VectorChange(vector: 0, message: .init(address: 0xFFFF_FFFC, data: 0xFFFF))])
  }

  @Test func moreVectorsThanThereAreAreClamped() throws {
    var space = emptySpace()
    var msi = try MSI(addingTo: &space, vectorCount: 2)
    space.write(msi.offset + 2, width: 2, value: 0x71)
    #expect(after { msi.refresh(&space) }.count == 2)
    #expect(throws: PCIError.vectorCount(3)) { try MSI(addingTo: &space, vectorCount: 3) }
  }
}

@Suite struct MSIXTests {
  private static let layout = MSIX.Layout(
    tableBAR: 1, tableOffset: 0, pendingBAR: 1, pendingOffset: 0x800)

  private func make(_ count: Int = 3) throws -> (ConfigurationSpace, MSIX) {
    var space = emptySpace()
    let msix = try MSIX(addingTo: &space, vectorCount: count, layout: Self.layout)
    return (space, msix)
  }

  @Test func capabilityDescribesTheTable() throws {
    let (space, msix) = try make()
    #expect(space.read(msix.offset, width: 4) == 0x0002_0011)
    #expect(space.read(msix.offset + 4, width: 4) == 1)
    #expect(space.read(msix.offset + 8, width: 4) == 0x801)
  }

  @Test func entriesStartMasked() throws {
    let (_, msix) = try make()
    for vector in 0..<3 {
      #expect(msix.read(bar: 1, offset: UInt64(vector * 16 + 12), width: 4) == 1)
      #expect(msix.read(bar: 1, offset: UInt64(vector * 16 + 8), width: 8) == 1 << 32)
    }
    #expect(msix.read(bar: 1, offset: 48, width: 4) == nil)
    #expect(msix.read(bar: 0, offset: 0, width: 4) == nil)
  }

  /// The order in which Linux programs MSI-X: enable with the function masked, fill in the entries,
  /// unmask the function, then unmask each vector.
  @Test func linuxProgrammingOrder() throws {
    var (space, msix) = try make()
    let sink = RecordingSink()
    func control(_ value: UInt32) {
      space.write(msix.offset + 2, width: 2, value: value)
      sink.apply(msix.refresh(space))
    }
    func table(_ offset: UInt64, _ value: UInt64, width: Int = 4) {
      sink.apply(msix.write(bar: 1, offset: offset, width: width, value: value, in: space) ?? [])
    }
    control(0xC000)
    table(16, 0xFEE0_0000)
    table(20, 0)
    table(24, 0x4022)
    table(28, 0)
    #expect(sink.configured.isEmpty)
    #expect(!after { msix.signal(1, in: space) })
    #expect(msix.read(bar: 1, offset: 0x800, width: 8) == 2)
    control(0x8000)
    #expect(sink.configured == [1: InterruptMessage(address: 0xFEE0_0000, data: 0x4022)])
    #expect(sink.raised == [1])
    #expect(msix.read(bar: 1, offset: 0x800, width: 4) == 0)
    #expect(after { msix.signal(1, in: space) })
    table(24, 0x0000_0001_0000_4033, width: 8)
    #expect(sink.configured[1] == .some(nil))
    control(0)
    #expect(!after { msix.signal(1, in: space) })
    #expect(msix.read(bar: 1, offset: 0x800, width: 4) == 0)
  }

  @Test func oddAccessesHaveNoEffect() throws {
    var (space, msix) = try make()
    space.write(msix.offset + 2, width: 2, value: 0x8000)
    _ = msix.refresh(space)
    #expect(after { msix.write(bar: 1, offset: 0, width: 2, value: 0xFFFF, in: space) } == [])
    #expect(after { msix.write(bar: 1, offset: 4, width: 8, value: .max, in: space) } == [])
    #expect(after { msix.write(bar: 1, offset: 13, width: 4, value: 0, in: space) } == [])
    #expect(after { msix.write(bar: 1, offset: 0x800, width: 8, value: .max, in: space) } == [])
    #expect(after { msix.write(bar: 1, offset: 0x400, width: 4, value: 0, in: space) } == nil)
    #expect(msix.read(bar: 1, offset: 0, width: 8) == 0)
    #expect(msix.read(bar: 1, offset: 44, width: 8) != nil)
    #expect(!after { msix.signal(-1, in: space) })
    #expect(!after { msix.signal(3, in: space) })
  }

  @Test func tableSizeIsBounded() {
    var space = emptySpace()
    for count in [0, -1, 2049] {
      #expect(throws: PCIError.vectorCount(count)) {
        try MSIX(addingTo: &space, vectorCount: count, layout: Self.layout)
      }
    }
  }
}
