// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import VFIO

/// Puts a structure together from 32-bit numbers, as the kernel would.
private func answer(_ words: UInt32...) -> AnswerBuffer {
  AnswerBuffer(
    bytes: words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } })
}

@Suite struct AnswerTests {
  @Test func iommuCapabilities() throws {
    let buffer = answer(
      80, 3, 0xFFFF_F000, 0, 24, 0,  // both flags; capabilities at 24
      1 | 1 << 16, 64, 2, 0, 0, 0, 0xFEDF_FFFF, 0, 0xFEF0_0000, 0, 0xFFFF_FFFF, 0x7F,
      0, 0)
    var patched = buffer
    patched.set(28, to: 72)
    patched = AnswerBuffer(bytes: patched.bytes + answer(3 | 1 << 16, 0, 65535).bytes.suffix(12))
    // 24: IOVA ranges -> 72 is inside the ranges' tail, so place DMA_AVAIL at 80.
    patched.set(28, to: 80)
    let able = try VFIOContainer.decode(patched)
    #expect(able.pageSizes == 0xFFFF_F000)
    #expect(
      able.addressRanges == [0...0xFEDF_FFFF, 0xFEF0_0000...0x7F_FFFF_FFFF])
    #expect(able.mappingsLeft == 65535)
    #expect(able.translate(0, 0xBFFF_FFFF))
    #expect(!able.translate(0xFED0_0000, 0xFEF0_0000))
    #expect(!able.translate(0x7F_FFFF_0000, 0x80_0000_0000))
  }

  @Test func unknownAnswersAreErrors() {
    #expect(throws: VFIOError.self) {  // a loop
      try VFIOContainer.decode(answer(32, 2, 0, 0, 24, 0, 9, 24))
    }
    #expect(throws: VFIOError.self) {  // beyond the end
      try VFIOContainer.decode(answer(24, 2, 0, 0, 400, 0))
    }
    #expect(throws: VFIOError.self) {  // more ranges than bytes
      try VFIOContainer.decode(answer(40, 2, 0, 0, 24, 0, 1, 0, .max, 0))
    }
  }

  @Test func regionWithSparseAreas() throws {
    let region = try RegionInfo(
      answer(
        80, 0xF, 4, 32, 0x4000, 0, 0, 0x400,  // read, write, mmap, caps; size; offset
        1 | 1 << 16, 80, 2, 0, 0x1000, 0, 0x1000, 0, 0x3000, 0, 0x1000, 0,
        3 | 1 << 16, 0), index: 4)
    #expect(region.byteCount == 0x4000)
    #expect(region.fileOffset == 0x400_0000_0000)
    #expect(region.mappable == [0x1000..<0x2000, 0x3000..<0x4000])
    #expect(region.coversMessageTable)
    #expect(region.isReadable && region.isWritable)
  }

  @Test func regionAreasMustLieInTheRegion() {
    #expect(throws: VFIOError.self) {
      try RegionInfo(
        answer(
          64, 0xF, 4, 32, 0x1000, 0, 0, 0, 1 | 1 << 16, 0, 1, 0, 0x800, 0, 0x1000, 0), index: 4)
    }
  }

  @Test func plainRegionIsMappableAsAWhole() throws {
    let region = try RegionInfo(answer(32, 7, 0, 0, 0x2000, 0, 0, 0), index: 0)
    #expect(region.mappable == [0..<0x2000])
    let ports = try RegionInfo(answer(32, 3, 1, 0, 0x20, 0, 0, 1), index: 1)
    #expect(ports.mappable.isEmpty)
  }

  @Test func dependentFunctions() throws {
    let found = try DependentFunction.decode(
      answer(28, 0, 2, 12, 0x0801 << 16, 13, 0xFF0A << 16 | 1))
    #expect(
      found == [
        DependentFunction(group: 12, address: "0000:01:01.0"),
        DependentFunction(group: 13, address: "0001:0a:1f.7"),
      ])
    #expect(throws: VFIOError.self) { try DependentFunction.decode(answer(20, 0, 2, 12, 0)) }
  }
}

@Suite struct ResetTests {
  private let scope = [
    DependentFunction(group: 9, address: "0000:02:00.1"),
    DependentFunction(group: 7, address: "0000:02:00.0"),
  ]

  private func best(
    _ canReset: Bool, _ scope: [DependentFunction]?, owned: Set<String>, held: Set<Int> = [7, 9]
  ) -> ResetMethod {
    ResetMethod.best(canReset: canReset, scope: scope, owned: owned, heldGroups: held)
  }

  @Test func functionResetIsFirst() {
    #expect(best(true, scope, owned: []) == .function)
  }

  @Test func busResetOnlyWhenAllAreOurs() {
    let both: Set = ["0000:02:00.0", "0000:02:00.1"]
    #expect(best(false, scope, owned: both) == .hot(groups: [7, 9]))
    #expect(
      best(false, scope, owned: ["0000:02:00.0"])
        == .none(reason: "a bus reset would also reset 0000:02:00.1"))
    #expect(
      best(false, scope, owned: both, held: [9])
        == .none(reason: "a bus reset would also reset 0000:02:00.0"))
  }

  @Test func noMethodIsSaid() {
    #expect(
      best(false, nil, owned: []) == .none(reason: "neither function nor bus can be reset"))
  }

  @Test func deadFunctionsAreFound() {
    let before = ResetCheck(identity: 0x10D3_8086, command: 0x106)
    #expect(throws: Never.self) {
      try ResetCheck(identity: 0x10D3_8086, command: 2).verify(against: before)
    }
    #expect(throws: VFIOError.deadAfterReset(vendor: 0xFFFF, command: 0xFFFF)) {
      try ResetCheck(identity: .max, command: .max).verify(against: before)
    }
    #expect(throws: VFIOError.changedByReset(before: 0x10D3_8086, after: 0x1234_8086)) {
      try ResetCheck(identity: 0x1234_8086, command: 0).verify(against: before)
    }
  }
}
