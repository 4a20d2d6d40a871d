// SPDX-License-Identifier: Apache-2.0
import Yams

/// Collects diagnostics while a tree is read, so that one run shows everything that is wrong.
final class NodeReader {
  let file: String
  private(set) var diagnostics: [Diagnostic] = []

  init(file: String) {
    self.file = file
  }

  /// Notes that something at `node` is wrong.
  func report(_ node: Node, _ message: String) {
    report(node.mark, message)
  }

  func report(_ mark: Mark?, _ message: String) {
    diagnostics.append(
      Diagnostic(file: file, line: mark?.line, column: mark?.column, message: message))
  }

  /// The diagnostics in file order.
  var sorted: [Diagnostic] {
    diagnostics.enumerated().sorted { first, second in
      let left = (first.element.line ?? 0, first.element.column ?? 0, first.offset)
      let right = (second.element.line ?? 0, second.element.column ?? 0, second.offset)
      return left < right
    }.map(\.element)
  }

  /// Reads `node` as a mapping with `keys`; unknown keys are reported with the nearest known one.
  func fields(_ node: Node, of subject: String, keys: [String]) -> Fields? {
    guard case .mapping(let mapping) = node else {
      report(
        node, "\(subject) is \(describe(node)); expected a mapping with keys such as \(keys[0])")
      return nil
    }
    var values: [String: Node] = [:]
    for (key, value) in mapping {
      guard let name = key.string, keys.contains(name) else {
        reportUnknown(key, in: subject, keys: keys)
        continue
      }
      values[name] = value
    }
    return Fields(reader: self, subject: subject, node: node, values: values)
  }

  private func reportUnknown(_ key: Node, in subject: String, keys: [String]) {
    guard let name = key.string else {
      report(key, "a key in \(subject) is \(describe(key)); expected a plain word")
      return
    }
    let hint = nearest(to: name, among: keys).map { "did you mean \"\($0)\"?" }
    report(
      key,
      "unknown key \(quoted(name)) in \(subject); "
        + (hint ?? "expected one of \(keys.joined(separator: ", "))"))
  }

  /// Reads `node` as a mapping whose keys are names; each name and value in order.
  func named(_ node: Node, of subject: String, example: String) -> [(
    key: Node, name: String, value: Node
  )]? {
    guard case .mapping(let mapping) = node else {
      report(
        node, "\(subject) is \(describe(node)); expected a mapping of names, such as \(example)")
      return nil
    }
    return mapping.compactMap { key, value in
      guard let name = key.string, isName(name) else {
        report(
          key,
          "\(describe(key)) cannot be a name in \(subject); expected small letters, digits and "
            + "\"-\", starting with a letter, at most \(ManifestLimits.nameBytes)")
        return nil
      }
      return (key, name, value)
    }
  }
}

/// The known keys of one mapping; each accessor checks type and range and reports what is wrong.
struct Fields {
  let reader: NodeReader
  let subject: String
  let node: Node
  let values: [String: Node]

  subscript(key: String) -> Node? { values[key] }

  /// The node of `key`, reported as missing if it is not there.
  func required(_ key: String, expected: String) -> Node? {
    if let value = values[key] { return value }
    reader.report(node, "\(subject) lacks \"\(key)\"; expected \(expected)")
    return nil
  }

  /// Reports that `key` holds something else than `expected`.
  func mismatch(_ key: String, _ value: Node, expected: String) {
    reader.report(value, "\"\(key)\" in \(subject) is \(describe(value)); expected \(expected)")
  }

  /// A non-empty text that `check` accepts.
  func text(_ key: String, expected: String, _ check: (String) -> Bool = { _ in true }) -> String? {
    guard let value = values[key] else { return nil }
    guard case .scalar(let scalar) = value, !scalar.string.isEmpty, !scalar.string.contains("\0"),
      check(scalar.string)
    else {
      mismatch(key, value, expected: expected)
      return nil
    }
    return scalar.string
  }

  /// `true` or `false`.
  func flag(_ key: String) -> Bool? {
    guard let value = values[key] else { return nil }
    guard case .scalar(let scalar) = value, isPlain(scalar),
      scalar.string == "true" || scalar.string == "false"
    else {
      mismatch(key, value, expected: "true or false")
      return nil
    }
    return scalar.string == "true"
  }

  /// A whole decimal number within `range`.
  func integer(_ key: String, in range: ClosedRange<Int>, unit: String = "") -> Int? {
    guard let value = values[key] else { return nil }
    guard case .scalar(let scalar) = value, isPlain(scalar),
      (1...9).contains(scalar.string.utf8.count),
      scalar.string.allSatisfy({ "0"..."9" ~= $0 }), let number = Int(scalar.string),
      range.contains(number)
    else {
      mismatch(
        key, value,
        expected: "a whole number from \(range.lowerBound) to \(range.upperBound)\(unit)")
      return nil
    }
    return number
  }

  /// A size within `range` and a multiple of `granule`.
  func byteCount(_ key: String, in range: ClosedRange<UInt64>, granule: UInt64) -> UInt64? {
    guard let value = values[key] else { return nil }
    let limits = "\(formatByteCount(range.lowerBound)) to \(formatByteCount(range.upperBound))"
    guard case .scalar(let scalar) = value, let count = parseByteCount(scalar.string) else {
      mismatch(key, value, expected: "a size with its unit, such as 512MiB (\(limits))")
      return nil
    }
    guard range.contains(count), count.isMultiple(of: granule) else {
      mismatch(
        key, value, expected: "a size from \(limits), a multiple of \(formatByteCount(granule))")
      return nil
    }
    return count
  }

  /// A list of texts that `convert` accepts, with their nodes.
  func list(
    _ key: String, maximum: Int, expected: String, _ convert: (String) -> String?
  ) -> [(node: Node, text: String)] {
    guard let value = values[key] else { return [] }
    guard case .sequence(let sequence) = value else {
      mismatch(key, value, expected: "a list of \(expected)")
      return []
    }
    if sequence.count > maximum {
      reader.report(
        value, "\"\(key)\" in \(subject) has \(sequence.count) entries; expected at most \(maximum)"
      )
      return []
    }
    return sequence.compactMap { entry in
      guard case .scalar(let scalar) = entry, let text = convert(scalar.string) else {
        reader.report(
          entry, "an entry of \"\(key)\" in \(subject) is \(describe(entry)); expected \(expected)")
        return nil
      }
      return (entry, text)
    }
  }
}

private func isPlain(_ scalar: Node.Scalar) -> Bool {
  scalar.style == .plain || scalar.style == .any
}

/// What a node holds, for "found" in a message.
func describe(_ node: Node) -> String {
  switch node {
  case .scalar(let scalar): scalar.string.isEmpty ? "empty" : quoted(scalar.string)
  case .mapping: "a mapping"
  case .sequence: "a list"
  case .alias: "an alias"
  }
}
