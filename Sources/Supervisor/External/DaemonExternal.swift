// SPDX-License-Identifier: Apache-2.0
import Channel
import Glibc
import LinuxSystem

/// What is done for domains with an external monitor: waiting for it, letting it in, noticing that
/// it is gone.
extension Daemon {
  /// Makes the sockets of an external domain.
  func openEnds(of domain: DomainRuntime) throws(DeviceProblem) {
    var ends: [ExternalMachine.End] = []
    for port in domain.plan.ports {
      let path = RuntimeDirectory.endPath(
        in: directory, channel: channels[port.channel].plan.number, port.side)
      ends.append(try asProblem { () throws(SystemCallError) in try .init(port, path: path) })
    }
    let machine = ExternalMachine(
      ends: ends, treePath: RuntimeDirectory.treePath(in: directory, domain: domain.name))
    domain.external = machine
    try asProblem { () throws(SystemCallError) in
      for end in machine.ends {
        _ = try loop.watch(end.listener.rawValue) { [unowned self, unowned domain] _ in
          acceptMachine(at: end, of: domain, machine)
        }
      }
    }
  }

  /// Leaves the device tree of the life that comes where its QEMU finds it.
  func expect(_ domain: DomainRuntime, _ generation: UInt32) {
    guard let machine = domain.external else { return }
    do throws(DeviceProblem) {
      let tree = try deviceTree(of: domain.name, generation: generation)
      try asProblem { () throws(SystemCallError) in
        try replaceFile(machine.treePath, with: tree)
      }
    } catch {
      log.error("domain \(domain.name): \(error)")
    }
  }

  private func acceptMachine(
    at end: ExternalMachine.End, of domain: DomainRuntime, _ machine: ExternalMachine
  ) {
    guard let socket = UnixSocket.accept(end.listener.rawValue) else { return }
    let peer = UnixSocket.credentials(of: socket)
    let process = peer.flatMap { ProcessIdentity(pid: $0.pid) }
    guard let peer, peer.uid == 0 || peer.uid == geteuid(), let process else {
      return refuse(domain, end, "it belongs to another user, or is gone")
    }
    if let reason = refusal(of: process, at: end, of: domain, machine) {
      return refuse(domain, end, "process \(process.pid): \(reason)")
    }
    let connection = ExternalMachine.Connection(socket, peer: end.port.side.rawValue)
    do throws(SystemCallError) {
      connection.watch = try loop.watch(connection.descriptor) {
        [unowned self, unowned domain] interest in
        hear(from: end, of: domain, interest)
      }
    } catch {
      return log.error("\(error)")
    }
    end.connection = connection
    machine.process = process
    // First the region is made ready for a new life, then it is shown.
    perform(domain.life.handle(.joined, at: EventLoop.now()), on: domain)
    flush(end, of: domain)
  }

  private func refuse(_ domain: DomainRuntime, _ end: ExternalMachine.End, _ reason: String) {
    log.warning("domain \(domain.name): refused a peer at \(end.path): \(reason)")
  }

  /// Why `process` may not be the domain's machine; `nil` if it may.
  private func refusal(
    of process: ProcessIdentity, at end: ExternalMachine.End, of domain: DomainRuntime,
    _ machine: ExternalMachine
  ) -> String? {
    switch domain.life.state {
    case .awaited:
      // What was mapped stays mapped: two machines would write to one side.
      guard let last = machine.process, last.isAlive else { return nil }
      return "the QEMU of its last life, process \(last.pid), still runs; end it first"
    case .booting, .ready:
      if end.connection != nil { return "this end of the channel is taken" }
      return machine.process == process ? nil : "this life of the domain is another process's"
    case .created, .stopping, .stopped, .failed: return "the domain is \(domain.stateName)"
    }
  }

  private func flush(_ end: ExternalMachine.End, of domain: DomainRuntime) {
    guard let connection = end.connection, let watch = connection.watch else { return }
    guard connection.flush(channels[end.port.channel]) else { return lose(domain) }
    loop.change(watch, to: connection.isSending ? [.readable, .writable] : .readable)
  }

  private func hear(
    from end: ExternalMachine.End, of domain: DomainRuntime, _ interest: Epoll.Interest
  ) {
    guard let connection = end.connection else { return }
    guard connection.isWell() else { return lose(domain) }
    if interest.contains(.writable) { flush(end, of: domain) }
  }

  private func lose(_ domain: DomainRuntime) {
    log.notice("domain \(domain.name): its QEMU has left")
    domain.control.failAll(errno: ENOTCONN)
    perform(domain.life.handle(.left, at: EventLoop.now()), on: domain)
  }

  /// Makes all ends ready for life `generation`, and tells the other sides.
  func admit(_ domain: DomainRuntime, _ generation: UInt32) {
    domain.startedAt = EventLoop.now()
    domain.bootSeconds = nil
    let process = domain.external?.process?.pid ?? 0
    log.info("domain \(domain.name): process \(process) joined, generation \(generation)")
    for port in domain.plan.ports { channels[port.channel].begin(port.side) }
  }

  /// Hangs up on the domain's QEMU and speaks for its sides, which cannot any more.
  func dismiss(_ domain: DomainRuntime) {
    domain.startedAt = nil
    domain.bootSeconds = nil
    for end in domain.external?.ends ?? [] {
      if let watch = end.connection?.watch { loop.remove(watch) }
      end.connection = nil
      if channels.indices.contains(end.port.channel) {
        channels[end.port.channel].forget(end.port.side)
      }
    }
  }
}
