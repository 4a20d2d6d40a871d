// SPDX-License-Identifier: Apache-2.0
import Foundation
import LinuxSystem
import Logging
import Manifest
import Testing

@testable import Supervisor

/// A daemon in this process, with devices that are noted and not touched, and no monitor to start.
private func runDaemon(_ devices: FakeDevices, at path: String) throws -> Bool {
  let text = """
    vos: 1
    system: toy
    domains:
      primary: {kernel: /dev/null, memory: 64MiB, devices: [01:00.0, 02:00.0]}
    """
  let manifest = try Manifest.parse(
    text, file: "m", absolutePath: "/m", checkFiles: false)
  let daemon = try Daemon(
    DaemonOptions(
      manifest: manifest, runtimeRoot: path, monitor: "/nonexistent/vosvmm", kvmDevice: "/dev/null"),
    directory: path, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
    signals: EventDescriptor(), devices: devices)
  return daemon.run(launcher: nil)
}

@Suite struct DaemonDeviceTests {
  @Test func theJournalComesBeforeTheChange() throws {
    let scratch = try Scratch()
    let devices = FakeDevices()
    var known: [[String]] = []
    devices.beforeTake = { _ in
      let record = (try? Journal(directory: scratch.path).read()) ?? nil
      known.append(record?.devices.map(\.address) ?? [])
    }
    // The monitor cannot be started, so everything is undone.
    #expect(try !runDaemon(devices, at: scratch.path))
    #expect(known == [["0000:01:00.0"], ["0000:01:00.0", "0000:02:00.0"]])
    #expect(
      devices.events == [
        "take 0000:01:00.0", "take 0000:02:00.0", "give 0000:02:00.0 to e1000e",
        "give 0000:01:00.0 to e1000e",
      ])
    #expect(try Journal(directory: scratch.path).read()?.devices == [])
  }

  @Test func nothingIsTakenIfOneMayNotBeHad() throws {
    let scratch = try Scratch()
    let devices = FakeDevices()
    devices.failing = ["examine 0000:02:00.0"]
    #expect(try !runDaemon(devices, at: scratch.path))
    #expect(devices.events == [])
  }

  @Test func aDeviceThatGotStuckHalfwayGoesBackToo() throws {
    let scratch = try Scratch()
    let devices = FakeDevices()
    devices.failing = ["take 0000:02:00.0"]
    #expect(try !runDaemon(devices, at: scratch.path))
    #expect(
      devices.events.suffix(2) == ["give 0000:02:00.0 to e1000e", "give 0000:01:00.0 to e1000e"])
  }

  @Test func aDeviceThatCannotGoBackStaysInTheJournal() throws {
    let scratch = try Scratch()
    let devices = FakeDevices()
    devices.failing = ["give 0000:01:00.0"]
    #expect(try !runDaemon(devices, at: scratch.path))
    #expect(
      try Journal(directory: scratch.path).read()?.devices.map(\.address) == ["0000:01:00.0"])
  }
}
