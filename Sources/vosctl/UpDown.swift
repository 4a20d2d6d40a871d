// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Glibc
import LinuxSystem
import Manifest
import Supervisor

/// Reads a manifest; what is wrong with it goes to standard error, one line each.
func loadManifest(_ path: String) throws -> Manifest {
  do throws(ManifestError) {
    return try Manifest.load(path: path)
  } catch {
    for diagnostic in error.diagnostics { Terminal.write("\(diagnostic)\n", to: STDERR_FILENO) }
    throw ExitCode(ExitStatus.usage)
  }
}

/// Whether a text can name a system.
func isSystemName(_ text: String) -> Bool { isName(text) }

struct UpCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "up", abstract: "Brings a system up and waits until every domain is ready.",
    discussion: """
      Checks everything first, then takes the devices, starts the domains and waits until each has \
      announced itself. ^C, or any failure, undoes all of it.

        vosctl up vfio-configs/lab.yaml
      """)

  @Argument(help: "The system's manifest.", completion: .file(extensions: ["yaml", "yml"]))
  var manifest: String

  @Option(help: "Directory above the systems' runtime directories.")
  var runtimeDirectory = RuntimeDirectory.standardRoot()

  @Option(help: "Seconds that a domain may take to announce itself, instead of the manifest's.")
  var bootTimeout: Int?

  @Option(
    help: "File that vosd's log is appended to; it stays, also when \"up\" fails.",
    completion: .file())
  var logFile: String?

  @Option(help: ArgumentHelp("The KVM device.", visibility: .hidden))
  var kvmDevice: String?

  func validate() throws {
    if let bootTimeout, !(1...3600).contains(bootTimeout) {
      throw ValidationError("--boot-timeout is \(bootTimeout); expected 1 to 3600 seconds")
    }
  }

  func run() throws {
    let manifest = try loadManifest(manifest)
    let interrupts = try Interrupts()
    var extra: [String] = []
    if let bootTimeout { extra += ["--boot-timeout", "\(bootTimeout)"] }
    if let logFile { extra += ["--log-file", absolute(logFile)] }
    if let kvmDevice { extra += ["--kvm-device", kvmDevice] }
    let client = try ControlClient.launch(
      manifest: manifest, runtimeRoot: absolute(runtimeDirectory), extra: extra)
    var view = ProgressView(
      system: manifest.system, domains: manifest.domains.map(\.name), verb: "up")
    try view.follow(client, interrupts: interrupts) { client.send(.cancel) }
  }

  private func absolute(_ path: String) -> String {
    path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
  }
}

struct DownCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "down", abstract: "Takes a system down and gives its devices back.",
    discussion: """
      The primary powers off first, then the others; who does not within 30 seconds is stopped. \
      After a crash of vosd or of a monitor this ends what still lives, gives the devices back to \
      their drivers and removes what lies about.
      """)

  @OptionGroup var target: SystemOptions

  @Flag(help: "Kill vosd and its monitors instead of asking; for a vosd that hangs.")
  var force = false

  func run() throws {
    let system = try target.name()
    for _ in 0..<Self.rounds {
      if try repair(system) { return }
      // A vosd that dies meanwhile leaves a journal: the next round repairs.
      do {
        return try ask(system)
      } catch let failure as Failure where failure.kind == .notRunning {
        continue
      }
    }
    throw Failure(.failed, "vosd of system \"\(system)\" does not end; try --force")
  }

  private static let rounds = 3

  private func ask(_ system: String) throws {
    if force {
      try killDaemon(system)
      throw Failure(.notRunning, "vosd was killed")
    }
    let client = try target.connect()
    client.send(.down)
    var view = ProgressView(system: system, domains: [], verb: "down")
    try view.follow(client, interrupts: nil) {}
  }

  /// Cleans up after a vosd that is dead; false if one is alive.
  private func repair(_ system: String) throws -> Bool {
    do throws(Failure) {
      guard
        let directory = try RuntimeDirectory.acquireExisting(root: target.root, system: system)
      else {
        throw Failure(
          .notRunning, "system \"\(system)\" is not running; there is nothing to take down")
      }
      for sentence in try Recovery.repair(directory) { Terminal.print(sentence) }
      Terminal.print("system \(system) is down; its vosd had died before")
      return true
    } catch {
      if error.kind == .alreadyUp { return false }
      throw error
    }
  }

  private func killDaemon(_ system: String) throws {
    let journal = Journal(directory: RuntimeDirectory.path(root: target.root, system: system))
    guard let record = try journal.read() else {
      throw Failure(.failed, "vosd of system \"\(system)\" is too young to be known; try again")
    }
    _ = try record.daemon.kill()
  }
}
