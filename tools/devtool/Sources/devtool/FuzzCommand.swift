// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

struct FuzzCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fuzz",
    abstract: "Run fuzzers of what peers, guests and files control (Tests/Fuzz).",
    discussion: """
      What a fuzzer learns stays in out/fuzz/NAME/corpus, and the next run goes on from there. An \
      input that ends a fuzzer is left in out/fuzz/NAME: copy it to Tests/Fuzz/corpus/NAME, and \
      mend what it found.
      """)

  @Argument(help: "Which ones; all without any.") var names: [String] = []
  @Option(help: "How long each runs.") var seconds = 60

  func run() throws {
    let fuzzing = Fuzzing(try Workspace())
    let known = try fuzzing.names()
    for name in names where !known.contains(name) {
      throw Failure("there is no fuzzer \(name); there are \(known.joined(separator: ", "))")
    }
    let tally = try fuzzing.run(names.isEmpty ? known : names, secondsEach: seconds)
    for text in tally.failed { Console.shared.note("FAILED", text) }
    print("\(tally.passed) passed, \(tally.failed.count) failed")
    if !tally.failed.isEmpty { throw ExitCode.failure }
  }
}

/// The fuzzers of Tests/Fuzz: each a program of libFuzzer with seeds in `corpus/NAME`.
struct Fuzzing {
  let workspace: Workspace
  /// Of all fuzzers together, as a part of `tools/dev test`.
  static let testSeconds = 40

  /// A single input takes microseconds; one that takes so long hangs.
  private static let inputSeconds = 10
  private static let memoryMebibytes = 2048

  init(_ workspace: Workspace) { self.workspace = workspace }

  private var package: URL { workspace.path("Tests/Fuzz") }

  /// All fuzzers: who has seeds is one.
  func names() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: package.appending(path: "corpus").path)
      .filter { !$0.hasPrefix(".") }.sorted()
  }

  /// The bounded run of `tools/dev test`.
  func test() throws -> Tally {
    let names = try names()
    return try run(names, secondsEach: max(1, Self.testSeconds / max(names.count, 1)))
  }

  func run(_ names: [String], secondsEach: Int) throws -> Tally {
    var tally = Tally()
    let programs: URL
    do {
      programs = try build()
    } catch {
      guard !Interrupts.raised else { throw error }
      tally.failed.append("fuzz: building the fuzzers: \(error)")
      return tally
    }
    for name in names {
      do {
        let figures = try Console.shared.step("fuzz \(name)") {
          try run(name, programs.appending(path: "fuzz-" + name), secondsEach)
        }
        Console.shared.say("       \(figures)")
        tally.passed += 1
      } catch {
        guard !Interrupts.raised else { throw error }
        tally.failed.append("fuzz: \(name): \(error)")
      }
    }
    return tally
  }

  /// Builds all; the folder they are in.
  private func build() throws -> URL {
    let build = ["swift", "build", "-c", "release", "--package-path", package.path]
    try Console.shared.step("build the fuzzers") {
      try LabKit.run(build, log: workspace.log("fuzz-build"))
    }
    let path = try capture(build + ["--show-bin-path"])
    return URL(fileURLWithPath: path.trimmingCharacters(in: .whitespacesAndNewlines))
  }

  /// Runs one; what it did in words. Throws what it found.
  private func run(_ name: String, _ program: URL, _ seconds: Int) throws -> String {
    let folder = workspace.out.appending(path: "fuzz/" + name)
    let learnt = try workspace.makeFolder(folder.appending(path: "corpus"))
    let log = try workspace.log("fuzz-" + name)
    do {
      try LabKit.run(
        [
          program.path, "-max_total_time=\(seconds)", "-timeout=\(Self.inputSeconds)",
          "-rss_limit_mb=\(Self.memoryMebibytes)", "-print_final_stats=1",
          "-artifact_prefix=\(folder.path)/", learnt.path,
          package.appending(path: "corpus/" + name).path,
        ],
        // Swift's own report of a crash would come between the sanitizer's and its end.
        environment: ["SWIFT_BACKTRACE": "enable=no"], log: log)
    } catch {
      guard !Interrupts.raised else { throw error }
      throw Failure(Self.finding(in: log) ?? "\(error)", log: log)
    }
    return Self.figures(in: log)
  }

  /// What was found, and where the input is that led there.
  private static func finding(in log: URL) -> String? {
    let lines = lines(of: log)
    let what = lines.first {
      $0.hasPrefix("fuzz: ") || $0.contains("ERROR: AddressSanitizer") || $0.contains("Fatal error")
        || $0.contains("ERROR: libFuzzer: timeout") || $0.contains("ERROR: LeakSanitizer")
    }
    let wrote = "Test unit written to "
    guard let line = lines.first(where: { $0.contains(wrote) }), let found = line.range(of: wrote)
    else { return nil }
    return "\(what ?? "it crashed"); input: \(line[found.upperBound...]), log: \(log.path)"
  }

  private static func figures(in log: URL) -> String {
    let lines = lines(of: log)
    let last = lines.last { $0.contains("DONE") && $0.contains(" cov: ") } ?? ""
    let words = last.split(separator: " ")
    func after(_ word: Substring) -> Substring {
      words.firstIndex(of: word).map { words[$0 + 1] } ?? "?"
    }
    let units = "stat::number_of_executed_units: "
    let runs = lines.first { $0.hasPrefix(units) }?.dropFirst(units.count) ?? "?"
    return "\(runs) runs, coverage \(after("cov:")), features \(after("ft:"))"
  }

  private static func lines(of log: URL) -> [Substring] {
    ((try? String(contentsOf: log, encoding: .utf8)) ?? "").split(separator: "\n")
  }
}
