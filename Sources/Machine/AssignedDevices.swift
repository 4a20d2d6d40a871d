// SPDX-License-Identifier: Apache-2.0
internal import DeviceModel
internal import Glibc
internal import KVM
internal import LaunchPlan
internal import LinuxSystem
internal import PCI
internal import VFIO

/// The host's devices that the domain owns.
final class AssignedDevices {
  private struct Assigned {
    let slot: Int
    let function: AssignedFunction
    let backing: AssignedBacking
  }

  /// What the supervisor is told when the kernel tells of a device.
  let events: [OutsideEvent]
  private let devices: [Assigned]
  /// The IOMMU's mappings of guest RAM live as long as this does.
  private let container: Container?

  private final class Container {
    let container: VFIOContainer
    init(_ container: consuming VFIOContainer) { self.container = container }
  }

  /// Maps guest RAM for the devices and takes them over.
  init(
    _ plan: LaunchPlan, _ descriptors: DescriptorList, _ vm: SharedVM, _ ram: GuestRAM, log: Log
  ) throws(MachineError) {
    guard let index = plan.vfioContainer else {
      (container, devices, events) = (nil, [], [])
      return
    }
    let descriptor = try descriptors.required(index, "VFIO container")
    let container = Container(VFIOContainer(owning: descriptor))
    try Self.map(ram, container)
    var devices: [Assigned] = []
    var events: [OutsideEvent] = []
    for planned in plan.vfio {
      let descriptor = try descriptors.required(planned.device, "VFIO device")
      do throws(VFIOError) {
        let host = try VFIOHostFunction(try VFIODevice(owning: descriptor))
        events += try Self.watch(host, planned.address, log)
        let vectors = AssignedVectors(vm, slot: planned.slot, address: planned.address, log: log)
        let function = try AssignedFunction(host, sink: vectors)
        devices.append(
          Assigned(
            slot: planned.slot, function: function, backing: AssignedBacking(function)))
      } catch {
        throw .vfio(address: planned.address, reason: "\(error)")
      }
    }
    self.container = container
    self.devices = devices
    self.events = events
  }

  private static func map(_ ram: GuestRAM, _ container: Container) throws(MachineError) {
    for stretch in ram.stretches {
      // SAFETY: only the number is taken; the RAM outlives the container's mappings.
      let host = unsafe UInt(bitPattern: ram.hostAddress(of: stretch))
      do throws(VFIOError) {
        try container.container.map(
          iova: stretch.guestAddress, hostAddress: host, byteCount: stretch.byteCount)
      } catch {
        throw .vfio(address: "memory", reason: "\(error)")
      }
    }
  }

  /// Has the kernel ring when the device fails, and when the host wants it back.
  private static func watch(
    _ host: VFIOHostFunction, _ address: String, _ log: Log
  ) throws(VFIOError) -> [OutsideEvent] {
    var events: [OutsideEvent] = []
    for (kind, word) in [(InterruptKind.error, "device-error"), (.request, "device-request")]
    where host.vectorCount(kind) > 0 {
      let event: SharedEvent
      do throws(SystemCallError) { event = SharedEvent(try EventDescriptor()) } catch {
        throw .call(error)
      }
      try host.device.signal(kind, events: [event.event.descriptor.rawValue])
      events.append(OutsideEvent(event: event, report: "\(word) \(address)"))
    }
    return events
  }

  /// Puts the functions on the bus.
  func insert(in pci: PCIBus, _ wiring: BARWiring) throws(PCIError) {
    for device in devices {
      wiring.setBacking(device.backing, ofSlot: device.slot)
      try pci.insert(device.function, slot: device.slot)
    }
  }
}

/// The mapped parts of an assigned function's BARs.
private final class AssignedBacking: BARBacking {
  private let function: AssignedFunction

  init(_ function: AssignedFunction) {
    self.function = function
  }

  @unsafe
  func hostAddress(ofBAR bar: Int, _ range: DirectRange) -> UnsafeMutableRawPointer? {
    // SAFETY: the function keeps the range mapped as long as it lives, which this object ensures.
    unsafe function.hostAddress(ofBAR: bar, offset: range.offset).flatMap {
      unsafe UnsafeMutableRawPointer(bitPattern: $0)
    }
  }

  func event(ofBAR bar: Int, _ doorbell: PCI.Doorbell) -> SharedEvent? { nil }
}

/// The interrupts of one assigned function: vectors that the kernel rings, and its INTx line.
///
/// Called with the PCI bus locked, which guards all state here.
private final class AssignedVectors: AssignedInterruptSink {
  private struct Line {
    let trigger: SharedEvent
    let resample: SharedEvent
    let gsi: UInt32
  }

  /// MSI-X of a PCI function has no more (PCI Local Bus 3.0, 6.8.2.3).
  private static let vectorLimit = 2048

  private let vm: SharedVM
  private let slot: Int
  private let address: String
  private let log: Log
  private let vectors: MessageVectors
  private var line: Line?

  init(_ vm: SharedVM, slot: Int, address: String, log: Log) {
    self.vm = vm
    self.slot = slot
    self.address = address
    self.log = log
    vectors = MessageVectors(vm, log: log)
  }

  func eventDescriptor(vector: Int) -> Int32? {
    guard (0..<Self.vectorLimit).contains(vector) else { return nil }
    while vectors.eventNumbers.count <= vector {
      do {
        try vectors.append(try EventDescriptor())
      } catch {
        report("\(error)")
        return nil
      }
    }
    return vectors.eventNumbers[vector]
  }

  func configure(vector: Int, message: InterruptMessage?) {
    // A vector that nobody asked for yet has no event; there is nothing to tie.
    vectors.configure(vector: vector, message: message)
  }

  func raise(vector: Int) { vectors.raise(vector: vector) }

  func connectLine(pin: Int) -> LineDescriptors? {
    guard line == nil, (1...4).contains(pin) else { return nil }
    do {
      let new = Line(
        trigger: SharedEvent(try EventDescriptor()), resample: SharedEvent(try EventDescriptor()),
        gsi: UInt32(PCIBus.interruptInput(slot: slot, pin: pin)))
      try vm.vm.attach(
        new.trigger.event.descriptor, resample: new.resample.event.descriptor, gsi: new.gsi)
      line = new
      return LineDescriptors(
        trigger: new.trigger.event.descriptor.rawValue,
        resample: new.resample.event.descriptor.rawValue)
    } catch {
      report("\(error)")
      return nil
    }
  }

  func disconnectLine() {
    guard let old = line else { return }
    line = nil
    do throws(KVMError) {
      // The line falls with its last resampling event.
      try vm.vm.detach(old.trigger.event.descriptor, gsi: old.gsi)
    } catch {
      report("\(error)")
    }
  }

  func report(_ problem: String) { log.warn("device \(address): \(problem)") }
}
