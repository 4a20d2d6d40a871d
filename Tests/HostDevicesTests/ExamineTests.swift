// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import HostDevices

private let network = PCIAddress("01:00.0") ?? PCIAddress(segment: 9, bus: 0, slot: 0, function: 0)
private let storage = PCIAddress(segment: 0, bus: 0, slot: 5, function: 0)
private let chipset = PCIAddress(segment: 0, bus: 0, slot: 0x1F, function: 2)

@Suite struct PCIAddressTests {
  @Test func readsBothForms() {
    #expect(PCIAddress("0000:01:00.0") == network)
    #expect(PCIAddress("01:00.0")?.description == "0000:01:00.0")
    #expect(PCIAddress("00a1:ff:1f.7")?.description == "00a1:ff:1f.7")
  }

  @Test(
    arguments: [
      "", "1:00.0", "01:00", "01:00.8", "01:20.0", "0000:01:00.0.0", "0000:0:01:00.0", "zz:00.0",
      "-1:00.0", "0000:01:00.", "01:+1.0",
    ])
  func refusesOtherText(text: String) {
    #expect(PCIAddress(text) == nil)
  }
}

@Suite struct InventoryTests {
  @Test func showsWhatSysfsSays() throws {
    let fake = FakeHost.lab()
    let path = fake.path("0000:01:00.0")
    fake.put(path + "/numa_node", "1\n")
    fake.put(path + "/reset_method", "flr bus\n")
    fake.put(
      path + "/resource",
      """
      0x00000000feb80000 0x00000000feb9ffff 0x0000000000040200
      0x0000000000000000 0x0000000000000000 0x0000000000000000
      0x000000000000c000 0x000000000000c01f 0x0000000000040101
      0x00000008000000 0x00000008003fff 0x000000000014220c

      """)
    let functions = fake.host.inventory()
    #expect(functions.map { "\($0.address)" }.first == "0000:00:00.0")
    #expect(functions.count == 6)
    let function = try #require(functions.first { $0.address == network })
    #expect(function.vendor == 0x8086 && function.device == 0x10D3)
    #expect(function.driver == "e1000e" && function.driverOverride == nil)
    #expect(function.group == 2 && function.numaNode == 1)
    #expect(function.resetMethods == ["flr", "bus"])
    #expect(function.kind == "Ethernet controller" && !function.isBridge)
    #expect(function.bars.map(\.byteCount) == [0x20000, 32, 0x4000])
    #expect(function.bars.map(\.isIO) == [false, true, false])
    #expect(function.bars.map(\.is64Bit) == [false, false, true])
  }

  @Test func oldKernelsHaveNoListOfResets() {
    let fake = FakeHost.lab()
    #expect(fake.host.files.function(storage)?.resetMethods == [])
    fake.put(fake.path("0000:00:05.0") + "/reset", "")
    #expect(fake.host.files.function(storage)?.resetMethods == ["unknown"])
  }
}

@Suite struct ExamineTests {
  private let fake = FakeHost.lab()

  private func refusal(_ address: PCIAddress, together: Set<PCIAddress> = []) -> String? {
    do {
      _ = try fake.host.examine(address, together: together)
      return nil
    } catch {
      return "\(error)"
    }
  }

  @Test func freeDevicesMayBeHad() throws {
    // A bridge with the kernel's own driver in the group is no reason to refuse.
    #expect(
      try fake.host.examine(network)
        == BindingRecord(
          address: "0000:01:00.0", originalDriver: "e1000e", originalOverride: nil))
    #expect(try fake.host.examine(storage).originalDriver == "ahci")
    #expect(fake.trace.isEmpty, "looking changes nothing")
  }

  @Test func impossibleDevicesAreRefused() {
    #expect(
      refusal(PCIAddress(segment: 0, bus: 7, slot: 0, function: 0))?.contains("07:00.0") == true)
    #expect(
      refusal(PCIAddress(segment: 0, bus: 0, slot: 3, function: 0))?.contains("PCI bridge") == true)
    fake.addFunction("0000:00:07.0", classCode: 0x02_0000, driver: nil, group: nil)
    #expect(
      refusal(PCIAddress(segment: 0, bus: 0, slot: 7, function: 0))?.contains("iommu=on") == true)
  }

  @Test func deadDeviceIsRefused() {
    let file = fake.root + "/" + fake.path("0000:01:00.0") + "/config"
    _ = system(#"printf '\377\377\377\377' > '\#(file)'"#)
    #expect(refusal(network)?.contains("does not answer") == true)
  }

  @Test func siblingsOfTheHostRefuseTheGroup() {
    #expect(
      refusal(chipset)?.contains("shares IOMMU group 9 with 0000:00:1f.0 (ISA bridge)") == true)
    let bridge = PCIAddress(segment: 0, bus: 0, slot: 0x1F, function: 0)
    #expect(refusal(chipset, together: [bridge]) == nil)
    unlinkDriver("0000:00:1f.0")
    #expect(refusal(chipset) == nil, "a function without driver does not block the group")
  }

  private func unlinkDriver(_ address: String) {
    _ = system("rm '\(fake.root)/\(fake.path(address))/driver'")
  }

  @Test func criticalSiblingIsNamedWithItsUse() {
    fake.addFunction("0000:00:05.1", classCode: 0x01_0802, driver: "nvme", group: 3)
    fake.addDisk("nvme0n1", below: "0000:00:05.1", number: "259:0")
    fake.mount("259:0", at: "/", source: "/dev/nvme0n1")
    #expect(refusal(storage)?.contains("0000:00:05.1") == true)
    #expect(refusal(storage)?.contains("nvme0n1 is mounted at /") == true)
  }

  @Test func groupIsNotSplitBetweenDomains() throws {
    let bridge = PCIAddress(segment: 0, bus: 0, slot: 0x1F, function: 0)
    try fake.host.checkSeparation([network: "a", storage: "b", chipset: "c", bridge: "c"])
    #expect(
      throws: HostDeviceError.groupSplit(
        group: 9, bridge, domain: "b", chipset, otherDomain: "a")
    ) {
      try fake.host.checkSeparation([network: "a", chipset: "a", bridge: "b"])
    }
  }

  @Test func missingDriverIsNamed() {
    _ = system("rmdir '\(fake.root)/sys/bus/pci/drivers/vfio-pci'")
    #expect(
      refusal(storage)
        == "driver vfio-pci is not loaded; load it with \"modprobe vfio-pci\"")
  }

  // MARK: Criticality

  @Test func mountedPartitionIsCritical() {
    fake.mount("8:17", at: "/srv/with\\040blank", source: "/dev/sdb1")
    #expect(
      refusal(storage)
        == "0000:00:05.0 (SATA controller) is in use by the host: "
        + "sdb1 is mounted at /srv/with blank; "
        + "unmount /srv/with blank, or give the domain another device")
    #expect(refusal(network) == nil)
  }

  @Test func mountThroughDeviceMapperIsCritical() {
    fake.addStacked("md0", over: ["sdb1"], number: "9:0")
    fake.addStacked("dm-0", over: ["md0"], number: "253:0")
    fake.mount("253:0", at: "/", source: "/dev/mapper/root")
    #expect(refusal(storage)?.contains("dm-0 is mounted at /") == true)
  }

  @Test func btrfsOfSeveralDisksIsCritical() {
    fake.link("sys/fs/btrfs/1234/devices/sdb1", to: "sys/class/block/sdb1")
    fake.link("sys/fs/btrfs/1234/devices/sda1", to: "sys/class/block/sda1")
    fake.mount("0:33", at: "/home", source: "/dev/sda1", type: "btrfs")
    #expect(refusal(storage)?.contains("sdb1 is mounted at /home") == true)
  }

  @Test func sharedNVMeNamespaceIsCritical() {
    fake.addFunction("0000:00:06.0", classCode: 0x01_0802, driver: "nvme", group: 4)
    fake.makeDirectory(fake.path("0000:00:06.0") + "/nvme/nvme0")
    let subsystem = "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    fake.makeDirectory(subsystem + "/nvme0n1/holders")
    fake.link(subsystem + "/nvme0", to: fake.path("0000:00:06.0") + "/nvme/nvme0")
    fake.link("sys/class/block/nvme0n1", to: subsystem + "/nvme0n1")
    fake.link("sys/dev/block/259:0", to: subsystem + "/nvme0n1")
    fake.mount("259:0", at: "/", source: "/dev/nvme0n1")
    let address = PCIAddress(segment: 0, bus: 0, slot: 6, function: 0)
    #expect(refusal(address)?.contains("nvme0n1 is mounted at /") == true)
  }

  @Test func swapAndHoldersAreCritical() {
    fake.put("proc/swaps", "Filename Type Size Used Priority\n/dev/sdb1 partition 1 0 -2\n")
    #expect(refusal(storage)?.contains("sdb1 is swap space") == true)
    fake.put("proc/swaps", "Filename Type Size Used Priority\n")
    fake.addStacked("dm-1", over: ["sdb1"], number: "253:1")
    #expect(refusal(storage)?.contains("sdb1 is held by dm-1") == true)
  }

  @Test func exclusivelyOpenDiskIsCritical() {
    fake.held = ["/dev/sdb1"]
    #expect(refusal(storage)?.contains("sdb1 is held by another program") == true)
  }

  @Test func defaultRouteIsCritical() {
    fake.put(
      "proc/net/route",
      "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        + "enp1s0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
    #expect(
      refusal(network)
        == "0000:01:00.0 (Ethernet controller) is in use by the host: "
        + "enp1s0 carries the default route; "
        + "route through another interface than enp1s0, or give the domain another device")
  }

  @Test func addressesAreCriticalThroughBridges() {
    fake.addStackedInterface("br0", over: ["enp1s0"])
    fake.addresses = [("br0", "192.0.2.7")]
    #expect(refusal(network)?.contains("br0 has address 192.0.2.7") == true)
  }

  @Test func usesAreListedForTheInventory() {
    fake.mount("8:1", at: "/", source: "/dev/sda1")
    let uses = fake.host.uses(of: fake.host.inventory())
    #expect(uses == [chipset: [.mounted(disk: "sda1", at: "/")]])
  }
}
