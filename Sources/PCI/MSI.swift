// SPDX-License-Identifier: Apache-2.0
import DeviceModel

/// The MSI capability in any of its four forms (PCI Local Bus 3.0, 6.8.1).
///
/// The registers live in the function's `ConfigurationSpace`; this value knows where, and turns
/// what the guest wrote into changes for the interrupt sink.
public struct MSI: Sendable {
  /// Which of the optional registers the capability has.
  public struct Form: Equatable, Sendable {
    /// A 64-bit address.
    public var is64Bit: Bool
    /// A mask and a pending bit for each vector.
    public var isMaskable: Bool

    public init(is64Bit: Bool = true, isMaskable: Bool = true) {
      self.is64Bit = is64Bit
      self.isMaskable = isMaskable
    }

    /// The form that a control register tells of.
    public init(control: UInt16) {
      is64Bit = control & (1 << 7) != 0
      isMaskable = control & (1 << 8) != 0
    }

    fileprivate var controlBits: UInt32 { (is64Bit ? 1 << 7 : 0) | (isMaskable ? 1 << 8 : 0) }
    fileprivate var dataOffset: Int { is64Bit ? 12 : 8 }
    fileprivate var maskOffset: Int { dataOffset + 4 }
    fileprivate var pendingOffset: Int { maskOffset + 4 }
    /// Bytes of the capability.
    public var byteCount: Int { isMaskable ? pendingOffset + 4 : dataOffset + 2 }
  }

  /// Offset of the capability in configuration space.
  public let offset: Int
  /// 1, 2, 4, 8, 16 or 32.
  public let vectorCount: Int
  public let form: Form
  private var states: VectorStates

  private static let controlOffset = 2
  private static let addressOffset = 4
  private static let enableBit: UInt32 = 1
  private static let writableControlBits: UInt32 = 0x71

  /// Adds the capability to `space`.
  public init(
    addingTo space: inout ConfigurationSpace, vectorCount: Int, form: Form = Form()
  ) throws(PCIError) {
    let body = [UInt8](repeating: 0, count: form.byteCount - 2)
    let offset = try space.addCapability(PCICapability.msi, body: body)
    try self.init(replacing: offset, in: &space, vectorCount: vectorCount, form: form)
  }

  /// Takes over the place of a capability that is linked at `offset` already and has the same form:
  /// used where the layout comes from a physical function.
  public init(
    replacing offset: Int, in space: inout ConfigurationSpace, vectorCount: Int, form: Form
  ) throws(PCIError) {
    guard (1...32).contains(vectorCount), vectorCount.nonzeroBitCount == 1 else {
      throw PCIError.vectorCount(vectorCount)
    }
    self.offset = offset
    self.vectorCount = vectorCount
    self.form = form
    states = VectorStates(count: vectorCount)
    let exponent = UInt32(vectorCount.trailingZeroBitCount)
    space.set(offset + Self.controlOffset, width: 2, to: form.controlBits | exponent << 1)
    for index in Self.addressOffset..<form.byteCount { space.set(offset + index, width: 1, to: 0) }
    allowWrites(in: &space)
  }

  private func allowWrites(in space: inout ConfigurationSpace) {
    space.allow(offset + Self.controlOffset, width: 2, bits: Self.writableControlBits)
    space.allow(offset + Self.addressOffset, width: 4, bits: 0xFFFF_FFFC)
    if form.is64Bit { space.allow(offset + Self.addressOffset + 4, width: 4, bits: .max) }
    space.allow(offset + form.dataOffset, width: 2, bits: 0xFFFF)
    if form.isMaskable {
      let vectors = UInt32(truncatingIfNeeded: (UInt64(1) << UInt64(vectorCount)) - 1)
      space.allow(offset + form.maskOffset, width: 4, bits: vectors)
    }
  }

  /// Whether a configuration access touches the capability.
  public func covers(_ access: Int, width: Int) -> Bool {
    access < offset + form.byteCount && access + width > offset
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
    let masks = form.isMaskable ? space.read(offset + form.maskOffset, width: 4) : 0
    guard isEnabled(in: space), vector < count, masks >> UInt32(vector) & 1 == 0 else { return nil }
    let low = UInt64(space.read(offset + Self.addressOffset, width: 4))
    let high =
      form.is64Bit ? UInt64(space.read(offset + Self.addressOffset + 4, width: 4)) : 0
    let data = space.read(offset + form.dataOffset, width: 2)
    // The function may change the low bits of the data to tell its vectors apart (6.8.3.4).
    let own = data & ~UInt32(count - 1) | UInt32(vector)
    return InterruptMessage(address: high << 32 | low, data: own)
  }

  private func publishPending(in space: inout ConfigurationSpace) {
    guard form.isMaskable else { return }
    var bits: UInt32 = 0
    for (vector, pending) in states.pending.enumerated() where pending {
      bits |= 1 << UInt32(vector)
    }
    space.set(offset + form.pendingOffset, width: 4, to: bits)
  }
}
