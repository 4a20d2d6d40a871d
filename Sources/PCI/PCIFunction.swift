// SPDX-License-Identifier: Apache-2.0

/// One PCI function: configuration space and what lies behind its BARs.
///
/// A function knows offsets and bytes only. Where its BARs are decoded is the bus's business: after
/// each configuration write that may matter the bus asks `decodedBARs` and tells the machine.
///
/// The bus serialises all calls of one function.
public protocol PCIFunction: AnyObject {
  /// The BARs the function has, by index.
  var bars: [BARDescription] { get }
  /// The BARs that the guest has enabled now, each with the address it programmed.
  var decodedBARs: [DecodedBAR] { get }

  /// Reads configuration space; `width` is 1, 2 or 4 and `offset` (0..<4096) a multiple of it.
  func readConfiguration(offset: Int, width: Int) -> UInt32
  /// Writes configuration space; `width` is 1, 2 or 4 and `offset` (0..<4096) a multiple of it.
  func writeConfiguration(offset: Int, width: Int, value: UInt32)
  /// Reads `width` (1, 2, 4 or 8) bytes at `offset` of BAR `bar`; the access lies within the BAR.
  func readBAR(_ bar: Int, offset: UInt64, width: Int) -> UInt64
  /// Writes the low `width` bytes of `value` at `offset` of BAR `bar`; all lies within the BAR.
  func writeBAR(_ bar: Int, offset: UInt64, width: Int, value: UInt64)

  /// The parts of BAR `bar` that are memory: the machine backs them with memory slots, so that the
  /// guest reaches them without an exit. None unless the function says otherwise.
  func directRanges(ofBAR bar: Int) -> [DirectRange]
  /// The writes to BAR `bar` that only ring somebody: the machine makes them ioeventfds. None
  /// unless the function says otherwise.
  func doorbells(ofBAR bar: Int) -> [Doorbell]
}

extension PCIFunction {
  public func directRanges(ofBAR bar: Int) -> [DirectRange] { [] }
  public func doorbells(ofBAR bar: Int) -> [Doorbell] { [] }
}

/// A part of a BAR that is backed by memory.
public struct DirectRange: Equatable, Sendable {
  /// Bytes from the start of the BAR; a multiple of the page size, as is `byteCount`.
  public let offset: UInt64
  public let byteCount: UInt64
  /// The guest's writes are dropped.
  public let isReadOnly: Bool

  public init(offset: UInt64, byteCount: UInt64, isReadOnly: Bool) {
    self.offset = offset
    self.byteCount = byteCount
    self.isReadOnly = isReadOnly
  }
}

/// A write that rings an eventfd instead of reaching the function.
public struct Doorbell: Hashable, Sendable {
  /// Bytes from the start of the BAR.
  public let offset: UInt64
  /// Bytes written.
  public let width: Int
  /// The value that rings.
  public let value: UInt64

  public init(offset: UInt64, width: Int, value: UInt64) {
    self.offset = offset
    self.width = width
    self.value = value
  }
}

/// What a BAR is: fixed for the life of the function.
public struct BARDescription: Equatable, Sendable {
  /// The address space and the register's width (PCI Local Bus 3.0, 6.2.5.1).
  public enum Kind: Equatable, Sendable {
    /// I/O ports.
    case io
    /// Memory below 4 GiB, one register.
    case memory32(prefetchable: Bool)
    /// Memory anywhere, two registers.
    case memory64(prefetchable: Bool)
  }

  /// Register 0–5; a 64-bit BAR also takes `index + 1`.
  public let index: Int
  public let kind: Kind
  /// A power of two; at least 4 (I/O) or 16 (memory).
  public let byteCount: UInt64

  public init(index: Int, kind: Kind, byteCount: UInt64) {
    self.index = index
    self.kind = kind
    self.byteCount = byteCount
  }

  /// Whether the BAR takes two registers.
  public var is64Bit: Bool {
    if case .memory64 = kind { true } else { false }
  }
}

/// A BAR that answers now.
public struct DecodedBAR: Equatable, Sendable {
  public let bar: BARDescription
  /// First address (or port) of the window.
  public let address: UInt64

  public init(bar: BARDescription, address: UInt64) {
    self.bar = bar
    self.address = address
  }

  /// Whether both lie in the same address space and share an address.
  func overlaps(_ other: DecodedBAR) -> Bool {
    (bar.kind == .io) == (other.bar.kind == .io)
      && address < other.address &+ other.bar.byteCount
      && other.address < address &+ bar.byteCount
  }

  /// The offset of an access that lies wholly within the BAR.
  func offset(of target: UInt64, width: Int) -> UInt64? {
    guard target >= address, bar.byteCount >= UInt64(width) else { return nil }
    let offset = target - address
    return offset <= bar.byteCount - UInt64(width) ? offset : nil
  }
}

/// Why a bus could not be put together.
public enum PCIError: Error, Equatable, CustomStringConvertible {
  case slotTaken(Int)
  case slotOutOfRange(Int)
  case invalidBAR(index: Int, byteCount: UInt64)
  case windowFull(window: String, slot: Int, bar: Int, byteCount: UInt64)
  case configurationSpaceFull(capability: UInt16, byteCount: Int)
  case vectorCount(Int)

  public var description: String {
    switch self {
    case .slotTaken(let slot): "slot \(slot) of the PCI bus is taken"
    case .slotOutOfRange(let slot): "slot \(slot) is not one of 0 to 31"
    case .invalidBAR(let index, let count):
      "BAR \(index) of \(count) bytes is not possible: its size must be a power of two"
    case .windowFull(let window, let slot, let bar, let count):
      "no room in the \(window) window for BAR \(bar) of slot \(slot) with \(count) bytes"
    case .configurationSpaceFull(let capability, let count):
      "no room for capability 0x\(String(capability, radix: 16)) of \(count) bytes"
    case .vectorCount(let count): "\(count) vectors are not possible"
    }
  }
}

/// The bits above `width` bytes cut off; what an access of that width can carry.
@inlinable
public func truncated(_ value: UInt64, width: Int) -> UInt64 {
  width >= 8 ? value : value & ((1 << UInt64(width * 8)) - 1)
}
