// SPDX-License-Identifier: Apache-2.0
public import LinuxSystem
public import PCI

/// Why VFIO could not do what was asked.
public enum VFIOError: Error, Equatable, CustomStringConvertible {
  /// A call failed.
  case call(SystemCallError)
  /// `/dev/vfio/vfio` speaks another version of the interface than 0.
  case version(Int)
  /// The kernel has no type-1 IOMMU, version 2.
  case noTypeOneIOMMU
  /// A function of the group is bound to another driver than VFIO's.
  case groupNotViable(path: String)
  /// The kernel's answer does not have the documented shape.
  case malformed(String)
  /// Guest memory lies where the IOMMU does not translate.
  case addressNotTranslatable(first: UInt64, last: UInt64)
  /// The IOMMU takes no more mappings.
  case mappingsUsedUp(limit: UInt32)
  /// The kernel has fewer vectors for the kind than were asked for.
  case tooFewVectors(kind: InterruptKind, asked: Int, available: Int)
  /// A device that is not a PCI function.
  case notPCI
  /// Configuration space does not answer after a reset.
  case deadAfterReset(vendor: UInt16, command: UInt16)
  /// The function after a reset is another one than before.
  case changedByReset(before: UInt32, after: UInt32)
  /// A part of configuration space could not be read.
  case configurationUnreadable(offset: Int)
  /// The function cannot be shown to a guest.
  case pci(PCIError)

  public var description: String {
    switch self {
    case .call(let error): "\(error)"
    case .version(let version): "/dev/vfio/vfio speaks version \(version), expected 0"
    case .noTypeOneIOMMU: "the kernel has no type-1 IOMMU for VFIO (vfio_iommu_type1)"
    case .groupNotViable(let path):
      "group \(path) is not viable: a function in it is bound to another driver"
    case .malformed(let what): "VFIO gave \(what) of an unknown shape"
    case .addressNotTranslatable(let first, let last):
      "the IOMMU does not translate addresses \(hex(first)) to \(hex(last)) for the device"
    case .mappingsUsedUp(let limit): "the IOMMU takes no mapping beyond its \(limit)"
    case .tooFewVectors(let kind, let asked, let available):
      "the host has \(available) of \(asked) vectors for \(kind)"
    case .notPCI: "the device is not a PCI function"
    case .deadAfterReset(let vendor, let command):
      "configuration space is dead after the reset (vendor \(hex(vendor)), command \(hex(command)))"
    case .changedByReset(let before, let after):
      "the function was \(hex(before)) before the reset and is \(hex(after)) after it"
    case .configurationUnreadable(let offset):
      "configuration space cannot be read at \(hex(offset))"
    case .pci(let error): "\(error)"
    }
  }
}

/// `value` as people write it.
private func hex(_ value: some BinaryInteger) -> String {
  "0x" + String(value, radix: 16)
}

/// Runs `body`, whose failure is a system call's.
func vfioCall<R: ~Copyable>(_ body: () throws(SystemCallError) -> R) throws(VFIOError) -> R {
  do throws(SystemCallError) {
    return try body()
  } catch {
    throw .call(error)
  }
}
