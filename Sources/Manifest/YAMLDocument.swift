// SPDX-License-Identifier: Apache-2.0
import Foundation
import Yams

/// Turns text into a YAML tree; what is wrong with it becomes a diagnostic with its place.
enum YAMLDocument {
  /// Yams descends once per level of nesting, and a hostile file is nothing but levels: this bears
  /// `ManifestLimits.fileBytes` of them. It is address space, touched only as deep as needed.
  static let stackBytes = 512 << 20

  /// Runs `body` on a thread with a stack of `stackBytes`. Trees are made, used and dropped there.
  static func onDeepStack<Result: Sendable>(_ body: @escaping @Sendable () -> Result) -> Result? {
    let holder = Holder<Result>()
    let thread = Thread {
      holder.result = body()
      holder.done.signal()
    }
    thread.stackSize = stackBytes
    thread.start()
    holder.done.wait()
    return holder.result
  }

  private final class Holder<Result>: @unchecked Sendable {
    // @unchecked: written before `done` is signalled, read after it was waited for.
    var result: Result?
    let done = DispatchSemaphore(value: 0)
  }

  /// Composes the one document in `text`.
  static func compose(_ text: String, file: String) throws(ManifestError) -> Node {
    if let place = firstAnchorOrAlias(in: text) {
      throw single(
        file, place, "found an anchor or alias (\"&\", \"*\"); write the value out where it is used"
      )
    }
    do {
      guard let node = try Yams.compose(yaml: text) else {
        throw single(file, nil, "the manifest is empty; expected keys such as \"vos: 1\"")
      }
      return node
    } catch let error as ManifestError {
      throw error
    } catch let error as YamlError {
      throw translate(error, file: file)
    } catch {
      throw single(file, nil, "not YAML: \(error)")
    }
  }

  private static func translate(_ error: YamlError, file: String) -> ManifestError {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      return single(file, (mark.line, mark.column), "not YAML: \(problem)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      let keys = duplicates.map(quoted).joined(separator: ", ")
      return single(
        file, (context.mark.line, context.mark.column),
        "duplicate key \(keys) in the mapping that starts here; a key may stand only once")
    case .reader(let problem, let offset, _, _):
      return single(file, nil, "not YAML: \(problem)\(offset.map { " at byte \($0)" } ?? "")")
    default:
      return single(file, nil, "not YAML: \(error)")
    }
  }

  private static func single(
    _ file: String, _ place: (line: Int, column: Int)?, _ message: String
  ) -> ManifestError {
    ManifestError(diagnostics: [
      Diagnostic(file: file, line: place?.line, column: place?.column, message: message)
    ])
  }

  /// Where the first anchor or alias stands. They are refused before parsing, because nested ones
  /// make a tree that is exponentially larger than its text.
  static func firstAnchorOrAlias(in text: String) -> (line: Int, column: Int)? {
    var line = 1
    var column = 0
    var quote: Unicode.Scalar?
    var previous: Unicode.Scalar = "\n"
    var comment = false
    for scalar in text.unicodeScalars {
      column += 1
      if let open = quote {
        if scalar == open && !(open == "\"" && previous == "\\") { quote = nil }
      } else if !comment {
        let starts = " \n\t[{,".unicodeScalars.contains(previous)
        switch scalar {
        case "\"" where starts, "'" where starts: quote = scalar
        case "#" where starts: comment = true
        case "&" where starts, "*" where starts: return (line, column)
        default: break
        }
      }
      // An escaped backslash does not escape what follows it.
      previous = previous == "\\" && scalar == "\\" ? " " : scalar
      if scalar == "\n" {
        line += 1
        column = 0
        comment = false
      }
    }
    return nil
  }
}
