// SPDX-License-Identifier: Apache-2.0

/// One named test in the lab.
public struct LabCheck: Sendable {
  public var name: String
  /// Throws when the check fails.
  public var body: @Sendable (VosSystem) throws -> Void

  public init(_ name: String, _ body: @escaping @Sendable (VosSystem) throws -> Void) {
    self.name = name
    self.body = body
  }
}

/// A condition that a check demands.
func expect(_ condition: Bool, _ message: @autoclosure () -> String) throws {
  if !condition { throw Failure(message()) }
}

extension LabCheck {
  /// All checks, in the order in which they run in one lab host.
  ///
  /// To add one, append it to one of the lists; each leaves the lab host as it found it: no system
  /// up, devices with their own drivers.
  public static let all = machine + lifeCycle + devices + interoperation + refusals + recovery

  /// The lab host itself: what the other checks stand on.
  static let machine = [
    LabCheck("the lab host has KVM, VFIO and an IOMMU group for each device") { system in
      try system.onHost("[ -c /dev/kvm ] && [ -c /dev/vfio/vfio ]")
      for device in VosSystem.devices {
        try system.onHost("[ -e /sys/bus/pci/devices/\(device)/iommu_group ]")
      }
      let drivers = try system.drivers()
      try expect(
        Set(drivers.values) == ["e1000e", "ahci", "e1000", "nvme"], "drivers are \(drivers)")
    },
    LabCheck("the lab host reads the disk by its own driver") { system in
      try system.withDisk {
        _ = try system.onHost("cd /mnt && sha256sum -c \(DiskBuild.dataFile).sha256")
      }
    },
    LabCheck("the server outside is reached through the NIC") { system in
      try system.onHost("ip link set eth0 up; ip addr add \(LabMachine.guestAddress) dev eth0")
      defer { _ = try? system.onHost("ip addr flush dev eth0; ip link set eth0 down") }
      // The link needs a moment to come up; before that the first packets are lost.
      try system.waitOnHost("[ \"$(cat /sys/class/net/eth0/carrier)\" = 1 ]")
      try system.onHost("wget -q -O /tmp/served http://\(LabMachine.serverAddress)/")
      let digest = try system.onHost("sha256sum < /tmp/served; rm /tmp/served")
      let expected = try sha256(of: system.lab.machine.servedFile)
      try expect(digest.hasPrefix(expected), "got \(digest), expected \(expected)")
    },
  ]

  /// Runs `body` with the system up, and takes it down again whatever happens.
  ///
  /// - Parameter before: the drivers to be found afterwards; those of now if not given.
  static func withSystem(
    _ system: VosSystem, manifest: String = VosSystem.manifest,
    expecting before: [String: String]? = nil, _ body: () throws -> Void
  ) throws {
    let before = try before ?? system.drivers()
    try system.up(manifest)
    do {
      try body()
    } catch {
      _ = try? system.vosctl(["down"])
      throw error
    }
    try system.down()
    try expectClean(system, before)
  }

  /// Nothing of ours is left: no process, no device with vfio-pci, no runtime directory.
  static func expectClean(_ system: VosSystem, _ drivers: [String: String]) throws {
    let after = try system.drivers()
    try expect(after == drivers, "drivers were \(drivers), and are \(after)")
    try system.expectNoProcess()
    let files = try system.onHost("find /run/vos -type s -o -name journal 2>/dev/null || true")
    try expect(files.isEmpty, "files left: \(files)")
  }
}
