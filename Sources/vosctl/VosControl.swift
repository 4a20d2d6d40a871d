// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import LinuxSystem
import Supervisor

/// The program's own exit codes; `exec` passes on the command's. docs/vosctl.md lists them.
enum ExitStatus {
  static let failure: Int32 = 1
  static let usage: Int32 = 2
  static let notRunning: Int32 = 3
  /// Like env(1) and sh(1).
  static let notExecutable: Int32 = 126
  static let notFound: Int32 = 127
  /// 128 + SIGINT.
  static let cancelled: Int32 = 130
}

/// The commands.
struct VosControl: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vosctl",
    abstract: "Brings decomposed systems up and down, and looks into them.",
    discussion: """
      A system is described by a manifest (docs/manifest.md): domains, the devices they own, and \
      the channels between them.

        vosctl up vfio-configs/lab.yaml
        vosctl ps
        vosctl exec primary -- uname -a
        vosctl down

      Exit codes: 0 done, 1 failed, 2 wrong usage or manifest, 3 not running; "exec" passes on the \
      command's own code, 126 if it cannot be executed, 127 if there is no such command.
      """,
    version: versionText,
    subcommands: [
      UpCommand.self, DownCommand.self, PsCommand.self, LogsCommand.self, ConsoleCommand.self,
      ExecCommand.self, DevicesCommand.self, ValidateCommand.self, DeviceTreeCommand.self,
      QEMUArgumentsCommand.self, VersionCommand.self,
    ])

  static let versionText = "vosctl 0.1.0, protocol \(Request.currentVersion), manifest syntax 1"

  /// Parses the command line, runs the command, exits.
  static func start() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let failure as Failure {
      Terminal.complain(failure)
      Glibc.exit(exitStatus(of: failure.kind))
    } catch let error as SystemCallError {
      Terminal.complain(Failure(.failed, error.sentence))
      Glibc.exit(ExitStatus.failure)
    } catch let error as JournalError {
      Terminal.complain(Failure(.failed, "\(error)"))
      Glibc.exit(ExitStatus.failure)
    } catch let code as ExitCode {
      Glibc.exit(code.rawValue)
    } catch {
      // Help and version come this way too.
      let text = fullMessage(for: error)
      let isUsage = exitCode(for: error) != .success
      Terminal.write(text + "\n", to: isUsage ? STDERR_FILENO : STDOUT_FILENO)
      Glibc.exit(isUsage ? ExitStatus.usage : 0)
    }
  }

  private static func exitStatus(of kind: Failure.Kind) -> Int32 {
    switch kind {
    case .failed, .alreadyUp: ExitStatus.failure
    case .badRequest: ExitStatus.usage
    case .notRunning: ExitStatus.notRunning
    case .notFound: ExitStatus.notFound
    case .notExecutable: ExitStatus.notExecutable
    case .cancelled: ExitStatus.cancelled
    }
  }
}

/// vosd hung up in the middle of an answer.
let connectionLost = Failure(
  .failed, "vosd ended the connection without an answer; see \"vosctl ps\" whether it lives")

/// Which running system is meant.
struct SystemOptions: ParsableArguments {
  @Option(name: .long, help: "Name of the system; needed only if several are up.")
  var system: String?

  @Option(
    name: .long,
    help:
      "Directory above the systems' runtime directories (default: $VOS_RUNTIME_DIRECTORY, /run/vos)."
  )
  var runtimeDirectory: String?

  var root: String { runtimeDirectory ?? RuntimeDirectory.standardRoot() }

  /// The name given, or the only system there is.
  func name() throws(Failure) -> String {
    if let system {
      // Names become paths.
      guard isSystemName(system) else {
        throw Failure(
          .badRequest,
          "\"\(system)\" cannot be a system's name; give one that \"system\" of a manifest may have"
        )
      }
      return system
    }
    let names = RuntimeDirectory.systems(root: root)
    guard let first = names.first else {
      throw Failure(.notRunning, "no system is running; start one with \"vosctl up MANIFEST\"")
    }
    guard names.count == 1 else {
      throw Failure(
        .badRequest,
        "several systems are running: \(names.joined(separator: ", ")); choose with --system")
    }
    return first
  }

  func connect() throws(Failure) -> ControlClient {
    let name = try name()
    return try ControlClient(
      directory: RuntimeDirectory.path(root: root, system: name), system: name)
  }
}

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Shows the version.")

  func run() { Terminal.print(VosControl.versionText) }
}
