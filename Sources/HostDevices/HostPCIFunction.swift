// SPDX-License-Identifier: Apache-2.0

/// A PCI function of the host, as sysfs shows it now.
public struct HostPCIFunction: Equatable, Sendable {
  /// A memory or I/O resource.
  public struct BAR: Equatable, Sendable {
    public let index: Int
    public let address: UInt64
    public let byteCount: UInt64
    public let isIO: Bool
    public let isPrefetchable: Bool
    public let is64Bit: Bool
  }

  public let address: PCIAddress
  public let vendor: UInt16
  public let device: UInt16
  /// 24 bits: base class, subclass, programming interface.
  public let classCode: UInt32
  /// The driver it is bound to, `nil` if none.
  public let driver: String?
  /// The only driver it may be bound to, `nil` if any.
  public let driverOverride: String?
  /// Its IOMMU group; `nil` if no IOMMU is on, or none covers it.
  public let group: Int?
  /// Its NUMA node; `nil` if the host has only one.
  public let numaNode: Int?
  /// How the kernel would reset it, best first: `flr`, `pm`, `bus`, …; empty if it cannot.
  public let resetMethods: [String]
  public let bars: [BAR]

  private static let bridgeClass: UInt32 = 0x06

  /// Whether it is a bridge: it then belongs to the host and does not block a group when it has
  /// the kernel's own driver for bridges, or none.
  public var isBridge: Bool { classCode >> 16 == Self.bridgeClass }

  /// What kind of thing it is, for people.
  public var kind: String {
    switch classCode >> 8 {
    case 0x0101: "IDE controller"
    case 0x0106: "SATA controller"
    case 0x0107: "SAS controller"
    case 0x0108: "NVMe controller"
    case 0x0200: "Ethernet controller"
    case 0x0280: "network controller"
    case 0x0300: "VGA controller"
    case 0x0403: "audio device"
    case 0x0600: "host bridge"
    case 0x0601: "ISA bridge"
    case 0x0604: "PCI bridge"
    case 0x0C03: "USB controller"
    case 0x0C05: "SMBus controller"
    default: "device of class \(String(classCode >> 8, radix: 16))"
    }
  }
}

extension HostFiles {
  private var functions: String { sys + "/bus/pci/devices" }

  /// The directory of a function.
  func directory(_ address: PCIAddress) -> String { functions + "/\(address)" }

  /// All PCI functions of the host, by address.
  public func allFunctions() -> [HostPCIFunction] {
    names(in: functions).compactMap { PCIAddress($0) }.sorted().compactMap { function($0) }
  }

  /// The function at `address`; `nil` if there is none.
  public func function(_ address: PCIAddress) -> HostPCIFunction? {
    let directory = directory(address)
    guard
      let vendor = number(directory + "/vendor"), let device = number(directory + "/device"),
      let classCode = number(directory + "/class")
    else { return nil }
    return HostPCIFunction(
      address: address, vendor: UInt16(truncatingIfNeeded: vendor),
      device: UInt16(truncatingIfNeeded: device),
      classCode: UInt32(truncatingIfNeeded: classCode),
      driver: linkTarget(directory + "/driver"), driverOverride: driverOverride(address),
      group: linkTarget(directory + "/iommu_group").flatMap { Int($0) },
      numaNode: number(directory + "/numa_node").flatMap { $0 >= 0 ? $0 : nil },
      resetMethods: resetMethods(directory), bars: bars(directory))
  }

  /// What `driver_override` says; `nil` for nothing.
  func driverOverride(_ address: PCIAddress) -> String? {
    guard let text = text(directory(address) + "/driver_override") else { return nil }
    return text.isEmpty || text == "(null)" ? nil : text
  }

  /// Kernels before 5.15 only say whether there is a method at all.
  private func resetMethods(_ directory: String) -> [String] {
    if let text = text(directory + "/reset_method") {
      return text.split(separator: " ").map(String.init)
    }
    return exists(directory + "/reset") ? ["unknown"] : []
  }

  /// One line for each resource: first address, last address, flags (linux/ioport.h).
  private func bars(_ directory: String) -> [HostPCIFunction.BAR] {
    let lines = text(directory + "/resource")?.split(separator: "\n") ?? []
    return lines.prefix(6).enumerated().compactMap { index, line in
      let numbers = line.split(separator: " ").compactMap { field in
        field.hasPrefix("0x") ? UInt64(field.dropFirst(2), radix: 16) : nil
      }
      guard numbers.count == 3, numbers[1] > numbers[0] else { return nil }
      let flags = numbers[2]
      return HostPCIFunction.BAR(
        index: index, address: numbers[0], byteCount: numbers[1] - numbers[0] + 1,
        isIO: flags & 0x100 != 0, isPrefetchable: flags & 0x2000 != 0,
        is64Bit: flags & 0x10_0000 != 0)
    }
  }

  /// The functions of an IOMMU group, by address.
  public func members(ofGroup group: Int) -> [HostPCIFunction] {
    names(in: sys + "/kernel/iommu_groups/\(group)/devices").compactMap { PCIAddress($0) }
      .sorted().compactMap { function($0) }
  }
}
