// SPDX-License-Identifier: Apache-2.0

/// What tests did: how many passed, which failed, which were skipped and why.
public struct Tally: Equatable, Sendable {
  public var passed = 0
  /// Names, each with what is known of the failure.
  public var failed: [String] = []
  /// Names with reasons.
  public var skipped: [String] = []
  /// What the reader should know besides.
  public var notes: [String] = []

  public init() {}

  public mutating func add(_ other: Tally) {
    passed += other.passed
    failed += other.failed
    skipped += other.skipped
    notes += other.notes
  }

  /// Reads what a test script prints: lines that begin with "ok   ", "FAIL " or "skip ".
  public init(scriptOutput text: String, suite: String, code: Int32) {
    for line in text.split(separator: "\n") {
      if line.hasPrefix("ok   ") { passed += 1 }
      if line.hasPrefix("FAIL ") { failed.append("\(suite): \(line.dropFirst(5))") }
      if line.hasPrefix("skip ") { skipped.append("\(suite): \(line.dropFirst(5))") }
    }
    if code != 0, failed.isEmpty { failed.append("\(suite): exited with \(code)") }
    if code == 0, passed == 0 { failed.append("\(suite): ran no test") }
  }

  /// Reads what `swift test` prints with Swift Testing.
  ///
  /// Lines: `✔ Test NAME passed after …`, `✘ Test NAME failed after …`, `➜ Test NAME skipped: "…"`,
  /// the mark varying with the terminal; at the end `Test run with N tests … passed|failed`.
  public init(swiftTestOutput text: String, suite: String) {
    var finished = false
    var issues: [Substring: [Substring]] = [:]
    for line in text.split(separator: "\n") {
      guard let words = Tally.runnerLine(line) else { continue }
      if let issue = words.range(of: " recorded an issue") {
        issues[Tally.name(words, before: issue), default: []].append(words[issue.upperBound...])
      } else if words.hasPrefix("run with ") {
        finished = true
      } else if words.contains(" passed after ") {
        passed += 1
      } else if let end = words.range(of: " failed after ") {
        let name = Tally.name(words, before: end)
        let reasons = issues[name, default: []].map { "\n           \($0)" }.joined()
        failed.append("\(suite): \(name)\(reasons)")
      } else if words.contains(" skipped") {
        skipped.append("\(suite): \(words)")
      }
    }
    if !finished { failed.append("\(suite): the test run did not end") }
  }

  /// What follows "Test " in a line of the runner's own; nil for any other line.
  private static func runnerLine(_ line: Substring) -> Substring? {
    guard let start = line.range(of: "Test ") else { return nil }
    // Such a line has its mark, a word or a symbol, and nothing else before "Test".
    let mark = line[..<start.lowerBound]
    return mark.count <= 12 && !mark.contains(":") ? line[start.upperBound...] : nil
  }

  /// The test's name; of a parametrised one without the number of its cases.
  private static func name(_ words: Substring, before end: Range<Substring.Index>) -> Substring {
    let name = words[..<end.lowerBound]
    return name.firstMatch(of: /\ with\ \d+\ test\ cases?$/).map { name[..<$0.range.lowerBound] }
      ?? name
  }
}
