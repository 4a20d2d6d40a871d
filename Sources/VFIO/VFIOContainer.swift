// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
public import LinuxSystem

/// A VFIO container: one IOMMU address space, shared by the groups that joined it.
///
/// Order of use: `open`, `VFIOGroup.join`, `enableTypeOne`, then `map` guest memory, then devices
/// may be set going. Who maps guest memory must be the process whose memory it is: the kernel pins
/// that process's pages and counts them against its RLIMIT_MEMLOCK.
public struct VFIOContainer: ~Copyable, Sendable {
  /// What the IOMMU can do.
  public struct Capabilities: Equatable, Sendable {
    /// Sizes of page that it maps, one bit each.
    public let pageSizes: UInt64
    /// Addresses that it translates, first to last; empty if the kernel does not say.
    public let addressRanges: [ClosedRange<UInt64>]
    /// Mappings that may still be made; `nil` if the kernel does not say.
    public let mappingsLeft: UInt32?

    /// Whether every address of `first`…`last` can be mapped.
    public func translate(_ first: UInt64, _ last: UInt64) -> Bool {
      addressRanges.isEmpty || addressRanges.contains { $0.contains(first) && $0.contains(last) }
    }
  }

  public static let path = "/dev/vfio/vfio"
  public let descriptor: OwnedDescriptor

  /// Opens a new container and checks the interface's version.
  public static func open(_ path: String = Self.path) throws(VFIOError) -> VFIOContainer {
    let container = VFIOContainer(
      owning: try vfioCall { () throws(SystemCallError) in
        try OwnedDescriptor.open(path, flags: O_RDWR)
      })
    let version = clinux_ioctl(container.descriptor.rawValue, CLINUX_VFIO_GET_API_VERSION, 0)
    guard version == VFIO_API_VERSION else { throw .version(Int(version)) }
    return container
  }

  /// Takes a container that somebody passed.
  public init(owning descriptor: consuming OwnedDescriptor) {
    self.descriptor = descriptor
  }

  /// Makes the container a type-1 IOMMU domain, version 2. A group must have joined before.
  public func enableTypeOne() throws(VFIOError) {
    let type = UInt(VFIO_TYPE1v2_IOMMU)
    guard clinux_ioctl(descriptor.rawValue, CLINUX_VFIO_CHECK_EXTENSION, type) > 0 else {
      throw .noTypeOneIOMMU
    }
    guard clinux_ioctl(descriptor.rawValue, CLINUX_VFIO_SET_IOMMU, type) == 0 else {
      throw .call(lastError("set up the IOMMU of a VFIO container"))
    }
  }

  /// Asks what the IOMMU can do.
  public func capabilities() throws(VFIOError) -> Capabilities {
    var answer = AnswerBuffer(byteCount: 24)
    try answer.exchange(
      descriptor.rawValue, CLINUX_VFIO_IOMMU_GET_INFO, "ask what the IOMMU can do")
    return try Self.decode(answer)
  }

  static func decode(_ answer: AnswerBuffer) throws(VFIOError) -> Capabilities {
    let hasPageSizes = answer.flags & UInt32(VFIO_IOMMU_INFO_PGSIZES) != 0
    let pageSizes = hasPageSizes ? answer.value64(8) : 4096
    var ranges: [ClosedRange<UInt64>] = []
    var left: UInt32?
    if answer.flags & UInt32(VFIO_IOMMU_INFO_CAPS) != 0 {
      for (identifier, offset) in try answer.capabilities(from: answer.value32(16)) {
        switch Int32(identifier) {
        case VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: ranges = try decodeRanges(answer, offset)
        case VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL: left = answer.value32(offset + 8)
        default: break
        }
      }
    }
    return Capabilities(pageSizes: pageSizes, addressRanges: ranges, mappingsLeft: left)
  }

  private static func decodeRanges(
    _ answer: AnswerBuffer, _ offset: Int
  ) throws(VFIOError) -> [ClosedRange<UInt64>] {
    var ranges: [ClosedRange<UInt64>] = []
    for index in 0..<Int(answer.value32(offset + 8)) {
      let at = offset + 16 + 16 * index
      guard
        let first = answer.value(at, width: 8), let last = answer.value(at + 8, width: 8),
        first <= last
      else { throw .malformed("an IOVA range") }
      ranges.append(first...last)
    }
    return ranges
  }

  /// Lets the container's devices read and write `byteCount` bytes of this process's memory at
  /// `hostAddress` under the addresses from `iova` on.
  ///
  /// All three are multiples of the page size. The memory must stay mapped until `unmap`: the pages
  /// are pinned. Fails with ENOMEM if RLIMIT_MEMLOCK is too low.
  public func map(iova: UInt64, hostAddress: UInt, byteCount: UInt64) throws(VFIOError) {
    let (end, overflow) = iova.addingReportingOverflow(byteCount)
    let able = try capabilities()
    guard byteCount > 0, !overflow, able.translate(iova, end - 1) else {
      throw .addressNotTranslatable(first: iova, last: iova &+ byteCount &- 1)
    }
    if able.mappingsLeft == 0 { throw .mappingsUsedUp(limit: 0) }
    var request = AnswerBuffer(byteCount: 32)
    request.set(4, to: UInt32(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE))
    request.set64(8, to: UInt64(hostAddress))
    request.set64(16, to: iova)
    request.set64(24, to: byteCount)
    try request.call(
      descriptor.rawValue, CLINUX_VFIO_IOMMU_MAP_DMA,
      "map \(byteCount) bytes at 0x\(String(iova, radix: 16)) for the device")
  }

  /// Takes a mapping back, wholly.
  public func unmap(iova: UInt64, byteCount: UInt64) throws(VFIOError) {
    var request = AnswerBuffer(byteCount: 24)
    request.set64(8, to: iova)
    request.set64(16, to: byteCount)
    try request.call(
      descriptor.rawValue, CLINUX_VFIO_IOMMU_UNMAP_DMA,
      "unmap \(byteCount) bytes at 0x\(String(iova, radix: 16)) from the device")
  }
}
