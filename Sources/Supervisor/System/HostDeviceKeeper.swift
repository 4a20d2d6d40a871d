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

  func open(
    _ addresses: [String], owned: Set<String>
  ) throws(DeviceProblem) -> OpenDevices {
    let paths = try groupPaths(of: addresses)
    do throws(VFIOError) {
      return try open(addresses, paths, owned)
    } catch {
      throw DeviceProblem(
        "devices \(addresses.joined(separator: ", ")) cannot be opened by VFIO: \(error)")
    }
  }

  /// The group nodes of `addresses`, each once, and which one each address is in.
  private func groupPaths(of addresses: [String]) throws(DeviceProblem) -> [String] {
    var paths: [String] = []
    for address in addresses {
      let place = try Self.address(address)
      paths.append(
        try Self.problem(nil) { () throws(HostDeviceError) in try host.groupNode(of: place) })
    }
    return paths
  }

  /// Container, groups and devices, in the order that VFIO wants; each device is reset and shown to
  /// answer before anybody gets it.
  private func open(
    _ addresses: [String], _ paths: [String], _ owned: Set<String>
  ) throws(VFIOError) -> OpenDevices {
    let bag = DescriptorBag()
    let container = try VFIOContainer.open()
    // Groups stay open with their devices: the kernel counts a device as a user of its group.
    var groups: [String: Int32] = [:]
    for path in paths where groups[path] == nil {
      let group = try VFIOGroup.open(path)
      try group.join(container)
      groups[path] = bag.put(try Self.copy(group.descriptor))
    }
    try container.enableTypeOne()
    var devices: [Int32] = []
    for (address, path) in zip(addresses, paths) {
      guard let number = groups[path] else { continue }
      let group = VFIOGroup(owning: try Self.copy(number), path: path)
      let device = try group.device(address)
      _ = try device.resetByBestMethod(owned: owned, groups: Self.numbered(groups))
      devices.append(bag.put(try Self.copy(device.descriptor)))
    }
    return OpenDevices(
      container: bag.put(try Self.copy(container.descriptor)), devices: devices, bag: bag)
  }

  /// Group descriptors by the number that ends their path.
  private static func numbered(_ groups: [String: Int32]) -> [Int: Int32] {
    var result: [Int: Int32] = [:]
    for (path, descriptor) in groups {
      if let number = path.split(separator: "/").last.flatMap({ Int($0) }) {
        result[number] = descriptor
      }
    }
    return result
  }

  private static func copy(
    _ descriptor: borrowing OwnedDescriptor
  ) throws(VFIOError) -> OwnedDescriptor {
    do throws(SystemCallError) {
      return try descriptor.duplicate()
    } catch {
      throw .call(error)
    }
  }

  private static func copy(_ number: Int32) throws(VFIOError) -> OwnedDescriptor {
    let copy = fcntl(number, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else {
      throw .call(SystemCallError("duplicate descriptor \(number)", errno: currentErrno()))
    }
    return OwnedDescriptor(owning: copy)
  }

  private static func address(_ text: String) throws(DeviceProblem) -> PCIAddress {
    guard let address = PCIAddress(text) else {
      throw DeviceProblem("\"\(text)\" is no PCI address")
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
