// SPDX-License-Identifier: Apache-2.0
internal import CLinux

/// A part of a device that can be accessed through its descriptor.
public struct RegionInfo: Equatable, Sendable {
  /// Regions of a PCI function, by index.
  public enum Index {
    /// BARs are 0–5.
    public static let rom = 6
    public static let configuration = 7
  }

  public let index: Int
  /// Bytes; 0 if the function does not have the region.
  public let byteCount: UInt64
  /// Where the region starts in the device's descriptor.
  public let fileOffset: UInt64
  /// Whether `read` works.
  public let isReadable: Bool
  /// Whether `write` works.
  public let isWritable: Bool
  /// Ranges that can be mapped into memory; they may cover an MSI-X table only if
  /// `coversMessageTable`.
  public let mappable: [Range<UInt64>]
  /// The kernel allows to map the MSI-X table's page.
  public let coversMessageTable: Bool

  public init(
    index: Int, byteCount: UInt64, fileOffset: UInt64 = 0, isReadable: Bool = true,
    isWritable: Bool = true, mappable: [Range<UInt64>] = [], coversMessageTable: Bool = false
  ) {
    self.index = index
    self.byteCount = byteCount
    self.fileOffset = fileOffset
    self.isReadable = isReadable
    self.isWritable = isWritable
    self.mappable = mappable
    self.coversMessageTable = coversMessageTable
  }

  init(_ answer: AnswerBuffer, index: Int) throws(VFIOError) {
    let flags = answer.flags
    func has(_ flag: Int32) -> Bool { flags & UInt32(flag) != 0 }
    let size = answer.value64(16)
    var areas: [Range<UInt64>] = has(VFIO_REGION_INFO_FLAG_MMAP) && size > 0 ? [0..<size] : []
    var coversTable = false
    if has(VFIO_REGION_INFO_FLAG_CAPS) {
      for (identifier, offset) in try answer.capabilities(from: answer.value32(12)) {
        switch Int32(identifier) {
        case VFIO_REGION_INFO_CAP_SPARSE_MMAP:
          areas = try Self.decodeAreas(answer, offset, limit: size)
        case VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: coversTable = true
        default: break
        }
      }
    }
    self.init(
      index: index, byteCount: size, fileOffset: answer.value64(24),
      isReadable: has(VFIO_REGION_INFO_FLAG_READ), isWritable: has(VFIO_REGION_INFO_FLAG_WRITE),
      mappable: areas, coversMessageTable: coversTable)
  }

  private static func decodeAreas(
    _ answer: AnswerBuffer, _ offset: Int, limit: UInt64
  ) throws(VFIOError) -> [Range<UInt64>] {
    var areas: [Range<UInt64>] = []
    for index in 0..<Int(answer.value32(offset + 8)) {
      let at = offset + 16 + 16 * index
      guard let start = answer.value(at, width: 8), let count = answer.value(at + 8, width: 8)
      else { throw .malformed("a list of mappable areas") }
      let (end, overflow) = start.addingReportingOverflow(count)
      guard !overflow, end <= limit else { throw .malformed("a mappable area") }
      if count > 0 { areas.append(start..<end) }
    }
    return areas
  }
}

/// The kinds of interrupt of a PCI function, by VFIO's index.
public enum InterruptKind: UInt32, CaseIterable, Sendable {
  case intx = 0
  case msi = 1
  case msix = 2
  /// The function reported an uncorrectable error.
  case error = 3
  /// The host wants the function back.
  case request = 4
}

/// What a kind of interrupt offers.
public struct InterruptInfo: Equatable, Sendable {
  public let kind: InterruptKind
  /// Vectors; 0 if the function does not have the kind.
  public let count: Int
  /// An eventfd can be tied to it.
  public let hasEvents: Bool
  /// It can be masked by the user.
  public let isMaskable: Bool
  /// It masks itself when it fires (level-triggered).
  public let isAutoMasked: Bool
  /// The number of vectors is fixed when the kind is enabled.
  public let isFixedSize: Bool

  init(_ answer: AnswerBuffer, kind: InterruptKind) {
    func has(_ flag: Int32) -> Bool { answer.flags & UInt32(flag) != 0 }
    self.kind = kind
    count = Int(answer.value32(12))
    hasEvents = has(VFIO_IRQ_INFO_EVENTFD)
    isMaskable = has(VFIO_IRQ_INFO_MASKABLE)
    isAutoMasked = has(VFIO_IRQ_INFO_AUTOMASKED)
    isFixedSize = has(VFIO_IRQ_INFO_NORESIZE)
  }
}

/// A function that a hot reset of another one resets too.
public struct DependentFunction: Hashable, Sendable {
  public let group: Int
  /// Such as `0000:01:00.0`.
  public let address: String

  public init(group: Int, address: String) {
    self.group = group
    self.address = address
  }

  static func decode(_ answer: AnswerBuffer) throws(VFIOError) -> [DependentFunction] {
    var functions: [DependentFunction] = []
    for index in 0..<Int(answer.value32(8)) {
      let at = 12 + 8 * index
      guard
        let group = answer.value(at, width: 4), let segment = answer.value(at + 4, width: 2),
        let bus = answer.value(at + 6, width: 1), let slot = answer.value(at + 7, width: 1)
      else { throw .malformed("a list of functions to reset") }
      let place = "\(hex(segment, 4)):\(hex(bus, 2)):\(hex(slot >> 3, 2)).\(slot & 7)"
      functions.append(DependentFunction(group: Int(group), address: place))
    }
    return functions
  }

  private static func hex(_ value: UInt64, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
  }
}
