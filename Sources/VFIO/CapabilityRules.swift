// SPDX-License-Identifier: Apache-2.0
import PCI

/// What a guest sees of a capability of a physical function.
struct CapabilityRule {
  enum Treatment {
    /// The guest's accesses reach the function (through the kernel's own filter in vfio-pci).
    case kept
    /// The guest sees a model; the function's registers are not touched.
    case emulated
    /// The capability is taken out of the list and its bytes read 0.
    case hidden
  }

  let treatment: Treatment
  /// Bytes of the capability; `nil` if only the capability itself tells, or nobody.
  let byteCount: Int?

  init(_ treatment: Treatment, _ byteCount: Int? = nil) {
    self.treatment = treatment
    self.byteCount = byteCount
  }

  /// The rule for a capability of conventional configuration space.
  static func conventional(_ identifier: UInt8) -> CapabilityRule {
    switch identifier {
    // The function stays in D0: in D3 its BARs do not answer and the mappings would fault.
    case PCICapability.powerManagement: CapabilityRule(.emulated, 8)
    case PCICapability.vitalProductData: CapabilityRule(.kept, 8)
    // Addresses and vectors are the guest's; the physical ones belong to the host.
    case PCICapability.msi: CapabilityRule(.emulated)
    case PCICapability.msix: CapabilityRule(.emulated, MSIX.byteCount)
    case PCICapability.vendor: CapabilityRule(.kept)
    // Debug port: a plain description of a BAR. Subsystem numbers: plain numbers.
    case 0x0A: CapabilityRule(.kept, 4)
    case 0x0D: CapabilityRule(.kept, 8)
    case PCICapability.express: CapabilityRule(.kept)
    case PCICapability.sataConfiguration: CapabilityRule(.kept, 8)
    case PCICapability.advancedFeatures: CapabilityRule(.kept, 6)
    // PCI-X, AGP, HyperTransport, hot plug, slot numbers: parts of a bus the guest does not have.
    // Enhanced Allocation: fixed physical addresses. Anything else: nobody knows what it does.
    default: CapabilityRule(.hidden)
    }
  }

  /// The rule for a capability of extended configuration space. What is kept has a known length
  /// (`nil`: told by the capability); all other bytes of that space read 0.
  static func extended(_ identifier: UInt16) -> CapabilityRule {
    switch identifier {
    case 0x0001: CapabilityRule(.kept, 0x48)  // advanced error reporting: the function's own
    case 0x0003: CapabilityRule(.kept, 12)  // serial number
    case 0x0004: CapabilityRule(.kept, 16)  // power budgeting: a description
    case 0x000B: CapabilityRule(.kept)  // vendor specific
    // 0x0010 SR-IOV: virtual functions would be functions of the host that nobody assigned.
    // 0x000F ATS, 0x0013 PRI, 0x001B PASID: speak to the host's IOMMU past its protection.
    // 0x0015 resizable BAR: would change a BAR's size under the mappings.
    // 0x000E ARI, 0x000D ACS, 0x0002 VC, 0x001E L1 substates, 0x0018 LTR, 0x001D DPC, 0x001F PTM:
    // agreements with the port above, which is the host's.
    default: CapabilityRule(.hidden)
    }
  }
}

/// A capability found in a function's list.
struct FoundCapability: Equatable {
  let identifier: UInt16
  let offset: Int
  /// Version, of an extended one.
  var version: UInt8 = 0
}

/// The capabilities of a function's configuration space, as far as the lists are sound.
enum CapabilityList {
  /// Offsets in the space are multiples of four, so no list is longer.
  private static let conventionalLimit = 48
  private static let extendedLimit = 960

  /// The conventional list, in its order.
  static func conventional(_ space: ConfigurationSpace) -> [FoundCapability] {
    let status = PCIStatus(
      rawValue: UInt16(truncatingIfNeeded: space.read(PCIRegister.status, width: 2)))
    guard status.contains(.capabilityList) else { return [] }
    var found: [FoundCapability] = []
    var offset = Int(space.read(PCIRegister.capabilities, width: 1)) & ~3
    while offset >= PCIRegister.headerEnd, found.count < conventionalLimit {
      let identifier = UInt16(space.read(offset, width: 1))
      if identifier == 0xFF { break }
      found.append(FoundCapability(identifier: identifier, offset: offset))
      offset = Int(space.read(offset + 1, width: 1)) & ~3
    }
    return found
  }

  /// The extended list, in its order.
  static func extended(_ space: ConfigurationSpace) -> [FoundCapability] {
    var found: [FoundCapability] = []
    var offset = PCIRegister.extended
    while offset >= PCIRegister.extended, offset < space.byteCount, found.count < extendedLimit {
      let header = space.read(offset, width: 4)
      if header == 0 || header == .max { break }
      found.append(
        FoundCapability(
          identifier: UInt16(truncatingIfNeeded: header), offset: offset,
          version: UInt8(truncatingIfNeeded: (header >> 16) & 0xF)))
      offset = Int(header >> 20) & ~3
    }
    return found
  }
}
