// SPDX-License-Identifier: Apache-2.0
internal import CLinux

/// One leaf of the CPUID instruction.
public struct CPUIDEntry: Equatable, Sendable {
  public var function: UInt32
  public var index: UInt32
  /// KVM_CPUID_FLAG_*.
  public var flags: UInt32
  public var eax: UInt32
  public var ebx: UInt32
  public var ecx: UInt32
  public var edx: UInt32
}

/// What a virtual CPU answers to CPUID.
public struct CPUIDTable: Equatable, Sendable {
  /// In the order KVM gave them.
  public internal(set) var entries: [CPUIDEntry]

  /// Adapts what KVM supports to CPU `identifier` of `count`: local APIC ids, the topology leaves 1,
  /// 4, 0xB, 0x1F and 0x8000001E, and the TSC-deadline timer. All CPUs are cores of one package. The
  /// physical address width stays the host's.
  public mutating func adapt(identifier: UInt32, count: Int, hasTSCDeadlineTimer: Bool) {
    let shift = UInt32(Self.bits(for: count))
    replaceTopology(identifier, count, shift)
    for index in entries.indices {
      switch entries[index].function {
      case 0x1: adaptFeatures(&entries[index], identifier, count, hasTSCDeadlineTimer)
      case 0x4: adaptCache(&entries[index], cores: UInt32(count))
      case 0x8000_0008:
        // Cores of the package less one, and the width of core ids (AMD APM 3, E.4.7).
        entries[index].ecx = shift << 12 | UInt32(count - 1)
      case 0x8000_001E:
        entries[index].eax = identifier
        entries[index].ebx = identifier & 0xFF  // one thread a core
        entries[index].ecx = 0  // one node
      default: break
      }
    }
  }

  private static func bits(for count: Int) -> Int {
    Int.bitWidth - max(0, count - 1).leadingZeroBitCount
  }

  private func adaptFeatures(
    _ entry: inout CPUIDEntry, _ identifier: UInt32, _ count: Int, _ hasTSCDeadlineTimer: Bool
  ) {
    let logical = UInt32(1 << Self.bits(for: count))
    entry.ebx = identifier << 24 | (logical & 0xFF) << 16 | entry.ebx & 0xFFFF
    entry.ecx |= 1 << 31  // a hypervisor is present
    if hasTSCDeadlineTimer { entry.ecx |= 1 << 24 }
    let multithreading: UInt32 = 1 << 28
    entry.edx = count > 1 ? entry.edx | multithreading : entry.edx & ~multithreading
  }

  private func adaptCache(_ entry: inout CPUIDEntry, cores: UInt32) {
    guard entry.eax & 0x1F != 0 else { return }  // no more caches
    let level = entry.eax >> 5 & 0x7
    let sharers: UInt32 = level >= 3 ? cores - 1 : 0
    entry.eax = entry.eax & 0x3FFF | min(sharers, 0xFFF) << 14 | min(cores - 1, 0x3F) << 26
  }

  /// Leaves 0xB and 0x1F: one thread a core, all cores in one package (Intel SDM 2A, CPUID).
  private mutating func replaceTopology(_ identifier: UInt32, _ count: Int, _ shift: UInt32) {
    entries.removeAll { $0.function == 0xB || $0.function == 0x1F }
    let last = entries.first { $0.function == 0 }?.eax ?? 0
    let levels: [(UInt32, UInt32, UInt32)] = [
      (0, 1, 1 << 8), (shift, UInt32(count), 2 << 8 | 1), (0, 0, 2),
    ]
    for function in [UInt32(0xB), 0x1F] where function <= last {
      for (index, level) in levels.enumerated() {
        entries.append(
          CPUIDEntry(
            function: function, index: UInt32(index), flags: Self.indexIsSignificant,
            eax: level.0, ebx: level.1, ecx: level.2, edx: identifier))
      }
    }
  }

  /// KVM_CPUID_FLAG_SIGNIFCANT_INDEX
  private static let indexIsSignificant: UInt32 = 1 << 0

  /// What XCR0 may hold, of the state that needs no leave of the host: x87, SSE, AVX, AVX-512 and
  /// PKRU; 0 without XSAVE.
  public var extendedStateMask: UInt64 {
    let plain: UInt32 = 0x2E7
    let leaf = entries.first { $0.function == 0xD && $0.index == 0 }
    return UInt64((leaf?.eax ?? 0) & plain)
  }

  /// Bits of a guest-physical address (leaf 0x80000008); 36 if there is no such leaf.
  public var physicalAddressBits: Int {
    entries.first { $0.function == 0x8000_0008 }.map { Int($0.eax & 0xFF) } ?? 36
  }
}

/// `struct kvm_cpuid2` with room for entries (KVM_MAX_CPUID_ENTRIES).
private let maximumEntries = 256
private let headerByteCount = 8

extension KVMSystem {
  /// All that KVM and the processor can offer a guest.
  public func supportedCPUID() throws(KVMError) -> CPUIDTable {
    let stride = MemoryLayout<kvm_cpuid_entry2>.stride
    let byteCount = headerByteCount + maximumEntries * stride
    // SAFETY: the header says how many entries fit, and they do.
    let entries = try unsafe withKernelBytes(byteCount) { bytes throws(KVMError) in
      unsafe bytes.storeBytes(of: UInt32(maximumEntries), as: UInt32.self)
      try kvmCall("ask for the supported CPUID") {
        unsafe clinux_ioctl_pointer(
          descriptor.rawValue, CLINUX_KVM_GET_SUPPORTED_CPUID, bytes.baseAddress)
      }
      let count = unsafe min(Int(bytes.load(as: UInt32.self)), maximumEntries)
      return (0..<count).map { index in
        let entry = unsafe bytes.loadUnaligned(
          fromByteOffset: headerByteCount + index * stride, as: kvm_cpuid_entry2.self)
        return CPUIDEntry(
          function: entry.function, index: entry.index, flags: entry.flags, eax: entry.eax,
          ebx: entry.ebx, ecx: entry.ecx, edx: entry.edx)
      }
    }
    return CPUIDTable(entries: entries)
  }
}

extension VirtualCPU {
  /// Sets what the CPU answers to CPUID; before it first runs.
  public func set(_ cpuid: CPUIDTable) throws(KVMError) {
    guard cpuid.entries.count <= maximumEntries else {
      throw KVMError.tooMany(
        what: "CPUID leaves", count: cpuid.entries.count, limit: maximumEntries)
    }
    let stride = MemoryLayout<kvm_cpuid_entry2>.stride
    let byteCount = headerByteCount + cpuid.entries.count * stride
    // SAFETY: the table has room for the header and exactly these entries.
    try unsafe withKernelBytes(byteCount) { bytes throws(KVMError) in
      unsafe bytes.storeBytes(of: UInt32(cpuid.entries.count), as: UInt32.self)
      for (index, entry) in cpuid.entries.enumerated() {
        let raw = kvm_cpuid_entry2(
          function: entry.function, index: entry.index, flags: entry.flags, eax: entry.eax,
          ebx: entry.ebx, ecx: entry.ecx, edx: entry.edx, padding: (0, 0, 0))
        unsafe bytes.storeBytes(
          of: raw, toByteOffset: headerByteCount + index * stride, as: kvm_cpuid_entry2.self)
      }
      try kvmCall("set the CPUID of CPU \(identifier)") {
        unsafe clinux_ioctl_pointer(
          descriptor.rawValue, CLINUX_KVM_SET_CPUID2, bytes.baseAddress)
      }
    }
  }
}
