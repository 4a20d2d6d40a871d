// SPDX-License-Identifier: Apache-2.0
import CMicro

/// What the monitor handed over: PVH's `hvm_start_info` (Xen, public/arch-x86/hvm/start_info.h).
public struct StartInfo {
  /// A range of the memory map; type 1 is usable RAM.
  public struct MapEntry {
    public let start: UInt64
    public let byteCount: UInt64
    public let type: UInt32
  }

  private let base: UInt64
  private static let magic: UInt32 = 0x336E_C578
  private static let mapEntryByteCount: UInt64 = 24
  private static let moduleByteCount: UInt64 = 32

  /// nil if the monitor handed over something else.
  public init?() {
    base = micro_start_info_address()
    guard base != 0, Memory.load(UInt32.self, at: base) == Self.magic else { return nil }
  }

  public var version: UInt32 { Memory.load(UInt32.self, at: base + 4) }
  public var commandLine: String {
    Memory.string(at: Memory.load(UInt64.self, at: base + 24))
  }
  /// Guest-physical address of the ACPI root pointer; 0 if there is none.
  public var rsdp: UInt64 { Memory.load(UInt64.self, at: base + 32) }

  public var memoryMap: [MapEntry] {
    guard version >= 1 else { return [] }
    let list = Memory.load(UInt64.self, at: base + 40)
    let count = min(Memory.load(UInt32.self, at: base + 48), 64)
    return (0..<UInt64(count)).map { index in
      let at = list + index * Self.mapEntryByteCount
      return MapEntry(
        start: Memory.load(UInt64.self, at: at), byteCount: Memory.load(UInt64.self, at: at + 8),
        type: Memory.load(UInt32.self, at: at + 16))
    }
  }

  /// Address and size of the module whose command line is `label`.
  public func module(_ label: String) -> (address: UInt64, byteCount: UInt64)? {
    let count = min(Memory.load(UInt32.self, at: base + 12), 16)
    let list = Memory.load(UInt64.self, at: base + 16)
    for index in 0..<UInt64(count) {
      let at = list + index * Self.moduleByteCount
      let text = Memory.string(at: Memory.load(UInt64.self, at: at + 16))
      if text.utf8.elementsEqual(label.utf8) {
        return (Memory.load(UInt64.self, at: at), Memory.load(UInt64.self, at: at + 8))
      }
    }
    return nil
  }

  /// Whether the command line holds `word` between spaces.
  public func hasOption(_ word: String) -> Bool {
    commandLine.utf8.split(separator: 32).contains { $0.elementsEqual(word.utf8) }
  }
}
