// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem

/// The host's PCI functions: what there is, what may be had, taking it and giving it back.
///
/// How a supervisor uses it, for each function:
/// 1. `checkSeparation` once for all, then `examine` says whether it may be had, and what to write
///    down. Both change nothing.
/// 2. Write the `BindingRecord` down, durably.
/// 3. `take` binds it to vfio-pci and verifies that. It may be repeated.
/// 4. Open all functions of a domain by `VFIODeviceSet` (from their `groupNode`s), which also resets
///    them, and pass the descriptors of container and devices on.
/// 5. Close all descriptors, then `giveBack(record)`: it verifies too, may be repeated, and works
///    from any point at which a predecessor was killed. Then strike the record out.
public struct HostPCI {
  /// VFIO's driver for PCI functions.
  public static let vfioDriver = "vfio-pci"
  /// Drivers that VFIO accepts beside a function that is its user's (vfio_main.c and the drivers
  /// that manage no DMA of their own).
  private static let harmlessDrivers: Set<String> = ["vfio-pci", "pci-stub", "pcieport", "shpchp"]

  public let files: HostFiles
  private let probes: HostProbes

  public init(_ files: HostFiles = HostFiles(), probes: HostProbes = .live) {
    self.files = files
    self.probes = probes
  }

  // MARK: Looking

  /// All PCI functions, by address.
  public func inventory() -> [HostPCIFunction] { files.allFunctions() }

  /// What the host needs each of `functions` for; functions it can spare are not in the answer.
  public func uses(of functions: [HostPCIFunction]) -> [PCIAddress: [HostUse]] {
    let criticality = Criticality(files, probes)
    var uses: [PCIAddress: [HostUse]] = [:]
    for function in functions {
      let found = criticality.uses(of: function.address)
      if !found.isEmpty { uses[function.address] = found }
    }
    return uses
  }

  /// Whether `address` may be taken now, and what it has. Changes nothing.
  ///
  /// - Parameter together: other functions that the same system takes: they do not count as the
  ///   host's when they share a group.
  public func examine(
    _ address: PCIAddress, together: Set<PCIAddress> = []
  ) throws(HostDeviceError) -> BindingRecord {
    guard let function = files.function(address) else { throw .noSuchDevice(address) }
    guard !function.isBridge else { throw .isBridge(address, kind: function.kind) }
    guard let group = function.group else { throw .noGroup(address) }
    try checkAlive(function)
    // The host's needs first: "your root file system" tells more than "bound to ahci".
    let criticality = Criticality(files, probes)
    try check(function, criticality)
    for sibling in files.members(ofGroup: group) where sibling.address != address {
      try checkSibling(sibling, of: address, group, together, criticality)
    }
    try checkDriver()
    return BindingRecord(
      address: address.description, originalDriver: function.driver,
      originalOverride: function.driverOverride)
  }

  /// Throws if functions of one IOMMU group are meant for different domains: the hardware cannot
  /// keep them apart. Functions without a group are left to `examine`.
  ///
  /// - Parameter domains: the domain that each function is meant for.
  public func checkSeparation(_ domains: [PCIAddress: String]) throws(HostDeviceError) {
    var seen: [Int: (address: PCIAddress, domain: String)] = [:]
    for (address, domain) in domains.sorted(by: { $0.key < $1.key }) {
      guard let group = files.function(address)?.group else { continue }
      guard let other = seen[group] else {
        seen[group] = (address, domain)
        continue
      }
      guard other.domain == domain else {
        throw .groupSplit(
          group: group, other.address, domain: other.domain, address, otherDomain: domain)
      }
    }
  }

  private func check(
    _ function: HostPCIFunction, _ criticality: Criticality
  ) throws(HostDeviceError) {
    let uses = criticality.uses(of: function.address)
    guard uses.isEmpty else {
      throw .critical(function.address, kind: function.kind, uses: uses)
    }
  }

  private func checkSibling(
    _ sibling: HostPCIFunction, of address: PCIAddress, _ group: Int, _ together: Set<PCIAddress>,
    _ criticality: Criticality
  ) throws(HostDeviceError) {
    guard !together.contains(sibling.address), let driver = sibling.driver else { return }
    guard !Self.harmlessDrivers.contains(driver) else { return }
    // A sibling that the host needs is named with what it is needed for.
    if !sibling.isBridge { try check(sibling, criticality) }
    throw .groupInUse(
      address, group: group, sibling: sibling.address, siblingKind: sibling.kind, driver: driver)
  }

  /// A function that fell off the bus reads as ones; no driver would get it to work.
  private func checkAlive(_ function: HostPCIFunction) throws(HostDeviceError) {
    guard let bytes = files.bytes(files.directory(function.address) + "/config") else { return }
    guard bytes.count >= 2, bytes[0] == 0xFF, bytes[1] == 0xFF else { return }
    throw .dead(function.address)
  }

  private func checkDriver() throws(HostDeviceError) {
    guard files.exists(driverPath(Self.vfioDriver)) else {
      throw .driverMissing(Self.vfioDriver)
    }
  }

  // MARK: Taking and giving back

  /// Binds the function to vfio-pci and verifies it; nothing happens if it is bound already.
  public func take(_ record: BindingRecord) throws(HostDeviceError) {
    let address = try address(of: record)
    try checkDriver()
    try apply(try current(address).steps(toTake: Self.vfioDriver), to: address)
    let found = try current(address).driver
    guard found == Self.vfioDriver else {
      throw .bindingFailed(address, wanted: Self.vfioDriver, found: found)
    }
  }

  /// Binds the function to the driver it had, or to none if it had none, and verifies it; nothing
  /// happens if that is so already, or if the function is gone from the host.
  ///
  /// All VFIO descriptors of the function must be closed: otherwise `groupBusy`, for the kernel
  /// would make us wait until they are.
  public func giveBack(_ record: BindingRecord) throws(HostDeviceError) {
    let address: PCIAddress
    do throws(HostDeviceError) {
      address = try self.address(of: record)
    } catch {
      if case .noSuchDevice = error { return }
      throw error
    }
    let original = Binding(
      driver: record.originalDriver, driverOverride: record.originalOverride)
    let steps = try current(address).steps(toRestore: original)
    if steps.contains(.unbind(driver: Self.vfioDriver)) { try checkGroupFree(address) }
    try apply(steps, to: address)
    let found = try current(address)
    guard found == original else {
      throw .restoringFailed(address, wanted: original.driver, found: found.driver)
    }
  }

  private func address(of record: BindingRecord) throws(HostDeviceError) -> PCIAddress {
    guard let address = PCIAddress(record.address) else {
      throw .noSuchDevice(PCIAddress(segment: 0, bus: 0, slot: 0, function: 0))
    }
    guard files.exists(files.directory(address)) else { throw .noSuchDevice(address) }
    return address
  }

  private func current(_ address: PCIAddress) throws(HostDeviceError) -> Binding {
    guard let function = files.function(address) else { throw .noSuchDevice(address) }
    return Binding(driver: function.driver, driverOverride: function.driverOverride)
  }

  private func driverPath(_ driver: String) -> String {
    files.sys + "/bus/pci/drivers/" + driver
  }

  private func apply(_ steps: [BindingStep], to address: PCIAddress) throws(HostDeviceError) {
    for step in steps {
      do throws(SystemCallError) {
        try apply(step, to: address)
      } catch {
        throw .write(address, error)
      }
    }
  }

  private func apply(_ step: BindingStep, to address: PCIAddress) throws(SystemCallError) {
    switch step {
    case .setOverride(let driver):
      // An empty line clears it (Documentation/ABI/testing/sysfs-bus-pci).
      try files.writer.write(
        (driver ?? "") + "\n", to: files.directory(address) + "/driver_override")
    case .unbind(let driver):
      try files.writer.write("\(address)", to: driverPath(driver) + "/unbind")
    case .probe:
      try files.writer.write("\(address)", to: files.sys + "/bus/pci/drivers_probe")
    case .bind(let driver):
      try files.writer.write("\(address)", to: driverPath(driver) + "/bind")
    }
  }

  // MARK: The group's node

  /// Waits for the node of the function's group, which udev or devtmpfs makes after the binding.
  public func groupNode(
    of address: PCIAddress, timeoutMilliseconds: Int = 5000
  ) throws(HostDeviceError) -> String {
    guard let group = files.function(address)?.group else { throw .noGroup(address) }
    let path = files.dev + "/vfio/\(group)"
    let stepMilliseconds = 10
    for _ in 0...max(0, timeoutMilliseconds / stepMilliseconds) {
      if files.exists(path) { return path }
      usleep(UInt32(stepMilliseconds * 1000))
    }
    throw .noGroupNode(address, path: path)
  }

  /// A group has one opener at a time: while somebody has it, opening fails with EBUSY.
  private func checkGroupFree(_ address: PCIAddress) throws(HostDeviceError) {
    guard let group = files.function(address)?.group else { return }
    do throws(SystemCallError) {
      _ = try OwnedDescriptor.open(files.dev + "/vfio/\(group)", flags: O_RDWR)
    } catch  where error.errno == .resourceBusy {
      throw .groupBusy(address, group: group)
    } catch {
      return  // no node: nobody can have it open
    }
  }
}
