// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import PCI
import Testing
import VFIO

/// A seeded generator (xorshift64): the same guest each time.
private struct Seeded: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}

/// Checks that what the bus maps lies in its windows and never overlaps.
private final class CheckingMapper: BARMapper {
  let windows: PCIWindows
  var mapped: [DecodedBAR] = []
  var problems: [String] = []
  var count = 0

  init(_ windows: PCIWindows) { self.windows = windows }

  func map(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int) {
    let end = decoded.address &+ decoded.bar.byteCount
    let inside = [windows.memory32, windows.memory64, windows.io].contains {
      decoded.address >= $0.lowerBound && end <= $0.upperBound
    }
    if !inside { problems.append("\(decoded) outside") }
    for other in mapped where (other.bar.kind == .io) == (decoded.bar.kind == .io) {
      if decoded.address < other.address + other.bar.byteCount && other.address < end {
        problems.append("\(decoded) over \(other)")
      }
    }
    mapped.append(decoded)
    count += 1
  }

  func unmap(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int) {
    guard let index = mapped.firstIndex(of: decoded) else {
      return problems.append("\(decoded) was not mapped")
    }
    mapped.remove(at: index)
  }
}

@Suite struct HostileGuestTests {
  /// Random accesses of every width, also where nobody is, to a bus with two assigned functions:
  /// nothing traps, no physical BAR register is ever written, and mappings stay sound.
  @Test(arguments: [1, 2, 3] as [UInt64])
  func randomAccesses(seed: UInt64) throws {
    let windows = PCIWindows(memory64: 0x10_0000_0000..<0x50_0000_0000)
    let mapper = CheckingMapper(windows)
    let bus = PCIBus(windows: windows, mapper: mapper)
    let hosts = [FakeFunction(), FakeFunction()]
    try bus.insert(HostBridge(), slot: 0)
    for (index, host) in hosts.enumerated() {
      let function = try AssignedFunction(host, sink: FakeMachine(host))
      try bus.insert(function, slot: 3 + index)
    }
    try bus.assignBARs()
    let devices: [any BusDevice] = [
      ECAMWindow(bus), ConfigurationPorts(bus), BARWindow(bus, .memory32),
      BARWindow(bus, .memory64), BARWindow(bus, .io),
    ]
    var random = Seeded(state: seed &* 0x9E37_79B9_7F4A_7C15)
    for _ in 0..<20_000 {
      access(devices[Int(random.next() % 5)], mapper.mapped, &random)
      for host in hosts where host.trace.count > 100 { check(host) }
    }
    for host in hosts { check(host) }
    #expect(mapper.problems == [])
    #expect(mapper.count > 100, "the guest did get something mapped")
  }

  private func access(
    _ device: any BusDevice, _ mapped: [DecodedBAR], _ random: inout Seeded
  ) {
    let width = 1 << Int(random.next() % 4)
    var offset = random.next() >> (random.next() % 64)
    if device is ECAMWindow, random.next() % 2 == 0 {
      return program(device, &random)
    } else if device is ECAMWindow, random.next() % 4 != 0 {
      offset = (3 + random.next() % 2) << 15 | (random.next() % 0x120)
    } else if let window = device as? BARWindow, let bar = mapped.randomElement(using: &random) {
      offset = bar.address &- window.range.lowerBound &+ random.next() % 0x3000
    }
    // Often a value that could be an address.
    let value =
      random.next() % 2 == 0 ? random.next() : 0xC000_0000 | (random.next() & 0x1FFF_F007)
    if random.next() % 3 == 0 {
      let read = device.read(offset: offset, width: width)
      #expect(width == 8 || read >> UInt64(8 * width) == 0)
    } else {
      device.write(offset: offset, width: width, value: value)
    }
  }

  /// Moves a BAR somewhere that may be sound, or turns decoding on.
  private func program(_ device: any BusDevice, _ random: inout Seeded) {
    let function = (3 + random.next() % 2) << 15
    let address = 0xC000_0000 | (random.next() & 0x3F_F000)
    let choices: [(UInt64, UInt64)] = [
      (4, random.next() % 16), (4, 7), (0x10, address), (0x14, 0x1000 | (random.next() & 0xFE0)),
      (0x18, address), (0x1C, random.next() % 3 * 8), (0x20, address),
    ]
    guard let (register, value) = choices.randomElement(using: &random) else { return }
    device.write(offset: function | register, width: 4, value: value)
  }

  /// Physical BARs and the physical MSI and MSI-X registers are the host's.
  private func check(_ host: FakeFunction) {
    let forbidden = [0x10..<0x28, 0x30..<0x34, 0xA0..<0xAC, 0xD0..<0xDE, 0xC8..<0xD0]
    for line in host.trace where line.hasPrefix("write 7+") {
      let number = line.dropFirst("write 7+".count).prefix { $0.isNumber }
      let offset = Int(number) ?? 0
      #expect(!forbidden.contains { $0.contains(offset) }, "\(line)")
    }
    host.trace = []
  }
}
