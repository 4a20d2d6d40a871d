// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import LinuxSystem
import Testing

@testable import Supervisor

/// vosctl and vosd as a person uses them, over monitors that only pretend.
@Suite(
  .serialized,
  .enabled(if: Programs.areBuilt, "vosctl, vosd and vosfakevmm are not beside the tests"))
struct ProgramTests {
  @Test func aSystemComesUpAndGoesDown() throws {
    let programs = try Programs()
    for _ in 0..<2 {
      let up = try programs.up()
      #expect(up.code == 0, "\(up)")
      #expect(up.output.contains("system toy is up"))
      let status = try programs.status()
      #expect(status.state == "running")
      #expect(status.domains.map(\.name) == ["primary", "other"])
      #expect(status.domains.allSatisfy { $0.state == "ready" && $0.generation == 1 })
      #expect(status.domains.allSatisfy { $0.exits?.exits == 42 && $0.exits?.io == 7 })
      let processes = status.domains.compactMap(\.pid) + [status.pid]
      #expect(processes.count == 3)
      let down = try programs.vosctl("down")
      #expect(down.code == 0, "\(down)")
      try programs.expectClean(processes)
    }
  }

  @Test func logsAndConsoleAndTree() throws {
    let programs = try Programs()
    #expect(try programs.up().code == 0)
    try programs.wait("the console") {
      try programs.vosctl("logs", "other").output.contains("console of other")
    }
    let console = try programs.vosctl("console", "other", input: "echoed\u{1d}")
    #expect(console.code == 0)
    try programs.wait("the echo") { try programs.vosctl("logs", "other").output.contains("echoed") }
    #expect(try programs.vosctl("logs", "nobody").code == 2)
    let tree = try programs.vosctl("dtb", "other")
    #expect(tree.code == 0 && tree.output.contains("vos,domain-1"))
    let built = try programs.vosctl("dtb", "good.yaml", "other")
    #expect(built.output == tree.output)
    #expect(try programs.vosctl("dtb", "good.yaml", "nobody").code == 2)
    #expect(try programs.vosctl("down").code == 0)
  }

  @Test func programsRunInADomain() throws {
    let programs = try Programs()
    #expect(try programs.up().code == 0)
    let run = try programs.vosctl("exec", "other", "--", "anything")
    #expect(run.code == 5 && run.output == "hello from other\n", "\(run)")
    let again = try programs.vosctl("exec", "-i", "other", "--", "anything", input: "typed")
    #expect(again.code == 5 && again.output == "hello from other\n", "\(again)")
    let after = try programs.vosctl("exec", "other", "-i", "--", "anything", input: "typed")
    #expect(after.code == 5 && after.output == "hello from other\n", "\(after)")
    let missing = try programs.vosctl("exec", "other", "--", "nothing")
    #expect(missing.code == 127 && missing.errors.contains("no program"), "\(missing)")
    let liar = try programs.vosctl("exec", "other", "--", "liar")
    #expect(liar.code == 5 && liar.output.isEmpty, "an agent that gives nothing ends: \(liar)")
    #expect(try programs.vosctl("exec", "nobody", "--", "x").code == 2)
    #expect(try programs.vosctl("exec", "other").code == 2)
    #expect(try programs.vosctl("down").code == 0)
  }

  @Test(arguments: [
    ("panic", "its kernel panicked"), ("exit", "its monitor ended with code 4"),
  ])
  func aDomainThatFailsUndoesUp(_ behaviour: String, _ reason: String) throws {
    let programs = try Programs()
    try programs.manifest("bad", other: behaviour)
    let up = try programs.up("bad")
    #expect(up.code == 1)
    #expect(up.errors.contains("domain \"other\" failed: \(reason)"), "\(up)")
    try programs.expectClean()
  }

  @Test func aSilentDomainTimesOut() throws {
    let programs = try Programs()
    try programs.manifest("silent", other: "silent")
    let up = try programs.vosctl(
      "up", "--boot-timeout", "1", "--kvm-device", "/dev/null", "--log-file", "kept.log",
      "silent.yaml")
    let kept = try String(contentsOfFile: programs.path("kept.log"), encoding: .utf8)
    #expect(kept.contains("domain other | console of other"))
    #expect(up.code == 1 && up.errors.contains("did not announce itself within 1 s"), "\(up)")
    #expect(up.errors.contains("console of other"))
    try programs.expectClean()
  }

  @Test func aChattyMonitorDoesNotFillTheLog() throws {
    let programs = try Programs()
    try programs.manifest("chatty", other: "chatty")
    let up = try programs.up("chatty")
    #expect(up.code == 0, "\(up)")
    let log = try Data(contentsOf: URL(fileURLWithPath: programs.runtime + "/toy/vosd.log"))
    let text = String(decoding: log, as: UTF8.self)
    #expect(text.contains("monitor of other: chatter ?[2J of other"))
    // Of what it wrote while it came up, a second's worth or a few.
    #expect(log.count < 1 << 20, "\(log.count) bytes")
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }

  @Test func interruptingUpUndoesIt() throws {
    let programs = try Programs()
    try programs.manifest("silent", other: "silent")
    let started = try programs.start(
      ["up", "--kvm-device", "/dev/null", "silent.yaml"])
    try programs.wait("the first domain") {
      FileManager.default.fileExists(atPath: programs.runtime + "/toy/control")
    }
    started.process.interrupt()
    let up = programs.finish(started)
    #expect(up.code == 130, "\(up)")
    try programs.expectClean()
  }

  @Test func killingUpUndoesIt() throws {
    let programs = try Programs()
    try programs.manifest("silent", other: "silent")
    let started = try programs.start(
      ["up", "--kvm-device", "/dev/null", "silent.yaml"])
    try programs.wait("the first domain") {
      FileManager.default.fileExists(atPath: programs.runtime + "/toy/control")
    }
    kill(started.process.processIdentifier, SIGKILL)
    _ = programs.finish(started)
    try programs.wait("vosd to undo everything") {
      !FileManager.default.fileExists(atPath: programs.runtime + "/toy")
    }
  }

  @Test func aSecondUpIsRefused() throws {
    let programs = try Programs()
    #expect(try programs.up().code == 0)
    let second = try programs.up()
    #expect(second.code == 1 && second.errors.contains("up already"), "\(second)")
    #expect(try programs.status().state == "running")
    #expect(try programs.vosctl("down").code == 0)
  }

  @Test func aKilledMonitorIsNoticed() throws {
    let programs = try Programs()
    #expect(try programs.up().code == 0)
    let victim = try #require(try programs.status().domains.last?.pid)
    kill(victim, SIGKILL)
    try programs.wait("the failure") { try programs.status().state == "degraded" }
    let domain = try #require(try programs.status().domains.last)
    #expect(domain.state == "failed" && domain.reason == "its monitor was killed by signal 9")
    #expect(try programs.vosctl("exec", "other", "--", "x").code == 3)
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }

  @Test func aKilledDaemonIsCleanedUpAfter() throws {
    let programs = try Programs()
    #expect(try programs.up().code == 0)
    let status = try programs.status()
    kill(status.pid, SIGKILL)
    try programs.wait("its end") { ProcessIdentity(pid: status.pid) == nil }
    let ps = try programs.vosctl("ps")
    #expect(ps.code == 3 && ps.errors.contains("has died"), "\(ps)")
    // Its monitors go on without it.
    #expect(status.domains.compactMap(\.pid).allSatisfy { ProcessIdentity(pid: $0) != nil })
    let down = try programs.vosctl("down")
    #expect(down.code == 0 && down.output.contains("ended monitor of other"), "\(down)")
    try programs.expectClean(status.domains.compactMap(\.pid))
  }

  @Test func theNextUpRepairs() throws {
    let programs = try Programs()
    #expect(try programs.up().code == 0)
    let status = try programs.status()
    for pid in [status.pid] + status.domains.compactMap(\.pid).prefix(1) { kill(pid, SIGKILL) }
    let up = try programs.up()
    #expect(up.code == 0 && up.output.contains("repaired"), "\(up)")
    #expect(try programs.status().domains.allSatisfy { $0.state == "ready" })
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean(status.domains.compactMap(\.pid))
  }

  @Test func aDeafDomainIsStopped() throws {
    let programs = try Programs()
    try programs.manifest("deaf", other: "deaf")
    #expect(try programs.up("deaf").code == 0)
    let pid = try #require(try programs.status().domains.last?.pid)
    // The grace of an agent that never answers is long; force does not wait for it.
    let down = try programs.vosctl("down", "--force")
    #expect(down.code == 0, "\(down)")
    try programs.expectClean([pid])
  }

  @Test func nothingRunsWithoutKVM() throws {
    let programs = try Programs()
    let up = try programs.vosctl("up", "--kvm-device", "/dev/no-kvm", "good.yaml")
    #expect(up.code == 1 && up.errors.contains("there is no /dev/no-kvm"), "\(up)")
    try programs.expectClean()
  }

  @Test func aMissingDeviceIsRefusedByName() throws {
    let programs = try Programs()
    try programs.scratch.write(
      "dev.yaml",
      """
      vos: 1
      system: toy
      domains:
        primary: {kernel: kernel, memory: 64MiB, devices: [ffff:ff:1f.7]}
      """)
    let up = try programs.up("dev")
    #expect(up.code == 1 && up.errors.contains("ffff:ff:1f.7"), "\(up)")
    try programs.expectClean()
  }

  @Test func moreMemoryThanThereIsIsRefused() throws {
    let programs = try Programs()
    let domains = (0..<16).map { "  d\($0): {kernel: kernel, memory: 60GiB}\n" }.joined()
    try programs.scratch.write(
      "huge.yaml", "vos: 1\nsystem: toy\nprimary: d0\ndomains:\n" + domains)
    let up = try programs.up("huge")
    #expect(up.code == 1 && up.errors.contains("960GiB of memory"), "\(up)")
    try programs.expectClean()
  }

  @Test func badManifestsStartNothing() throws {
    let programs = try Programs()
    try programs.scratch.write("bad.yaml", "vos: 1\nsystem: toy\ndomain: {}\n")
    for command in ["up", "validate"] {
      let outcome = try programs.vosctl(command, "bad.yaml")
      #expect(outcome.code == 2)
      #expect(outcome.errors.contains("bad.yaml:3:1: unknown key \"domain\""), "\(outcome)")
      #expect(!outcome.errors.contains("Fatal"))
    }
    #expect(try programs.vosctl("validate", "good.yaml").code == 0)
    #expect(try programs.vosctl("validate", "none.yaml").code == 2)
    #expect(try programs.vosctl("ps").code == 3)
    #expect(try programs.vosctl("down").code == 3)
    #expect(try programs.vosctl("frobnicate").code == 2)
    #expect(try programs.vosctl("--help").code == 0)
    try programs.expectClean()
  }

  @Test func aStaleSocketIsNoObstacle() throws {
    let programs = try Programs()
    try FileManager.default.createDirectory(
      atPath: programs.runtime + "/toy", withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
    _ = FileManager.default.createFile(atPath: programs.runtime + "/toy/control", contents: nil)
    #expect(try programs.up().code == 0)
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }

  @Test func aDirectoryWithoutJournalIsTakenDown() throws {
    let programs = try Programs()
    try FileManager.default.createDirectory(
      atPath: programs.runtime + "/toy", withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
    let ps = try programs.vosctl("ps")
    #expect(ps.code == 3 && ps.errors.contains("has died and left things behind"), "\(ps)")
    let down = try programs.vosctl("down")
    #expect(down.code == 0 && down.output.contains("system toy is down"), "\(down)")
    try programs.expectClean()
    #expect(try programs.vosctl("down").code == 3)
  }

  @Test func hostileClientsDoNotDisturb() throws {
    let programs = try Programs()
    #expect(try programs.up().code == 0)
    let path = RuntimeDirectory.socketPath(in: programs.runtime + "/toy")
    let garbage: [[UInt8]] = [
      [UInt8](repeating: 0xff, count: 64), Frame(.message, Array("{}".utf8)).bytes,
      Frame(.input, []).bytes, Array("GET / HTTP/1.0\r\n\r\n".utf8), [],
      Wire.frame(
        Request(.exec(Execution(domain: "other", arguments: [], environment: [], input: true)))
      ).bytes,
    ]
    for bytes in garbage {
      let socket = try UnixSocket.connect(path)
      _ = socket.sendAvailable(bytes[...])
    }
    // More connections than it takes, none of which says anything.
    let idle = DescriptorBag()
    for _ in 0..<40 { _ = idle.put(try UnixSocket.connect(path)) }
    try programs.wait("the idle ones to be dropped") { try programs.vosctl("ps").code == 0 }
    #expect(try programs.status().state == "running")
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }
}
