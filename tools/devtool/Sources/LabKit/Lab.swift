// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// A running lab host.
public final class Lab {
  public let machine: LabMachine
  public let agent: AgentClient
  private let workspace: Workspace
  private let process: pid_t
  private let child: Child?
  /// The child's exit code, once it has been waited for.
  private var exit: Int32?
  /// How long the lab host may take to its agent's first answer, on a busy machine.
  private static let bootSeconds = 300.0
  private static let lastLines = 15

  private init(
    _ workspace: Workspace, _ machine: LabMachine, _ agent: AgentClient, _ process: pid_t,
    _ child: Child?
  ) {
    (self.workspace, self.machine, self.agent) = (workspace, machine, agent)
    (self.process, self.child) = (process, child)
  }

  /// Starts a lab host in out/run/NAME and waits for its agent.
  ///
  /// - Parameters:
  ///   - detached: it outlives this program, until `lab down`.
  ///   - configure: changes the machine, and may put disks of its own into its folder.
  public static func start(
    _ workspace: Workspace, name: String, detached: Bool = false,
    configure: (inout LabMachine) throws -> Void = { _ in }
  ) throws -> Lab {
    let folder = workspace.run.appending(path: name)
    if let process = runningProcess(folder) {
      throw Failure("lab \(name) is up already (process \(process)): end it with lab down")
    }
    try remove(folder)
    try workspace.makeFolder(folder)
    var machine = LabMachine(workspace, folder: folder)
    do {
      try configure(&machine)
      try fill(machine, workspace)
    } catch {
      try? remove(folder)
      throw error
    }
    let child = try launch(machine, detached: detached)
    do {
      try Data("\(child.process)\n".utf8).write(to: folder.appending(path: "pid"))
      let agent = try AgentClient(machine.agentSocket, withinSeconds: bootSeconds) {
        !child.hasEnded
      }
      return Lab(workspace, machine, agent, child.process, child)
    } catch {
      child.end()
      let lines = lastLines(of: machine)
      try? keepLogs(machine, workspace)
      try? remove(folder)
      throw Failure("the lab host did not come up: \(error)\n\(lines)", log: workspace.logs)
    }
  }

  /// Puts the file to be served, and the disks that are not there yet, into the machine's folder.
  private static func fill(_ machine: LabMachine, _ workspace: Workspace) throws {
    try writeRandomFile(machine.servedFile, bytes: DiskBuild.dataBytes)
    for disk in machine.disks where !exists(disk) {
      try LabKit.run(
        ["cp", "--sparse=always", DiskBuild(workspace).image.path, disk.path],
        log: machine.folder.appending(path: "cp.log"))
    }
  }

  private static func launch(_ machine: LabMachine, detached: Bool) throws -> Child {
    let log = machine.folder.appending(path: "qemu.log")
    let descriptor = try openForWriting(log)
    defer { close(descriptor) }
    // Not even a kill -9 of this program shall leave a machine running.
    let watched = detached ? [] : ["setpriv", "--pdeathsig", "KILL"]
    return try Child(
      watched + machine.command(), directory: machine.folder, output: .descriptor(descriptor),
      errors: .descriptor(descriptor), detached: detached)
  }

  /// Connects to a lab that `lab up` left running.
  public static func attach(_ workspace: Workspace, name: String) throws -> Lab {
    let folder = workspace.run.appending(path: name)
    guard let process = runningProcess(folder) else {
      throw Failure("no lab \(name) is up: start it with tools/lab up")
    }
    let machine = LabMachine(workspace, folder: folder)
    let agent = try AgentClient(machine.agentSocket, withinSeconds: 10)
    return Lab(workspace, machine, agent, process, nil)
  }

  /// The machine's process if it runs: its number is in the folder, and it is still that QEMU.
  public static func runningProcess(_ folder: URL) -> pid_t? {
    let text = try? String(contentsOf: folder.appending(path: "pid"), encoding: .utf8)
    guard let process = text.flatMap({ pid_t($0.trimmingCharacters(in: .whitespacesAndNewlines)) })
    else { return nil }
    let working = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(process)/cwd")
    return working == folder.resolvingSymlinksInPath().path ? process : nil
  }

  /// Powers the lab host off and waits for the end of its process; keeps the console's log.
  public func stop() throws {
    _ = try? agent.run(["poweroff", "-f"], withinSeconds: 10)
    let deadline = Date().addingTimeInterval(10)
    while isRunning, Date() < deadline { usleep(20_000) }
    if isRunning {
      if let child { child.end() } else { kill(process, SIGKILL) }
    }
    try Lab.keepLogs(machine, workspace)
    try remove(machine.folder)
  }

  /// Runs one command of QEMU's human monitor, and returns what it printed.
  func monitor(_ line: String, processor: Int = 0) throws -> String {
    try QEMUMonitor(machine.monitorSocket).run(line, processor: processor)
  }

  /// The emulator's threads, a line each: name, state, place in the kernel, processor time so far.
  func emulatorThreads() -> String {
    let tasks = "/proc/\(process)/task"
    let numbers = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
    return numbers.sorted().map { number in
      let stat = (try? String(contentsOfFile: "\(tasks)/\(number)/stat", encoding: .utf8)) ?? ""
      let place = (try? String(contentsOfFile: "\(tasks)/\(number)/wchan", encoding: .utf8)) ?? "?"
      // proc(5): the name in brackets may hold blanks; behind it, state is field 3, utime field 14.
      let name = stat.drop { $0 != "(" }.prefix { $0 != ")" }.dropFirst()
      let fields = stat.split(separator: ")").last?.split(separator: " ") ?? []
      guard fields.count > 12 else { return "thread \(number)" }
      return "thread \(number) \(name) \(fields[0]) \(place) \(fields[11]) ticks"
    }.joined(separator: "\n")
  }

  private var isRunning: Bool {
    if child != nil { return exitCode == nil }
    return kill(process, 0) == 0
  }

  private var exitCode: Int32? {
    if exit == nil { exit = child?.poll() }
    return exit
  }

  /// What is wrong with the emulator itself, if anything: it crashed, or its monitor is silent.
  /// Nothing in the machine may do that to it.
  ///
  /// A process that dies closes its sockets before it can be waited for, hence the pause.
  public func emulatorFault(withinSeconds seconds: Double = 3) -> String? {
    let deadline = Date().addingTimeInterval(seconds)
    while isRunning, Date() < deadline { usleep(20_000) }
    if let code = exitCode {
      return code > 128 && code != 128 + SIGKILL ? "QEMU crashed with signal \(code - 128)" : nil
    }
    return (try? monitor("info status")) == nil ? "QEMU does not answer its monitor" : nil
  }

  private static func keepLogs(_ machine: LabMachine, _ workspace: Workspace) throws {
    let name = machine.folder.lastPathComponent
    for log in ["console.log", "qemu.log"] {
      let source = machine.folder.appending(path: log)
      if exists(source) {
        try install(
          source, at: try workspace.makeFolder(workspace.logs).appending(path: "lab-\(name)-\(log)")
        )
      }
    }
  }

  /// What the lab host's kernel and the emulator have printed so far.
  func consoleText() -> String {
    ["console.log", "qemu.log"].map { Lab.text(of: $0, machine) }.joined(separator: "\n")
  }

  private static func lastLines(of machine: LabMachine) -> String {
    ["console.log", "qemu.log"].flatMap { log in
      text(of: log, machine).split(separator: "\n").suffix(lastLines)
    }.joined(separator: "\n")
  }

  private static func text(of log: String, _ machine: LabMachine) -> String {
    let file = machine.folder.appending(path: log)
    // A console may hold bytes that are no text.
    return (try? Data(contentsOf: file)).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }
}
