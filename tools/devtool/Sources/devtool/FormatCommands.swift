// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

/// The checkout's Swift files that are not ignored by git.
private func swiftFiles(_ workspace: Workspace) throws -> [String] {
  try capture([
    "git", "-C", workspace.root.path, "ls-files", "-co", "--exclude-standard", "--", "*.swift",
  ])
  .split(separator: "\n").map { workspace.path(String($0)).path }
  .filter(FileManager.default.fileExists)
}

struct FormatCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fmt", abstract: "Format all Swift files as .swift-format says.")

  func run() throws {
    let workspace = try Workspace()
    try Console.shared.step("format") {
      try LabKit.run(
        ["swift-format", "format", "--in-place", "--parallel"] + swiftFiles(workspace),
        log: workspace.log("fmt"))
    }
  }
}

struct LintCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lint",
    abstract: "Check that all Swift files are as .swift-format says, and docs/calls.md as the code."
  )

  func run() throws {
    let workspace = try Workspace()
    try Console.shared.step("lint") { try LintCommand.lint(workspace) }
    try Console.shared.step("docs/calls.md") { try CallsCommand.check(workspace) }
  }

  static func lint(_ workspace: Workspace) throws {
    try LabKit.run(
      ["swift-format", "lint", "--strict", "--parallel"] + swiftFiles(workspace),
      log: workspace.log("lint"))
  }
}

struct CleanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "clean", abstract: "Remove what was built; downloads stay unless --all is given.")
  @Flag(help: "Remove downloaded packages too.") var all = false

  func run() throws {
    let workspace = try Workspace()
    let running = (try? FileManager.default.contentsOfDirectory(atPath: workspace.run.path)) ?? []
    for name in running
    where Lab.runningProcess(workspace.run.appending(path: name)) != nil {
      throw Failure("the lab \(name) is up: end it first with tools/lab down --name \(name)")
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: workspace.root.path)
    for name in names where name.hasPrefix(".build") { try remove(workspace.path(name)) }
    for name in try FileManager.default.contentsOfDirectory(atPath: workspace.out.path)
    where all || !["cache", "kernel", "logs"].contains(name) {
      // The stamps of what stays, stay.
      if name == "stamps" && !all {
        try removeStamps(workspace)
      } else {
        try remove(workspace.out.appending(path: name))
      }
    }
  }

  private func removeStamps(_ workspace: Workspace) throws {
    for name in try FileManager.default.contentsOfDirectory(atPath: workspace.stamps.path)
    where name != "kernel" && !name.hasPrefix("packages-") {
      try remove(workspace.stamps.appending(path: name))
    }
  }
}
