// SPDX-License-Identifier: Apache-2.0

/// Where a domain's fixed parts are: what the ACPI tables say and the monitor must keep to.
public enum Platform {
  /// RAM lies from 0 up to here at most; what is more starts at `highRAMBase`.
  public static let lowRAMLimit: UInt64 = 0xC000_0000
  /// RAM beyond `lowRAMLimit` starts here.
  public static let highRAMBase: UInt64 = 0x1_0000_0000
  /// The 32-bit window for PCI memory: `lowRAMLimit` up to the ECAM.
  public static let pciWindow32: Range<UInt64> = 0xC000_0000..<0xE000_0000
  /// PCI configuration space of bus 0, memory mapped (PCI Firmware 3.2, 4.1.2).
  public static let ecam: Range<UInt64> = 0xE000_0000..<0xE010_0000
  /// The I/O APIC's registers.
  public static let ioAPICBase: UInt64 = 0xFEC0_0000
  /// Every local APIC's registers.
  public static let localAPICBase: UInt64 = 0xFEE0_0000
  /// First I/O APIC input that carries PCI INTx; eight of them follow each other.
  public static let firstINTxGSI: UInt32 = 16
  /// How many I/O APIC inputs carry PCI INTx.
  public static let intxGSICount: UInt32 = 8

  /// Hardware-reduced ACPI's sleep control register, one byte (ACPI 6.4, 4.8.3.7).
  public static let sleepControlPort: UInt16 = 0x600
  /// Hardware-reduced ACPI's sleep status register, one byte (ACPI 6.4, 4.8.3.7).
  public static let sleepStatusPort: UInt16 = 0x601
  /// What a guest writes to `sleepControlPort` to power off: SLP_TYP 5 and SLP_EN.
  public static let powerOffValue: UInt8 = sleepTypeS5 << 2 | sleepEnable
  /// The SLP_TYP that the DSDT's _S5 gives.
  public static let sleepTypeS5: UInt8 = 5
  /// The SLP_EN bit of the sleep control register.
  public static let sleepEnable: UInt8 = 1 << 5
  /// The FADT's reset register, one byte.
  public static let resetPort: UInt16 = 0x602
  /// What a guest writes to `resetPort` to be reset.
  public static let resetValue: UInt8 = 1

  /// The I/O APIC input of INTx pin `pin` (0 is INTA) of the device in `slot` of bus 0.
  public static func intxGSI(slot: Int, pin: Int) -> UInt32 {
    firstINTxGSI + UInt32(truncatingIfNeeded: slot &+ pin) % intxGSICount
  }
}

/// A domain's RAM, split around the hole below 4 GiB.
public struct RAMLayout: Equatable, Sendable {
  /// Bytes from address 0.
  public let lowByteCount: UInt64
  /// Bytes from `Platform.highRAMBase`; may be 0.
  public let highByteCount: UInt64

  /// Splits `byteCount` bytes of RAM.
  public init(byteCount: UInt64) {
    lowByteCount = min(byteCount, Platform.lowRAMLimit)
    highByteCount = byteCount - lowByteCount
  }

  /// The memory map that the guest is told, ascending.
  public var entries: [MemoryMapEntry] {
    var map = [
      MemoryMapEntry(range: 0..<BootLayout.legacyHole.lowerBound, kind: .usable),
      MemoryMapEntry(range: BootLayout.legacyHole, kind: .reserved),
    ]
    if lowByteCount > BootLayout.legacyHole.upperBound {
      map.append(
        MemoryMapEntry(range: BootLayout.legacyHole.upperBound..<lowByteCount, kind: .usable))
    }
    map.append(MemoryMapEntry(range: Platform.ecam, kind: .reserved))
    if highByteCount > 0 {
      let (end, overflow) = Platform.highRAMBase.addingReportingOverflow(highByteCount)
      map.append(
        MemoryMapEntry(
          range: Platform.highRAMBase..<(overflow ? UInt64.max : end), kind: .usable))
    }
    return map
  }
}

/// One range of a guest's memory map; the kinds carry E820's numbers (ACPI 6.4, 15.1).
public struct MemoryMapEntry: Equatable, Sendable {
  /// What a range may be used for.
  public enum Kind: UInt32, Sendable {
    case usable = 1
    case reserved = 2
  }

  /// Guest-physical addresses.
  public let range: Range<UInt64>
  public let kind: Kind
}

/// Where the loader puts its structures below 1 MiB.
enum BootLayout {
  static let gdt: UInt64 = 0x500
  static let startInfo: UInt64 = 0x6000
  static let bootParameters: UInt64 = 0x7000
  /// PML4, one PDPT and four page directories.
  static let pageTables: UInt64 = 0x9000
  static let commandLine: Range<UInt64> = 0x2_0000..<0x3_0000
  /// The device tree; for Linux with a `setup_data` header before it.
  static let deviceTree: Range<UInt64> = 0x3_0000..<0x9_F000
  /// What a PC has no RAM at; the ACPI tables lie in it.
  static let legacyHole: Range<UInt64> = 0xA_0000..<0x10_0000
  static let acpiTables: Range<UInt64> = 0xE_0000..<0x10_0000
  static let pageByteCount: UInt64 = 4096
}
