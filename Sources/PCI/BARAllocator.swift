// SPDX-License-Identifier: Apache-2.0

/// The address ranges in which a bus decodes BARs.
public struct PCIWindows: Equatable, Sendable {
  /// Memory below 4 GiB.
  public var memory32: Range<UInt64>
  /// Memory above 4 GiB.
  public var memory64: Range<UInt64>
  /// I/O ports.
  public var io: Range<UInt64>

  public init(
    memory32: Range<UInt64> = 0xC000_0000..<0xE000_0000,
    memory64: Range<UInt64>,
    io: Range<UInt64> = 0x1000..<0x1_0000
  ) {
    self.memory32 = memory32
    self.memory64 = memory64
    self.io = io
  }

  /// Whether the BAR lies wholly in a window of its kind. A 64-bit BAR may also lie below 4 GiB.
  func contain(_ decoded: DecodedBAR) -> Bool {
    let (end, overflow) = decoded.address.addingReportingOverflow(decoded.bar.byteCount)
    guard !overflow else { return false }
    func within(_ window: Range<UInt64>) -> Bool {
      decoded.address >= window.lowerBound && end <= window.upperBound
    }
    switch decoded.bar.kind {
    case .io: return within(io)
    case .memory32: return within(memory32)
    case .memory64: return within(memory64) || within(memory32)
    }
  }
}

/// Gives BARs their first addresses: naturally aligned, without overlap, largest first.
///
/// 64-bit BARs go above 4 GiB, 32-bit ones below; a 64-bit BAR that is not prefetchable goes
/// above too (it is behind no bridge whose window would limit it).
public struct BARAllocator {
  /// A BAR to place.
  public struct Request: Equatable, Sendable {
    public let slot: Int
    public let bar: BARDescription

    public init(slot: Int, bar: BARDescription) {
      self.slot = slot
      self.bar = bar
    }
  }

  /// A BAR that was placed.
  public struct Assignment: Equatable, Sendable {
    public let slot: Int
    public let decoded: DecodedBAR
  }

  private var memory32: Range<UInt64>
  private var memory64: Range<UInt64>
  private var io: Range<UInt64>

  public init(_ windows: PCIWindows) {
    memory32 = windows.memory32
    memory64 = windows.memory64
    io = windows.io
  }

  /// Places all `requests`. Throws `windowFull` with the first that does not fit.
  public static func assign(
    _ requests: [Request], in windows: PCIWindows
  ) throws(PCIError) -> [Assignment] {
    var allocator = BARAllocator(windows)
    var assignments: [Assignment] = []
    for request in requests.sorted(by: { before($0, $1) }) {
      let address = try allocator.place(request)
      assignments.append(
        Assignment(slot: request.slot, decoded: DecodedBAR(bar: request.bar, address: address)))
    }
    return assignments
  }

  /// Largest first leaves no gaps; then by place on the bus: the result is the same each time.
  private static func before(_ a: Request, _ b: Request) -> Bool {
    (b.bar.byteCount, a.slot, a.bar.index) < (a.bar.byteCount, b.slot, b.bar.index)
  }

  private mutating func place(_ request: Request) throws(PCIError) -> UInt64 {
    let byteCount = request.bar.byteCount
    let (address, window): (UInt64?, String) =
      switch request.bar.kind {
      case .io: (Self.take(byteCount, from: &io), "I/O")
      case .memory32: (Self.take(max(byteCount, Self.pageByteCount), from: &memory32), "32-bit")
      case .memory64: (Self.take(max(byteCount, Self.pageByteCount), from: &memory64), "64-bit")
      }
    guard let address else {
      throw PCIError.windowFull(
        window: window, slot: request.slot, bar: request.bar.index, byteCount: byteCount)
    }
    return address
  }

  /// A memory BAR gets pages of its own, however small: it may become a memory slot.
  private static let pageByteCount: UInt64 = 4096

  private static func take(_ byteCount: UInt64, from window: inout Range<UInt64>) -> UInt64? {
    let (bumped, overflow) = window.lowerBound.addingReportingOverflow(byteCount - 1)
    let start = bumped & ~(byteCount - 1)
    guard !overflow, start <= window.upperBound, byteCount <= window.upperBound - start else {
      return nil
    }
    window = (start + byteCount)..<window.upperBound
    return start
  }
}
