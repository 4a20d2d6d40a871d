// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Glibc
import LinuxSystem
import Manifest

/// What happens before the first monitor starts: look at everything first, change things after.
extension Daemon {
  /// One piece of the preparation. Between two of them the daemon hears whether it should stop.
  enum Step {
    case checkKVM
    case checkMemory
    case examineDevices
    case take(JournalRecord.Device)
    case makeChannels
  }

  func take(_ step: Step) throws(DeviceProblem) {
    switch step {
    case .checkKVM: try checkKVM()
    case .checkMemory: try checkMemory()
    case .examineDevices: try examineDevices()
    case .take(let device): try take(device)
    case .makeChannels: try makeChannels()
    }
  }

  private func checkKVM() throws(DeviceProblem) {
    guard layout.manifest.domains.contains(where: { $0.monitor == .vosvmm }) else { return }
    let path = options.kvmDevice
    let isKVM: Bool
    do throws(SystemCallError) {
      isKVM = HostLimits.isKVM(try OwnedDescriptor.open(path, flags: O_RDWR))
    } catch {
      switch error.errno {
      case .noSuchFileOrDirectory, .operationNotSupportedByDevice, .noSuchAddressOrDevice:
        throw DeviceProblem(
          "there is no \(path); switch virtualization on in the firmware and load kvm_intel or kvm_amd"
        )
      case .permissionDenied, .notPermitted:
        throw DeviceProblem(
          "\(path) may not be opened by this user; run as root or join the group that owns it")
      default: throw DeviceProblem(error.sentence)
      }
    }
    // Another path is named by tests, whose monitors need no KVM.
    guard isKVM || path != DaemonOptions.standardKVMDevice else {
      throw DeviceProblem(
        "\(path) is not the KVM device (10:232); see what is mounted or made in its place")
    }
  }

  /// All RAM is asked for at once: a system that would be killed halfway up is refused here.
  private func checkMemory() throws(DeviceProblem) {
    let all = layout.manifest.domains
    let huge = all.filter(\.hugePages).reduce(0) { $0 + $1.memoryBytes }
    let plain = all.filter { !$0.hugePages }.reduce(0) { $0 + $1.memoryBytes }
    if huge > 0, let free = HostLimits.freeHugePages(), free < huge {
      throw DeviceProblem(
        "domains ask for \(formatByteCount(huge)) of huge pages but \(formatByteCount(free)) are "
          + "free; raise vm.nr_hugepages or remove \"hugepages\"")
    }
    if let available = HostLimits.availableMemory(), available < plain {
      throw DeviceProblem(
        "domains ask for \(formatByteCount(plain)) of memory but only \(available >> 20) MiB are "
          + "available; give them less or free some")
    }
    // VFIO pins the RAM of each domain with devices; the limit counts for each process.
    let pinned = all.filter { !$0.devices.isEmpty }.map(\.memoryBytes).max() ?? 0
    if pinned > 0, let limit = HostLimits.ensureLockable(pinned) {
      throw DeviceProblem(
        "a domain with devices needs \(formatByteCount(pinned)) of locked memory but the limit is "
          + "\(limit >> 10) KiB; run as root or raise \"ulimit -l\"")
    }
  }

  private func examineDevices() throws(DeviceProblem) {
    var found: [JournalRecord.Device] = []
    var owners: [String: String] = [:]
    for domain in layout.manifest.domains {
      for address in domain.devices { owners[address] = domain.name }
    }
    try devices.checkSeparation(owners)
    let together = Set(owners.keys)
    for domain in layout.manifest.domains {
      for address in domain.devices {
        found.append(try devices.examine(address, for: domain.name, together: together))
      }
    }
    // All are fine: now, one a turn, they are taken.
    steps.insert(contentsOf: found.map { .take($0) }, at: 0)
  }

  private func take(_ device: JournalRecord.Device) throws(DeviceProblem) {
    // The journal first: whoever comes after a crash must know what the device had.
    record.devices.append(device)
    do throws(SystemCallError) {
      try journal(record)
    } catch {
      throw DeviceProblem(error.sentence)
    }
    taken.append(device)
    try devices.take(device)
    tellAll("device", "\(device.address) taken from \(device.originalDriver ?? "no driver")")
  }

  private func makeChannels() throws(DeviceProblem) {
    for plan in layout.channels {
      do throws(ChannelResourceError) {
        channels.append(try ChannelResources(plan))
      } catch {
        throw DeviceProblem(
          "channel \"\(plan.name)\" of domain \"\(plan.service)\" cannot be made: \(error)")
      }
    }
    // Whoever declares a channel broken, or lets go of it, rings us.
    for channel in channels {
      let peers = channel.plan.client == nil ? [VOS_PEER_CLIENT, VOS_PEER_HOST] : [VOS_PEER_HOST]
      try asProblem { () throws(SystemCallError) in
        for peer in peers {
          _ = try loop.watch(channel.bell(peer)) { _ in channel.takeRings() }
        }
      }
    }
    for plan in layout.domains {
      guard let port = plan.ports.first else { continue }
      let control = channels[port.channel]
      let domain = DomainRuntime(
        plan: plan, limits: options.limits, control: ControlCaller(control))
      domains.append(domain)
      if plan.domain.monitor == .external { try openEnds(of: domain) }
    }
  }
}
