// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

/// The developer's entry: builds, the lab, the demonstration, tests and benchmarks.
@main
struct Dev: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dev",
    abstract: "Build vos, run it in the lab, test it, measure it.",
    subcommands: [
      DemoCommand.self, TestCommand.self, ShellCommand.self, BenchCommand.self, BuildCommand.self,
      LabCommand.self, ProgramsCommand.self, FuzzCommand.self, FormatCommand.self,
      LintCommand.self, CallsCommand.self, CleanCommand.self, ServeOnce.self,
    ])

  static func main() {
    Interrupts.install()
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let failure as Failure {
      Console.shared.say("error: \(failure.message)")
      if let log = failure.log { Console.shared.say("log: \(log.path)") }
      Dev.exit(withError: ExitCode(Interrupts.raised ? 130 : 1))
    } catch let late as AgentClient.TimedOut {
      Console.shared.say("error: \(late)")
      Dev.exit(withError: ExitCode.failure)
    } catch {
      Dev.exit(withError: error)
    }
  }
}

/// Started by QEMU for each connection to the server outside the lab; not for people.
struct ServeOnce: ParsableCommand {
  static let configuration = CommandConfiguration(shouldDisplay: false)
  @Argument var file: String

  func run() throws { try Server.serve(URL(fileURLWithPath: file)) }
}
