// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import Supervisor

/// A directory that goes with its test.
final class Scratch {
  let path = "/tmp/vos-test-\(UUID().uuidString.prefix(8))"

  init() throws {
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ text: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
  }
}

/// A `sleep` that is ended with its test.
final class Sleeper {
  let process = Process()

  init() throws {
    process.executableURL = URL(fileURLWithPath: "/bin/sleep")
    process.arguments = ["600"]
    try process.run()
  }

  deinit { if process.isRunning { process.terminate() } }

  var pid: Int32 { process.processIdentifier }
}

/// Devices as a test wants them; notes what was done.
final class FakeDevices: DeviceHost {
  var events: [String] = []
  var failing: Set<String> = []
  /// Looked at before each change.
  var beforeTake: (JournalRecord.Device) -> Void = { _ in }

  func checkSeparation(_ owners: [String: String]) throws(DeviceProblem) {
    if failing.contains("separate") { throw DeviceProblem("one group, two domains") }
  }

  func examine(
    _ address: String, for domain: String, together: Set<String>
  ) throws(DeviceProblem) -> JournalRecord.Device {
    if failing.contains("examine " + address) { throw DeviceProblem("\(address) is critical") }
    return JournalRecord.Device(
      address: address, domain: domain, originalDriver: "e1000e", originalOverride: nil)
  }

  func take(_ device: JournalRecord.Device) throws(DeviceProblem) {
    beforeTake(device)
    events.append("take " + device.address)
    if failing.contains("take " + device.address) {
      throw DeviceProblem("\(device.address) is stuck")
    }
  }

  func giveBack(_ device: JournalRecord.Device) throws(DeviceProblem) {
    events.append("give \(device.address) to \(device.originalDriver ?? "none")")
    if failing.contains("give " + device.address) {
      throw DeviceProblem("\(device.address) is busy")
    }
  }

  func open(_ addresses: [String]) throws(DeviceProblem) -> OpenDevices {
    throw DeviceProblem("no VFIO here")
  }
}

private func record(_ system: String = "toy") -> JournalRecord {
  // A daemon that cannot be alive.
  var record = JournalRecord(
    system: system, manifest: "/m.yaml",
    daemon: ProcessIdentity(pid: 1, startTime: 999_999_999, boot: "gone"))
  record.devices = [
    .init(address: "0000:01:00.0", domain: "net", originalDriver: "e1000e", originalOverride: nil),
    .init(address: "0000:02:00.0", domain: "disk", originalDriver: nil, originalOverride: "x"),
  ]
  return record
}

@Suite struct ProcessIdentityTests {
  @Test func aProcessIsKnownByItsStart() throws {
    let sleeper = try Sleeper()
    let identity = try #require(ProcessIdentity(pid: sleeper.pid))
    #expect(identity.isAlive)
    var other = identity
    other.startTime += 1
    #expect(!other.isAlive)
    var earlier = identity
    earlier.boot = "another boot"
    #expect(!earlier.isAlive)
    // Neither is what is meant, so neither is killed.
    #expect(try other.kill() && earlier.kill())
    #expect(identity.isAlive)
    #expect(try identity.kill())
    sleeper.process.waitUntilExit()
    #expect(!identity.isAlive)
    #expect(sleeper.process.terminationReason == .uncaughtSignal)
  }

  @Test func nobodyIsNobody() {
    #expect(ProcessIdentity(pid: 0) == nil)
    #expect(ProcessIdentity(pid: -1) == nil)
    #expect(ProcessIdentity.own.isAlive)
  }
}

@Suite struct JournalTests {
  @Test func whatIsWrittenIsRead() throws {
    let scratch = try Scratch()
    let journal = Journal(directory: scratch.path)
    #expect(try journal.read() == nil)
    try journal.write(record())
    #expect(try journal.read() == record())
    var second = record()
    second.devices.removeLast()
    try journal.write(second)
    #expect(try journal.read() == second)
    #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.path) == [Journal.fileName])
  }

  @Test(arguments: ["", "{", "[]", "{\"version\":1}", "not json"])
  func damageIsReported(_ text: String) throws {
    let scratch = try Scratch()
    try scratch.write(Journal.fileName, text)
    #expect(throws: JournalError.self) { try Journal(directory: scratch.path).read() }
  }

  @Test func anotherVersionIsNotGuessedAt() throws {
    let scratch = try Scratch()
    var newer = record()
    newer.version = 2
    try Journal(directory: scratch.path).write(newer)
    #expect(throws: JournalError.self) { try Journal(directory: scratch.path).read() }
  }

  @Test func aHalfWrittenSuccessorDoesNotCount() throws {
    let scratch = try Scratch()
    try Journal(directory: scratch.path).write(record())
    try scratch.write(Journal.temporaryName, "{\"version\":")
    #expect(try Journal(directory: scratch.path).read() == record())
  }
}

@Suite struct RuntimeDirectoryTests {
  @Test func oneHolderAtATime() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/toy"
    let first = try RuntimeDirectory(creating: path)
    #expect(throws: RuntimeDirectoryError.inUse(path: path)) {
      _ = try RuntimeDirectory(existing: path)
    }
    #expect(throws: RuntimeDirectoryError.inUse(path: path)) {
      _ = try RuntimeDirectory(creating: path)
    }
    first.remove()
    #expect(!FileManager.default.fileExists(atPath: path))
    let gone = try RuntimeDirectory(existing: path) == nil
    #expect(gone)
  }

  @Test func aDirectoryOpenToOthersIsRefused() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/open"
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    #expect(throws: RuntimeDirectoryError.foreign(path: path)) {
      _ = try RuntimeDirectory(creating: path)
    }
    try FileManager.default.createSymbolicLink(
      atPath: scratch.path + "/link", withDestinationPath: scratch.path)
    #expect(throws: RuntimeDirectoryError.self) {
      _ = try RuntimeDirectory(creating: scratch.path + "/link")
    }
  }
}

@Suite struct SystemsTests {
  private func make(_ path: String, mode: Int = 0o700) throws {
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: mode])
  }

  @Test func whatACrashLeftIsFound() throws {
    let scratch = try Scratch()
    // Died right after it made the directory; with a socket; while it wrote its first journal.
    for name in ["empty", "socket", "half", "whole"] { try make(scratch.path + "/" + name) }
    try scratch.write("socket/control", "")
    try scratch.write("half/\(Journal.temporaryName)", "{")
    try Journal(directory: scratch.path + "/whole").write(record())
    #expect(
      RuntimeDirectory.systems(root: scratch.path) == ["empty", "half", "socket", "whole"])
  }

  @Test func whatIsSomebodyElsesIsNot() throws {
    let scratch = try Scratch()
    try make(scratch.path + "/open", mode: 0o755)
    try make(scratch.path + "/No-Name")
    try make(scratch.path + "/photos")
    try scratch.write("photos/cat.jpg", "")
    try scratch.write("file", "")
    try FileManager.default.createSymbolicLink(
      atPath: scratch.path + "/link", withDestinationPath: "/tmp")
    #expect(RuntimeDirectory.systems(root: scratch.path) == [])
    #expect(RuntimeDirectory.systems(root: scratch.path + "/none") == [])
  }

  @Test func theDirectoryInTmpGoesToo() {
    #expect(
      RuntimeDirectory.passingParents(of: "/tmp/user-7/vos/toy", below: "/tmp/user-7")
        == ["/tmp/user-7/vos", "/tmp/user-7"])
    #expect(RuntimeDirectory.passingParents(of: "/run/vos/toy", below: "/tmp/user-7") == [])
    #expect(RuntimeDirectory.passingParents(of: "/tmp/user-77/toy", below: "/tmp/user-7") == [])
  }

  @Test func foreignFilesKeepTheDirectory() throws {
    let scratch = try Scratch()
    do {
      let directory = try RuntimeDirectory(creating: scratch.path + "/toy")
      try scratch.write("toy/cat.jpg", "")
      _ = try Recovery.repair(directory, devices: FakeDevices())
      Issue.record("said that all is gone")
    } catch let failure as Failure {
      #expect(failure.message.contains("holds files that are not vos's"))
    }
    #expect(FileManager.default.fileExists(atPath: scratch.path + "/toy/cat.jpg"))
  }
}

@Suite struct RecoveryTests {
  @Test func whatADeadDaemonLeftIsUndone() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/toy"
    let sleeper = try Sleeper()
    let devices = FakeDevices()
    var left = record()
    left.monitors = [
      .init(domain: "net", generation: 1, process: try #require(ProcessIdentity(pid: sleeper.pid)))
    ]
    let directory = try RuntimeDirectory(creating: path)
    try Journal(directory: path).write(left)
    _ = FileManager.default.createFile(atPath: path + "/control", contents: nil)
    let done = try Recovery.repair(directory, devices: devices)
    sleeper.process.waitUntilExit()
    #expect(sleeper.process.terminationReason == .uncaughtSignal)
    // The last one taken goes back first.
    #expect(devices.events == ["give 0000:02:00.0 to none", "give 0000:01:00.0 to e1000e"])
    #expect(done.count == 3)
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test func aDeviceThatStaysIsNotForgotten() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/toy"
    let devices = FakeDevices()
    devices.failing = ["give 0000:02:00.0"]
    do {
      let directory = try RuntimeDirectory(creating: path)
      try Journal(directory: path).write(record())
      _ = try Recovery.repair(directory, devices: devices)
      Issue.record("repaired a device that does not go back")
    } catch let failure as Failure {
      #expect(failure.message.contains("0000:02:00.0 is busy"))
    }
    // The other one went back, and only this one is left to the next run.
    #expect(try Journal(directory: path).read()?.devices.map(\.address) == ["0000:02:00.0"])
    devices.failing = []
    // A program that another test starts holds a copy of our lock until it is executed.
    let again = try RuntimeDirectory.acquire(root: scratch.path, system: "toy")
    _ = try Recovery.repair(again, devices: devices)
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test func aStaleSocketAloneIsRemoved() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/toy"
    let directory = try RuntimeDirectory(creating: path)
    _ = FileManager.default.createFile(atPath: path + "/control", contents: nil)
    #expect(try Recovery.repair(directory, devices: FakeDevices()) == [])
    #expect(!FileManager.default.fileExists(atPath: path))
  }
}
