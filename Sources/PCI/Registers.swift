// SPDX-License-Identifier: Apache-2.0

/// Offsets in a type-0 header (PCI Local Bus 3.0, 6.1).
public enum PCIRegister {
  public static let vendor = 0x00
  public static let device = 0x02
  public static let command = 0x04
  public static let status = 0x06
  public static let revision = 0x08
  public static let programmingInterface = 0x09
  public static let cacheLineSize = 0x0C
  public static let latencyTimer = 0x0D
  public static let headerType = 0x0E
  public static let selfTest = 0x0F
  public static let bar0 = 0x10
  public static let cardbus = 0x28
  public static let subsystemVendor = 0x2C
  public static let subsystem = 0x2E
  public static let romBAR = 0x30
  public static let capabilities = 0x34
  public static let interruptLine = 0x3C
  public static let interruptPin = 0x3D
  /// First byte that the header does not use.
  public static let headerEnd = 0x40
  /// First byte of extended configuration space.
  public static let extended = 0x100
  /// Number of BARs of a type-0 function.
  public static let barCount = 6
}

/// Bits of the command register (PCI Local Bus 3.0, 6.2.2).
public struct PCICommand: OptionSet, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  public static let ioSpace = PCICommand(rawValue: 1 << 0)
  public static let memorySpace = PCICommand(rawValue: 1 << 1)
  public static let busMaster = PCICommand(rawValue: 1 << 2)
  public static let parityResponse = PCICommand(rawValue: 1 << 6)
  public static let systemError = PCICommand(rawValue: 1 << 8)
  public static let interruptDisable = PCICommand(rawValue: 1 << 10)
  /// What a guest may set in a model that has all of it.
  public static let writable: PCICommand = [
    .ioSpace, .memorySpace, .busMaster, .parityResponse, .systemError, .interruptDisable,
  ]
}

/// Bits of the status register (PCI Local Bus 3.0, 6.2.3).
public struct PCIStatus: OptionSet, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  public static let interrupt = PCIStatus(rawValue: 1 << 3)
  public static let capabilityList = PCIStatus(rawValue: 1 << 4)
}

/// Capability numbers (PCI Code and ID Assignment 1.11, 2).
public enum PCICapability {
  public static let powerManagement: UInt8 = 0x01
  public static let vitalProductData: UInt8 = 0x03
  public static let msi: UInt8 = 0x05
  public static let vendor: UInt8 = 0x09
  public static let express: UInt8 = 0x10
  public static let msix: UInt8 = 0x11
  public static let sataConfiguration: UInt8 = 0x12
  public static let advancedFeatures: UInt8 = 0x13
}

/// Who a function is: the fixed part of its header.
public struct PCIIdentity: Equatable, Sendable {
  public var vendor: UInt16
  public var device: UInt16
  public var revision: UInt8
  /// 24 bits: base class, subclass, programming interface.
  public var classCode: UInt32
  public var subsystemVendor: UInt16
  public var subsystem: UInt16

  public init(
    vendor: UInt16, device: UInt16, revision: UInt8, classCode: UInt32,
    subsystemVendor: UInt16 = 0, subsystem: UInt16 = 0
  ) {
    self.vendor = vendor
    self.device = device
    self.revision = revision
    self.classCode = classCode
    self.subsystemVendor = subsystemVendor
    self.subsystem = subsystem
  }
}
