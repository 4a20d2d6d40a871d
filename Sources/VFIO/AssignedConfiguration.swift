// SPDX-License-Identifier: Apache-2.0
public import PCI

/// The configuration space that a guest sees of a physical function: which bytes are the
/// function's, which a model's. Pure: built from a copy of the physical space.
///
/// | Register | The guest sees |
/// |---|---|
/// | numbers, class, subsystem | a copy |
/// | command | a model; what the guest enables is passed on (`deviceCommand`) |
/// | status, cache line, latency | the function's |
/// | header type | type 0, one function |
/// | BARs | a model: sizes from VFIO's regions, addresses the guest's |
/// | expansion ROM | none: nothing in the guest runs it |
/// | interrupt line, pin | a model; the pin is the function's |
/// | capabilities | as `CapabilityRule` says, each at its physical offset |
/// | bytes that belong to nothing | the function's below 0x100 (drivers use them), 0 above |
public struct AssignedConfiguration: Sendable {
  /// The modelled bytes; bytes that are the function's are meaningless here.
  public var space: ConfigurationSpace
  /// For each byte whether it is the function's.
  private var isDevices: [Bool]
  public private(set) var msi: MSI?
  public private(set) var msix: MSIX?
  /// Vectors of the physical MSI-X table, of which `msix` may show fewer; 0 without one.
  public private(set) var physicalVectorCount = 0
  /// Where Device Control lies (PCI Express Base 3.0, 7.8.4); `nil` for a conventional function.
  public private(set) var deviceControlOffset: Int?
  /// 1–4 for INTA–INTD, 0 for none.
  public let interruptPin: Int

  /// Vectors of a physical table that a guest is shown at most: each costs an eventfd.
  public static let maximumVectorCount = 128
  /// Device Control: report non-fatal and fatal errors.
  static let errorReportBits: UInt32 = 1 << 1 | 1 << 2
  private static let deviceCommandBits: PCICommand = [
    .busMaster, .parityResponse, .systemError, .interruptDisable,
  ]
  /// Memory write and invalidate, which `PCICommand.writable` does not have.
  private static let memoryWriteInvalidate: UInt32 = 1 << 4

  /// - Parameters:
  ///   - physical: the function's configuration space, 256 or 4096 bytes.
  ///   - bars: the BARs to show.
  ///   - hasLine: whether INTx can be given to the guest.
  public init(physical: [UInt8], bars: [BARDescription], hasLine: Bool) throws(PCIError) {
    let original = ConfigurationSpace(showing: physical)
    space = original
    isDevices = [Bool](repeating: false, count: space.byteCount)
    let pin = Int(original.read(PCIRegister.interruptPin, width: 1))
    interruptPin = hasLine && (1...4).contains(pin) ? pin : 0
    modelHeader()
    for bar in bars { try space.addBAR(bar) }
    passThrough(PCIRegister.headerEnd..<PCIRegister.extended)
    try takeOverConventional(CapabilityList.conventional(original), original)
    takeOverExtended(CapabilityList.extended(original), original)
  }

  // MARK: Building

  private mutating func modelHeader() {
    space.allow(
      PCIRegister.command, width: 2,
      bits: UInt32(PCICommand.writable.rawValue) | Self.memoryWriteInvalidate)
    space.set(PCIRegister.command, width: 2, to: 0)
    passThrough(PCIRegister.status..<PCIRegister.revision)
    passThrough(PCIRegister.cacheLineSize..<PCIRegister.headerType)
    space.set(PCIRegister.headerType, width: 2, to: 0)  // and no built-in self test
    for offset in stride(from: PCIRegister.bar0, to: PCIRegister.cardbus + 4, by: 4) {
      space.set(offset, width: 4, to: 0)
    }
    for offset in stride(from: PCIRegister.romBAR, to: PCIRegister.headerEnd, by: 4) {
      space.set(offset, width: 4, to: 0)
    }
    space.set(PCIRegister.interruptPin, width: 1, to: UInt32(interruptPin))
    space.allow(PCIRegister.interruptLine, width: 1, bits: 0xFF)
  }

  private mutating func passThrough(_ range: Range<Int>) {
    for offset in range.clamped(to: 0..<isDevices.count) { isDevices[offset] = true }
  }

  private mutating func hide(_ range: Range<Int>) {
    for offset in range.clamped(to: 0..<isDevices.count) {
      isDevices[offset] = false
      space.set(offset, width: 1, to: 0)
    }
  }

  private mutating func model(_ range: Range<Int>) {
    for offset in range.clamped(to: 0..<isDevices.count) { isDevices[offset] = false }
  }

  private mutating func takeOverConventional(
    _ found: [FoundCapability], _ original: ConfigurationSpace
  ) throws(PCIError) {
    var link = PCIRegister.capabilities
    for capability in found {
      let offset = capability.offset
      let identifier = UInt8(truncatingIfNeeded: capability.identifier)
      let rule = CapabilityRule.conventional(identifier)
      if case .hidden = rule.treatment {
        let next = found.map(\.offset).filter { $0 > offset }.min() ?? PCIRegister.extended
        hide(offset..<next)
        continue
      }
      try takeOver(identifier, offset, rule, original)
      // The list is the guest's: header and links are modelled, each at its physical place.
      model(offset..<offset + 2)
      space.set(offset, width: 1, to: UInt32(identifier))
      space.set(offset + 1, width: 1, to: 0)
      space.set(link, width: 1, to: UInt32(offset))
      link = offset + 1
    }
  }

  private mutating func takeOver(
    _ identifier: UInt8, _ offset: Int, _ rule: CapabilityRule, _ original: ConfigurationSpace
  ) throws(PCIError) {
    switch identifier {
    case PCICapability.powerManagement: modelPowerManagement(offset)
    case PCICapability.msi: try modelMSI(offset, original)
    case PCICapability.msix: modelMSIX(offset, original)
    case PCICapability.express: modelExpress(offset, original)
    default: break
    }
  }

  /// The guest may set the power state and read it back; it wakes nobody.
  private mutating func modelPowerManagement(_ offset: Int) {
    let controlOffset = offset + 4
    let stateBits: UInt32 = 3
    model(offset..<offset + 8)
    let wakeBits: UInt32 = 0xF800
    space.set(offset + 2, width: 2, to: space.read(offset + 2, width: 2) & ~wakeBits)
    // No soft reset: the registers keep their values when the guest goes through D3.
    space.set(controlOffset, width: 4, to: 1 << 3)
    space.allow(controlOffset, width: 2, bits: stateBits)
  }

  private mutating func modelMSI(
    _ offset: Int, _ original: ConfigurationSpace
  ) throws(PCIError) {
    let control = UInt16(truncatingIfNeeded: original.read(offset + 2, width: 2))
    let form = MSI.Form(control: control)
    model(offset..<offset + form.byteCount)
    let exponent = min(Int(control >> 1) & 7, 5)
    msi = try MSI(replacing: offset, in: &space, vectorCount: 1 << exponent, form: form)
  }

  private mutating func modelMSIX(_ offset: Int, _ original: ConfigurationSpace) {
    physicalVectorCount = Int(original.read(offset + 2, width: 2) & 0x7FF) + 1
    let table = original.read(offset + 4, width: 4)
    let pending = original.read(offset + 8, width: 4)
    model(offset..<offset + MSIX.byteCount)
    msix = MSIX(
      replacing: offset, in: &space, vectorCount: min(physicalVectorCount, Self.maximumVectorCount),
      layout: .init(
        tableBAR: Int(table & 7), tableOffset: table & ~7, pendingBAR: Int(pending & 7),
        pendingOffset: pending & ~7))
  }

  /// An endpoint right on the root bus must be one of the root complex, which has no link (PCI
  /// Express Base 3.0, 7.8.2): the link and the slot belong to the host.
  private mutating func modelExpress(_ offset: Int, _ original: ConfigurationSpace) {
    deviceControlOffset = offset + 8
    let integratedEndpoint: UInt32 = 9
    let flags = original.read(offset + 2, width: 2)
    model(offset + 2..<offset + 4)
    space.set(offset + 2, width: 2, to: flags & ~0x01F0 | integratedEndpoint << 4)
    let hasSecondSet = flags & 0xF >= 2
    hide(offset + 0x0C..<offset + (hasSecondSet ? 0x24 : 0x14))
    if hasSecondSet { hide(offset + 0x2C..<offset + 0x3C) }
  }

  private mutating func takeOverExtended(
    _ found: [FoundCapability], _ original: ConfigurationSpace
  ) {
    guard space.byteCount > PCIRegister.extended else { return }
    for offset in PCIRegister.extended..<space.byteCount { space.set(offset, width: 1, to: 0) }
    var last = PCIRegister.extended
    for capability in found {
      let rule = CapabilityRule.extended(capability.identifier)
      guard case .kept = rule.treatment else { continue }
      let offset = capability.offset
      let told = Int(original.read(offset + 4, width: 4) >> 20)
      let next = found.map(\.offset).filter { $0 > offset }.min() ?? space.byteCount
      passThrough(offset + 4..<max(offset + 4, min(next, offset + (rule.byteCount ?? told))))
      let header = UInt32(capability.identifier) | UInt32(capability.version) << 16
      space.set(offset, width: 4, to: header)
      guard offset != last else { continue }
      let link = space.read(last, width: 4) & 0xF_FFFF | UInt32(offset) << 20
      space.set(last, width: 4, to: link)
      last = offset
    }
  }

  // MARK: Using

  /// Which bytes of an access are the function's.
  public enum Owner: Equatable, Sendable {
    case model
    case device
    /// Some are: one flag for each byte.
    case both([Bool])
  }

  /// Whose the bytes of an access are.
  public func owner(_ offset: Int, width: Int) -> Owner {
    guard offset >= 0, width > 0, offset <= isDevices.count - width else { return .model }
    let bytes = isDevices[offset..<offset + width]
    if bytes.allSatisfy({ $0 }) { return .device }
    return bytes.contains(true) ? .both(Array(bytes)) : .model
  }

  /// What the function's own command register must hold.
  ///
  /// Memory and I/O stay enabled once and for all: the memory slots decide whether a BAR answers,
  /// and a guest that cleared the bits in the function while another of its CPUs used a BAR would
  /// make the monitor's mapping fault.
  public var deviceCommand: UInt16 {
    let guest = UInt16(truncatingIfNeeded: space.read(PCIRegister.command, width: 2))
    let passed = Self.deviceCommandBits.rawValue | UInt16(Self.memoryWriteInvalidate)
    let always: PCICommand = [.ioSpace, .memorySpace]
    return guest & passed | always.rawValue
  }

  /// Looks at MSI and MSI-X after a guest's write to configuration space.
  public mutating func refreshVectors() -> [VectorChange] {
    let fromMSI = msi?.refresh(&space) ?? []
    return fromMSI + (msix?.refresh(space) ?? [])
  }

  /// Writes to the MSI-X table; `nil` if the access is to something else.
  public mutating func writeTable(
    bar: Int, offset: UInt64, width: Int, value: UInt64
  ) -> [VectorChange]? {
    msix?.write(bar: bar, offset: offset, width: width, value: value, in: space)
  }
}
