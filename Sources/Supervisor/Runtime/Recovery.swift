// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem

/// Cleaning up after a vosd that died: ends the monitors it left, gives devices back, removes files.
public enum Recovery {
  /// Repairs what `directory`'s journal says, and removes the directory.
  ///
  /// - Returns: what was done, one sentence each; empty if there was nothing to do.
  /// - Throws: what could not be done. The journal then stays, so that a later run tries again.
  public static func repair(
    _ directory: consuming RuntimeDirectory
  ) throws(Failure) -> [String] {
    try repair(directory, devices: HostDeviceKeeper())
  }

  static func repair(
    _ directory: consuming RuntimeDirectory, devices: any DeviceHost
  ) throws(Failure) -> [String] {
    let journal = Journal(directory: directory.path)
    var record: JournalRecord?
    do throws(JournalError) {
      record = try journal.read()
    } catch {
      throw Failure(.failed, "\(error)")
    }
    var done: [String] = []
    if let found = record {
      done = try endProcesses(of: found)
      done += try giveBackDevices(of: found, journal, devices)
    }
    let path = directory.path
    guard directory.remove() else {
      throw Failure(
        .failed, "\(path) holds files that are not vos's; look at them and remove the directory")
    }
    return done
  }

  private static func endProcesses(of record: JournalRecord) throws(Failure) -> [String] {
    var done: [String] = []
    // The daemon does not hold its lock any more, but it may be dying still.
    let daemon = (name: "vosd", process: record.daemon)
    let monitors = record.monitors.map { (name: "monitor of \($0.domain)", process: $0.process) }
    for (name, process) in [daemon] + monitors where process != .own && process.isAlive {
      do throws(SystemCallError) {
        guard try process.kill() else {
          throw SystemCallError(
            "process \(process.pid) does not end", errno: .init(rawValue: ETIMEDOUT))
        }
      } catch {
        throw Failure(.failed, "\(name) cannot be ended: \(error); run \"vosctl down\" again")
      }
      done.append("ended \(name), process \(process.pid)")
    }
    return done
  }

  private static func giveBackDevices(
    of record: JournalRecord, _ journal: Journal, _ devices: any DeviceHost
  ) throws(Failure) -> [String] {
    var rest = record
    rest.monitors = []
    var done: [String] = []
    var problems: [String] = []
    for device in record.devices.reversed() {
      do throws(DeviceProblem) {
        try devices.giveBack(device)
        rest.devices.removeAll { $0.address == device.address }
        try? journal.write(rest)
        done.append("gave \(device.address) back to \(device.originalDriver ?? "no driver")")
      } catch {
        problems.append(error.description)
      }
    }
    guard problems.isEmpty else {
      throw Failure(
        .failed, problems.joined(separator: "; ") + "; run \"vosctl down\" to try again")
    }
    return done
  }
}
