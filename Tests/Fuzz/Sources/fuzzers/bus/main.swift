// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import FuzzKit
import Ivshmem
import PCI

// PCI configuration space, its BARs and the registers of ivshmem, as a guest writes them. Whatever it
// does, what the machine is told to map stays within the windows and apart, and only doorbells that
// exist are rung. Input: accesses.
let window32: Range<UInt64> = 0xC000_0000..<0xE000_0000
let window64: Range<UInt64> = 0x10_0000_0000..<0x50_0000_0000
let windowIO: Range<UInt64> = 0x1000..<0x10000
let remotes: [UInt16: Int] = [1: 2, 2: 1]
let vectors = 2

fuzz { input in
  let machine = Machine()
  while !input.isEmpty { machine.step(&input) }
  machine.check()
}

final class Machine {
  private let bus: PCIBus
  private let devices: [any BusDevice]
  private let map = Map()
  private let doorbells = Doorbells()

  init() {
    bus = PCIBus(
      windows: PCIWindows(memory32: window32, memory64: window64, io: windowIO), mapper: map)
    devices = [
      ECAMWindow(bus), ConfigurationPorts(bus), BARWindow(bus, .memory32),
      BARWindow(bus, .memory64), BARWindow(bus, .io),
    ]
    do {
      try bus.insert(HostBridge(), slot: 0)
      let pages: [Range<UInt64>] = [0..<0x1000, 0x2000..<0x4000]
      for slot in 1...2 {
        let layout = try IvshmemLayout(
          regionByteCount: 1 << 16, peer: 0, vectorCount: vectors, remotes: remotes,
          readOnly: pages)
        try bus.insert(IvshmemFunction(layout, sink: doorbells, host: doorbells), slot: slot)
      }
      try bus.assignBARs()
    } catch {
      expect(false, "the bus is the same each time")
    }
  }

  func step(_ input: inout Input) {
    let width = [1, 2, 4, 4, 8, 3, 0][input.below(7)]
    let which = input.below(devices.count)
    let offset = offset(which, &input)
    if input.byte() & 3 == 0 {
      _ = devices[which].read(offset: offset, width: width)
    } else {
      devices[which].write(offset: offset, width: width, value: input.interesting())
    }
  }

  /// Mostly where something is.
  private func offset(_ which: Int, _ input: inout Input) -> UInt64 {
    guard input.byte() >= 16 else { return input.interesting() }
    switch which {
    case 0: return UInt64(input.below(4)) << 15 | UInt64(input.below(0x110))
    case 1: return UInt64(input.below(8))
    default:
      let range = [window32, window64, windowIO][which - 2]
      guard let mapping = map.mapped.randomOne(&input) else {
        return UInt64(input.number(UInt16.self))
      }
      return mapping.decoded.address &- range.lowerBound &+ UInt64(input.below(0x1010))
    }
  }

  func check() { expect(map.mapped.count <= 6, "more BARs than there are") }
}

/// What the machine was told to map.
final class Map: BARMapper {
  private(set) var mapped: [(slot: Int, decoded: DecodedBAR)] = []

  func map(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int) {
    let end = decoded.address.addingReportingOverflow(decoded.bar.byteCount)
    let windows = [window32, window64, windowIO]
    expect(
      !end.overflow
        && windows.contains {
          $0.lowerBound <= decoded.address && end.partialValue <= $0.upperBound
        }, "a BAR outside the windows")
    for other in mapped {
      expect(
        decoded.address >= other.decoded.address + other.decoded.bar.byteCount
          || other.decoded.address >= end.partialValue, "two BARs overlap")
    }
    mapped.append((slot, decoded))
  }

  func unmap(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int) {
    let index = mapped.firstIndex { $0.slot == slot && $0.decoded == decoded }
    expect(index != nil, "a BAR was taken away that was not there")
    if let index { mapped.remove(at: index) }
  }
}

/// Hears doorbells and interrupts.
final class Doorbells: IvshmemHost, MessageInterruptSink {
  func ring(peer: UInt16, vector: Int) {
    expect(vector >= 0 && vector < remotes[peer] ?? 0, "a doorbell that nobody has")
  }

  func droppedWrite(offset: UInt64) {}

  func configure(vector: Int, message: InterruptMessage?) {
    expect((0..<vectors).contains(vector), "a vector that does not exist")
  }

  func raise(vector: Int) {
    expect((0..<vectors).contains(vector), "a vector that does not exist")
  }
}

extension Array {
  func randomOne(_ input: inout Input) -> Element? { isEmpty ? nil : self[input.below(count)] }
}
