// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import LabKit

struct CallsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "calls",
    abstract: "Write docs/calls.md, the table of calls and of what serves them, from the code.")

  @Flag(help: "Only tell whether it is up to date.") var check = false

  func run() throws {
    let workspace = try Workspace()
    if check {
      try CallsCommand.check(workspace)
    } else {
      try Console.shared.step("write docs/calls.md") { try CallsTable(workspace).write() }
    }
  }

  static func check(_ workspace: Workspace) throws {
    guard try CallsTable(workspace).isCurrent() else {
      throw Failure("docs/calls.md is not what the code says: run tools/dev calls")
    }
  }
}
