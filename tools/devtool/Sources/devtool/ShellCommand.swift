// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

struct ShellCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "shell",
    abstract: "The lab, left up, with a prompt on the lab host where vosctl works.",
    discussion: "Leave it with exit or ^D; then the lab is stopped.")
  @Flag(help: "Use what is in out/ as it is.") var noBuild = false

  func run() throws {
    let workspace = try Workspace()
    if !noBuild { try BuildCommand.buildAll(workspace) }
    let lab = try Console.shared.step("start the lab host") {
      try Lab.start(workspace, name: "shell-\(getpid())")
    }
    defer { try? lab.stop() }
    Console.shared.say("Try: vosctl up \(VosSystem.manifest)   Leave with: exit")
    try Terminal(lab.machine.terminalSocket).run()
  }
}
