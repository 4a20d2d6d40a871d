// SPDX-License-Identifier: Apache-2.0
import LinuxSystem
import SystemPackage
import Testing

@testable import HostDevices

private let device = PCIAddress(segment: 0, bus: 1, slot: 0, function: 0)
private let other = PCIAddress(segment: 0, bus: 2, slot: 0, function: 0)

/// Where each case stands in `samples`. A new case does not build until it has a place, and the
/// test fails until it has a sample.
private func place(of error: HostDeviceError) -> Int {
  switch error {
  case .noSuchDevice: 0
  case .noGroup: 1
  case .isBridge: 2
  case .groupInUse: 3
  case .groupSplit: 4
  case .critical: 5
  case .dead: 6
  case .driverMissing: 7
  case .bindingFailed: 8
  case .restoringFailed: 9
  case .groupBusy: 10
  case .noGroupNode: 11
  case .write: 12
  }
}

private let uses: [HostUse] = [
  .mounted(disk: "sda1", at: "/srv"), .swap(disk: "sda2"), .held(disk: "sda3", by: "dm-0"),
  .defaultRoute(interface: "eth0"), .networkAddress(interface: "eth0", address: "192.0.2.7"),
]

private let samples: [HostDeviceError] =
  [
    .noSuchDevice(device), .noGroup(device), .isBridge(device, kind: "PCI bridge"),
    .groupInUse(device, group: 2, sibling: other, siblingKind: "ISA bridge", driver: "lpc_ich"),
    .groupSplit(group: 2, device, domain: "a", other, otherDomain: "b"), .dead(device),
    .critical(device, kind: "SATA controller", uses: []), .driverMissing("vfio-pci"),
    .bindingFailed(device, wanted: "vfio-pci", found: nil),
    .restoringFailed(device, wanted: "ahci", found: nil),
    .restoringFailed(device, wanted: nil, found: "vfio-pci"), .groupBusy(device, group: 2),
    .noGroupNode(device, path: "/dev/vfio/2"),
    .write(device, SystemCallError("write x", errno: .ioError)),
    .write(device, SystemCallError("write x", errno: .permissionDenied)),
  ] + uses.map { .critical(device, kind: "SATA controller", uses: [$0]) }

/// Words that a remedy may begin with: it tells somebody to do something.
private let verbs: Set<String> = [
  "choose", "turn", "name", "give", "stop", "power", "load", "see", "unbind", "end", "run",
  "unmount", "take", "free", "route", "remove",
]

@Suite struct ErrorTests {
  @Test func everyCaseHasASample() {
    #expect(Set(samples.map(place)) == Set(0...12))
  }

  @Test(arguments: samples)
  func everyRefusalSaysWhatToDo(_ error: HostDeviceError) throws {
    let halves = error.description.components("; ")
    #expect(halves.count == 2, "one sentence of two halves: \(error)")
    let remedy = try #require(halves.last)
    let verb = try #require(remedy.split(separator: " ").first)
    #expect(verbs.contains(String(verb)), "\(error)")
    #expect(!error.description.hasSuffix("."))
    #expect(!error.description.contains("\n"))
  }
}

extension String {
  /// Its pieces between `separator`s.
  fileprivate func components(_ separator: String) -> [String] {
    split(separator: separator, omittingEmptySubsequences: false).map(String.init)
  }
}
