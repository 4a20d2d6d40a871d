// SPDX-License-Identifier: Apache-2.0
public import LinuxSystem
import SystemPackage

/// Why a host's device cannot be had, or given back. Each says what is wrong and what helps.
public enum HostDeviceError: Error, Equatable, CustomStringConvertible {
  case noSuchDevice(PCIAddress)
  case noGroup(PCIAddress)
  case isBridge(PCIAddress, kind: String)
  /// Another function of the group has a driver that VFIO does not accept.
  case groupInUse(PCIAddress, group: Int, sibling: PCIAddress, siblingKind: String, driver: String)
  /// Two domains would share one IOMMU group, and so reach each other's memory.
  case groupSplit(group: Int, PCIAddress, domain: String, PCIAddress, otherDomain: String)
  /// The host itself needs the device.
  case critical(PCIAddress, kind: String, uses: [HostUse])
  /// Configuration space reads as ones.
  case dead(PCIAddress)
  case driverMissing(String)
  case bindingFailed(PCIAddress, wanted: String, found: String?)
  case restoringFailed(PCIAddress, wanted: String?, found: String?)
  case groupBusy(PCIAddress, group: Int)
  case noGroupNode(PCIAddress, path: String)
  case write(PCIAddress, SystemCallError)

  /// One sentence: what is wrong, and after a semicolon what to do.
  public var description: String { "\(problem); \(remedy)" }

  /// What is wrong.
  var problem: String {
    switch self {
    case .noSuchDevice(let address): "there is no PCI device \(address) on this host"
    case .noGroup(let address): "\(address) is in no IOMMU group"
    case .isBridge(let address, let kind): "\(address) is a \(kind), which stays with the host"
    case .groupInUse(let address, let group, let sibling, let kind, let driver):
      "\(address) shares IOMMU group \(group) with \(sibling) (\(kind)), which the host uses with "
        + "driver \(driver)"
    case .groupSplit(let group, let first, let domain, let second, let other):
      "\(first) of domain \(domain) and \(second) of domain \(other) share IOMMU group \(group)"
    case .critical(let address, let kind, let uses):
      "\(address) (\(kind)) is in use by the host: "
        + uses.map(\.description).joined(separator: ", ")
    case .dead(let address):
      "\(address) does not answer (its configuration space reads as ones)"
    case .driverMissing(let driver): "driver \(driver) is not loaded"
    case .bindingFailed(let address, let wanted, let found):
      "\(address) could not be bound to \(wanted): its driver is \(found ?? "none")"
    case .restoringFailed(let address, let wanted, let found):
      "\(address) could not be given back to \(wanted ?? "no driver"): its driver is "
        + (found ?? "none")
    case .groupBusy(let address, let group):
      "\(address) is still in use: some process holds /dev/vfio/\(group)"
    case .noGroupNode(let address, let path): "\(path) did not appear for \(address)"
    case .write(let address, let error): "\(address): \(error)"
    }
  }

  /// What helps, beginning with a verb.
  var remedy: String {
    switch self {
    case .noSuchDevice: "choose one that \"vosctl devices\" lists"
    case .noGroup:
      "turn the IOMMU on in the firmware and on the kernel's command line (intel_iommu=on or "
        + "amd_iommu=on)"
    case .isBridge: "name the device behind it instead"
    case .groupInUse: "give that away too, unbind it, or put the device in another slot"
    case .groupSplit: "give both to one domain"
    case .critical(_, _, let uses):
      // One cause, one remedy: the first use is as good a start as any.
      (uses.first?.remedy ?? "stop what uses it") + ", or give the domain another device"
    case .dead: "power the host off and on again"
    case .driverMissing(let driver): "load it with \"modprobe \(driver)\""
    case .bindingFailed(_, let wanted, _):
      "see \"dmesg\" for why \(wanted) refused it, and try again"
    case .restoringFailed(let address, let wanted, _):
      wanted.map {
        "see \"dmesg\" for why, or do it by hand: echo \(address) > /sys/bus/pci/drivers/\($0)/bind"
      } ?? "unbind it by hand: echo \(address) > /sys/bus/pci/devices/\(address)/driver/unbind"
    case .groupBusy(_, let group): "end that process (fuser -v /dev/vfio/\(group) names it)"
    case .noGroupNode: "see whether /dev is a devtmpfs or udev runs, and try again"
    case .write(_, let error):
      error.errno == .permissionDenied || error.errno == .notPermitted
        ? "run as root" : "see \"dmesg\" for the kernel's reason, and try again"
    }
  }
}
