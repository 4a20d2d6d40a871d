// SPDX-License-Identifier: Apache-2.0
import Channel
import DeviceTree
import Glibc
import LaunchPlan
import LinuxSystem

/// Starting one life of a domain: everything its monitor needs is opened here and handed over.
extension Daemon {
  func launch(_ domain: DomainRuntime, _ generation: UInt32) throws(DeviceProblem) {
    for port in domain.plan.ports { channels[port.channel].begin(port.side) }
    // Holds our copies until the monitor has its own.
    let hold = DescriptorBag()
    let console = try asProblem(UnixSocket.pair)
    let launch = try asProblem { () throws(SystemCallError) in try MessageSocket.pair() }
    let complaints = try asProblem(ChildProcess.pipe)
    let output = hold.put(complaints.write)
    var builder = LaunchPlanBuilder()
    let consoleIndex = builder.add(hold.put(console.theirs))
    let plan = try plan(domain, generation, console: consoleIndex, &builder, hold)
    let pid = try asProblem { () throws(SystemCallError) in
      try ChildProcess.spawn(
        [options.monitor], passed: launch.second.descriptor.rawValue, output: output,
        newSession: true)
    }
    let process = try asProblem { () throws(SystemCallError) in try PidDescriptor(pid) }
    let monitor = DomainRuntime.Monitor(
      process: process, launch: launch.first, console: console.ours,
      complaints: complaints.read)
    domain.monitor = monitor
    try note(monitor, of: domain, generation)
    let descriptors = builder.descriptors
    try asProblem { () throws(SystemCallError) in
      try watch(domain, monitor)
      try monitor.launch.send(Array(plan.text.utf8), descriptors: descriptors)
    }
    log.info("domain \(domain.name): monitor \(pid) started, generation \(generation)")
  }

  /// The journal before the plan: a monitor that never got its plan ends by itself if we die now.
  private func note(
    _ monitor: DomainRuntime.Monitor, of domain: DomainRuntime, _ generation: UInt32
  ) throws(DeviceProblem) {
    guard let identity = monitor.identity else { return }
    record.monitors.removeAll { $0.domain == domain.name }
    record.monitors.append(
      JournalRecord.Monitor(domain: domain.name, generation: generation, process: identity))
    try asProblem { () throws(SystemCallError) in try journal(record) }
  }

  private func plan(
    _ domain: DomainRuntime, _ generation: UInt32, console: Int, _ builder: inout LaunchPlanBuilder,
    _ hold: DescriptorBag
  ) throws(DeviceProblem) -> LaunchPlan {
    let settings = domain.plan.domain
    let memory = try asProblem { () throws(SystemCallError) in
      try OwnedDescriptor.sharedMemory(
        name: "vos-ram-\(domain.name)", byteCount: Int(settings.memoryBytes),
        hugePages: settings.hugePages)
    }
    let tree = try deviceTree(of: domain.name, generation: generation)
    let blob = try asProblem { () throws(SystemCallError) in
      try OwnedDescriptor.sharedMemory(name: "vos-dtb-\(domain.name)", containing: tree)
    }
    var plan = LaunchPlan(
      domain: domain.name, vcpuCount: settings.cpus, memoryBytes: settings.memoryBytes,
      memory: builder.add(hold.put(memory)), hugePages: settings.hugePages,
      kvm: builder.add(hold.put(try open(options.kvmDevice, O_RDWR))),
      kernel: builder.add(hold.put(try open(settings.kernel, O_RDONLY))), console: console)
    if let initrd = settings.initrd {
      plan.initrd = builder.add(hold.put(try open(initrd, O_RDONLY)))
    }
    plan.deviceTree = builder.add(hold.put(blob))
    plan.commandLine = settings.commandLine
    for port in domain.plan.ports {
      plan.ivshmem.append(builder.port(port, channels[port.channel]))
    }
    try addDevices(of: domain, to: &plan, &builder, hold)
    return plan
  }

  private func addDevices(
    of domain: DomainRuntime, to plan: inout LaunchPlan, _ builder: inout LaunchPlanBuilder,
    _ hold: DescriptorBag
  ) throws(DeviceProblem) {
    guard !domain.plan.devices.isEmpty else { return }
    let opened = try devices.open(domain.plan.devices.map(\.address))
    hold.keep(opened.owner)
    for note in opened.notes { log.info("domain \(domain.name): \(note)") }
    plan.vfioContainer = builder.add(opened.container)
    for (device, number) in zip(domain.plan.devices, opened.devices) {
      plan.vfio.append(
        LaunchPlan.VFIODevice(
          slot: device.slot, address: device.address, device: builder.add(number)))
    }
  }

  /// The device tree that `name` gets in its life `generation`.
  func deviceTree(of name: String, generation: UInt32) throws(DeviceProblem) -> [UInt8] {
    guard let description = layout.description(of: name, generation: generation) else {
      throw DeviceProblem(
        "there is no domain \"\(name)\"; see \"vosctl ps\" for those that there are")
    }
    do throws(DeviceTreeError) {
      return try description.encoded()
    } catch {
      throw DeviceProblem(
        "the device tree of domain \"\(name)\" cannot be written (\(error)); shorten its settings")
    }
  }

  private func open(_ path: String, _ flags: Int32) throws(DeviceProblem) -> OwnedDescriptor {
    try asProblem { () throws(SystemCallError) in try OwnedDescriptor.open(path, flags: flags) }
  }
}

/// Runs `body`; its error becomes a problem with the same text and what helps.
func asProblem<Result: ~Copyable>(
  _ body: () throws(SystemCallError) -> Result
) throws(DeviceProblem) -> Result {
  do throws(SystemCallError) {
    return try body()
  } catch {
    throw DeviceProblem(error.sentence)
  }
}
