// SPDX-License-Identifier: Apache-2.0
public import DeviceModel

/// Configuration space as memory: one MiB for bus 0 (PCI Express Base 3.0, 7.2.2). Register it at
/// the address that the MCFG table gives.
public final class ECAMWindow: BusDevice {
  /// Bytes for one bus.
  public static let byteCount: UInt64 = 1 << 20
  private let bus: PCIBus

  public init(_ bus: PCIBus) {
    self.bus = bus
  }

  public func read(offset: UInt64, width: Int) -> UInt64 {
    let low = UInt64(read32(offset, min(width, 4)))
    return width == 8 ? low | UInt64(read32(Self.upperHalf(offset), 4)) << 32 : low
  }

  public func write(offset: UInt64, width: Int, value: UInt64) {
    write32(offset, min(width, 4), UInt32(truncatingIfNeeded: value))
    if width == 8 { write32(Self.upperHalf(offset), 4, UInt32(truncatingIfNeeded: value >> 32)) }
  }

  private func read32(_ offset: UInt64, _ width: Int) -> UInt32 {
    guard let (slot, register) = Self.decode(offset) else {
      return UInt32(truncatingIfNeeded: truncated(.max, width: width))
    }
    return bus.readConfiguration(slot: slot, offset: register, width: width)
  }

  private func write32(_ offset: UInt64, _ width: Int, _ value: UInt32) {
    guard let (slot, register) = Self.decode(offset) else { return }
    bus.writeConfiguration(slot: slot, offset: register, width: width, value: value)
  }

  private static func upperHalf(_ offset: UInt64) -> UInt64 {
    offset < byteCount ? offset + 4 : offset
  }

  /// Slot and register of an offset; `nil` for other buses and for functions 1–7.
  private static func decode(_ offset: UInt64) -> (Int, Int)? {
    guard offset < byteCount, (offset >> 12) & 7 == 0 else { return nil }
    return (Int(offset >> 15) & 31, Int(offset & 0xFFF))
  }
}

/// Configuration space by the ports 0xCF8 (address) and 0xCFC (data): PCI Local Bus 3.0, 3.2.2.3.2.
/// Register it at port 0xCF8 with eight ports.
public final class ConfigurationPorts: BusDevice {
  /// Ports taken.
  public static let portCount: UInt64 = 8
  private static let enableBit: UInt32 = 1 << 31
  private static let writableBits: UInt32 = 0x80FF_FFFC
  private static let dataPort = 4
  private let bus: PCIBus
  private var address: UInt32 = 0

  public init(_ bus: PCIBus) {
    self.bus = bus
  }

  public func read(offset: UInt64, width: Int) -> UInt64 {
    if offset == 0 && width == 4 { return UInt64(address) }
    guard let (slot, register) = target(offset, width) else { return truncated(.max, width: width) }
    return UInt64(bus.readConfiguration(slot: slot, offset: register, width: width))
  }

  public func write(offset: UInt64, width: Int, value: UInt64) {
    if offset == 0 && width == 4 {
      address = UInt32(truncatingIfNeeded: value) & Self.writableBits
    } else if let (slot, register) = target(offset, width) {
      let value = UInt32(truncatingIfNeeded: value)
      bus.writeConfiguration(slot: slot, offset: register, width: width, value: value)
    }
  }

  /// Slot and register that the latched address and the data port select; only the address port's
  /// full width reaches the latch, and an access must end within the data port.
  private func target(_ offset: UInt64, _ width: Int) -> (Int, Int)? {
    let port = Int(truncatingIfNeeded: min(offset, Self.portCount)) - Self.dataPort
    guard
      port >= 0, port + width <= 4, address & Self.enableBit != 0,
      (address >> 16) & 0xFF == 0, (address >> 8) & 7 == 0
    else { return nil }
    return (Int(address >> 11) & 31, Int(address & 0xFC) + port)
  }
}

/// A window in which BARs are decoded; everything else in it reads as ones.
public final class BARWindow: BusDevice {
  /// Which of the bus's windows.
  public enum Space: Sendable {
    case memory32, memory64, io
  }

  /// The addresses (or ports) to register the device at.
  public let range: Range<UInt64>
  private let bus: PCIBus
  private let isIO: Bool

  public init(_ bus: PCIBus, _ space: Space) {
    self.bus = bus
    isIO = space == .io
    range =
      switch space {
      case .memory32: bus.windows.memory32
      case .memory64: bus.windows.memory64
      case .io: bus.windows.io
      }
  }

  public func read(offset: UInt64, width: Int) -> UInt64 {
    bus.read(address: range.lowerBound &+ offset, width: width, io: isIO)
  }

  public func write(offset: UInt64, width: Int, value: UInt64) {
    bus.write(address: range.lowerBound &+ offset, width: width, value: value, io: isIO)
  }
}
