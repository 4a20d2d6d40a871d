// SPDX-License-Identifier: Apache-2.0
public import DeviceModel
public import PCI

/// What an ivshmem function asks of the machine when an access reaches the model after all.
public protocol IvshmemHost: AnyObject {
  /// Rings vector `vector` of peer `peer`, which exists.
  func ring(peer: UInt16, vector: Int)
  /// The guest wrote to a read-only part of the region at `offset`; the write was dropped.
  func droppedWrite(offset: UInt64)
}

/// The ivshmem-doorbell device as QEMU defines it, revision 1 (QEMU docs/specs/ivshmem-spec).
///
/// BAR 0: 256 bytes of registers. BAR 1: MSI-X table at 0, pending bits at 0x800. BAR 2: the shared
/// region, 64-bit, prefetchable.
///
/// How a machine uses it: back `directRanges(ofBAR: 2)` by memory slots of the region's mapping,
/// make `doorbells(ofBAR: 0)` ioeventfds (`peerAndVector(of:)` tells whose eventfd), and tie the
/// eventfd of each own vector to the GSI that the sink's `configure` describes. While a vector is
/// not configured its eventfd must not be tied to a GSI: it then keeps what rang, and tying it
/// again delivers it. Then neither doorbells nor data reach this model.
///
/// Threats and answers:
///
/// | A hostile guest … | … gets |
/// |---|---|
/// | rings a peer or vector that does not exist | nothing; the write is ignored |
/// | rings with another width or at another register | nothing |
/// | floods a doorbell | its own time spent; the eventfd saturates, the peer sees one ring |
/// | writes a read-only page | an exit; dropped and reported (`droppedWrite`) |
/// | moves BAR 2 over RAM or another BAR | a BAR that is not decoded (`PCIBus`) |
/// | points an MSI-X entry anywhere | an interrupt to itself, or none |
/// | accesses registers in odd widths or beyond the end | zeros, and no effect |
public final class IvshmemFunction: PCIFunction {
  /// Offsets in BAR 0.
  public enum Register {
    /// Reserved in revision 1; reads 0.
    public static let interruptMask: UInt64 = 0x0
    /// Reserved in revision 1; reads 0.
    public static let interruptStatus: UInt64 = 0x4
    /// This guest's peer id; read-only.
    public static let position: UInt64 = 0x8
    /// Peer << 16 | vector; write-only.
    public static let doorbell: UInt64 = 0xC
  }

  /// QEMU's numbers (docs/specs/pci-ids): Red Hat's ivshmem, memory controller "RAM".
  public static let identity = PCIIdentity(
    vendor: 0x1AF4, device: 0x1110, revision: 1, classCode: 0x05_0000, subsystemVendor: 0x1AF4,
    subsystem: 0x1100)
  /// Bytes of BAR 0.
  public static let registerByteCount: UInt64 = 256
  /// Bytes of BAR 1.
  public static let messageByteCount: UInt64 = 4096
  public static let registerBAR = 0
  public static let messageBAR = 1
  public static let regionBAR = 2
  private static let pendingOffset: UInt32 = 0x800
  private static let doorbellWidth = 4

  public let layout: IvshmemLayout
  private var space: ConfigurationSpace
  private var msix: MSIX
  private let sink: any MessageInterruptSink
  private weak var host: (any IvshmemHost)?

  /// The host is not retained, the sink is.
  public init(
    _ layout: IvshmemLayout, sink: any MessageInterruptSink, host: (any IvshmemHost)? = nil
  ) throws(IvshmemError) {
    self.layout = layout
    self.sink = sink
    self.host = host
    do throws(PCIError) {
      (space, msix) = try Self.makeSpace(layout)
    } catch {
      throw .pci(error)
    }
  }

  private static func makeSpace(
    _ layout: IvshmemLayout
  ) throws(PCIError) -> (ConfigurationSpace, MSIX) {
    var space = ConfigurationSpace(identity: identity)
    let plain = BARDescription.Kind.memory32(prefetchable: false)
    try space.addBAR(.init(index: registerBAR, kind: plain, byteCount: registerByteCount))
    try space.addBAR(.init(index: messageBAR, kind: plain, byteCount: messageByteCount))
    try space.addBAR(
      .init(
        index: regionBAR, kind: .memory64(prefetchable: true),
        byteCount: layout.regionByteCount))
    let msix = try MSIX(
      addingTo: &space, vectorCount: layout.vectorCount,
      layout: .init(
        tableBAR: messageBAR, tableOffset: 0, pendingBAR: messageBAR,
        pendingOffset: pendingOffset))
    return (space, msix)
  }

  public var bars: [BARDescription] { space.bars }
  public var decodedBARs: [DecodedBAR] { space.decodedBARs }

  public func directRanges(ofBAR bar: Int) -> [DirectRange] {
    bar == Self.regionBAR ? layout.directRanges : []
  }

  /// One doorbell for each vector of each other peer, in order of peers and vectors.
  public func doorbells(ofBAR bar: Int) -> [Doorbell] {
    guard bar == Self.registerBAR else { return [] }
    return layout.remotes.sorted { $0.key < $1.key }.flatMap { peer, count in
      (0..<count).map { vector in
        Doorbell(
          offset: Register.doorbell, width: Self.doorbellWidth,
          value: UInt64(peer) << 16 | UInt64(vector))
      }
    }
  }

  /// Whom `doorbell` rings.
  public static func peerAndVector(of doorbell: Doorbell) -> (peer: UInt16, vector: Int) {
    let value = UInt32(truncatingIfNeeded: doorbell.value)
    return (UInt16(truncatingIfNeeded: value >> 16), Int(value & 0xFFFF))
  }

  public func readConfiguration(offset: Int, width: Int) -> UInt32 {
    space.read(offset, width: width)
  }

  public func writeConfiguration(offset: Int, width: Int, value: UInt32) {
    space.write(offset, width: width, value: value)
    if msix.covers(offset, width: width) { sink.apply(msix.refresh(space)) }
  }

  public func readBAR(_ bar: Int, offset: UInt64, width: Int) -> UInt64 {
    switch bar {
    case Self.registerBAR: readRegister(offset, width)
    case Self.messageBAR: msix.read(bar: bar, offset: offset, width: width) ?? 0
    default: truncated(.max, width: width)
    }
  }

  public func writeBAR(_ bar: Int, offset: UInt64, width: Int, value: UInt64) {
    switch bar {
    case Self.registerBAR:
      if offset == Register.doorbell && width == Self.doorbellWidth {
        ring(UInt32(truncatingIfNeeded: value))
      }
    case Self.messageBAR:
      let changes = msix.write(bar: bar, offset: offset, width: width, value: value, in: space)
      sink.apply(changes ?? [])
    default:
      host?.droppedWrite(offset: offset)
    }
  }

  private func readRegister(_ offset: UInt64, _ width: Int) -> UInt64 {
    offset == Register.position && width == 4 ? UInt64(layout.peer) : 0
  }

  /// A doorbell that no ioeventfd took: one's own, one whose registration failed, or an absent one.
  private func ring(_ value: UInt32) {
    let peer = UInt16(truncatingIfNeeded: value >> 16)
    let vector = Int(value & 0xFFFF)
    if peer == layout.peer {
      if msix.signal(vector, in: space) { sink.raise(vector: vector) }
    } else if let count = layout.remotes[peer], vector < count {
      host?.ring(peer: peer, vector: vector)
    }
  }
}
