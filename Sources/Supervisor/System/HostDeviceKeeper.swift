// SPDX-License-Identifier: Apache-2.0
import Glibc
import HostDevices
import LinuxSystem
import VFIO

/// The host's own devices: HostDevices binds them, VFIO opens them.
final class HostDeviceKeeper: DeviceHost {
  private let host = HostPCI()

  /// A monitor that was killed lets go of its devices a moment after it is gone.
  private static let busyAttempts = 100
  private static let busyDelayMicroseconds: UInt32 = 100_000

  func checkSeparation(_ owners: [String: String]) throws(DeviceProblem) {
    var places: [PCIAddress: String] = [:]
    for (address, domain) in owners { places[try Self.address(address)] = domain }
    try Self.problem(nil) { () throws(HostDeviceError) in try host.checkSeparation(places) }
  }

  func examine(
    _ address: String, for domain: String, together: Set<String>
  ) throws(DeviceProblem) -> JournalRecord.Device {
    let place = try Self.address(address)
    let record = try Self.problem(domain) { () throws(HostDeviceError) in
      try host.examine(place, together: Set(together.compactMap { PCIAddress($0) }))
    }
    return JournalRecord.Device(
      address: record.address, domain: domain, originalDriver: record.originalDriver,
      originalOverride: record.originalOverride)
  }

  func take(_ device: JournalRecord.Device) throws(DeviceProblem) {
    try Self.problem(device.domain) { () throws(HostDeviceError) in try host.take(device.binding) }
  }

  func giveBack(_ device: JournalRecord.Device) throws(DeviceProblem) {
    var attempts = Self.busyAttempts
    while true {
      do throws(HostDeviceError) {
        return try host.giveBack(device.binding)
      } catch {
        attempts -= 1
        guard case .groupBusy = error, attempts > 0 else {
          throw DeviceProblem("device of domain \"\(device.domain)\": \(error)")
        }
        usleep(Self.busyDelayMicroseconds)
      }
    }
  }

  func open(_ addresses: [String]) throws(DeviceProblem) -> OpenDevices {
    var requests: [VFIODeviceSet.Request] = []
    for address in addresses {
      let place = try Self.address(address)
      let path = try Self.problem(nil) { () throws(HostDeviceError) in
        try host.groupNode(of: place)
      }
      guard let number = path.split(separator: "/").last.flatMap({ Int($0) }) else {
        throw DeviceProblem("\(address): \(path) is no VFIO group; switch VFIO's no-IOMMU mode off")
      }
      requests.append(
        VFIODeviceSet.Request(address: address, group: number, groupPath: path))
    }
    do throws(VFIOError) {
      let set = try VFIODeviceSet(requests)
      return OpenDevices(
        container: set.containerDescriptor, devices: set.deviceDescriptors,
        notes: zip(addresses, set.resets).map { "\($0): \($1)" }, owner: set)
    } catch {
      throw DeviceProblem(
        "devices \(addresses.joined(separator: ", ")) cannot be opened by VFIO: \(error); see "
          + "\"dmesg\" for the kernel's reason, or leave them out of the manifest")
    }
  }

  private static func address(_ text: String) throws(DeviceProblem) -> PCIAddress {
    guard let address = PCIAddress(text) else {
      throw DeviceProblem("\"\(text)\" is no PCI address; write it as 0000:01:00.0")
    }
    return address
  }

  private static func problem<Result>(
    _ domain: String?, _ body: () throws(HostDeviceError) -> Result
  ) throws(DeviceProblem) -> Result {
    do throws(HostDeviceError) {
      return try body()
    } catch {
      throw DeviceProblem((domain.map { "device of domain \"\($0)\": " } ?? "") + "\(error)")
    }
  }
}

extension JournalRecord.Device {
  /// As HostDevices has it.
  fileprivate var binding: BindingRecord {
    BindingRecord(
      address: address, originalDriver: originalDriver, originalOverride: originalOverride)
  }
}
