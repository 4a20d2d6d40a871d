// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import FuzzKit
import PCI
import VFIO

// A physical function as a guest is shown it: its configuration space, which is parsed, its regions,
// and what the guest does with them. Input: the function, then accesses.
fuzz { input in
  let physical = Physical(&input)
  let sink = Sink()
  guard let function = try? AssignedFunction(physical, sink: sink) else { return }
  let windows = PCIWindows(
    memory32: 0xC000_0000..<0xE000_0000, memory64: 0x10_0000_0000..<0x50_0000_0000,
    io: 0x1000..<0x10000)
  let bus = PCIBus(windows: windows, mapper: Mapper())
  guard (try? bus.insert(function, slot: 1)) != nil, (try? bus.assignBARs()) != nil else { return }
  checkRanges(of: function, physical)
  while !input.isEmpty { access(function, &input) }
  checkRanges(of: function, physical)
}

/// What the guest reaches directly is a part of a region that may be mapped, and is mapped.
private func checkRanges(of function: AssignedFunction, _ physical: Physical) {
  for bar in 0..<6 {
    for range in function.directRanges(ofBAR: bar) {
      let (end, isTooFar) = range.offset.addingReportingOverflow(range.byteCount)
      expect(!isTooFar && end <= physical.region(bar).byteCount, "more than the region has")
      expect(range.byteCount > 0 && range.offset % 4096 == 0, "no whole pages")
      expect(
        physical.region(bar).mappable.contains {
          $0.lowerBound <= range.offset && end <= $0.upperBound
        },
        "what may not be mapped")
      expect(
        function.hostAddress(ofBAR: bar, offset: range.offset) != nil, "nothing is behind a range")
    }
  }
}

private func access(_ function: AssignedFunction, _ input: inout Input) {
  let isWild = input.byte() < 16
  // As the bus asks: a register of the function, though an access may go over its end.
  let place = input.below(0x1000)
  let width = isWild ? input.below(5) : [1, 2, 4][input.below(3)]
  // The bus asks for BARs that there are.
  let bars = function.bars.map(\.index)
  let bar = bars.isEmpty ? 0 : bars[input.below(bars.count)]
  switch input.below(bars.isEmpty ? 3 : 6) {
  case 0: _ = function.readConfiguration(offset: place, width: width)
  case 1, 2:
    let value = UInt32(truncatingIfNeeded: input.interesting())
    function.writeConfiguration(offset: place, width: width, value: value)
  case 3: _ = function.readBAR(bar, offset: offset(&input), width: barWidth(&input))
  default:
    function.writeBAR(
      bar, offset: offset(&input), width: barWidth(&input), value: input.interesting())
  }
}

private func offset(_ input: inout Input) -> UInt64 {
  input.byte() < 32 ? input.interesting() : UInt64(input.below(0x4100))
}

private func barWidth(_ input: inout Input) -> Int { [1, 2, 4, 8][input.below(4)] }

/// The kernel's account of a function, and the function. A kernel checks what it is asked; here that
/// ends the run.
private final class Physical: HostFunction {
  private var space: [UInt8]
  private var regions: [RegionInfo] = []
  private let vectors: [InterruptKind: Int]
  private var answers: [UInt8]

  init(_ input: inout Input) {
    space = Self.template
    for _ in 0..<input.below(40) {
      // Words of headers and lists of capabilities, by place.
      let at = input.byte() & 1 == 0 ? input.below(64) : input.below(1024)
      let value = UInt32(truncatingIfNeeded: input.interesting())
      for byte in 0..<4 { space[at * 4 + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte)) }
    }
    for index in 0..<8 { regions.append(Self.region(index, &input)) }
    vectors = [
      .intx: input.below(2), .msi: input.below(33), .msix: input.below(64), .error: input.below(2),
    ]
    answers = input.take(input.below(16))
  }

  private static func region(_ index: Int, _ input: inout Input) -> RegionInfo {
    if index == RegionInfo.Index.configuration {
      return RegionInfo(index: index, byteCount: input.byte() < 240 ? 4096 : 256)
    }
    let size: UInt64 = input.byte() < 64 ? 0 : 1 << UInt64(input.below(24))
    var mappable: [Range<UInt64>] = []
    if size >= 4096, input.byte() & 1 == 0 {
      // Whole pages, in order and apart, as the kernel gives them.
      let middle = UInt64(input.below(Int(size / 4096))) * 4096
      if middle > 0 { mappable.append(0..<middle) }
      if input.byte() & 1 == 0 { mappable.append(middle..<size) }
    }
    return RegionInfo(
      index: index, byteCount: size, mappable: mappable, coversMessageTable: input.byte() & 1 == 0)
  }

  /// A network controller's: power management, MSI, express, MSI-X, AER.
  private static let template: [UInt8] = {
    var space = [UInt8](repeating: 0, count: 4096)
    let words: [(Int, UInt32)] = [
      (0x00, 0x10D3_8086), (0x04, 0x0010_0000), (0x08, 0x0200_0000), (0x10, 0x0000_0000),
      (0x14, 0x0000_0001), (0x18, 0x0000_000C), (0x34, 0xC8), (0x3C, 0x0000_010B),
      (0xC8, 0xC823_D001), (0xD0, 0x0080_E005), (0xE0, 0x0002_A010), (0xA0, 0x0004_0011),
      (0xA4, 0x0000_0003), (0xA8, 0x0000_2003), (0x100, 0x1401_0001), (0x140, 0x0001_0003),
    ]
    for (at, value) in words {
      for byte in 0..<4 { space[at + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte)) }
    }
    return space
  }()

  func region(_ index: Int) -> RegionInfo {
    expect(regions.indices.contains(index), "a region that does not exist")
    return regions[index]
  }

  func vectorCount(_ kind: InterruptKind) -> Int { vectors[kind] ?? 0 }

  /// Whether an access is within its region: `VFIODevice` refuses others.
  private func isWithin(_ index: Int, _ offset: UInt64, _ width: Int) -> Bool {
    let (end, isTooFar) = offset.addingReportingOverflow(UInt64(width))
    return !isTooFar && end <= region(index).byteCount
  }

  func read(region index: Int, offset: UInt64, width: Int) -> UInt64? {
    guard isWithin(index, offset, width) else { return nil }
    guard index == RegionInfo.Index.configuration else { return answers.popLast().map(UInt64.init) }
    var value: UInt64 = 0
    for byte in 0..<width { value |= UInt64(space[Int(offset) + byte]) << (8 * byte) }
    return value
  }

  func write(region index: Int, offset: UInt64, width: Int, value: UInt64) -> Bool {
    isWithin(index, offset, width) && answers.popLast() != 0
  }

  func map(region index: Int, range: Range<UInt64>) throws(VFIOError) -> UInt {
    expect(
      !range.isEmpty && range.lowerBound % 4096 == 0 && range.upperBound % 4096 == 0,
      "a mapping that is not of whole pages")
    expect(range.upperBound <= region(index).byteCount, "a mapping outside its region")
    return 0x7000_0000_0000 + UInt(index) << 40 + UInt(range.lowerBound)
  }

  func enable(_ kind: InterruptKind, events: [Int32?]) throws(VFIOError) {
    expect(
      !events.isEmpty && events.count <= max(vectorCount(kind), 1), "vectors that do not exist")
    if let refusal = answers.popLast(), refusal > 192 {
      throw .tooFewVectors(kind: kind, asked: events.count, available: Int(refusal & 7))
    }
  }

  func disable(_ kind: InterruptKind) throws(VFIOError) {}
  func unmaskLine(by event: Int32) throws(VFIOError) {}
}

private final class Sink: AssignedInterruptSink {
  private func check(_ vector: Int) { expect((0..<2048).contains(vector), "no vector") }

  func eventDescriptor(vector: Int) -> Int32? {
    check(vector)
    return Int32(vector)
  }
  func connectLine(pin: Int) -> LineDescriptors? {
    expect((1...4).contains(pin), "a pin that no function has")
    return LineDescriptors(trigger: 5000, resample: 5001)
  }
  func disconnectLine() {}
  func report(_ problem: String) { expect(!problem.isEmpty, "a report without words") }
  func configure(vector: Int, message: InterruptMessage?) { check(vector) }
  func raise(vector: Int) { expect(false, "the kernel raises, not we") }
}

private final class Mapper: BARMapper {
  func map(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int) {
    expect(decoded.bar.byteCount > 0, "a BAR of no bytes")
  }
  func unmap(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int) {}
}
