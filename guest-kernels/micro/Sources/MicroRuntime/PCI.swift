// SPDX-License-Identifier: Apache-2.0
import CMicro

/// A function of bus 0, reached by configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2).
public struct PCIDevice {
  /// Device number on bus 0; the function is 0.
  public let slot: UInt8

  private static let addressPort: UInt16 = 0xCF8
  private static let dataPort: UInt16 = 0xCFC
  private static let enable: UInt32 = 1 << 31

  /// All devices that answer.
  public static func all() -> [PCIDevice] {
    (0..<32 as Range<UInt8>).map { PCIDevice(slot: $0) }.filter { $0.read32(0) & 0xFFFF != 0xFFFF }
  }

  public func read32(_ offset: UInt8) -> UInt32 {
    micro_out32(Self.addressPort, Self.enable | UInt32(slot) << 11 | UInt32(offset & 0xFC))
    return micro_in32(Self.dataPort)
  }

  public func write32(_ offset: UInt8, _ value: UInt32) {
    micro_out32(Self.addressPort, Self.enable | UInt32(slot) << 11 | UInt32(offset & 0xFC))
    micro_out32(Self.dataPort, value)
  }

  /// Device << 16 | vendor.
  public var identity: UInt32 { read32(0x00) }
  public var revision: UInt8 { UInt8(truncatingIfNeeded: read32(0x08)) }

  private static let command: UInt8 = 0x04
  private static let memoryDecode: UInt32 = 1 << 1
  private static let busMaster: UInt32 = 1 << 2

  /// Lets the device answer to its memory BARs and send messages.
  public func enableMemory() {
    write32(Self.command, read32(Self.command) & 0xFFFF | Self.memoryDecode | Self.busMaster)
  }

  /// Where memory BAR `index` is; empty if it is no memory BAR or has no place. Decoding is off
  /// while it is asked for its size.
  public func memoryBAR(_ index: Int) -> Range<UInt64> {
    let offset = UInt8(0x10 + index * 4)
    let low = read32(offset)
    guard low & 1 == 0 else { return 0..<0 }
    let is64 = low & 6 == 4
    let high = is64 ? read32(offset + 4) : 0
    let saved = read32(Self.command) & 0xFFFF
    write32(Self.command, saved & ~Self.memoryDecode)
    write32(offset, .max)
    if is64 { write32(offset + 4, .max) }
    let sizeLow = UInt64(read32(offset) & ~0xF)
    let mask = sizeLow | UInt64(is64 ? read32(offset + 4) : .max) << 32
    write32(offset, low)
    if is64 { write32(offset + 4, high) }
    write32(Self.command, saved)
    let start = UInt64(low & ~0xF) | UInt64(high) << 32
    guard start != 0, sizeLow != 0 || is64, mask != 0 else { return 0..<0 }
    return start..<(start &+ (~mask &+ 1))
  }

  /// The offset of the capability `id`; nil if there is none.
  public func capability(_ id: UInt8) -> UInt8? {
    guard read32(Self.command) >> 16 & 0x10 != 0 else { return nil }
    var offset = UInt8(truncatingIfNeeded: read32(0x34)) & 0xFC
    for _ in 0..<48 {
      if offset < 0x40 { return nil }
      let header = read32(offset)
      if UInt8(truncatingIfNeeded: header) == id { return offset }
      offset = UInt8(truncatingIfNeeded: header >> 8) & 0xFC
    }
    return nil
  }
}
