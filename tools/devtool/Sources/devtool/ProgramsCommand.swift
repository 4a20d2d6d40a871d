// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

struct ProgramsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "programs",
    abstract: "Run unmodified programs of Debian in the lab, each checked for right output.",
    discussion: """
      Prints one line for each program; the exit code is 1 if one failed. Their peers (wrk, \
      redis-benchmark, iperf3, git daemon, curl) run on the lab host, on the wire of the network \
      domain's NIC.
      """)

  @Option(help: "Only programs whose line contains this; may be given again.") var only: [String] =
    []
  @Flag(help: "List the programs.") var list = false
  @Flag(help: "Use what is in out/ as it is.") var noBuild = false

  func run() throws {
    let chosen = ProgramCheck.all.filter { check in
      only.isEmpty || only.contains { check.name.contains($0) }
    }
    guard !chosen.isEmpty else {
      throw ValidationError("no program's line has \"\(only.joined(separator: "\" or \""))\"")
    }
    if list { return chosen.forEach { print($0.name) } }
    let workspace = try Workspace()
    if !noBuild { try BuildCommand.buildAll(workspace) }
    let files = ProgramsBuild(workspace)
    try files.build()
    var options = ProgramLab.Options()
    options.packages = ProgramCheck.packages
    options.share = files.share
    options.withPeer = true
    let series = CheckSeries("programs", workspace) { try ProgramLab.start(workspace, options) }
    let tally = try series.run(
      chosen.map { check in
        .init(check.name) { lab in say("ok    \(check.name): \(try check.body(lab))") }
      })
    for note in tally.notes { say("note  \(note)") }
    for failure in tally.failed { say("FAIL  \(failure)") }
    say("\(tally.passed) of \(chosen.count) programs work")
    if !tally.failed.isEmpty { throw ExitCode.failure }
  }

  /// Written at once, also where standard output is a file.
  private func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
}
