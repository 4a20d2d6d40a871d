// SPDX-License-Identifier: Apache-2.0
import PCI

/// How the BARs of a physical function are shown: their kinds from its BAR registers, their sizes
/// from VFIO's regions.
struct AssignedBARs {
  static let pageByteCount: UInt64 = 4096

  let bars: [BARDescription]
  private let region: (Int) -> RegionInfo

  init(physical: [UInt8], region: @escaping (Int) -> RegionInfo) {
    self.region = region
    let space = ConfigurationSpace(showing: physical)
    var bars: [BARDescription] = []
    var index = 0
    while index < PCIRegister.barCount {
      let register = space.read(PCIRegister.bar0 + 4 * index, width: 4)
      if let bar = Self.describe(index, register, region(index)) { bars.append(bar) }
      index += Self.is64Bit(register) ? 2 : 1
    }
    self.bars = bars
  }

  private static func is64Bit(_ register: UInt32) -> Bool { register & 0x7 == 0x4 }

  /// A memory BAR smaller than a page that can be mapped is shown as a page: the kernel allows the
  /// mapping only when nobody else uses the rest of the page, and trapping each access would cost
  /// an exit.
  private static func describe(
    _ index: Int, _ register: UInt32, _ region: RegionInfo
  ) -> BARDescription? {
    guard region.byteCount > 0 else { return nil }
    if register & 1 != 0 {
      return BARDescription(index: index, kind: .io, byteCount: max(region.byteCount, 4))
    }
    let prefetchable = register & 0x8 != 0
    let minimum = region.mappable.isEmpty ? 16 : pageByteCount
    return BARDescription(
      index: index,
      kind: is64Bit(register)
        ? .memory64(prefetchable: prefetchable) : .memory32(prefetchable: prefetchable),
      byteCount: max(region.byteCount, minimum))
  }

  /// The parts of `bar` that are mapped: what the kernel allows, in whole pages, without those that
  /// hold the physical MSI-X table or the pending bits.
  func directRanges(
    of bar: BARDescription, in configuration: AssignedConfiguration
  ) -> [DirectRange] {
    guard bar.kind != .io else { return [] }
    let region = region(bar.index)
    let trapped = Self.trappedPages(bar.index, configuration)
    return region.mappable.flatMap { area -> [DirectRange] in
      var pages = [Self.pages(of: area, in: region)]
      for trap in trapped { pages = pages.flatMap { Self.subtract(trap, from: $0) } }
      return pages.filter { !$0.isEmpty }.map {
        DirectRange(
          offset: $0.lowerBound, byteCount: $0.upperBound - $0.lowerBound,
          isReadOnly: !region.isWritable)
      }
    }
  }

  private static func trappedPages(
    _ bar: Int, _ configuration: AssignedConfiguration
  ) -> [Range<UInt64>] {
    guard let layout = configuration.msix?.layout else { return [] }
    // All of them: an entry that the guest is not shown is the host's no less.
    let count = configuration.physicalVectorCount
    var ranges: [Range<UInt64>] = []
    if layout.tableBAR == bar {
      let start = UInt64(layout.tableOffset)
      ranges.append(start..<start + MSIX.tableByteCount(count))
    }
    if layout.pendingBAR == bar {
      let start = UInt64(layout.pendingOffset)
      ranges.append(start..<start + MSIX.pendingByteCount(count))
    }
    return ranges.map { roundDown($0.lowerBound)..<roundUp($0.upperBound) }
  }

  /// Whole pages of `area`; the last page of a region may be only partly the function's.
  private static func pages(of area: Range<UInt64>, in region: RegionInfo) -> Range<UInt64> {
    let start = roundUp(area.lowerBound)
    let reachesEnd = area.upperBound == region.byteCount
    let end = reachesEnd ? roundUp(area.upperBound) : roundDown(area.upperBound)
    return start..<max(start, end)
  }

  private static func subtract(
    _ hole: Range<UInt64>, from range: Range<UInt64>
  ) -> [Range<UInt64>] {
    guard hole.overlaps(range) else { return [range] }
    let before = range.lowerBound..<max(range.lowerBound, hole.lowerBound)
    let after = min(range.upperBound, hole.upperBound)..<range.upperBound
    return [before, after].filter { !$0.isEmpty }
  }

  private static func roundDown(_ value: UInt64) -> UInt64 { value & ~(pageByteCount - 1) }
  private static func roundUp(_ value: UInt64) -> UInt64 {
    roundDown(value &+ (pageByteCount - 1))
  }
}
