// SPDX-License-Identifier: Apache-2.0
import Channel
import Glibc
public import LinuxSystem
public import Logging
public import Manifest

/// What a daemon is started with.
public struct DaemonOptions: Sendable {
  public var manifest: Manifest
  /// The directory above the system's own.
  public var runtimeRoot: String
  /// The path of vosvmm.
  public var monitor: String
  public var kvmDevice: String
  public static let standardKVMDevice = "/dev/kvm"
  public var limits: DomainLifeCycle.Limits

  public init(
    manifest: Manifest, runtimeRoot: String, monitor: String, kvmDevice: String = standardKVMDevice,
    limits: DomainLifeCycle.Limits = .init()
  ) {
    self.manifest = manifest
    self.runtimeRoot = runtimeRoot
    self.monitor = monitor
    self.kvmDevice = kvmDevice
    self.limits = limits
  }
}

/// One system's supervisor: brings it up, watches it, answers vosctl, takes it down.
///
/// Everything happens on the thread that calls `run`; the daemon is a set of state machines
/// (`SystemLifeCycle`, `DomainLifeCycle`) and the code that does what they say.
public final class Daemon {
  let options: DaemonOptions
  let layout: SystemLayout
  let log: Logger
  let loop: EventLoop
  let devices: any DeviceHost
  let journal: Journal
  let directory: String
  let startedAt = EventLoop.now()

  var system: SystemLifeCycle
  var record: JournalRecord
  var channels: [ChannelResources] = []
  var domains: [DomainRuntime] = []
  var clients: [ObjectIdentifier: ClientConnection] = [:]
  /// Steps of preparation that are still to be taken, one a turn.
  var steps: [Step] = []
  /// Devices taken, in order.
  var taken: [JournalRecord.Device] = []
  var outcome: SystemLifeCycle.Outcome?
  /// What went wrong while giving back, which must not be forgotten.
  var remains: [String] = []
  /// The last words of the domain whose failure ended the system.
  var failureConsole: [String] = []
  var listener: OwnedDescriptor?
  /// Where standard error goes, if that is a file of ours; kept within its bound.
  public var logFile: LogFile?
  private let signals: EventDescriptor

  /// How often a domain that boots, or a call that waits, is looked at without any doorbell.
  static let pollInterval: Seconds = 0.1

  /// - Parameter directory: the system's runtime directory, locked by the caller for as long as
  ///   the daemon runs.
  public convenience init(
    _ options: DaemonOptions, directory: String, log: Logger, signals: consuming EventDescriptor
  ) throws(Failure) {
    try self.init(
      options, directory: directory, log: log, signals: signals,
      devices: HostDeviceKeeper())
  }

  init(
    _ options: DaemonOptions, directory: String, log: Logger,
    signals: consuming EventDescriptor, devices: any DeviceHost
  ) throws(Failure) {
    self.options = options
    self.directory = directory
    self.log = log
    self.devices = devices
    self.signals = signals
    journal = Journal(directory: directory)
    let manifest = options.manifest
    system = SystemLifeCycle(domains: manifest.domains.map(\.name), primary: manifest.primary)
    record = JournalRecord(system: manifest.system, manifest: manifest.path, daemon: .own)
    do throws(GeometryError) {
      layout = try SystemLayout(manifest)
    } catch {
      throw Failure(
        .failed,
        "the manifest's channels cannot be laid out (\(error)); give them fewer slices or smaller "
          + "arenas")
    }
    do throws(SystemCallError) {
      loop = try EventLoop()
    } catch {
      throw Failure(.failed, error.sentence)
    }
  }

  /// Whether every device went back, so that the journal is no longer needed.
  public var leftNothingBehind: Bool { remains.isEmpty }

  /// Runs until the system has ended. Call `sayGoodbye` once all traces are removed.
  ///
  /// - Parameter launcher: the connection that waits for `up`; its going away before the system is
  ///   up undoes everything.
  /// - Returns: whether the system ended as asked, with nothing left behind.
  public func run(launcher: LauncherConnection?) -> Bool {
    if let socket = launcher?.take() { adopt(socket) }
    begin()
    while outcome == nil {
      do throws(SystemCallError) {
        try loop.turn(timeout: timeout())
      } catch {
        log.error("\(error)")
        perform(system.handle(.failed(error.sentence)))
      }
      takeStep()
      tick()
    }
    listener = nil
    return outcome == .asked && remains.isEmpty
  }

  private func begin() {
    do throws(SystemCallError) {
      let socket = try UnixSocket.listen(RuntimeDirectory.socketPath(in: directory))
      let number = socket.rawValue
      listener = consume socket
      _ = try loop.watch(number) { [unowned self] _ in acceptClients(number) }
      _ = try loop.watch(signals.descriptor.rawValue) { [unowned self] _ in
        _ = signals.take()
        log.notice("told to end by a signal")
        perform(system.handle(.stop))
      }
      try journal(record)
    } catch {
      perform(system.handle(.failed(error.sentence)))
    }
    steps = [.checkKVM, .checkMemory, .examineDevices, .makeChannels]
  }

  /// Writes the journal; a write that fails is an error of the step that needs it.
  func journal(_ record: JournalRecord) throws(SystemCallError) {
    do throws(JournalError) {
      try journal.write(record)
    } catch {
      if case .write(let error) = error { throw error }
      throw SystemCallError("write the journal: \(error)", errno: .ioError)
    }
  }

  /// Seconds until something is due without any descriptor's event.
  private func timeout() -> Seconds {
    if !steps.isEmpty { return 0 }
    let now = EventLoop.now()
    var due: [Seconds] = [now + 3600]
    for domain in domains {
      if let deadline = domain.life.deadline { due.append(deadline) }
      if case .booting = domain.life.state { due.append(now + Self.pollInterval) }
      if domain.control.isWaiting { due.append(now + Self.pollInterval) }
    }
    due += channels.compactMap { $0.life.nextLook(at: now) }
    for client in clients.values {
      switch client.role {
      case .new: due.append(client.since + ClientConnection.requestTimeout)
      case .status(let until): if !client.isEnding { due.append(until) }
      case .exec(let session): if let time = session.deadline(now: now) { due.append(time) }
      case .waiting, .log, .console: break
      }
    }
    return max(0, (due.min() ?? now) - now)
  }

  private func takeStep() {
    guard system.state == .preparing, !steps.isEmpty else { return }
    let step = steps.removeFirst()
    do throws(DeviceProblem) {
      try take(step)
    } catch {
      return perform(system.handle(.failed(error.description)))
    }
    if steps.isEmpty { perform(system.handle(.prepared)) }
  }

  /// What is done each turn, whatever woke us.
  private func tick() {
    let now = EventLoop.now()
    for channel in channels { look(at: channel, now) }
    for domain in domains {
      lookAtChannel(of: domain)
      domain.control.poll()
      perform(domain.life.handle(.tick, at: now), on: domain)
    }
    for client in Array(clients.values) { serve(client, now: now) }
    logFile?.trim()
  }

  /// Does what the system's state machine says.
  func perform(_ actions: [SystemLifeCycle.Action]) {
    for action in actions {
      switch action {
      case .startAll: startAll()
      case .announceUp:
        log.notice("system \(layout.manifest.system) is up")
        tellAll("up", nil)
        for client in clients.values where client.isLauncher { client.finish(.done(code: 0)) }
      case .stop(let names):
        for domain in domains where names.contains(domain.name) {
          perform(domain.life.handle(.stop, at: EventLoop.now()), on: domain)
        }
      case .release:
        steps = []
        release()
        perform(system.handle(.released))
      case .exit(let outcome): self.outcome = outcome
      }
    }
  }

  private func startAll() {
    for domain in domains {
      perform(domain.life.handle(.start, at: EventLoop.now()), on: domain)
      if system.state != .starting { return }
    }
  }

  /// Gives every device back, last taken first.
  private func release() {
    for domain in domains { domain.monitor = nil }
    channels = []
    for device in taken.reversed() {
      do throws(DeviceProblem) {
        try devices.giveBack(device)
        tellAll("device", "\(device.address) given back to \(device.originalDriver ?? "no driver")")
        record.devices.removeAll { $0.address == device.address }
        try? journal(record)
      } catch {
        log.error("\(error)")
        remains.append(error.description)
      }
    }
    taken = []
  }

  /// Tells those who wait how it ended. Last of all: whoever hears it may start the system again.
  public func sayGoodbye() {
    for client in clients.values {
      if case .waiting = client.role {
        client.finish(lastWord(to: client))
      } else {
        client.breakOff()
      }
    }
    flushAll(until: EventLoop.now() + 2)
  }

  private func lastWord(to client: ClientConnection) -> Reply {
    if !remains.isEmpty {
      return .failure(
        Failure(.failed, remains.joined(separator: "; ") + "; run \"vosctl down\" to try again"))
    }
    switch outcome {
    case .failed(let text): return .failure(Failure(.failed, text, console: failureConsole))
    case .cancelled: return .failure(Failure(.cancelled, "cancelled; everything was undone"))
    case .asked, nil:
      return client.isLauncher
        ? .failure(
          Failure(
            .cancelled,
            "the system was taken down while it came up; start it again with \"vosctl up\""))
        : .done(code: 0)
    }
  }

  private func flushAll(until deadline: Seconds) {
    while EventLoop.now() < deadline {
      clients.values.forEach { $0.flush() }
      if clients.values.allSatisfy(\.isFinished) { return }
      usleep(10_000)
    }
  }
}
