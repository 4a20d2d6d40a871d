// SPDX-License-Identifier: Apache-2.0
import Channel
import LinuxSystem

/// One domain as the daemon runs it: its state machine and what this life of it holds.
final class DomainRuntime {
  let plan: SystemLayout.DomainPlan
  var life: DomainLifeCycle
  var log = ConsoleLog()
  let control: ControlCaller
  /// Of the life that runs now.
  var monitor: Monitor?
  /// Of a domain with an external monitor.
  var external: ExternalMachine?
  /// Of this life.
  var startedAt: Seconds?
  var bootSeconds: Double?
  /// The state that was last told to those who watch.
  var shownState = "created"

  /// A running monitor and our ends of its sockets.
  final class Monitor {
    let process: PidDescriptor
    let identity: ProcessIdentity?
    let launch: MessageSocket
    let console: OwnedDescriptor
    /// The end of a pipe that its standard output and error go to.
    let complaints: OwnedDescriptor
    var lines = MonitorLines()
    var watches: [EventLoop.Watch] = []
    var consoleWatch: EventLoop.Watch?
    var launchWatch: EventLoop.Watch?
    var complaintsWatch: EventLoop.Watch?
    /// The last statistics that it sent.
    var exits: ExitCounts?
    /// It was asked for statistics and has not answered.
    var owesStatistics = false
    /// Reports that are logged; a monitor that never stops talking fills no disk.
    var reportsLeft = 1000
    /// Typed for the guest, not yet taken by its monitor.
    var input: [UInt8] = []
    /// A user who types faster than a guest reads loses bytes, not the daemon's memory.
    static let inputLimit = 64 << 10

    init(
      process: consuming PidDescriptor, launch: consuming MessageSocket,
      console: consuming OwnedDescriptor, complaints: consuming OwnedDescriptor
    ) {
      identity = ProcessIdentity(pid: process.processNumber)
      self.process = process
      self.launch = launch
      self.console = console
      self.complaints = complaints
    }
  }

  init(plan: SystemLayout.DomainPlan, limits: DomainLifeCycle.Limits, control: ControlCaller) {
    self.plan = plan
    life = DomainLifeCycle(limits: limits, isExternal: plan.domain.monitor == .external)
    self.control = control
  }

  var name: String { plan.domain.name }

  /// The word for people and for `ps --json`.
  var stateName: String {
    switch life.state {
    case .created: "created"
    case .awaited: "awaited"
    case .booting: "booting"
    case .ready: "ready"
    case .stopping: "stopping"
    case .stopped: "stopped"
    case .failed: "failed"
    }
  }

  /// What its state means to the system.
  var phase: SystemLifeCycle.DomainPhase {
    switch life.state {
    case .awaited: .awaited
    case .booting where !life.isExternal: .pending
    case .ready where !life.isExternal: .ready
    case .booting, .ready: .awaited
    case .created, .stopping: .pending
    case .stopped: .gone
    case .failed(let reason): .failed(reason)
    }
  }

  /// The process that runs it now.
  var processNumber: Int32? {
    if let machine = external {
      return machine.ends.contains { $0.connection != nil } ? machine.process?.pid : nil
    }
    return monitor?.process.processNumber
  }
}
