// SPDX-License-Identifier: Apache-2.0
internal import LaunchPlan
internal import LinuxSystem
internal import PCI

/// The host's devices that the domain owns.
struct AssignedDevices {
  let events: [OutsideEvent] = []
  init(
    _ plan: LaunchPlan, _ descriptors: DescriptorList, _ vm: SharedVM, _ ram: GuestRAM, log: Log
  ) throws(MachineError) {
  }
  func insert(in pci: PCIBus, _ wiring: BARWiring) throws(PCIError) {
  }
}
