// SPDX-License-Identifier: Apache-2.0
internal import LinuxSystem

/// A physical PCI function as `AssignedFunction` needs it: the seam between what a guest is shown
/// and the kernel. `VFIOHostFunction` is the real one; tests have a recorded one.
public protocol HostFunction: AnyObject {
  /// The region `index` (`RegionInfo.Index`); empty if there is none.
  func region(_ index: Int) -> RegionInfo
  /// Vectors of `kind`; 0 if there are none.
  func vectorCount(_ kind: InterruptKind) -> Int
  /// Reads `width` bytes of region `index`; `nil` if the function does not answer.
  func read(region index: Int, offset: UInt64, width: Int) -> UInt64?
  /// Writes `width` bytes of region `index`; false if the function does not take them.
  func write(region index: Int, offset: UInt64, width: Int, value: UInt64) -> Bool
  /// Maps `range` (whole pages) of region `index`; gives the address in this process. The mapping
  /// lives as long as the host function.
  func map(region index: Int, range: Range<UInt64>) throws(VFIOError) -> UInt
  /// Enables `kind` with one eventfd for each vector.
  func enable(_ kind: InterruptKind, events: [Int32?]) throws(VFIOError)
  /// Disables `kind`.
  func disable(_ kind: InterruptKind) throws(VFIOError)
  /// Unmasks INTx whenever `event` is rung.
  func unmaskLine(by event: Int32) throws(VFIOError)
}

/// A function behind a VFIO device descriptor.
public final class VFIOHostFunction: HostFunction {
  /// A mapping that lives as long as the function.
  private final class Mapping {
    let mapping: SharedMapping
    init(_ mapping: consuming SharedMapping) { self.mapping = mapping }
  }

  /// The device, for resets and for the events ERR and REQ.
  public let device: VFIODevice
  private let regions: [RegionInfo]
  private var mappings: [Mapping] = []

  /// Takes the device and asks for its regions.
  public init(_ device: consuming VFIODevice) throws(VFIOError) {
    var regions: [RegionInfo] = []
    for index in 0...RegionInfo.Index.configuration { regions.append(try device.region(index)) }
    self.regions = regions
    self.device = device
  }

  public func region(_ index: Int) -> RegionInfo {
    regions.indices.contains(index) ? regions[index] : RegionInfo(index: index, byteCount: 0)
  }

  public func vectorCount(_ kind: InterruptKind) -> Int { device.interrupts(kind)?.count ?? 0 }

  public func read(region index: Int, offset: UInt64, width: Int) -> UInt64? {
    device.read(region(index), offset: offset, width: width)
  }

  public func write(region index: Int, offset: UInt64, width: Int, value: UInt64) -> Bool {
    device.write(region(index), offset: offset, width: width, value: value)
  }

  public func map(region index: Int, range: Range<UInt64>) throws(VFIOError) -> UInt {
    let mapping = Mapping(try device.map(region(index), range: range))
    mappings.append(mapping)
    // SAFETY: only the number is taken; the mapping lives as long as `self`.
    return unsafe UInt(bitPattern: mapping.mapping.baseAddress)
  }

  public func enable(_ kind: InterruptKind, events: [Int32?]) throws(VFIOError) {
    try device.signal(kind, events: events)
  }

  public func disable(_ kind: InterruptKind) throws(VFIOError) { try device.disable(kind) }

  public func unmaskLine(by event: Int32) throws(VFIOError) { try device.unmaskLine(by: event) }
}
