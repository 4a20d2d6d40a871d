// SPDX-License-Identifier: Apache-2.0

/// The functions of a C file in the kernel's style: heads, and braces alone, in the first column.
struct CSource {
  struct Function: Equatable {
    /// The block comment right before it, without its marks; empty if there is none.
    var comment: String
    var body: String
  }

  private(set) var functions: [String: Function] = [:]

  /// - Parameter prefix: only functions whose name begins so are taken.
  init(_ text: String, prefix: String) {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    for open in lines.indices where lines[open] == "{" {
      guard let head = lines[..<open].lastIndex(where: CSource.beginsInFirstColumn),
        let name = CSource.name(lines[head..<open].joined(separator: " "), prefix),
        let close = lines[open...].firstIndex(of: "}")
      else { continue }
      functions[name] = Function(
        comment: CSource.comment(before: head, lines),
        body: lines[(open + 1)..<close].joined(separator: "\n"))
    }
  }

  /// What the function's comment says after "Differs:", on one line; empty if nothing.
  func differences(_ name: String) -> String {
    guard let comment = functions[name]?.comment, let mark = comment.firstRange(of: "Differs: ")
    else { return "" }
    return String(comment[mark.upperBound...])
  }

  /// The words after `mark` in a function and in those that it calls.
  ///
  /// - Parameters:
  ///   - ignoring: functions that are not followed.
  ///   - depth: how many calls deep to look.
  func words(
    after mark: String, from name: String, ignoring: Set<String> = [], depth: Int
  ) -> Set<String> {
    guard let body = functions[name]?.body else { return [] }
    let identifiers = body.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
    var found = Set(
      identifiers.filter { $0.hasPrefix(mark) }.map { String($0.dropFirst(mark.count)) })
    guard depth > 0 else { return found }
    for other in Set(identifiers.map(String.init)) where functions[other] != nil {
      guard other != name, !ignoring.contains(other) else { continue }
      found.formUnion(words(after: mark, from: other, ignoring: ignoring, depth: depth - 1))
    }
    return found
  }

  private static func beginsInFirstColumn(_ line: Substring) -> Bool {
    line.first.map { !$0.isWhitespace } ?? false
  }

  /// The identifier before the first parenthesis.
  private static func name(_ head: String, _ prefix: String) -> String? {
    guard let end = head.firstIndex(of: "(") else { return nil }
    let name = head[..<end].split { " *".contains($0) }.last.map(String.init)
    return name.flatMap { $0.hasPrefix(prefix) ? $0 : nil }
  }

  private static func comment(before head: Int, _ lines: [Substring]) -> String {
    guard head > 0, lines[head - 1].hasSuffix("*/"),
      let start = lines[..<head].lastIndex(where: { $0.hasPrefix("/*") })
    else { return "" }
    return lines[start..<head].map { line in
      line.split(separator: " ").filter { !["/*", "*", "*/"].contains($0) }.joined(separator: " ")
    }
    .filter { !$0.isEmpty }.joined(separator: " ")
  }
}
