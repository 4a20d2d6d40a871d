// SPDX-License-Identifier: Apache-2.0
import DeviceModel

/// The MSI capability: 64-bit address, per-vector masks (PCI Local Bus 3.0, 6.8.1).
///
/// The registers live in the function's `ConfigurationSpace`; this value knows where, and turns
/// what the guest wrote into changes for the interrupt sink.
public struct MSI: Sendable {
  /// Offset of the capability in configuration space.
  public let offset: Int
  /// 1, 2, 4, 8, 16 or 32.
  public let vectorCount: Int
  private var states: VectorStates

  private static let controlOffset = 2
  private static let addressOffset = 4
  private static let dataOffset = 12
  private static let maskOffset = 16
  private static let pendingOffset = 20
  private static let enableBit: UInt32 = 1
  private static let controlFlags: UInt8 = 1 << 7  // 64-bit address
  private static let maskableFlag: UInt8 = 1  // in the control's high byte
  /// Bytes of the capability: everything up to the pending bits.
  public static let byteCount = 24

  /// Adds the capability to `space`.
  public init(addingTo space: inout ConfigurationSpace, vectorCount: Int) throws(PCIError) {
    guard (1...32).contains(vectorCount), vectorCount.nonzeroBitCount == 1 else {
      throw PCIError.vectorCount(vectorCount)
    }
    let exponent = UInt8(vectorCount.trailingZeroBitCount)
    var body = [UInt8](repeating: 0, count: Self.byteCount - 2)
    body[0] = Self.controlFlags | exponent << 1
    body[1] = Self.maskableFlag
    offset = try space.addCapability(PCICapability.msi, body: body)
    self.vectorCount = vectorCount
    states = VectorStates(count: vectorCount)
    allowWrites(in: &space)
  }

  /// Takes over the place of a capability that is already linked at `offset`, with room for
  /// `byteCount` bytes: used where the layout comes from a physical function.
  public init(replacing offset: Int, in space: inout ConfigurationSpace, vectorCount: Int) {
    self.offset = offset
    self.vectorCount = vectorCount
    states = VectorStates(count: vectorCount)
    allowWrites(in: &space)
  }

  private func allowWrites(in space: inout ConfigurationSpace) {
    space.allow(offset + Self.controlOffset, width: 2, bits: 0x71)
    space.allow(offset + Self.addressOffset, width: 4, bits: 0xFFFF_FFFC)
    space.allow(offset + Self.addressOffset + 4, width: 4, bits: 0xFFFF_FFFF)
    space.allow(offset + Self.dataOffset, width: 2, bits: 0xFFFF)
    let vectors = UInt32(truncatingIfNeeded: (UInt64(1) << UInt64(vectorCount)) - 1)
    space.allow(offset + Self.maskOffset, width: 4, bits: vectors)
  }

  /// Whether a configuration access touches the capability.
  public func covers(_ access: Int, width: Int) -> Bool {
    access < offset + Self.byteCount && access + width > offset
  }

  /// Whether the guest enabled MSI.
  public func isEnabled(in space: ConfigurationSpace) -> Bool {
    space.read(offset + Self.controlOffset, width: 2) & Self.enableBit != 0
  }

  /// Vectors the guest allowed (never more than there are).
  public func enabledVectorCount(in space: ConfigurationSpace) -> Int {
    let exponent = (space.read(offset + Self.controlOffset, width: 2) >> 4) & 7
    return min(vectorCount, 1 << Int(exponent))
  }

  /// Looks at the registers after a guest's write.
  public mutating func refresh(_ space: inout ConfigurationSpace) -> [VectorChange] {
    if !isEnabled(in: space) { states.clearPending() }
    let changes = (0..<vectorCount).compactMap { vector in
      states.update(vector, to: message(vector, in: space))
    }
    publishPending(in: &space)
    return changes
  }

  /// The device has an interrupt for `vector`: whether to raise it now. If the vector is masked
  /// the pending bit is set instead.
  public mutating func signal(_ vector: Int, in space: inout ConfigurationSpace) -> Bool {
    let now = states.signal(vector, enabled: isEnabled(in: space))
    publishPending(in: &space)
    return now
  }

  private func message(_ vector: Int, in space: ConfigurationSpace) -> InterruptMessage? {
    let count = enabledVectorCount(in: space)
    let masked = space.read(offset + Self.maskOffset, width: 4) >> UInt32(vector) & 1 != 0
    guard isEnabled(in: space), vector < count, !masked else { return nil }
    let low = UInt64(space.read(offset + Self.addressOffset, width: 4))
    let high = UInt64(space.read(offset + Self.addressOffset + 4, width: 4))
    let data = space.read(offset + Self.dataOffset, width: 2)
    // The function may change the low bits of the data to tell its vectors apart (6.8.3.4).
    let own = data & ~UInt32(count - 1) | UInt32(vector)
    return InterruptMessage(address: high << 32 | low, data: own)
  }

  private func publishPending(in space: inout ConfigurationSpace) {
    var bits: UInt32 = 0
    for (vector, pending) in states.pending.enumerated() where pending {
      bits |= 1 << UInt32(vector)
    }
    space.set(offset + Self.pendingOffset, width: 4, to: bits)
  }
}
