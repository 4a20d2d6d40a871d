// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

struct LabCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lab", abstract: "The emulated machine with an IOMMU, a NIC and a disk.",
    subcommands: [Run.self, Up.self, Exec.self, Down.self])

  struct Choice: ParsableArguments {
    @Option(help: "Which lab, where several are up.") var name = "lab"
  }
}

extension LabCommand {
  struct Up: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Start the lab host and leave it running.")
    @OptionGroup var choice: Choice
    @Option(help: "Memory of the lab host in MiB.")
    var memory = LabMachine.defaultMemoryMiB
    @Option(help: "Emulated processors of the lab host; the first runs no guest.")
    var processors = LabMachine.defaultProcessors
    @Flag(help: "Use what is in out/ as it is.") var noBuild = false

    func run() throws {
      let workspace = try Workspace()
      if !noBuild { try BuildCommand.buildAll(workspace) }
      try Console.shared.step("start the lab host") {
        _ = try Lab.start(workspace, name: choice.name, detached: true) {
          $0.memoryMiB = memory
          $0.processors = processors
        }
      }
    }
  }

  struct Exec: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Run a command in the lab host; its output and exit code are this command's.",
      discussion: "One at a time: a second one ends the first. Standard input is not passed on.")
    @OptionGroup var choice: Choice
    @Option(help: "Seconds that the command may take.") var timeout = 600.0
    @Argument(parsing: .postTerminator, help: "The command, after --.")
    var command: [String] = []

    func run() throws {
      guard !command.isEmpty else { throw ValidationError("name a command after --") }
      let lab = try Lab.attach(Workspace(), name: choice.name)
      let result = try lab.agent.run(command, withinSeconds: timeout) { bytes, isError in
        (isError ? FileHandle.standardError : .standardOutput).write(Data(bytes))
      }
      throw ExitCode(result.code)
    }
  }

  struct Down: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Power the lab host off.")
    @OptionGroup var choice: Choice

    func run() throws {
      try Console.shared.step("stop the lab host") {
        try Lab.attach(Workspace(), name: choice.name).stop()
      }
    }
  }
}
