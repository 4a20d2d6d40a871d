// SPDX-License-Identifier: Apache-2.0

/// What tests did: how many passed, which failed, which were skipped and why.
public struct Tally: Equatable, Sendable {
  public var passed = 0
  /// Names, each with what is known of the failure.
  public var failed: [String] = []
  /// Names with reasons.
  public var skipped: [String] = []

  public init() {}

  public mutating func add(_ other: Tally) {
    passed += other.passed
    failed += other.failed
    skipped += other.skipped
  }

  /// Reads what a test script prints: lines that begin with "ok   " or "FAIL ".
  public init(scriptOutput text: String, suite: String, code: Int32) {
    for line in text.split(separator: "\n") {
      if line.hasPrefix("ok   ") { passed += 1 }
      if line.hasPrefix("FAIL ") { failed.append("\(suite): \(line.dropFirst(5))") }
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
    for line in text.split(separator: "\n") {
      guard let start = line.range(of: "Test ") else { continue }
      let words = line[start.upperBound...]
      let mark = line[..<start.lowerBound]
      // A line of the runner has its mark, a word or a symbol, and nothing else before "Test".
      guard mark.count <= 12, !mark.contains(":") else { continue }
      if words.contains(" recorded an issue") { continue }
      if words.hasPrefix("run with ") {
        finished = true
      } else if words.contains(" passed after ") {
        passed += 1
      } else if words.contains(" failed after ") {
        failed.append("\(suite): \(Tally.name(words, before: " failed after "))")
      } else if words.contains(" skipped") {
        skipped.append("\(suite): \(words)")
      }
    }
    if !finished { failed.append("\(suite): the test run did not end") }
  }

  private static func name(_ words: Substring, before marker: String) -> String {
    words.range(of: marker).map { String(words[..<$0.lowerBound]) } ?? String(words)
  }
}
