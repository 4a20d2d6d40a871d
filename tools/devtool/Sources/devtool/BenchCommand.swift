// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure, and print a table or JSON.",
    discussion: """
      memory and boot are measured in the lab, with QEMU there as the peer; programs in the lab, with \
      load from the lab host; calls and copy on this machine's own /dev/kvm, between two micro guests.
      """)

  enum Name: String, CaseIterable, ExpressibleByArgument {
    /// Memory of each monitor beyond guest RAM, and QEMU's.
    case memory
    /// Time to a guest's boot, and QEMU's.
    case boot
    /// Null calls between two micro guests.
    case calls
    /// Reads of a file between two micro guests, against the host's own.
    case copy
    /// nginx and redis: all in one domain, and with a network domain.
    case programs
  }

  @Argument(help: "What to measure: \(Name.allCases.map(\.rawValue).joined(separator: ", ")).")
  var name: Name
  @Flag(help: "Print one JSON object instead of the table.") var json = false
  @Option(help: "copy: draw the curve, into FILE.svg and FILE.png.") var plot: String?
  @Flag(help: "Use what is in out/ as it is.") var noBuild = false

  func validate() throws {
    if plot != nil, name != .copy { throw ValidationError("--plot goes with copy alone") }
  }

  func run() throws {
    let workspace = try Workspace()
    if !noBuild { try BuildCommand.buildAll(workspace) }
    if name == .calls { return try measureNatively(workspace, ["calls"]) }
    if name == .copy { return try measureCopy(workspace) }
    if name == .programs { return try measurePrograms(workspace) }
    let lab = try Console.shared.step("start the lab host") {
      try Lab.start(workspace, name: "bench-\(getpid())", configure: Peer.share)
    }
    defer { try? lab.stop() }
    let system = VosSystem(lab)
    let peer = try Console.shared.step("make QEMU ready in the lab host") { try Peer(system) }
    switch name {
    case .memory: try measureMemory(system, peer)
    case .boot: try measureBoot(system, peer)
    case .calls, .copy, .programs: break
    }
  }

  /// vosbench does it all; its exit code is ours.
  private func measureNatively(_ workspace: Workspace, _ arguments: [String]) throws {
    let guests = workspace.guest.appending(path: "micro").path
    let program = workspace.bin.appending(path: "vosbench").path
    try mustRun([program] + arguments + ["--guests", guests] + (json ? ["--json"] : []))
  }

  private func measurePrograms(_ workspace: Workspace) throws {
    let bench = try ProgramsBench.run(workspace)
    if json { return print(bench.json) }
    for line in bench.table { print(line) }
  }

  private func measureCopy(_ workspace: Workspace) throws {
    guard let plot else { return try measureNatively(workspace, ["copy"]) }
    let endings = [".svg", ".png"]
    let base = endings.contains { plot.hasSuffix($0) } ? String(plot.dropLast(4)) : plot
    try measureNatively(workspace, ["copy", "--plot", base + ".svg"])
    try mustRun(["rsvg-convert", base + ".svg", "--output", base + ".png"])
  }

  private func mustRun(_ command: [String]) throws {
    let code = try Child(command).wait()
    if code != 0 { throw ExitCode(code) }
  }

  private func measureMemory(_ system: VosSystem, _ peer: Peer) throws {
    let domains = try Console.shared.step("three domains") {
      try system.up()
      let report = try system.report()
      let figures = try report.domains.map { domain in
        guard let process = domain.pid else { throw Failure("\(domain.name) has no process") }
        return (domain.name, try system.overheadKiB(process: process))
      }
      try system.down()
      return figures
    }
    let qemu = try Console.shared.step("QEMU q35") {
      _ = try peer.boot(memoryMiB: BenchCommand.memoryMiB)
      defer { try? peer.stop() }
      return try peer.overheadKiB()
    }
    if json {
      let fields = domains.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",")
      return print("{\"overhead_kib\":{\(fields)},\"qemu_kib\":\(qemu)}")
    }
    print("memory beyond guest RAM (resident)")
    for (name, kib) in domains + [("QEMU q35", qemu)] { row(name, "\(kib) KiB") }
  }

  private func measureBoot(_ system: VosSystem, _ peer: Peer) throws {
    let qemu = try Console.shared.step("QEMU q35: start to init") {
      defer { try? peer.stop() }
      return try peer.boot(memoryMiB: BenchCommand.memoryMiB)
    }
    let vos = try Console.shared.step("vosvmm: start to ready") { try bootAlone(system) }
    let ratio = vos / qemu
    if json {
      let format = "{\"vos_seconds\":%.2f,\"qemu_q35_seconds\":%.2f,\"ratio\":%.3f}"
      return print(String(format: format, vos, qemu, ratio))
    }
    print("one guest, the same kernel and initrd")
    row("vosvmm, start to ready", String(format: "%.2f s", vos))
    row("QEMU q35, start to init", String(format: "%.2f s", qemu))
    row("ratio", String(format: "%.3f", ratio))
  }

  /// Guest RAM of both sides, as vfio-configs/bench.yaml has it.
  private static let memoryMiB = 512

  /// Boots one domain and returns what `vosctl ps` says of it: start of its monitor to ready.
  private func bootAlone(_ system: VosSystem) throws -> Double {
    try system.mustVosctl(
      ["up", "/vos/vfio-configs/bench.yaml"], withinSeconds: VosSystem.upSeconds)
    let report = try system.report()
    try system.down()
    guard let seconds = report.domains.first?.bootSeconds else {
      throw Failure("vosctl ps does not say how long the domain took to boot")
    }
    return seconds
  }

  private func row(_ name: String, _ value: String) {
    print("  " + name.padding(toLength: 28, withPad: " ", startingAt: 0) + value)
  }
}
