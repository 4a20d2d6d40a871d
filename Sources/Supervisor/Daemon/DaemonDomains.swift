// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel
import Glibc
import LinuxSystem

/// What is done for domains: starting their monitors, hearing from them, ending them.
extension Daemon {
  /// Bytes taken from a console in one turn.
  private static let consoleChunk = 64 << 10
  /// Console lines shown with a failure.
  private static let failureLines = 20
  /// Console lines kept in the log with a failure.
  private static let loggedLines = 200
  /// Longest message of a monitor: the statistics of 64 CPUs.
  private static let reportBytes = 32 << 10

  /// Does what a domain's state machine says.
  func perform(_ actions: [DomainLifeCycle.Action], on domain: DomainRuntime) {
    for action in actions {
      switch action {
      case .launch(let generation): start(domain, generation)
      case .askPowerOff: askPowerOff(domain)
      case .tellStop: tellStop(domain)
      case .kill: try? domain.monitor?.process.send(signal: SIGKILL)
      case .announceFailure(let reason): announceFailure(domain, reason)
      case .announceAbsence: announce(domain, .absent)
      case .becameReady(let seconds): domain.bootSeconds = seconds
      case .expect(let generation): expect(domain, generation)
      case .admit(let generation): admit(domain, generation)
      case .dismiss: dismiss(domain)
      }
    }
    noteState(of: domain)
  }

  /// Tells the system and whoever watches when a domain's state has changed.
  private func noteState(of domain: DomainRuntime) {
    guard domain.shownState != domain.stateName else { return }
    domain.shownState = domain.stateName
    tell(domain)
    perform(system.handle(.domain(domain.name, domain.phase)))
  }

  private func start(_ domain: DomainRuntime, _ generation: UInt32) {
    domain.startedAt = EventLoop.now()
    domain.bootSeconds = nil
    do throws(DeviceProblem) {
      try launch(domain, generation)
    } catch {
      let now = EventLoop.now()
      _ = domain.life.handle(.reported(.failed(error.description)), at: now)
      if let monitor = domain.monitor {
        // Started but not on its way: its end is awaited like any other.
        try? monitor.process.send(signal: SIGKILL)
        if monitor.watches.isEmpty { _ = try? monitor.process.reap(block: true) } else { return }
      }
      dropMonitor(of: domain)
      perform(domain.life.handle(.ended(.unknown), at: now), on: domain)
    }
  }

  func watch(
    _ domain: DomainRuntime, _ monitor: DomainRuntime.Monitor
  ) throws(SystemCallError) {
    try monitor.launch.descriptor.setNonBlocking(true)
    try monitor.console.setNonBlocking(true)
    try monitor.complaints.setNonBlocking(true)
    monitor.complaintsWatch = try loop.watch(monitor.complaints.rawValue) { [unowned self] _ in
      takeComplaints(domain)
    }
    let process = try loop.watch(monitor.process.descriptor.rawValue) { [unowned self] _ in
      monitorEnded(domain)
    }
    monitor.watches.append(process)
    let launch = try loop.watch(monitor.launch.descriptor.rawValue) { [unowned self] _ in
      takeReports(domain)
    }
    monitor.watches.append(launch)
    monitor.launchWatch = launch
    monitor.consoleWatch = try loop.watch(monitor.console.rawValue) { [unowned self] interest in
      if interest.contains(.writable) { flushInput(of: domain) }
      takeConsole(domain)
    }
  }

  private func monitorEnded(_ domain: DomainRuntime) {
    guard let monitor = domain.monitor else { return }
    // Its last words are still in its sockets.
    takeReports(domain)
    takeConsole(domain)
    takeComplaints(domain)
    for line in monitor.lines.finish(at: EventLoop.now()) { note(line, of: domain) }
    let end: ProcessEnd =
      switch (try? monitor.process.reap(block: true)) ?? nil {
      case .code(let code): .code(code)
      case .signal(let number): .signal(number)
      case nil: .unknown
      }
    log.info("domain \(domain.name): monitor ended: \(end)")
    dropMonitor(of: domain)
    // Whoever waits for an answer of this life gets none: ENOTCONN at once.
    domain.control.failAll(errno: ENOTCONN)
    perform(domain.life.handle(.ended(end), at: EventLoop.now()), on: domain)
  }

  private func dropMonitor(of domain: DomainRuntime) {
    guard let monitor = domain.monitor else { return }
    monitor.watches.forEach(loop.remove)
    if let watch = monitor.consoleWatch { loop.remove(watch) }
    if let watch = monitor.complaintsWatch { loop.remove(watch) }
    domain.monitor = nil
    record.monitors.removeAll { $0.domain == domain.name }
    try? journal(record)
  }

  private func takeReports(_ domain: DomainRuntime) {
    guard let monitor = domain.monitor else { return }
    // Bounded: a monitor that never stops talking gets its turn again.
    for _ in 0..<16 {
      do throws(SystemCallError) {
        guard let message = try monitor.launch.receive(maximum: Self.reportBytes) else {
          if let watch = monitor.launchWatch { loop.remove(watch) }
          return
        }
        take(message.bytes, from: domain)
      } catch {
        // Nothing more now, or the end is near: the process's descriptor tells.
        if error.errno != .wouldBlock, error.errno != .resourceTemporarilyUnavailable,
          let watch = monitor.launchWatch
        {
          loop.remove(watch)
        }
        return
      }
    }
  }

  private func take(_ bytes: [UInt8], from domain: DomainRuntime) {
    guard let monitor = domain.monitor, monitor.reportsLeft > 0 else { return }
    monitor.reportsLeft -= 1
    guard let report = MonitorReport(bytes) else {
      log.warning("domain \(domain.name): its monitor sent something unknown")
      return
    }
    if case .statistics(let exits) = report {
      monitor.exits = exits
      monitor.owesStatistics = false
      // Asked for, so not counted.
      monitor.reportsLeft += 1
      return
    }
    log.info("domain \(domain.name): \(report)")
    switch report {
    case .deviceError(let address):
      tellAll("device", "\(address) of domain \"\(domain.name)\" reported an error")
    case .deviceRequest(let address):
      tellAll("device", "the host wants \(address) of domain \"\(domain.name)\" back")
    default: break
    }
    perform(domain.life.handle(.reported(report), at: EventLoop.now()), on: domain)
  }

  private func takeConsole(_ domain: DomainRuntime) {
    guard let monitor = domain.monitor else { return }
    var bytes: [UInt8] = []
    switch monitor.console.readAvailable(into: &bytes, maximum: Self.consoleChunk) {
    case .bytes: domain.log.append(bytes)
    case .wouldBlock: break
    case .closed:
      if let watch = monitor.consoleWatch { loop.remove(watch) }
      monitor.consoleWatch = nil
    }
  }

  /// Takes what a monitor writes to its standard error; a pipe holds no more than one chunk.
  private func takeComplaints(_ domain: DomainRuntime) {
    guard let monitor = domain.monitor else { return }
    var bytes: [UInt8] = []
    switch monitor.complaints.readAvailable(into: &bytes, maximum: Self.consoleChunk) {
    case .bytes:
      for line in monitor.lines.take(bytes, at: EventLoop.now()) { note(line, of: domain) }
    case .wouldBlock: break
    case .closed:
      if let watch = monitor.complaintsWatch { loop.remove(watch) }
      monitor.complaintsWatch = nil
    }
  }

  private func note(_ line: String, of domain: DomainRuntime) {
    log.notice("monitor of \(domain.name): \(line)")
  }

  /// Passes on what was typed for a domain.
  func type(_ bytes: [UInt8], into domain: DomainRuntime) {
    guard let monitor = domain.monitor else { return }
    monitor.input += bytes.prefix(DomainRuntime.Monitor.inputLimit - monitor.input.count)
    flushInput(of: domain)
  }

  private func flushInput(of domain: DomainRuntime) {
    guard let monitor = domain.monitor, let watch = monitor.consoleWatch else { return }
    if !monitor.input.isEmpty,
      case .bytes(let count) = monitor.console.sendAvailable(monitor.input[...])
    {
      monitor.input.removeFirst(count)
    }
    loop.change(watch, to: monitor.input.isEmpty ? .readable : [.readable, .writable])
  }

  /// Sees whether a booting domain's agent has announced itself.
  func lookAtChannel(of domain: DomainRuntime) {
    guard case .booting = domain.life.state, let port = domain.plan.ports.first,
      channels.indices.contains(port.channel),
      channels[port.channel].view.page(of: .service).state == .ready
    else { return }
    perform(domain.life.handle(.announced, at: EventLoop.now()), on: domain)
  }

  private func askPowerOff(_ domain: DomainRuntime) {
    let posted = domain.control.call(VOS_CALL_POWEROFF) { [log] result, _ in
      log.info("domain \(domain.name): power-off answered \(result)")
    }
    if !posted { tellStop(domain) }
  }

  /// Asks every monitor how often its CPUs left the guest.
  func askStatistics() {
    for domain in domains {
      guard let monitor = domain.monitor, !monitor.owesStatistics else { continue }
      monitor.owesStatistics = (try? monitor.launch.send(Array("statistics".utf8))) != nil
    }
  }

  private func tellStop(_ domain: DomainRuntime) {
    try? domain.monitor?.launch.send(Array("stop".utf8))
  }

  private func announceFailure(_ domain: DomainRuntime, _ reason: String) {
    log.error("domain \(domain.name) failed: \(reason)")
    failureConsole = domain.log.lastLines(Self.failureLines)
    for line in domain.log.lastLines(Self.loggedLines) {
      log.error("domain \(domain.name) | \(line)")
    }
    announce(domain, .failed)
  }

  private func announce(_ domain: DomainRuntime, _ life: SideLife) {
    for port in domain.plan.ports where channels.indices.contains(port.channel) {
      channels[port.channel].end(port.side, as: life)
    }
  }
}
