// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

struct TestCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "test",
    abstract: "Run the whole test suite: unit, native on /dev/kvm, and lab.",
    discussion: """
      Ends with a line "N passed, N failed". What cannot run on this machine is skipped and named; \
      REQUIRE_KVM=1 and REQUIRE_LAB=1 make that a failure.
      """)

  enum Tier: String, CaseIterable, ExpressibleByArgument {
    case packages
    case lab
  }

  @Option(help: "Only this tier: \(Tier.allCases.map(\.rawValue).joined(separator: " or ")).")
  var tier: Tier?
  @Flag(help: "Use what is in out/ as it is.") var noBuild = false
  @Option(help: "Only lab checks whose name contains this.") var check: String?

  func run() throws {
    let workspace = try Workspace()
    var tally = Tally()
    if tier != .lab { tally.add(try PackageTests(workspace, build: !noBuild).run()) }
    if tier != .packages { tally.add(try LabTests(workspace, only: check, build: !noBuild).run()) }
    Console.shared.headline("result")
    for name in tally.skipped { Console.shared.note("skip", name) }
    for note in tally.notes { Console.shared.note("note", note) }
    for name in tally.failed { Console.shared.note("FAILED", name) }
    print("\(tally.passed) passed, \(tally.failed.count) failed, \(tally.skipped.count) skipped")
    if !tally.failed.isEmpty { throw ExitCode.failure }
  }
}

/// `swift test` of every package of the checkout.
struct PackageTests {
  let workspace: Workspace
  let build: Bool

  /// Packages with tests, and the scratch folder of each.
  private static let packages = [
    (path: ".", name: "vos"), (path: "tools/devtool", name: "devtool"),
    (path: "guest-kernels/linux/vosguest", name: "vosguest"),
    (path: "guest-kernels/micro", name: "micro guests"),
  ]

  init(_ workspace: Workspace, build: Bool) {
    self.workspace = workspace
    self.build = build
  }

  func run() throws -> Tally {
    var tally = Tally()
    Console.shared.headline("unit and native tests")
    for (path, name) in PackageTests.packages
    where exists(workspace.path(path + "/Package.swift")) && exists(workspace.path(path + "/Tests"))
    {
      tally.add(try test(path, name))
      if Interrupts.raised { throw Failure("interrupted") }
    }
    tally.add(try testLibvos())
    tally.add(try testModule())
    tally.add(try Fuzzing(workspace).test())
    return tally
  }

  /// libvos against real programs; the script makes /dev/vos, so only root can run it.
  private func testLibvos() throws -> Tally {
    guard getuid() == 0 else {
      var tally = Tally()
      tally.skipped.append("libvos: its tests make /dev/vos, which only root can do")
      return tally
    }
    var tally = Tally()
    // One of the static programs is Go's.
    tally.failed += try failures("libvos") { _ = try ProgramsBuild(workspace).goCompiler() }
    tally.add(try testScript("libvos", "test libvos with real programs"))
    tally.add(try testScript("libvos-mn", "test user-level threads with real programs"))
    return tally
  }

  /// vos.ko and the service daemon in two guests under QEMU without KVM: what they need is built.
  private func testModule() throws -> Tally {
    var tally = Tally()
    guard tally.hasEmulator(for: "vos.ko") else { return tally }
    tally.failed += try failures("vos.ko") {
      for target in build ? [BuildTarget.kernel, .guest] : [] { try target.build(in: workspace) }
    }
    guard tally.failed.isEmpty else { return tally }
    return try testScript("module", "test vos.ko, local and remote sockets")
  }

  /// Runs guest-kernels/linux/NAME/tests/run in a folder of its own.
  private func testScript(_ name: String, _ title: String) throws -> Tally {
    let script = workspace.path("guest-kernels/linux/\(name)/tests/run")
    guard exists(script) else { return Tally() }
    let work = workspace.run.appending(path: "\(name)-\(getpid())")
    try workspace.makeFolder(work)
    defer { try? remove(work) }
    let log = try workspace.log("test-\(name)")
    var code: Int32 = 0
    do {
      try Console.shared.step(title) {
        try LabKit.run([script.path, work.path], log: log)
      }
    } catch {
      guard !Interrupts.raised else { throw error }
      Console.shared.say("\(error)")
      code = 1
    }
    let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
    let tally = Tally(scriptOutput: text, suite: name, code: code)
    Console.shared.say(
      "       \(name): \(tally.passed) passed, \(tally.failed.count) failed, "
        + "\(tally.skipped.count) skipped (\(log.path))")
    return tally
  }

  private func test(_ path: String, _ name: String) throws -> Tally {
    let folder = workspace.path(path)
    let log = try workspace.log("test-\(name.replacing(" ", with: "-"))")
    do {
      try Console.shared.step("test \(name)") {
        try LabKit.run(
          ["swift", "test", "--package-path", folder.path, "--disable-xctest"], log: log)
      }
    } catch {
      guard !Interrupts.raised else { throw error }
      Console.shared.say("\(error)")
    }
    let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
    let tally = Tally(swiftTestOutput: text, suite: name)
    Console.shared.say(
      "       \(name): \(tally.passed) passed, \(tally.failed.count) failed, "
        + "\(tally.skipped.count) skipped (\(log.path))")
    return tally
  }
}

/// The checks that run in the lab, all in one boot of the lab host.
struct LabTests {
  let workspace: Workspace
  let only: String?

  let build: Bool

  init(_ workspace: Workspace, only: String?, build: Bool) {
    self.workspace = workspace
    self.only = only
    self.build = build
  }

  func run() throws -> Tally {
    var tally = Tally()
    Console.shared.headline("lab tests")
    guard tally.hasEmulator(for: "lab: all checks") else { return tally }
    var checks = Tally()
    tally.failed += try failures("lab") {
      if build { try BuildCommand.buildAll(workspace) }
      checks = try runChecks()
    }
    tally.add(checks)
    return tally
  }

  private func runChecks() throws -> Tally {
    let chosen = LabCheck.all.filter { check in only.map(check.name.contains) ?? true }
    let series = CheckSeries<VosSystem>("lab", workspace) {
      let lab = try Console.shared.step("start the lab host") {
        try Lab.start(workspace, name: "test-\(getpid())", configure: Peer.share)
      }
      return VosSystem(lab)
    }
    return try series.run(chosen.map { check in .init(check.name, check.body) })
  }
}

/// What kept `body` from being done, as a failed test of `suite`; nothing if it was done. Throws only
/// on an interrupt.
private func failures(_ suite: String, _ body: () throws -> Void) throws -> [String] {
  do {
    try body()
    return []
  } catch {
    guard !Interrupts.raised else { throw error }
    Console.shared.say("\(error)")
    return ["\(suite): \(error)"]
  }
}

extension Tally {
  /// Whether there is an emulator; if not, `what` is skipped, or failed where it must be run.
  fileprivate mutating func hasEmulator(for what: String) -> Bool {
    guard findProgram("qemu-system-x86_64") == nil else { return true }
    let text = "\(what): there is no qemu-system-x86_64 on this machine"
    if ProcessInfo.processInfo.environment["REQUIRE_LAB"] == "1" {
      failed.append(text + ", and REQUIRE_LAB=1")
    } else {
      skipped.append(text)
    }
    return false
  }
}
