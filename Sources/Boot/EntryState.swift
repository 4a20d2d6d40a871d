// SPDX-License-Identifier: Apache-2.0

/// The first vCPU's state at a guest's first instruction; what it leaves out is zero.
public struct EntryState: Equatable, Sendable {
  public var rip: UInt64
  public var rsi: UInt64
  public var rbx: UInt64
  /// Only bit 1, which always reads as one: interrupts are off.
  public var rflags: UInt64 = 1 << 1
  public var cr0: UInt64
  public var cr3: UInt64
  public var cr4: UInt64
  public var efer: UInt64
  public var code: Segment
  /// For DS, ES, FS, GS and SS.
  public var data: Segment
  /// For TR.
  public var task: Segment
  /// Lies in guest memory, written by the loader.
  public var gdt: DescriptorTable
}

/// Base and limit of a descriptor table.
public struct DescriptorTable: Equatable, Sendable {
  public var base: UInt64
  public var limit: UInt16
}

/// A segment register with its hidden part (Intel SDM volume 3, 3.4.5).
public struct Segment: Equatable, Sendable {
  public var selector: UInt16
  public var base: UInt64 = 0
  /// In bytes, whatever the granularity.
  public var limit: UInt32
  /// The four type bits.
  public var type: UInt8
  /// The S bit: code or data, not system.
  public var isCodeOrData: Bool
  /// The D/B bit.
  public var is32Bit: Bool
  /// The L bit.
  public var is64Bit: Bool
  /// The G bit.
  public var has4KiBGranularity: Bool
  public var isPresent = true
  public var privilegeLevel: UInt8 = 0

  /// The descriptor as it stands in a descriptor table.
  var descriptor: UInt64 {
    let units = has4KiBGranularity ? UInt64(limit >> 12) : UInt64(limit)
    let access =
      UInt64(type & 0xF) | (isCodeOrData ? 1 << 4 : 0) | UInt64(privilegeLevel & 3) << 5
      | (isPresent ? 1 << 7 : 0)
    let flags = (is64Bit ? 1 << 1 : 0) | (is32Bit ? 1 << 2 : 0) | (has4KiBGranularity ? 1 << 3 : 0)
    return units & 0xFFFF | (base & 0xFF_FFFF) << 16 | access << 40 | (units >> 16 & 0xF) << 48
      | UInt64(flags) << 52 | (base >> 24 & 0xFF) << 56
  }
}

extension Segment {
  /// Linux wants __BOOT_CS to be 0x10 and __BOOT_DS 0x18 (Documentation/x86/boot.rst).
  static let code64 = Segment(
    selector: 0x10, limit: .max, type: 0xB, isCodeOrData: true, is32Bit: false, is64Bit: true,
    has4KiBGranularity: true)
  static let code32 = Segment(
    selector: 0x10, limit: .max, type: 0xB, isCodeOrData: true, is32Bit: true, is64Bit: false,
    has4KiBGranularity: true)
  static let data = Segment(
    selector: 0x18, limit: .max, type: 0x3, isCodeOrData: true, is32Bit: true, is64Bit: false,
    has4KiBGranularity: true)
  /// A busy task state of the size that PVH asks for.
  static let task = Segment(
    selector: 0x20, limit: 0x67, type: 0xB, isCodeOrData: false, is32Bit: false, is64Bit: false,
    has4KiBGranularity: false)
}

/// Control register bits (Intel SDM volume 3, 2.5 and 2.2.1).
enum ControlBits {
  static let cr0ProtectionEnable: UInt64 = 1 << 0
  static let cr0ExtensionType: UInt64 = 1 << 4
  static let cr0Paging: UInt64 = 1 << 31
  static let cr4PhysicalAddressExtension: UInt64 = 1 << 5
  static let eferLongModeEnable: UInt64 = 1 << 8
  static let eferLongModeActive: UInt64 = 1 << 10
}
