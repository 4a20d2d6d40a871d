// SPDX-License-Identifier: Apache-2.0

extension LabCheck {
  private static let otherManifest = "/vos/vfio-configs/lab-other.yaml"
  /// 1 GiB of RAM in pages of 2 MiB: what the manifest's three domains take.
  private static let hugePages = 512

  /// Kinds of device and interrupt that the life-cycle checks do not meet, and what devices report.
  static let devices = [
    LabCheck("INTx, NVMe, huge pages and two processors") { system in
      try system.onHost("echo \(hugePages) > /proc/sys/vm/nr_hugepages")
      defer { _ = try? system.onHost("echo 0 > /proc/sys/vm/nr_hugepages") }
      try withSystem(system, manifest: otherManifest) {
        try checkHugePages(system, free: 0)
        let processors = try system.inDomain("primary", "nproc")
        try expect(processors == "2", "the primary has \(processors) processors")
        try checkSockets(system)
        try checkFiles(system)
        try checkInterrupts(system)
      }
      try checkHugePages(system, free: hugePages)
    },
    LabCheck("too few huge pages are refused") { system in
      try expectRefusal(system, otherManifest, mentions: ["huge pages"])
    },
    LabCheck("the host wants a device back: reported; down hands it over") { system in
      try withSystem(system) {
        // The kernel's unbind waits until the monitor has let go of the device.
        try system.onHost(
          "(echo \(nic) > /sys/bus/pci/drivers/vfio-pci/unbind) > /dev/null 2>&1 &")
        try system.waitOnHost("grep -q 'the host wants \(nic)' \(VosSystem.log)")
      }
    },
    LabCheck("an uncorrectable error on a device's way is reported") { system in
      try withSystem(system) {
        // The emulated e1000e cannot send errors up, but an error of its root port concerns all below.
        // The port passes on what its bridge control lets through (PCI Express Base 3.0, 6.2.6).
        try system.onHost(
          "printf '\\x02' | dd of=/sys/bus/pci/devices/\(rootPort)/config bs=1 seek=62 count=1 "
            + "conv=notrunc")
        _ = try system.lab.monitor("pcie_aer_inject_error \(LabMachine.rootPort) COMP_ABORT")
        try system.waitOnHost("grep -q '\(nic) .*reported an error' \(VosSystem.log)")
      }
    },
  ]

  private static let nic = VosSystem.devices[0]
  /// The bridge above the NIC.
  private static let rootPort = "0000:00:01.0"

  private static func checkHugePages(_ system: VosSystem, free expected: Int) throws {
    // A page that a domain has not touched yet is reserved for it, and still counts as free.
    let free = try system.onHost(
      "awk '/^HugePages_Free/{n += $2} /^HugePages_Rsvd/{n -= $2} END {print n}' /proc/meminfo")
    try expect(free == "\(expected)", "\(free) huge pages are free, expected \(expected)")
  }

  /// The NIC's interrupts come through the I/O APIC, and the disk's as messages.
  private static func checkInterrupts(_ system: VosSystem) throws {
    for (domain, pattern) in [("network", "IO-APIC.*eth0"), ("storage", "MSI.*nvme0q1")] {
      let line = try system.inDomain(domain, "grep -E '\(pattern)' /proc/interrupts || true")
      let count = line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
      try expect(count > 0, "no interrupt of \(pattern): \(line)")
    }
  }
}
