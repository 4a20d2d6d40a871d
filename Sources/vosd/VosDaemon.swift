// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Glibc
import LinuxSystem
import Logging
import Manifest
import Supervisor

/// The supervisor of one system. `vosctl up` starts it; by hand it serves init systems.
struct VosDaemon: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vosd",
    abstract: "Supervises one vos system for as long as it is up.",
    discussion: """
      "vosctl up MANIFEST" starts it and waits until the system is up. Started by hand it stays in \
      the foreground until SIGTERM or "vosctl down".
      """)

  @Option(help: "The system's manifest.")
  var manifest: String

  @Option(help: "Directory above the systems' runtime directories.")
  var runtimeDirectory = RuntimeDirectory.standardRoot()

  @Option(help: "Seconds that a domain may take to announce itself, instead of the manifest's.")
  var bootTimeout: Int?

  @Option(help: "Seconds that a domain may take to power off.")
  var powerOffTimeout = 30

  @Option(help: "File for the log, which then stays; else it is in the runtime directory.")
  var logFile: String?

  @Option(help: ArgumentHelp("Path of vosvmm.", visibility: .hidden))
  var monitor: String?

  @Option(help: ArgumentHelp("The KVM device.", visibility: .hidden))
  var kvmDevice = DaemonOptions.standardKVMDevice

  @Flag(help: ArgumentHelp("Descriptor 3 is a vosctl that waits.", visibility: .hidden))
  var launched = false

  func run() throws {
    let signals = try EventDescriptor()
    catchSignals(ringing: signals.descriptor.rawValue)
    let launcher = launched ? LauncherConnection() : nil
    do throws(Failure) {
      if try supervise(launcher, signals) { return }
    } catch {
      launcher?.report(.failure(error))
      // vosctl prints what it is told; without one this is the place.
      if launcher == nil { say(error.description) }
    }
    throw ExitCode(1)
  }

  /// Returns whether the system ended as asked, with nothing left behind.
  private func supervise(
    _ launcher: LauncherConnection?, _ signals: consuming EventDescriptor
  ) throws(Failure) -> Bool {
    let loaded = try load()
    if let stale = try RuntimeDirectory.acquireExisting(
      root: runtimeDirectory, system: loaded.system)
    {
      for sentence in try Recovery.repair(stale) {
        launcher?.report(
          .progress(
            ProgressStep(domain: nil, state: "repaired", detail: sentence, elapsedSeconds: 0)))
      }
    }
    let directory = try RuntimeDirectory.acquire(root: runtimeDirectory, system: loaded.system)
    let path = directory.path
    let daemon: Daemon
    do throws(Failure) {
      daemon = try makeDaemon(loaded, path, launcher, signals)
    } catch {
      directory.remove()
      throw error
    }
    let asked = daemon.run(launcher: launcher)
    // What could not be given back stays in the journal for the next run.
    if daemon.leftNothingBehind { directory.remove() }
    daemon.sayGoodbye()
    return asked
  }

  private func load() throws(Failure) -> Manifest {
    do throws(ManifestError) {
      return try Manifest.load(path: manifest)
    } catch {
      throw Failure(.badRequest, "\(error)")
    }
  }

  private func makeDaemon(
    _ loaded: Manifest, _ path: String, _ launcher: LauncherConnection?,
    _ signals: consuming EventDescriptor
  ) throws(Failure) -> Daemon {
    guard let monitor = monitor ?? Companion.path(of: "vosvmm") else {
      throw Failure(.failed, "vosvmm is neither beside vosd nor in $VOS_LIBEXEC; install it")
    }
    // From here on a vosctl's terminal is not ours to write to.
    var file: LogFile?
    if launcher != nil {
      file = LogFile(logFile ?? RuntimeDirectory.logPath(in: path))
      // Nor is its directory ours to keep busy; every path that we use is absolute.
      _ = unsafe chdir("/")
    }
    let options = DaemonOptions(
      manifest: loaded, runtimeRoot: runtimeDirectory, monitor: monitor, kvmDevice: kvmDevice,
      limits: .init(
        boot: Double(bootTimeout ?? loaded.bootTimeoutSeconds), powerOff: Double(powerOffTimeout)))
    let log = Logger(label: "vosd") { StreamLogHandler.standardError(label: $0) }
    let daemon = try Daemon(options, directory: path, log: log, signals: signals)
    daemon.logFile = file
    return daemon
  }
}

/// Writes a line to standard error.
private func say(_ text: String) {
  try? FileHandle.standardError.write(contentsOf: Data("vosd: \(text)\n".utf8))
}
