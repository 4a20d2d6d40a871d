// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import PCI
import VFIO

/// A recorded physical function: a network controller with a layout like Intel's 82574L, with
/// SR-IOV, ATS and resizable BARs added. It notes what reaches it.
final class FakeFunction: HostFunction {
  var space = [UInt8](repeating: 0, count: 4096)
  var regions: [Int: RegionInfo] = [:]
  var vectors: [InterruptKind: Int] = [.intx: 1, .msi: 1, .msix: 5]
  var trace: [String] = []
  /// Vectors that the host can give, if fewer than are asked for.
  var available: Int?
  var answers = true
  var refusesUnmasking = false

  enum Place {
    static let msix = 0xA0
    static let powerManagement = 0xC8
    static let msi = 0xD0
    static let express = 0xE0
    static let unknown = 0x60
  }

  init() {
    put(0x00, 0x10D3_8086)
    put(0x04, 0x0010_0000)
    put(0x08, 0x0200_0000)
    put(0x0C, 0x0080_0010)  // says that it has more functions
    put(0x14, 0x0000_0001)  // I/O
    put(0x18, 0x0000_000C)  // 64-bit, prefetchable
    put(0x2C, 0x0000_8086)
    put(0x30, 0xFEB0_0001)
    put(0x34, 0xC8)
    put(0x3C, 0x0000_010B)
    put(0xC8, 0xC823_D001)  // power management -> MSI
    put(0xCC, 0x0000_2103)
    put(0xD0, 0x0080_6005)  // MSI, 64-bit -> 0x60
    put(0x60, 0xDEAD_E008)  // HyperTransport, not for guests -> express
    put(0x64, 0xDEAD_BEEF)
    put(0xE0, 0x0002_A010)  // express, version 2, endpoint -> MSI-X
    put(0xE4, 0x1111_1111)
    put(0xEC, 0x2222_2222)  // link capabilities
    put(0xA0, 0x0004_0011)  // MSI-X, five vectors
    put(0xA4, 0x0000_0003)
    put(0xA8, 0x0000_2003)
    put(0x40, 0x4444_4444)  // belongs to nothing
    put(0x100, 0x1401_0001)  // AER -> 0x140
    put(0x104, 0xAAAA_AAAA)
    put(0x140, 0x1601_0010)  // SR-IOV -> 0x160
    put(0x144, 0xBBBB_BBBB)
    put(0x160, 0x1801_0003)  // serial number -> 0x180
    put(0x164, 0xCCCC_CCCC)
    put(0x180, 0x1A01_000F)  // ATS -> 0x1A0
    put(0x1A0, 0x0001_0015)  // resizable BAR
    put(0x1A4, 0xDDDD_DDDD)
    regions = [
      0: RegionInfo(index: 0, byteCount: 0x20000, mappable: [0..<0x20000]),
      1: RegionInfo(index: 1, byteCount: 32),
      2: RegionInfo(index: 2, byteCount: 0x800, mappable: [0..<0x800]),
      4: RegionInfo(index: 4, byteCount: 0x4000, mappable: [0..<0x4000]),
      RegionInfo.Index.rom: RegionInfo(index: 6, byteCount: 0x40000),
      RegionInfo.Index.configuration: RegionInfo(index: 7, byteCount: 4096),
    ]
    // BAR 2 takes register 3, so the table lies in BAR 4.
    put(0xA4, 0x0000_0004)
    put(0xA8, 0x0000_2004)
  }

  func put(_ offset: Int, _ value: UInt32) {
    for index in 0..<4 { space[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
  }

  func region(_ index: Int) -> RegionInfo {
    regions[index] ?? RegionInfo(index: index, byteCount: 0)
  }
  func vectorCount(_ kind: InterruptKind) -> Int { vectors[kind] ?? 0 }

  func read(region index: Int, offset: UInt64, width: Int) -> UInt64? {
    guard answers else { return nil }
    guard index == RegionInfo.Index.configuration else {
      trace.append("read \(index)+\(offset)/\(width)")
      return 0x5A
    }
    var value: UInt64 = 0
    for byte in 0..<width { value |= UInt64(space[Int(offset) + byte]) << (8 * byte) }
    return value
  }

  func write(region index: Int, offset: UInt64, width: Int, value: UInt64) -> Bool {
    trace.append("write \(index)+\(offset)/\(width)=\(String(value, radix: 16))")
    return true
  }

  func map(region index: Int, range: Range<UInt64>) throws(VFIOError) -> UInt {
    0x7000_0000 + UInt(index) << 20 + UInt(range.lowerBound)
  }

  func enable(_ kind: InterruptKind, events: [Int32?]) throws(VFIOError) {
    if let available, events.count > available {
      throw .tooFewVectors(kind: kind, asked: events.count, available: available)
    }
    trace.append("enable \(kind) \(events.map { $0 ?? -1 })")
  }
  func disable(_ kind: InterruptKind) throws(VFIOError) { trace.append("disable \(kind)") }
  func unmaskLine(by event: Int32) throws(VFIOError) {
    if refusesUnmasking { throw .malformed("an unmasking") }
    trace.append("unmask by \(event)")
  }
}

/// A machine that notes what it is told, in the same trace.
final class FakeMachine: AssignedInterruptSink {
  let function: FakeFunction
  var hasLine = true
  init(_ function: FakeFunction) { self.function = function }

  func eventDescriptor(vector: Int) -> Int32? { Int32(100 + vector) }
  func connectLine(pin: Int) -> LineDescriptors? {
    function.trace.append("connect pin \(pin)")
    return hasLine ? LineDescriptors(trigger: 50, resample: 51) : nil
  }
  func disconnectLine() { function.trace.append("disconnect line") }
  func report(_ problem: String) { function.trace.append("report: \(problem)") }
  func configure(vector: Int, message: InterruptMessage?) {
    function.trace.append("configure \(vector) \(message.map { "\($0.data)" } ?? "off")")
  }
  func raise(vector: Int) { function.trace.append("raise \(vector)") }
}
