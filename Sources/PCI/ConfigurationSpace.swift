// SPDX-License-Identifier: Apache-2.0

/// Configuration space of a type-0 function: bytes, and which bits the guest may write.
///
/// The host side sets bytes freely (`set`); the guest's writes go through the masks (`write`).
/// Accesses that do not lie within the space read as ones and write nothing.
public struct ConfigurationSpace: Sendable {
  /// Bytes of conventional PCI's space.
  public static let conventionalByteCount = 256
  /// Bytes of PCI Express's space.
  public static let expressByteCount = 4096

  private var bytes: [UInt8]
  private var writable: [UInt8]
  private var clearedByOnes: [UInt8]
  /// The BARs in the header, by index.
  public private(set) var bars: [BARDescription] = []
  private var lastCapability = 0
  private var nextFree = PCIRegister.headerEnd

  /// A space without BARs and capabilities.
  ///
  /// - Parameter interruptPin: 0 for none, 1–4 for INTA–INTD.
  public init(
    identity: PCIIdentity, interruptPin: UInt8 = 0, byteCount: Int = Self.conventionalByteCount
  ) {
    bytes = [UInt8](repeating: 0, count: byteCount)
    writable = bytes
    clearedByOnes = bytes
    set(PCIRegister.vendor, width: 2, to: UInt32(identity.vendor))
    set(PCIRegister.device, width: 2, to: UInt32(identity.device))
    let classAndRevision = (identity.classCode << 8) | UInt32(identity.revision)
    set(PCIRegister.revision, width: 4, to: classAndRevision)
    set(PCIRegister.subsystemVendor, width: 2, to: UInt32(identity.subsystemVendor))
    set(PCIRegister.subsystem, width: 2, to: UInt32(identity.subsystem))
    set(PCIRegister.interruptPin, width: 1, to: UInt32(interruptPin))
    allow(PCIRegister.command, width: 2, bits: UInt32(PCICommand.writable.rawValue))
    allow(PCIRegister.cacheLineSize, width: 1, bits: 0xFF)
    allow(PCIRegister.interruptLine, width: 1, bits: 0xFF)
  }

  /// A space that shows `bytes`, all of them read-only: the start for what stands for a physical
  /// function. There are at least 256; its BARs and capabilities are what the caller makes of them.
  public init(showing bytes: [UInt8]) {
    let missing = max(0, Self.conventionalByteCount - bytes.count)
    self.bytes = bytes + [UInt8](repeating: 0, count: missing)
    writable = [UInt8](repeating: 0, count: self.bytes.count)
    clearedByOnes = writable
  }

  /// Number of bytes.
  public var byteCount: Int { bytes.count }

  // MARK: The host's view

  /// Sets `width` bytes, whatever the masks say.
  public mutating func set(_ offset: Int, width: Int, to value: UInt32) {
    guard covers(offset, width) else { return }
    for index in 0..<width {
      bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
    }
  }

  /// Makes the bits of `bits` writable for the guest, and all others read-only.
  public mutating func allow(_ offset: Int, width: Int, bits: UInt32) {
    guard covers(offset, width) else { return }
    for index in 0..<width {
      writable[offset + index] = UInt8(truncatingIfNeeded: bits >> (8 * index))
    }
  }

  /// Makes the bits of `bits` ones that the guest clears by writing ones.
  public mutating func allowClear(_ offset: Int, width: Int, bits: UInt32) {
    guard covers(offset, width) else { return }
    for index in 0..<width {
      clearedByOnes[offset + index] = UInt8(truncatingIfNeeded: bits >> (8 * index))
    }
  }

  /// The command register.
  public var command: PCICommand {
    PCICommand(rawValue: UInt16(truncatingIfNeeded: read(PCIRegister.command, width: 2)))
  }

  // MARK: The guest's view

  /// Reads `width` (1, 2 or 4) bytes.
  public func read(_ offset: Int, width: Int) -> UInt32 {
    guard covers(offset, width) else { return UInt32(truncated(.max, width: min(width, 4))) }
    var value: UInt32 = 0
    for index in 0..<width { value |= UInt32(bytes[offset + index]) << (8 * index) }
    return value
  }

  /// Writes those bits of `width` (1, 2 or 4) bytes that the guest may write.
  public mutating func write(_ offset: Int, width: Int, value: UInt32) {
    guard covers(offset, width) else { return }
    for index in 0..<width {
      let byte = UInt8(truncatingIfNeeded: value >> (8 * index))
      let mask = writable[offset + index]
      let kept = bytes[offset + index] & ~mask & ~(byte & clearedByOnes[offset + index])
      bytes[offset + index] = kept | (byte & mask)
    }
  }

  private func covers(_ offset: Int, _ width: Int) -> Bool {
    offset >= 0 && width >= 1 && width <= 4 && offset <= bytes.count - width
  }

  // MARK: BARs

  /// Adds a BAR; the guest can size and move it.
  public mutating func addBAR(_ bar: BARDescription) throws(PCIError) {
    let minimum: UInt64 = bar.kind == .io ? 4 : 16
    let last = bar.is64Bit ? bar.index + 1 : bar.index
    let limit: UInt64 = bar.is64Bit ? 1 << 63 : 1 << 31
    let taken = bars.contains {
      $0.index == last || bar.index == ($0.is64Bit ? $0.index + 1 : $0.index)
    }
    guard
      bar.index >= 0, last < PCIRegister.barCount, !taken,
      bar.byteCount.nonzeroBitCount == 1, bar.byteCount >= minimum, bar.byteCount <= limit
    else { throw PCIError.invalidBAR(index: bar.index, byteCount: bar.byteCount) }
    bars.append(bar)
    let offset = PCIRegister.bar0 + 4 * bar.index
    let mask = ~(bar.byteCount - 1)
    set(offset, width: 4, to: bar.kind.flags)
    allow(offset, width: 4, bits: UInt32(truncatingIfNeeded: mask))
    if bar.is64Bit { allow(offset + 4, width: 4, bits: UInt32(truncatingIfNeeded: mask >> 32)) }
  }

  /// The address programmed in BAR `bar`.
  public func address(of bar: BARDescription) -> UInt64 {
    let offset = PCIRegister.bar0 + 4 * bar.index
    let low = UInt64(read(offset, width: 4) & ~bar.kind.flagMask)
    return bar.is64Bit ? low | UInt64(read(offset + 4, width: 4)) << 32 : low
  }

  /// The BARs whose address space is enabled in the command register.
  public var decodedBARs: [DecodedBAR] {
    let command = command
    return bars.compactMap { bar in
      let enable: PCICommand = bar.kind == .io ? .ioSpace : .memorySpace
      guard command.contains(enable) else { return nil }
      return DecodedBAR(bar: bar, address: address(of: bar))
    }
  }

  // MARK: Capabilities

  /// Appends a capability to the list and returns its offset.
  ///
  /// - Parameters:
  ///   - body: the bytes after the identifier and the link.
  ///   - writable: which bits of `body` the guest may write; shorter than `body` means none there.
  public mutating func addCapability(
    _ identifier: UInt8, body: [UInt8], writable mask: [UInt8] = []
  ) throws(PCIError) -> Int {
    let byteCount = body.count + 2
    guard nextFree + byteCount <= PCIRegister.extended else {
      throw PCIError.configurationSpaceFull(capability: UInt16(identifier), byteCount: byteCount)
    }
    let offset = nextFree
    bytes[offset] = identifier
    for (index, byte) in body.enumerated() { bytes[offset + 2 + index] = byte }
    for (index, byte) in mask.prefix(body.count).enumerated() {
      writable[offset + 2 + index] = byte
    }
    link(offset)
    nextFree = (offset + byteCount + 3) & ~3
    return offset
  }

  private mutating func link(_ offset: Int) {
    let previous = lastCapability == 0 ? PCIRegister.capabilities : lastCapability + 1
    bytes[previous] = UInt8(truncatingIfNeeded: offset)
    lastCapability = offset
    bytes[PCIRegister.status] |= UInt8(truncatingIfNeeded: PCIStatus.capabilityList.rawValue)
  }

  /// Shows or hides INTx's state in the status register.
  public mutating func setInterruptStatus(_ pending: Bool) {
    let bit = UInt8(truncatingIfNeeded: PCIStatus.interrupt.rawValue)
    bytes[PCIRegister.status] = bytes[PCIRegister.status] & ~bit | (pending ? bit : 0)
  }
}

extension BARDescription.Kind {
  /// The register's low, read-only bits.
  public var flags: UInt32 {
    switch self {
    case .io: 0x1
    case .memory32(let prefetchable): prefetchable ? 0x8 : 0x0
    case .memory64(let prefetchable): prefetchable ? 0xC : 0x4
    }
  }

  /// Which low bits are not part of the address.
  public var flagMask: UInt32 { self == .io ? 0x3 : 0xF }
}
