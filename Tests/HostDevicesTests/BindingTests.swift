// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import HostDevices

private let storage = PCIAddress(segment: 0, bus: 0, slot: 5, function: 0)
private let name = "0000:00:05.0"

@Suite struct BindingTests {
  private let fake = FakeHost.lab()

  @Test func takesAndGivesBackTwice() throws {
    for _ in 0..<2 {
      let record = try fake.host.examine(storage)
      fake.trace = []
      try fake.host.take(record)
      #expect(fake.driver(name) == "vfio-pci")
      #expect(
        fake.trace == [
          "devices/\(name)/driver_override = vfio-pci", "drivers/ahci/unbind = \(name)",
          "drivers_probe = \(name)",
        ])
      fake.trace = []
      try fake.host.take(record)
      #expect(fake.trace.isEmpty, "bound already")
      try fake.host.giveBack(record)
      #expect(fake.driver(name) == "ahci")
      #expect(fake.host.files.function(storage)?.driverOverride == nil)
      fake.trace = []
      try fake.host.giveBack(record)
      #expect(fake.trace.isEmpty, "given back already")
    }
  }

  @Test func whatHadNoDriverGetsNone() throws {
    fake.addFunction("0000:00:08.0", classCode: 0x02_0000, driver: nil, group: 7)
    let address = PCIAddress(segment: 0, bus: 0, slot: 8, function: 0)
    let record = try fake.host.examine(address)
    #expect(record.originalDriver == nil)
    try fake.host.take(record)
    try fake.host.giveBack(record)
    #expect(fake.driver("0000:00:08.0") == nil)
  }

  @Test func whatWasVFIOsStaysSo() throws {
    fake.put(fake.path(name) + "/driver_override", "vfio-pci\n")
    fake.bind(name, "vfio-pci")
    let record = try fake.host.examine(storage)
    try fake.host.take(record)
    try fake.host.giveBack(record)
    #expect(fake.driver(name) == "vfio-pci")
    #expect(fake.host.files.function(storage)?.driverOverride == "vfio-pci")
    #expect(fake.trace.isEmpty)
  }

  @Test func overrideOfTheOriginalIsKept() throws {
    fake.put(fake.path(name) + "/driver_override", "ahci\n")
    let record = try fake.host.examine(storage)
    try fake.host.take(record)
    try fake.host.giveBack(record)
    #expect(fake.driver(name) == "ahci")
    #expect(fake.host.files.function(storage)?.driverOverride == "ahci")
  }

  /// Wherever taking is cut short, the record alone is enough to go back.
  @Test(arguments: ["drivers/ahci/unbind", "drivers_probe", "devices/\(name)/driver_override"])
  func interruptedTakingIsUndone(attribute: String) throws {
    let record = try fake.host.examine(storage)
    fake.failing = [attribute]
    #expect(throws: HostDeviceError.self) { try fake.host.take(record) }
    fake.failing = []
    try fake.host.giveBack(record)
    #expect(fake.driver(name) == "ahci")
    #expect(fake.host.files.function(storage)?.driverOverride == nil)
  }

  @Test(arguments: ["drivers/vfio-pci/unbind", "drivers/ahci/bind"])
  func interruptedGivingBackIsFinished(attribute: String) throws {
    let record = try fake.host.examine(storage)
    try fake.host.take(record)
    fake.failing = [attribute]
    #expect(throws: HostDeviceError.self) { try fake.host.giveBack(record) }
    fake.failing = []
    try fake.host.giveBack(record)
    #expect(fake.driver(name) == "ahci")
  }

  /// The kernel reports success of a probe that bound nothing.
  @Test func bindingIsVerified() throws {
    let record = try fake.host.examine(storage)
    fake.unwilling = ["vfio-pci"]
    #expect(throws: HostDeviceError.bindingFailed(storage, wanted: "vfio-pci", found: nil)) {
      try fake.host.take(record)
    }
    fake.unwilling = ["ahci"]
    #expect(throws: HostDeviceError.restoringFailed(storage, wanted: "ahci", found: nil)) {
      try fake.host.giveBack(record)
    }
    fake.unwilling = []
    try fake.host.giveBack(record)
    #expect(fake.driver(name) == "ahci")
  }

  @Test func deviceThatIsGoneNeedsNothing() throws {
    let record = BindingRecord(
      address: "0000:44:00.0", originalDriver: "ahci", originalOverride: nil)
    try fake.host.giveBack(record)
    #expect(throws: HostDeviceError.self) { try fake.host.take(record) }
    #expect(fake.trace.isEmpty)
  }

  @Test func groupNodeIsWaitedFor() throws {
    #expect(
      throws: HostDeviceError.noGroupNode(storage, path: fake.root + "/dev/vfio/3")
    ) { try fake.host.groupNode(of: storage, timeoutMilliseconds: 0) }
    fake.put("dev/vfio/3", "")
    #expect(try fake.host.groupNode(of: storage) == fake.root + "/dev/vfio/3")
  }
}
