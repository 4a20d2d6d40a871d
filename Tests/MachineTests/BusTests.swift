// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import Testing

@testable import Machine

/// Answers with its own number and remembers writes.
private final class Recorder: BusDevice {
  let number: UInt64
  var writes: [[UInt64]] = []
  init(_ number: UInt64) { self.number = number }
  func read(offset: UInt64, width: Int) -> UInt64 { number << 8 | offset }
  func write(offset: UInt64, width: Int, value: UInt64) {
    writes.append([offset, UInt64(width), value])
  }
}

@Suite struct BusTests {
  @Test func accessesReachTheDeviceThatIsThere() throws {
    var bus = Bus("port")
    for number: UInt64 in [3, 1, 2] {
      try bus.insert(Recorder(number), at: number * 0x100, count: 0x10)
    }
    for number: UInt64 in 1...3 {
      #expect(bus.read(number * 0x100, width: 1) == number << 8)
      #expect(bus.read(number * 0x100 + 0xF, width: 1) == number << 8 | 0xF)
      #expect(bus.read(number * 0x100 + 0x10, width: 1) == 0xFF)
      #expect(bus.read(number * 0x100 - 1, width: 1) == 0xFF)
    }
    #expect(bus.read(.max, width: 8) == .max)
    #expect(bus.read(0, width: 4) == 0xFFFF_FFFF)
  }

  @Test func anAccessThatLeavesTheDeviceReachesNobody() throws {
    var bus = Bus("address")
    let device = Recorder(1)
    try bus.insert(device, at: 0x100, count: 4)
    #expect(bus.read(0x102, width: 4) == 0xFFFF_FFFF)
    bus.write(0x103, width: 2, value: 1)
    #expect(device.writes.isEmpty)
  }

  @Test func oddWidthsAreTakenApart() throws {
    var bus = Bus("address")
    let device = Recorder(0)
    try bus.insert(device, at: 0x100, count: 16)
    #expect(bus.read(0x101, width: 3) == 0x030201)
    bus.write(0x101, width: 3, value: 0xCCBBAA)
    #expect(device.writes == [[1, 1, 0xAA], [2, 1, 0xBB], [3, 1, 0xCC]])
    #expect(bus.read(0x101, width: 0) == 0)
    bus.write(.max, width: 7, value: 1)
  }

  @Test func overlapsAreRefused() throws {
    var bus = Bus("port")
    try bus.insert(Recorder(1), at: 0x100, count: 0x10)
    for range: Range<UInt64> in [0x100..<0x101, 0xF0..<0x101, 0x10F..<0x200, 0..<0x1000] {
      #expect(throws: MachineError.self) {
        try bus.insert(LockedDevice(Recorder(2)), at: range)
      }
    }
    try bus.insert(Recorder(2), at: 0x110, count: 1)
    try bus.insert(Recorder(3), at: 0xFF, count: 1)
  }
}
