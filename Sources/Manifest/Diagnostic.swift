// SPDX-License-Identifier: Apache-2.0

/// One thing wrong with a manifest.
public struct Diagnostic: Equatable, Sendable, CustomStringConvertible {
  /// Path as the caller gave it.
  public let file: String
  /// From 1; `nil` where the whole file is meant.
  public let line: Int?
  /// From 1, in Unicode scalars.
  public let column: Int?
  /// What was found and what was expected.
  public let message: String

  public var description: String {
    guard let line, let column else { return "\(file): \(message)" }
    return "\(file):\(line):\(column): \(message)"
  }
}

/// A manifest that cannot be used, with everything that is wrong with it, in file order.
public struct ManifestError: Error, Equatable, CustomStringConvertible {
  public let diagnostics: [Diagnostic]

  public var description: String {
    diagnostics.map(\.description).joined(separator: "\n")
  }
}

/// The nearest of `candidates` to a mistyped `word`; `nil` if none is near.
func nearest(to word: String, among candidates: [String]) -> String? {
  // Distances of long words cost their product; a key is never this long.
  guard word.count <= 64 else { return nil }
  let ranked = candidates.map { (distance(word.lowercased(), $0.lowercased()), $0) }
  guard let best = ranked.min(by: { $0.0 < $1.0 }) else { return nil }
  return best.0 <= max(1, word.count / 3) ? best.1 : nil
}

/// Levenshtein's edit distance, with a swap of neighbours counted as one edit.
private func distance(_ first: String, _ second: String) -> Int {
  let first = Array(first)
  let second = Array(second)
  var rows = [[Int]](
    repeating: [Int](repeating: 0, count: second.count + 1), count: first.count + 1)
  for row in 0...first.count { rows[row][0] = row }
  for column in 0...second.count { rows[0][column] = column }
  guard !first.isEmpty, !second.isEmpty else { return max(first.count, second.count) }
  for row in 1...first.count {
    for column in 1...second.count {
      let cost = first[row - 1] == second[column - 1] ? 0 : 1
      var best = min(
        rows[row - 1][column] + 1, rows[row][column - 1] + 1, rows[row - 1][column - 1] + cost)
      if row > 1, column > 1, first[row - 1] == second[column - 2],
        first[row - 2] == second[column - 1]
      {
        best = min(best, rows[row - 2][column - 2] + 1)
      }
      rows[row][column] = best
    }
  }
  return rows[first.count][second.count]
}
