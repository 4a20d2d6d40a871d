// SPDX-License-Identifier: Apache-2.0
import Channel
import LinuxSystem

/// What `ps` shows.
extension Daemon {
  func status() -> SystemStatus {
    SystemStatus(
      system: layout.manifest.system, state: systemState, manifest: layout.manifest.path,
      pid: record.daemon.pid, uptimeSeconds: EventLoop.now() - startedAt,
      domains: domains.map(status),
      devices: record.devices.map {
        SystemStatus.DeviceStatus(
          address: $0.address, domain: $0.domain, originalDriver: $0.originalDriver)
      })
  }

  private var systemState: String {
    switch system.state {
    case .preparing: "preparing"
    case .starting: "starting"
    case .running:
      domains.allSatisfy { if case .ready = $0.life.state { true } else { false } }
        ? "running" : "degraded"
    case .stopping, .releasing: "stopping"
    case .ended: "ended"
    }
  }

  private func status(of domain: DomainRuntime) -> SystemStatus.DomainStatus {
    let settings = domain.plan.domain
    let pid = domain.processNumber
    var reason: String?
    if case .failed(let text) = domain.life.state { reason = text }
    return SystemStatus.DomainStatus(
      name: domain.name, monitor: settings.monitor.rawValue,
      role: domain.plan.isPrimary ? "primary" : settings.serves?.rawValue ?? "domain",
      state: domain.stateName, reason: reason, pid: pid, generation: domain.life.generation,
      cpus: settings.cpus, memoryBytes: settings.memoryBytes,
      overheadKiB: overheadKiB(of: domain),
      uptimeSeconds: pid == nil ? nil : domain.startedAt.map { EventLoop.now() - $0 },
      bootSeconds: domain.bootSeconds, exits: domain.monitor?.exits, devices: settings.devices,
      channels: clientChannels(of: domain), external: domain.external.map(status))
  }

  private func overheadKiB(of domain: DomainRuntime) -> UInt64? {
    guard let monitor = domain.monitor else { return nil }
    return HostLimits.privateResidentBytes(of: monitor.process.processNumber).map { $0 >> 10 }
  }

  private func status(of machine: ExternalMachine) -> SystemStatus.ExternalStatus {
    SystemStatus.ExternalStatus(
      tree: machine.treePath,
      sockets: machine.ends.map { end in
        SystemStatus.SocketStatus(
          channel: channels[end.port.channel].plan.name, side: "\(end.port.side)", path: end.path,
          slot: end.port.slot, isConnected: end.connection != nil)
      })
  }

  private func clientChannels(of domain: DomainRuntime) -> [SystemStatus.ChannelStatus] {
    domain.plan.ports.filter { $0.side == .client }.map { port in
      let channel = channels[port.channel]
      let counters = channel.counters()
      return SystemStatus.ChannelStatus(
        name: channel.plan.name, service: channel.plan.service,
        state: channel.life.isSound ? "sound" : "broken", renewals: channel.life.renewals,
        clientState: "\(channel.view.page(of: .client).state)",
        serviceState: "\(channel.view.page(of: .service).state)",
        fastCalls: counters.fast, fallbackCalls: counters.fallback, kernelCalls: counters.kernel)
    }
  }
}
