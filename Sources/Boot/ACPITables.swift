// SPDX-License-Identifier: Apache-2.0
import DeviceModel

/// The ACPI tables of a domain: RSDP → XSDT → FADT (→ DSDT), MADT, MCFG, SSDT.
struct ACPITables {
  /// All tables as they stand from `BootLayout.acpiTables.lowerBound` on.
  let image: [UInt8]

  /// Local APIC ids are 8 bits and 255 means all of them (ACPI 6.4, 5.2.12.2).
  static let processorLimit = 255
  private static let rsdpByteCount = 36
  private static let alignment = 16

  init(processorCount: Int, pciWindow64: Range<UInt64>) throws(BootError) {
    guard processorCount >= 1, processorCount <= Self.processorLimit else {
      throw .tooManyProcessors(count: processorCount, limit: Self.processorLimit)
    }
    let base = BootLayout.acpiTables.lowerBound
    var image = [UInt8](repeating: 0, count: Self.rsdpByteCount)
    func place(_ table: [UInt8]) -> UInt64 {
      image += [UInt8](repeating: 0, count: -image.count & (Self.alignment - 1))
      defer { image += table }
      return base + UInt64(image.count)
    }

    let dsdt = place(compiledDSDT)
    var tables: [UInt64] = []
    for table in [
      Self.fadt(dsdt: dsdt), Self.madt(processorCount: processorCount), Self.mcfg,
      Self.ssdt(pciWindow64: pciWindow64),
    ] {
      tables.append(place(table.bytes))
    }
    var list: [UInt8] = []
    for table in tables { list.append(littleEndian: table) }
    let xsdt = place(ACPITable("XSDT", revision: 1, body: list).bytes)
    image.replaceSubrange(0..<Self.rsdpByteCount, with: Self.rsdp(xsdt: xsdt))
    let room = BootLayout.acpiTables.upperBound - base
    guard UInt64(image.count) <= room else {
      throw .tablesTooLarge(byteCount: image.count, limit: room)
    }
    self.image = image
  }

  func write(into memory: some GuestMemory) throws(BootError) {
    try memory.put(image, at: BootLayout.acpiTables.lowerBound)
  }

  /// Root system description pointer, revision 2 (ACPI 6.4, 5.2.5.3).
  private static func rsdp(xsdt: UInt64) -> [UInt8] {
    var bytes = Array("RSD PTR ".utf8) + [0] + Array("VOS   ".utf8) + [2]
    bytes.append(littleEndian: 0 as UInt32)  // no RSDT
    bytes.append(littleEndian: UInt32(rsdpByteCount))
    bytes.append(littleEndian: xsdt)
    bytes += [0, 0, 0, 0]
    bytes[8] = complement(of: bytes[0..<20])
    bytes[32] = complement(of: bytes)
    return bytes
  }

  /// Offsets within the FADT and its flags (ACPI 6.4, table 5.9 and 5.10).
  private enum FADT {
    static let byteCount = 276
    static let revision: UInt8 = 6
    static let dsdt = 40
    static let preferredProfile = 45
    static let bootArchitecture = 109
    static let flags = 112
    static let resetRegister = 116
    static let resetValue = 128
    static let minorRevision = 131
    static let dsdt64 = 140
    static let sleepControl = 244
    static let sleepStatus = 256
    static let hypervisor = 268

    static let enterpriseServer: UInt8 = 4
    static let legacyDevices: UInt16 = 1 << 0
    static let noVGA: UInt16 = 1 << 2
    static let noASPM: UInt16 = 1 << 4
    static let wbinvd: UInt32 = 1 << 0
    static let powerButtonIsMethod: UInt32 = 1 << 4
    static let sleepButtonIsMethod: UInt32 = 1 << 5
    static let hasResetRegister: UInt32 = 1 << 10
    static let hardwareReduced: UInt32 = 1 << 20
  }

  private static func fadt(dsdt: UInt64) -> ACPITable {
    // Offsets count from the table's start; the header is added by ACPITable.
    var table = [UInt8](repeating: 0, count: FADT.byteCount)
    table.store(UInt32(truncatingIfNeeded: dsdt), at: FADT.dsdt)
    table[FADT.preferredProfile] = FADT.enterpriseServer
    table.store(
      FADT.legacyDevices | FADT.noVGA | FADT.noASPM, at: FADT.bootArchitecture)
    table.store(
      FADT.wbinvd | FADT.powerButtonIsMethod | FADT.sleepButtonIsMethod | FADT.hasResetRegister
        | FADT.hardwareReduced, at: FADT.flags)
    table.put(ACPIRegister(port: Platform.resetPort).encoded, at: FADT.resetRegister)
    table[FADT.resetValue] = Platform.resetValue
    table[FADT.minorRevision] = 4
    table.store(dsdt, at: FADT.dsdt64)
    table.put(ACPIRegister(port: Platform.sleepControlPort).encoded, at: FADT.sleepControl)
    table.put(ACPIRegister(port: Platform.sleepStatusPort).encoded, at: FADT.sleepStatus)
    table.put(Array("VOS     ".utf8), at: FADT.hypervisor)
    return ACPITable(
      "FACP", revision: FADT.revision, body: Array(table[ACPITable.headerByteCount...]))
  }

  /// Multiple APIC description table (ACPI 6.4, 5.2.12).
  private static func madt(processorCount: Int) -> ACPITable {
    let has8259s: UInt32 = 1 << 0
    let enabled: UInt32 = 1 << 0
    var body: [UInt8] = []
    body.append(littleEndian: UInt32(truncatingIfNeeded: Platform.localAPICBase))
    body.append(littleEndian: has8259s)
    for id in 0..<processorCount {
      body += [0, 8, UInt8(id), UInt8(id)]  // local APIC
      body.append(littleEndian: enabled)
    }
    body += [1, 12, UInt8(truncatingIfNeeded: processorCount), 0]  // I/O APIC
    body.append(littleEndian: UInt32(truncatingIfNeeded: Platform.ioAPICBase))
    body.append(littleEndian: 0 as UInt32)  // its first GSI
    body += [4, 6, 0xFF, 0, 0, 1]  // NMI at LINT1 of all processors
    return ACPITable("APIC", revision: 5, body: body)
  }

  /// Memory-mapped configuration space (PCI Firmware 3.2, 4.1.2).
  private static var mcfg: ACPITable {
    var body = [UInt8](repeating: 0, count: 8)
    body.append(littleEndian: Platform.ecam.lowerBound)
    body += [0, 0, 0, 0]  // segment 0, buses 0 to 0
    body += [0, 0, 0, 0]
    return ACPITable("MCFG", revision: 1, body: body)
  }

  /// The two names that the DSDT's _CRS of the PCI root asks for.
  private static func ssdt(pciWindow64 window: Range<UInt64>) -> ACPITable {
    ACPITable(
      "SSDT", revision: 2,
      body: AML.name("W64S", window.lowerBound) + AML.name("W64E", window.upperBound &- 1))
  }
}

/// The few AML terms that are written at run time (ACPI 6.4, 20.2).
private enum AML {
  static let nameOp: UInt8 = 0x08
  static let rootCharacter: UInt8 = 0x5C
  static let qwordPrefix: UInt8 = 0x0E

  /// `Name (\NAME, value)` for a name of four characters.
  static func name(_ name: String, _ value: UInt64) -> [UInt8] {
    var term = [nameOp, rootCharacter] + Array(name.utf8) + [qwordPrefix]
    term.append(littleEndian: value)
    return term
  }
}

extension [UInt8] {
  /// Replaces the bytes from `offset` on by `bytes`.
  fileprivate mutating func put(_ bytes: [UInt8], at offset: Int) {
    replaceSubrange(offset..<(offset + bytes.count), with: bytes)
  }
}
