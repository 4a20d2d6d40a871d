import CMicro
// SPDX-License-Identifier: Apache-2.0
public import Channel

/// An ivshmem device, revision 1 (QEMU docs/specs/ivshmem-spec).
public struct Ivshmem {
  public let device: PCIDevice
  /// BAR 0.
  public let registers: Range<UInt64>
  /// BAR 2.
  public let region: Range<UInt64>
  /// Whether it can interrupt this guest (it has MSI-X).
  public let hasMessages: Bool

  public static let identity: UInt32 = 0x1110_1AF4
  private static let position: UInt64 = 0x8
  private static let doorbell: UInt64 = 0xC
  private static let msixCapability: UInt8 = 0x11
  private static let msixEnable: UInt32 = 1 << 31
  private static let msixMaskAll: UInt32 = 1 << 30
  private static let localAPICMessages: UInt32 = 0xFEE0_0000

  /// The first ivshmem device of the bus, its registers and region mapped for ring 3.
  public static func first() -> Ivshmem? {
    for device in PCIDevice.all() where device.identity == identity {
      return Ivshmem(device)
    }
    return nil
  }

  init?(_ device: PCIDevice) {
    self.device = device
    hasMessages = device.capability(Self.msixCapability) != nil
    registers = device.memoryBAR(0)
    region = device.memoryBAR(2)
    guard !registers.isEmpty, !region.isEmpty else { return nil }
    device.enableMemory()
    guard Paging.map(registers.lowerBound..<(registers.lowerBound + 4096), forUser: true),
      Paging.map(region, forUser: true)
    else { return nil }
  }

  /// This guest's own peer id.
  public var peer: UInt32 { micro_read32(registers.lowerBound + Self.position) }

  /// Rings `vector` of `peer`; works in ring 3 too.
  public func ring(peer: UInt32, vector: UInt32 = 0) {
    micro_write32(registers.lowerBound + Self.doorbell, peer << 16 | vector)
  }

  /// Sends MSI-X entry `entry` to `vector` of this processor. False without MSI-X.
  public func route(entry: UInt32, to vector: UInt8) -> Bool {
    guard let capability = device.capability(Self.msixCapability) else { return false }
    let control = device.read32(capability)
    guard entry <= control >> 16 & 0x7FF else { return false }
    let place = device.read32(capability + 4)
    let bar = device.memoryBAR(Int(place & 7))
    guard !bar.isEmpty else { return false }
    device.write32(capability, control | Self.msixEnable | Self.msixMaskAll)
    let address = bar.lowerBound + UInt64(place & ~7) + UInt64(entry) * 16
    micro_write32(address, Self.localAPICMessages | LocalAPIC.id << 12)
    micro_write32(address + 4, 0)
    micro_write32(address + 8, UInt32(vector))
    micro_write32(address + 12, 0)
    device.write32(capability, (control | Self.msixEnable) & ~Self.msixMaskAll)
    return true
  }

  /// The channel that the host has laid out in the region.
  public func channel() throws(GeometryError) -> ChannelRegion {
    // SAFETY: BAR 2 is mapped onto itself for as long as the guest runs.
    unsafe try ChannelRegion(
      mappedAt: Memory.pointer(region.lowerBound), byteCount: region.count)
  }
}
