// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import PCI
import Testing
import VFIO

@Suite struct AssignedFunctionTests {
  private typealias Place = FakeFunction.Place
  private let host = FakeFunction()
  private let machine: FakeMachine
  private let function: AssignedFunction

  init() throws {
    machine = FakeMachine(host)
    function = try AssignedFunction(host, sink: machine)
  }

  private func read(_ offset: Int, _ width: Int = 4) -> UInt32 {
    function.readConfiguration(offset: offset, width: width)
  }

  private func write(_ offset: Int, _ width: Int, _ value: UInt32) {
    function.writeConfiguration(offset: offset, width: width, value: value)
  }

  /// What happened while `body` ran.
  private func trace(_ body: () -> Void) -> [String] {
    host.trace = []
    body()
    return host.trace
  }

  @Test func headerIsShownAsItMustBe() {
    #expect(read(0) == 0x10D3_8086)
    #expect(read(8) == 0x0200_0000)
    #expect(read(0x0E, 1) == 0, "one function of type 0")
    #expect(read(0x30) == 0, "no expansion ROM")
    #expect(read(0x2C) == 0x0000_8086)
    #expect(read(0x3D, 1) == 1)
    write(0x3C, 1, 0x17)
    #expect(read(0x3C, 1) == 0x17)
    #expect(read(0x40) == 0x4444_4444, "bytes of nothing are the function's")
  }

  @Test func barsHaveTheRegionsSizes() {
    #expect(
      function.bars == [
        .init(index: 0, kind: .memory32(prefetchable: false), byteCount: 0x20000),
        .init(index: 1, kind: .io, byteCount: 32),
        .init(index: 2, kind: .memory64(prefetchable: true), byteCount: 0x1000),
        .init(index: 4, kind: .memory32(prefetchable: false), byteCount: 0x4000),
      ])
    write(0x10, 4, .max)
    #expect(read(0x10) == 0xFFFE_0000)
    #expect(trace { write(0x10, 4, 0xC000_0000) }.isEmpty, "physical BARs never move")
  }

  @Test func messageTableIsTrappedAndMappedAround() {
    let ranges = function.directRanges(ofBAR: 4)
    #expect(
      ranges == [
        DirectRange(offset: 0x1000, byteCount: 0x1000, isReadOnly: false),
        DirectRange(offset: 0x3000, byteCount: 0x1000, isReadOnly: false),
      ])
    #expect(function.hostAddress(ofBAR: 4, offset: 0x3000) == 0x7040_3000)
    #expect(function.hostAddress(ofBAR: 4, offset: 0x2000) == nil)
    #expect(
      function.directRanges(ofBAR: 2) == [
        DirectRange(offset: 0, byteCount: 0x1000, isReadOnly: false)
      ], "a small BAR is shown as a page")
    #expect(function.directRanges(ofBAR: 1).isEmpty)
  }

  /// The guest is shown fewer vectors than the function has; the rest of the table is no more its.
  @Test func theWholePhysicalTableIsTrapped() throws {
    let host = FakeFunction()
    host.put(Place.msix, 0x01FF_0011)  // 512 vectors: two pages from 0 on
    host.put(Place.msix + 8, 0x0000_3004)
    let function = try AssignedFunction(host, sink: FakeMachine(host))
    #expect(function.readConfiguration(offset: Place.msix + 2, width: 2) == 0x7F)
    #expect(
      function.directRanges(ofBAR: 4) == [
        DirectRange(offset: 0x2000, byteCount: 0x1000, isReadOnly: false)
      ])
  }

  @Test func accessesOutsideTheTableReachTheFunction() {
    #expect(function.readBAR(4, offset: 0xC, width: 4) == 1, "entry is masked")
    let happened = trace {
      #expect(function.readBAR(4, offset: 0x50, width: 4) == 0x5A)
      function.writeBAR(4, offset: 0x54, width: 4, value: 7)
      function.writeBAR(1, offset: 4, width: 4, value: 9)
      #expect(function.readBAR(1, offset: 0, width: 1) == 0x5A)
    }
    #expect(happened == ["read 4+80/4", "write 4+84/4=7", "write 1+4/4=9", "read 1+0/1"])
    host.answers = false
    #expect(function.readBAR(4, offset: 0x50, width: 2) == 0xFFFF)
    #expect(read(0x40) == .max)
  }

  @Test func capabilitiesAreFilteredInPlace() {
    var found: [Int: UInt32] = [:]
    var offset = Int(read(0x34, 1))
    while offset != 0 && found.count < 10 {
      found[offset] = read(offset, 1)
      offset = Int(read(offset + 1, 1))
    }
    #expect(found == [0xC8: 0x01, 0xD0: 0x05, 0xE0: 0x10, 0xA0: 0x11])
    #expect(read(0x60) == 0 && read(0x64) == 0, "hidden bytes read 0")
    #expect(trace { write(0x64, 4, 1) }.isEmpty)
    #expect(read(0xE2, 2) == 0x0092, "a root complex integrated endpoint")
    #expect(read(0xE4) == 0x1111_1111)
    #expect(read(0xEC) == 0, "the link is the host's")
    #expect(trace { write(0xE8, 2, 0x8000) }.first == "write 7+232/2=8000")
  }

  @Test func extendedCapabilitiesAreFiltered() {
    #expect(read(0x100) == 0x1601_0001)
    #expect(read(0x104) == 0xAAAA_AAAA)
    #expect(read(0x140) == 0 && read(0x144) == 0, "SR-IOV is hidden")
    #expect(read(0x160) == 0x0001_0003)
    #expect(read(0x164) == 0xCCCC_CCCC)
    #expect(read(0x180) == 0, "ATS is hidden")
    #expect(read(0x1A0) == 0 && read(0x1A4) == 0, "resizable BARs are hidden")
    #expect(read(0xFFC) == 0)
    #expect(trace { write(0x144, 4, 1) }.isEmpty)
  }

  @Test func powerStateIsAModel() {
    #expect(trace { write(Place.powerManagement + 4, 2, 0x0103) }.isEmpty)
    #expect(read(Place.powerManagement + 4, 2) == 0xB)
  }

  @Test func commandIsFiltered() {
    #expect(read(4, 2) == 0)
    #expect(trace { write(4, 2, 0xFFFF) } == ["write 7+4/2=557"])
    #expect(read(4, 2) == 0x0557)
    #expect(function.decodedBARs.count == 4)
    #expect(trace { write(4, 2, 0) } == ["write 7+4/2=3"], "decoding stays on in the function")
    #expect(function.decodedBARs.isEmpty)
    #expect(trace { write(5, 1, 4) } == ["write 7+4/2=403"])
    #expect(trace { write(4, 4, 0xF900_0000) }.contains("write 7+6/1=0"))
  }

  @Test func lineIsOnUntilMessagesAre() throws {
    let own = FakeFunction()
    let function = try AssignedFunction(own, sink: FakeMachine(own))
    #expect(
      own.trace == [
        "write 7+4/2=3", "write 7+232/2=6", "connect pin 1", "enable intx [50]", "unmask by 51",
      ])
    own.trace = []
    let at = Place.msi
    function.writeConfiguration(offset: at + 4, width: 4, value: 0xFEE0_0000)
    function.writeConfiguration(offset: at + 12, width: 2, value: 0x41)
    #expect(own.trace.isEmpty)
    function.writeConfiguration(offset: at + 2, width: 2, value: 1)
    #expect(
      own.trace == ["disable intx", "disconnect line", "enable msi [100]", "configure 0 65"])
    own.trace = []
    function.writeConfiguration(offset: at + 2, width: 2, value: 0)
    #expect(
      own.trace == [
        "configure 0 off", "disable msi", "connect pin 1", "enable intx [50]", "unmask by 51",
      ])
  }

  @Test func lineThatCannotBeUnmaskedIsOff() throws {
    let host = FakeFunction()
    host.refusesUnmasking = true
    _ = try AssignedFunction(host, sink: FakeMachine(host))
    #expect(
      host.trace.dropFirst(3).dropLast()
        == ["enable intx [50]", "disable intx", "disconnect line"],
      "or the kernel would refuse to enable messages")
  }

  /// Linux's order: enable with everything masked, fill in, unmask.
  @Test func messagesByTable() {
    let at = Place.msix
    #expect(
      trace { write(at + 2, 2, 0xC000) } == [
        "disable intx", "disconnect line", "enable msix [100, 101, 102, 103, 104]",
      ])
    let unmasking = trace {
      function.writeBAR(4, offset: 32, width: 4, value: 0xFEE0_0000)
      function.writeBAR(4, offset: 40, width: 4, value: 0x51)
      function.writeBAR(4, offset: 44, width: 4, value: 0)
      write(at + 2, 2, 0x8000)
    }
    #expect(unmasking == ["configure 2 81"])
    #expect(trace { function.writeBAR(4, offset: 44, width: 4, value: 1) } == ["configure 2 off"])
    #expect(trace { write(at + 2, 2, 0) }.first == "disable msix")
  }

  @Test func shortageOfVectorsIsReported() {
    host.available = 2
    let happened = trace { write(Place.msix + 2, 2, 0x8000) }
    #expect(happened.contains("enable msix [100, 101]"))
    #expect(happened.last?.hasPrefix("report: the host has 2 of 5") == true)
    host.available = 0
    let nothing = trace {
      write(Place.msix + 2, 2, 0)
      write(Place.msix + 2, 2, 0x8000)
    }
    #expect(nothing.last?.hasPrefix("report:") == true)
  }

  @Test func functionWithoutLineShowsNoPin() throws {
    let host = FakeFunction()
    host.vectors[.intx] = 0
    let function = try AssignedFunction(host, sink: FakeMachine(host))
    #expect(function.readConfiguration(offset: 0x3D, width: 1) == 0)
    #expect(host.trace == ["write 7+4/2=3", "write 7+232/2=6"])
  }

  /// The host's root port hears of errors that the function sends, whatever the guest writes.
  @Test func errorReportsStayOn() {
    let control = Place.express + 8
    #expect(trace { write(control, 2, 0x2810) }.last == "write 7+232/2=6")
    host.put(control, 0x2816)
    #expect(trace { write(control, 2, 0x2816) } == ["write 7+232/2=2816"])
    #expect(trace { write(control - 4, 4, 0) }.count == 1, "another register")
  }

  @Test func hostileListsDoNotLoop() throws {
    let host = FakeFunction()
    host.put(0xA0, 0x0004_C811)  // back to the first
    host.put(0x1A0, 0x1001_0015)
    let function = try AssignedFunction(host, sink: FakeMachine(host))
    #expect(function.readConfiguration(offset: 0, width: 4) == 0x10D3_8086)
  }

  @Test func unreadableConfigurationIsAnError() {
    let host = FakeFunction()
    host.answers = false
    #expect(throws: VFIOError.configurationUnreadable(offset: 0)) {
      try AssignedFunction(host, sink: FakeMachine(host))
    }
  }
}
