// SPDX-License-Identifier: Apache-2.0
import DeviceModel

/// An ELF kernel with a PVH entry (Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h).
struct PVHImage {
  let source: any ImageSource
  let segments: [LoadSegment]
  /// 32-bit physical entry point.
  let entry: UInt32

  /// Part of the file that goes to guest memory; the rest of the segment stays zero.
  struct LoadSegment {
    let fileOffset: UInt64
    let fileByteCount: UInt64
    let address: UInt64
    let memoryByteCount: UInt64
  }

  private static let physicalEntryNote: UInt32 = 18
  private static let noteName = Array("Xen\0".utf8)

  /// Reads the headers; nil if `source` is no ELF, or one without a PVH note.
  init?(examining source: any ImageSource) throws(BootError) {
    guard let elf = try ELFHeaders(examining: source) else { return nil }
    guard let entry = try Self.findEntry(elf, in: source) else { return nil }
    self.source = source
    self.entry = entry
    var segments: [LoadSegment] = []
    for header in elf.programHeaders where header.isLoad && header.memoryByteCount > 0 {
      segments.append(try Self.checkedSegment(header, in: source))
    }
    guard !segments.isEmpty else {
      throw .malformed(image: source.name, reason: "it has no loadable segment")
    }
    self.segments = segments
  }

  private static func checkedSegment(
    _ header: ELFHeaders.ProgramHeader, in source: any ImageSource
  ) throws(BootError) -> LoadSegment {
    try source.check(offset: header.fileOffset, byteCount: header.fileByteCount)
    guard header.fileByteCount <= header.memoryByteCount else {
      throw .malformed(
        image: source.name, reason: "a segment has more bytes in the file than in memory")
    }
    guard header.physicalAddress >= BootLayout.legacyHole.upperBound else {
      throw .unsupported(
        image: source.name,
        reason: "a segment goes to 0x\(hex(header.physicalAddress)), below 1 MiB")
    }
    return LoadSegment(
      fileOffset: header.fileOffset, fileByteCount: header.fileByteCount,
      address: header.physicalAddress, memoryByteCount: header.memoryByteCount)
  }

  private static func findEntry(
    _ elf: ELFHeaders, in source: any ImageSource
  ) throws(BootError) -> UInt32? {
    for header in elf.programHeaders where header.isNote {
      let notes = try elf.notes(in: header, of: source)
      for note in notes where note.type == physicalEntryNote && note.name == noteName {
        // The description is 4 or 8 bytes; the entry is 32-bit code either way.
        switch note.description.count {
        case 4: return note.description.load(UInt32.self, at: 0)
        case 8: return UInt32(exactly: note.description.load(UInt64.self, at: 0))
        default: continue
        }
      }
    }
    return nil
  }

  /// Loads segments, modules, command line and the start information.
  func load(_ request: BootRequest, into memory: some GuestMemory) throws(BootError) -> EntryState {
    let kernelEnd = try checkedEnd(ramEnd: request.ram.lowByteCount)
    for segment in segments {
      try source.copy(
        from: segment.fileOffset, byteCount: segment.fileByteCount, to: memory,
        at: segment.address)
    }
    var modules: [StartInfo.Module] = []
    let initrd = try request.loadInitrd(kernelEnd: kernelEnd, limit: .max, into: memory)
    if !initrd.isEmpty { modules.append(StartInfo.Module(range: initrd, label: "initrd")) }
    if !request.deviceTree.isEmpty {
      let address = try request.writeDeviceTree(into: memory)
      let end = address + UInt64(request.deviceTree.count)
      modules.append(StartInfo.Module(range: address..<end, label: "dtb"))
    }
    let commandLine = try request.writeCommandLine(limit: .max, into: memory)
    let info = StartInfo(
      modules: modules, commandLine: commandLine, memoryMap: request.ram.entries)
    try memory.put(info.encoded(at: BootLayout.startInfo), at: BootLayout.startInfo)
    return EntryState(
      rip: UInt64(entry), rsi: 0, rbx: BootLayout.startInfo,
      cr0: ControlBits.cr0ProtectionEnable | ControlBits.cr0ExtensionType, cr3: 0, cr4: 0,
      efer: 0, code: .code32, data: .data, task: .task,
      gdt: try EntryTables.writeGDT(code: .code32, into: memory))
  }

  private func checkedEnd(ramEnd: UInt64) throws(BootError) -> UInt64 {
    var highest: UInt64 = 0
    for segment in segments {
      let (end, overflow) = segment.address.addingReportingOverflow(segment.memoryByteCount)
      guard !overflow, end <= ramEnd else {
        throw .outOfMemory(what: source.name, needed: overflow ? .max : end, available: ramEnd)
      }
      highest = max(highest, end)
    }
    guard let end = roundedUp(highest, to: BootLayout.pageByteCount) else {
      throw .outOfMemory(what: source.name, needed: .max, available: ramEnd)
    }
    return end
  }
}

/// The `hvm_start_info` structure, version 1, with its module list, memory map and labels.
private struct StartInfo {
  struct Module {
    let range: Range<UInt64>
    /// The module's own command line.
    let label: String
  }

  let modules: [Module]
  let commandLine: UInt64
  let memoryMap: [MemoryMapEntry]

  private static let magic: UInt32 = 0x336E_C578
  private static let byteCount = 56
  private static let moduleByteCount = 32
  private static let mapEntryByteCount = 24

  /// The structure followed by all that it points to, for guest-physical `address`.
  func encoded(at address: UInt64) -> [UInt8] {
    let moduleList = Self.byteCount
    let map = moduleList + modules.count * Self.moduleByteCount
    let labels = map + memoryMap.count * Self.mapEntryByteCount
    var bytes: [UInt8] = []
    bytes.append(littleEndian: Self.magic)
    bytes.append(littleEndian: 1 as UInt32)
    bytes.append(littleEndian: 0 as UInt32)
    bytes.append(littleEndian: UInt32(modules.count))
    bytes.append(littleEndian: modules.isEmpty ? 0 : address + UInt64(moduleList))
    bytes.append(littleEndian: commandLine)
    bytes.append(littleEndian: BootLayout.acpiTables.lowerBound)
    bytes.append(littleEndian: address + UInt64(map))
    bytes.append(littleEndian: UInt32(memoryMap.count))
    bytes.append(littleEndian: 0 as UInt32)
    var label = address + UInt64(labels)
    for module in modules {
      bytes.append(littleEndian: module.range.lowerBound)
      bytes.append(littleEndian: UInt64(module.range.count))
      bytes.append(littleEndian: label)
      bytes.append(littleEndian: 0 as UInt64)
      label += UInt64(module.label.utf8.count + 1)
    }
    for entry in memoryMap {
      bytes.append(littleEndian: entry.range.lowerBound)
      bytes.append(littleEndian: entry.range.upperBound - entry.range.lowerBound)
      bytes.append(littleEndian: entry.kind.rawValue)
      bytes.append(littleEndian: 0 as UInt32)
    }
    for module in modules { bytes += Array(module.label.utf8) + [0] }
    return bytes
  }
}
