// SPDX-License-Identifier: Apache-2.0
internal import Boot
internal import CLinux
internal import DeviceModel
internal import Devices
internal import Glibc
internal import KVM
public import LaunchPlan
public import LinuxSystem
internal import PCI

/// One domain's virtual machine: put together from a launch plan, then run once.
///
/// `init` does everything that needs rights and starts no thread, so that the process can drop its
/// rights before `run`. `run` starts all threads and then lets the process give up system calls, before
/// the first instruction of the guest.
///
/// Threads: one for each CPU, and the caller of `run`, which waits for events from outside. Lock
/// order: a device's lock, the PCI bus's, the interrupt routing's; the console's queue comes last.
public final class Machine {
  /// Where things are that the guest finds by itself, not by a table.
  private enum LegacyPort {
    static let serial: UInt64 = 0x3F8
    static let realTimeClock: UInt64 = 0x70
    static let panic: UInt64 = 0x505
    static let configuration: UInt64 = 0xCF8
  }

  private static let serialInterrupt: UInt32 = 4
  /// The 64-bit PCI window starts here unless RAM reaches further.
  private static let pciWindow64Start: UInt64 = 64 << 30
  private static let pciWindow64ByteCount: UInt64 = 256 << 30
  private static let pciWindow64Alignment: UInt64 = 1 << 30
  private static let deviceTreeLimit = 1 << 20

  private let log: Log
  private let vm: SharedVM
  private let ram: GuestRAM
  private let ending: Ending
  private let console: ConsoleOutput
  private let serial: SerialPort
  private let lockedSerial: LockedDevice
  private let consoleInput: EventDescriptor
  private let wiring: BARWiring
  private let channels: [Channel]
  private let assigned: AssignedDevices
  private let pci: PCIBus
  let cpus: [CPUThread]
  private let surroundings: CPUSurroundings

  /// Puts the machine together; takes all descriptors of the plan.
  public init(
    _ plan: LaunchPlan, _ descriptors: DescriptorList, log: Log
  ) throws(MachineError) {
    self.log = log
    let kvmDescriptor = try descriptors.required(plan.kvm, "/dev/kvm")
    let kvm = try Self.openKVM(kvmDescriptor)
    let cpuid = try asKVM { () throws(KVMError) in try kvm.supportedCPUID() }
    vm = SharedVM(try asKVM { () throws(KVMError) in try kvm.createVirtualMachine() })
    try asKVM { [vm] () throws(KVMError) in try vm.vm.createInterruptControllers() }

    let memory = try descriptors.required(plan.memory, "guest memory")
    ram = try GuestRAM(memory, byteCount: plan.memoryBytes, hugePages: plan.hugePages)
    try Self.install(ram, in: vm)
    ending = try asSystem { () throws(SystemCallError) in try Ending() }

    let consoleSocket = try descriptors.required(plan.console, "console")
    console = try Self.makeConsole(consoleSocket)
    let input = try asSystem { () throws(SystemCallError) in try EventDescriptor() }
    let inputNumber = input.descriptor.rawValue
    consoleInput = input
    serial = SerialPort(
      line: PinInterrupt(vm, gsi: Self.serialInterrupt, log: log), sink: console,
      drained: { ringEvent(inputNumber) })

    let windows = try Self.windows(cpuid, ram.layout)
    wiring = BARWiring(vm, firstMemorySlot: UInt32(ram.stretches.count), log: log)
    pci = PCIBus(windows: windows, mapper: wiring)
    channels = try plan.ivshmem.map { [vm, log] channel throws(MachineError) in
      try Channel(channel, descriptors, vm, log: log)
    }
    assigned = try AssignedDevices(plan, descriptors, vm, ram, log: log)
    try Self.populate(pci, plan, channels, assigned, wiring)

    var ports = Bus("port")
    lockedSerial = try ports.insert(serial, at: LegacyPort.serial, count: SerialPort.portCount)
    try Self.addLegacyDevices(&ports, PlatformEvents(ending, log: log))
    try Self.addPCI(&ports, pci)
    surroundings = CPUSurroundings(
      ports: ports, memory: try Self.memoryBus(pci), ending: ending)

    let entry = try Self.load(plan, descriptors, ram, windows)
    cpus = try Self.makeCPUs(
      plan.vcpuCount, vm, cpuid, entry, hasTSCDeadlineTimer: kvm.hasTSCDeadlineTimer)
    // What the images needed is needed no more.
    clinux_release_free_memory()
  }

  // MARK: Putting together

  private static func openKVM(
    _ descriptor: consuming OwnedDescriptor
  ) throws(MachineError) -> KVMSystem {
    do throws(KVMError) { return try KVMSystem(owning: descriptor) } catch { throw .kvm(error) }
  }

  private static func makeConsole(
    _ socket: consuming OwnedDescriptor
  ) throws(MachineError) -> ConsoleOutput {
    do throws(SystemCallError) { return try ConsoleOutput(socket) } catch { throw .system(error) }
  }

  private static func install(_ ram: GuestRAM, in vm: SharedVM) throws(MachineError) {
    for (number, stretch) in ram.stretches.enumerated() {
      try asKVM { () throws(KVMError) in
        // SAFETY: the RAM is held by the machine as long as the virtual machine is.
        unsafe try vm.vm.set(
          VirtualMachine.MemorySlot(
            number: UInt32(number), guestAddress: stretch.guestAddress,
            byteCount: stretch.byteCount),
          hostAddress: ram.hostAddress(of: stretch))
      }
    }
  }

  /// The PCI windows: the 64-bit one above RAM, cut to what the guest can address.
  static func windows(
    _ cpuid: CPUIDTable, _ layout: RAMLayout
  ) throws(MachineError) -> PCIWindows {
    let bits = cpuid.physicalAddressBits
    let limit: UInt64 = 1 << UInt64(min(max(bits, 32), 52))
    let ramEnd = Platform.highRAMBase + layout.highByteCount
    let aligned = (ramEnd + pciWindow64Alignment - 1) & ~(pciWindow64Alignment - 1)
    // A processor with 36 bits has no room at 64 GiB: the window then follows RAM at once.
    let start = limit > pciWindow64Start ? max(aligned, pciWindow64Start) : aligned
    let end = min(start + pciWindow64ByteCount, limit)
    guard start < end else { throw .addressWidth(bits: bits) }
    return PCIWindows(memory32: Platform.pciWindow32, memory64: start..<end)
  }

  private static func populate(
    _ pci: PCIBus, _ plan: LaunchPlan, _ channels: [Channel], _ assigned: AssignedDevices,
    _ wiring: BARWiring
  ) throws(MachineError) {
    do throws(PCIError) {
      try pci.insert(HostBridge(), slot: 0)
      for (planned, channel) in zip(plan.ivshmem, channels) {
        wiring.setBacking(channel.backing, ofSlot: planned.slot)
        try pci.insert(channel.function, slot: planned.slot)
      }
      try assigned.insert(in: pci, wiring)
      try pci.assignBARs()
    } catch {
      throw .pci(error)
    }
  }

  private static func addLegacyDevices(
    _ ports: inout Bus, _ events: PlatformEvents
  ) throws(MachineError) {
    try ports.insert(
      RealTimeClock(clock: HostClock()), at: LegacyPort.realTimeClock,
      count: RealTimeClock.portCount)
    try ports.insert(
      PowerControl(
        powerOffValue: Platform.powerOffValue, resetValue: Platform.resetValue, sink: events),
      at: UInt64(Platform.sleepControlPort), count: PowerControl.portCount)
    try ports.insert(
      PanicPort(sink: events), at: LegacyPort.panic, count: PanicPort.portCount)
  }

  private static func addPCI(_ ports: inout Bus, _ pci: PCIBus) throws(MachineError) {
    try ports.insert(
      ConfigurationPorts(pci), at: LegacyPort.configuration, count: ConfigurationPorts.portCount)
    let window = BARWindow(pci, .io)
    try ports.insert(LockedDevice(window), at: window.range)
  }

  private static func memoryBus(_ pci: PCIBus) throws(MachineError) -> Bus {
    var memory = Bus("address")
    try memory.insert(LockedDevice(ECAMWindow(pci)), at: Platform.ecam)
    for space in [BARWindow.Space.memory32, .memory64] {
      let window = BARWindow(pci, space)
      try memory.insert(LockedDevice(window), at: window.range)
    }
    return memory
  }

  private static func load(
    _ plan: LaunchPlan, _ descriptors: DescriptorList, _ ram: GuestRAM, _ windows: PCIWindows
  ) throws(MachineError) -> EntryState {
    let kernel = try DescriptorImage(
      "kernel", try descriptors.required(plan.kernel, "kernel"))
    var initrd: DescriptorImage?
    if let index = plan.initrd {
      initrd = try DescriptorImage("initrd", try descriptors.required(index, "initrd"))
    }
    let request = BootRequest(
      kernel: kernel, initrd: initrd, commandLine: plan.commandLine,
      deviceTree: try deviceTree(plan, descriptors), ram: ram.layout,
      processorCount: plan.vcpuCount, pciWindow64: windows.memory64)
    do throws(BootError) {
      let entry = try loadGuest(request, into: ram)
      try writeResetStub(into: ram)
      return entry
    } catch {
      throw .boot(error)
    }
  }

  /// Where firmware's entry point is in real mode: FFFF:0000.
  private static let resetVector: UInt64 = 0xF_FFF0

  /// Puts at the reset vector what firmware would do there: a reset.
  ///
  /// With hardware-reduced ACPI, Linux prefers EFI to the FADT's reset register, and without EFI it
  /// jumps to the firmware (native_machine_emergency_restart).
  private static func writeResetStub(into ram: GuestRAM) throws(BootError) {
    let port = Platform.resetPort
    let stub: [UInt8] = [
      0xBA, UInt8(port & 0xFF), UInt8(port >> 8),  // mov dx, port
      0xB0, Platform.resetValue,  // mov al, value
      0xEE,  // out dx, al
      0xF4,  // hlt
      0xEB, 0xFD,  // jmp to the hlt
    ]
    do throws(GuestMemoryError) { try ram.write(stub, at: resetVector) } catch {
      throw .memory(error)
    }
  }

  private static func deviceTree(
    _ plan: LaunchPlan, _ descriptors: DescriptorList
  ) throws(MachineError) -> [UInt8] {
    guard let index = plan.deviceTree else { return [] }
    let image = try DescriptorImage(
      "device tree", try descriptors.required(index, "device tree"))
    guard image.byteCount <= deviceTreeLimit else {
      throw .descriptor(
        "device tree has \(image.byteCount) bytes, at most \(deviceTreeLimit) allowed")
    }
    do throws(BootError) {
      return try image.read(at: 0, byteCount: Int(image.byteCount))
    } catch {
      throw .boot(error)
    }
  }

  private static func makeCPUs(
    _ count: Int, _ vm: SharedVM, _ cpuid: CPUIDTable, _ entry: EntryState,
    hasTSCDeadlineTimer: Bool
  ) throws(MachineError) -> [CPUThread] {
    var cpus: [CPUThread] = []
    do throws(KVMError) {
      for identifier in 0..<UInt32(count) {
        let thread = CPUThread(try vm.vm.createCPU(identifier))
        try thread.cpu.setUp(cpuid, count: count, hasTSCDeadlineTimer: hasTSCDeadlineTimer)
        // The others wait for the first to start them (INIT, SIPI).
        if identifier == 0 { try thread.cpu.enter(entry) }
        cpus.append(thread)
      }
    } catch {
      throw .kvm(error)
    }
    return cpus
  }

  // MARK: Running

  /// Runs the guest to its end. `supervisor` is told what happens and may say `stop`.
  ///
  /// Call it once. `confine` is called when everything is open and all threads are started, but none
  /// has run the guest: from then on the machine makes only the calls of `SystemCallFilter.monitor`.
  public func run(
    supervisor: consuming MessageSocket, confine: () throws(SystemCallError) -> Void = {}
  ) throws(MachineError) -> Outcome {
    let link = try Self.makeLink(supervisor)
    let loop = try asSystem { () throws(SystemCallError) in
      try EventLoop(
        link: link, ending: ending, console: console, input: consoleInput.descriptor.rawValue,
        events: assigned.events)
    }
    do throws(MachineError) { try startCPUs(confine) } catch {
      link.report("failed \(error)")
      throw error
    }
    link.report("running")
    let outcome = loop.run(
      feed: { [lockedSerial, serial, console] in
        Self.feed(serial, lockedSerial, from: console)
      }, statistics: { [cpus] in Self.describeExits(of: cpus) })
    for cpu in cpus { cpu.stop() }
    console.flush()
    if console.dropped > 0 { log.note("\(console.dropped) bytes of console output dropped") }
    if let report = outcome.report { link.report(report) }
    return outcome
  }

  private func startCPUs(
    _ confine: () throws(SystemCallError) -> Void
  ) throws(MachineError) {
    do throws(SystemCallError) {
      try CPUThread.installStopSignal()
      try surroundings.gate.hold(cpus.count) { () throws(SystemCallError) in
        for cpu in cpus { try cpu.start(surroundings) }
      } confine: { () throws(SystemCallError) in
        try confine()
      }
    } catch {
      for cpu in cpus { cpu.stop() }
      throw .system(error)
    }
  }

  private static func makeLink(
    _ socket: consuming MessageSocket
  ) throws(MachineError) -> SupervisorLink {
    do throws(SystemCallError) { return try SupervisorLink(socket) } catch { throw .system(error) }
  }

  /// Exits of each CPU by KVM's own count, such as `cpu0.exits=7 cpu0.io_exits=2`; values that the
  /// kernel does not have are left out.
  private static func describeExits(of cpus: [CPUThread]) -> String {
    var words: [String] = []
    for thread in cpus {
      do throws(KVMError) {
        for name in ["exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits"] {
          guard let value = try thread.statistics?.value(name) else { continue }
          words.append("cpu\(thread.cpu.identifier).\(name)=\(value)")
        }
      } catch {
        continue  // left out
      }
    }
    return words.joined(separator: " ")
  }

  /// Hands the guest what waits on the console, as much as it has room for.
  private static func feed(
    _ serial: SerialPort, _ locked: LockedDevice, from console: ConsoleOutput
  ) {
    locked.withLock {
      while serial.room > 0 {
        let bytes = console.receive(maximum: serial.room)
        if bytes.isEmpty || serial.receive(bytes) < bytes.count { return }
      }
    }
  }
}

/// Rings the eventfd `number`, which the caller keeps open.
private func ringEvent(_ number: Int32) {
  var one: UInt64 = 1
  // SAFETY: the call reads eight bytes of a local of that size.
  _ = unsafe write(number, &one, 8)
}
