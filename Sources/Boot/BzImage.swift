// SPDX-License-Identifier: Apache-2.0
import DeviceModel

/// A Linux bzImage with a 64-bit entry (Documentation/x86/boot.rst, protocol 2.12 and later).
struct BzImage {
  let source: any ImageSource
  /// The setup header, as it stands from `Field.setupSectors` on.
  private let header: [UInt8]
  /// Of the protected-mode part within the file.
  let kernelOffset: UInt64
  let loadAddress: UInt64
  /// RAM that the kernel needs from `loadAddress` on until it reads its memory map.
  let initialByteCount: UInt64
  let initrdLimit: UInt64
  let commandLineLimit: UInt64

  /// Offsets within the boot parameters, the "zero page" (boot.rst and zero-page.rst).
  private enum Field {
    static let acpiRSDP = 0x070
    static let e820Count = 0x1E8
    static let setupSectors = 0x1F1
    static let bootFlag = 0x1FE
    static let jumpLength = 0x201
    static let magic = 0x202
    static let version = 0x206
    static let loaderType = 0x210
    static let loadFlags = 0x211
    static let initrdAddress = 0x218
    static let initrdByteCount = 0x21C
    static let commandLine = 0x228
    static let initrdAddressMax = 0x22C
    static let relocatable = 0x234
    static let extendedLoadFlags = 0x236
    static let commandLineByteCount = 0x238
    static let setupData = 0x250
    static let preferredAddress = 0x258
    static let initialByteCount = 0x260
    static let e820Table = 0x2D0
    /// Protocol 2.12's header reaches to here.
    static let headerEnd212 = 0x268
  }

  private static let bootFlag: UInt16 = 0xAA55
  private static let magic: UInt32 = 0x5372_6448  // "HdrS"
  private static let oldestVersion: UInt16 = 0x20C
  private static let sectorByteCount: UInt64 = 512
  private static let loadedHigh: UInt8 = 1 << 0
  private static let has64BitEntry: UInt16 = 1 << 0
  private static let entry64Offset: UInt64 = 0x200
  private static let undefinedLoader: UInt8 = 0xFF
  private static let setupDataDeviceTree: UInt32 = 2
  private static let zeroPageByteCount = 4096
  private static let e820EntryByteCount = 20

  /// Reads the headers; nil if `source` is no bzImage at all.
  init?(examining source: any ImageSource) throws(BootError) {
    guard source.byteCount >= UInt64(Field.magic + 4) else { return nil }
    let start = try source.checkedRead(
      at: 0, byteCount: min(source.byteCount, UInt64(Self.zeroPageByteCount)))
    guard start.load(UInt16.self, at: Field.bootFlag) == Self.bootFlag,
      start.load(UInt32.self, at: Field.magic) == Self.magic
    else { return nil }
    let headerEnd = Field.magic + Int(start[Field.jumpLength])
    try source.check(offset: 0, byteCount: UInt64(max(headerEnd, Field.headerEnd212)))
    try Self.checkProtocol(start, headerEnd: headerEnd, name: source.name)

    self.source = source
    header = Array(start[Field.setupSectors..<headerEnd])
    // A count of 0 means 4 (boot.rst, "setup_sects").
    let sectors = start[Field.setupSectors] == 0 ? 4 : UInt64(start[Field.setupSectors])
    kernelOffset = (sectors + 1) * Self.sectorByteCount
    loadAddress = start.load(UInt64.self, at: Field.preferredAddress)
    initialByteCount = UInt64(start.load(UInt32.self, at: Field.initialByteCount))
    initrdLimit = UInt64(start.load(UInt32.self, at: Field.initrdAddressMax)) + 1
    commandLineLimit = UInt64(start.load(UInt32.self, at: Field.commandLineByteCount))
    try checkSizes(systemParagraphs: start.load(UInt32.self, at: 0x1F4))
  }

  private static func checkProtocol(
    _ start: [UInt8], headerEnd: Int, name: String
  ) throws(BootError) {
    let version = start.load(UInt16.self, at: Field.version)
    guard version >= oldestVersion else {
      throw .unsupported(
        image: name,
        reason: "boot protocol \(version >> 8).\(version & 0xFF) is older than 2.12 (Linux 3.8)")
    }
    guard headerEnd >= Field.headerEnd212 else {
      throw .malformed(image: name, reason: "setup header ends at 0x\(hex(UInt64(headerEnd)))")
    }
    guard start.load(UInt16.self, at: Field.extendedLoadFlags) & has64BitEntry != 0 else {
      throw .unsupported(image: name, reason: "the kernel has no 64-bit entry (XLF_KERNEL_64)")
    }
    guard start[Field.loadFlags] & loadedHigh != 0 else {
      throw .unsupported(image: name, reason: "the kernel is a zImage, loaded low")
    }
  }

  /// The whole protected-mode part must be in the file: syssize counts it in 16-byte units.
  private func checkSizes(systemParagraphs: UInt32) throws(BootError) {
    try source.check(offset: kernelOffset, byteCount: UInt64(systemParagraphs) * 16)
    guard source.byteCount > kernelOffset + Self.entry64Offset else {
      throw .truncated(
        image: source.name, byteCount: source.byteCount,
        needed: kernelOffset + Self.entry64Offset + 1)
    }
    guard loadAddress >= BootLayout.legacyHole.upperBound,
      loadAddress % BootLayout.pageByteCount == 0
    else {
      throw .malformed(
        image: source.name, reason: "preferred load address is 0x\(hex(loadAddress))")
    }
  }

  /// Loads kernel, initial RAM disk, command line and boot parameters.
  func load(_ request: BootRequest, into memory: some GuestMemory) throws(BootError) -> EntryState {
    let kernelEnd = try checkedKernelEnd(ramEnd: request.ram.lowByteCount)
    try source.copy(
      from: kernelOffset, byteCount: source.byteCount - kernelOffset, to: memory, at: loadAddress)
    let initrd = try request.loadInitrd(kernelEnd: kernelEnd, limit: initrdLimit, into: memory)
    let commandLine = try request.writeCommandLine(limit: commandLineLimit, into: memory)
    let setupData = try writeSetupData(request, into: memory)
    let page = zeroPage(
      ram: request.ram, initrd: initrd, commandLine: commandLine, setupData: setupData)
    try memory.put(page, at: BootLayout.bootParameters)
    return EntryState(
      rip: loadAddress + Self.entry64Offset, rsi: BootLayout.bootParameters, rbx: 0,
      cr0: ControlBits.cr0ProtectionEnable | ControlBits.cr0ExtensionType | ControlBits.cr0Paging,
      cr3: try EntryTables.writeIdentityMap(into: memory),
      cr4: ControlBits.cr4PhysicalAddressExtension,
      efer: ControlBits.eferLongModeEnable | ControlBits.eferLongModeActive,
      code: .code64, data: .data, task: .task,
      gdt: try EntryTables.writeGDT(code: .code64, into: memory))
  }

  private func checkedKernelEnd(ramEnd: UInt64) throws(BootError) -> UInt64 {
    let byteCount = max(initialByteCount, source.byteCount - kernelOffset)
    let (end, overflow) = loadAddress.addingReportingOverflow(byteCount)
    guard !overflow, end <= ramEnd else {
      throw .outOfMemory(what: source.name, needed: overflow ? .max : end, available: ramEnd)
    }
    return end
  }

  /// Writes the one `struct setup_data`: next, type, length, then the device tree.
  private func writeSetupData(
    _ request: BootRequest, into memory: some GuestMemory
  ) throws(BootError) -> UInt64 {
    guard !request.deviceTree.isEmpty else { return 0 }
    var header: [UInt8] = []
    header.append(littleEndian: 0 as UInt64)
    header.append(littleEndian: Self.setupDataDeviceTree)
    header.append(littleEndian: UInt32(truncatingIfNeeded: request.deviceTree.count))
    return try request.writeDeviceTree(after: header, into: memory)
  }

  private func zeroPage(
    ram: RAMLayout, initrd: Range<UInt64>, commandLine: UInt64, setupData: UInt64
  ) -> [UInt8] {
    var page = [UInt8](repeating: 0, count: Self.zeroPageByteCount)
    page.replaceSubrange(Field.setupSectors..<(Field.setupSectors + header.count), with: header)
    page[Field.loaderType] = Self.undefinedLoader
    page.store(BootLayout.acpiTables.lowerBound, at: Field.acpiRSDP)
    page.store(UInt32(truncatingIfNeeded: initrd.lowerBound), at: Field.initrdAddress)
    page.store(UInt32(truncatingIfNeeded: initrd.count), at: Field.initrdByteCount)
    page.store(UInt32(truncatingIfNeeded: commandLine), at: Field.commandLine)
    page.store(setupData, at: Field.setupData)
    let entries = ram.entries
    page[Field.e820Count] = UInt8(entries.count)
    for (index, entry) in entries.enumerated() {
      let offset = Field.e820Table + index * Self.e820EntryByteCount
      page.store(entry.range.lowerBound, at: offset)
      page.store(entry.range.upperBound - entry.range.lowerBound, at: offset + 8)
      page.store(entry.kind.rawValue, at: offset + 16)
    }
    return page
  }
}
