// SPDX-License-Identifier: Apache-2.0
import Glibc
import Supervisor

/// What goes to the screen, and whether there is one.
enum Terminal {
  enum Colour: String {
    case green = "32"
    case yellow = "33"
    case red = "31"
    case dim = "2"
  }

  static func isScreen(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

  /// Whether colours are wanted (no-color.org).
  static func usesColour(_ descriptor: Int32) -> Bool {
    isScreen(descriptor) && variable("NO_COLOR") == nil && variable("TERM") != "dumb"
  }

  static func coloured(_ text: String, _ colour: Colour?, on descriptor: Int32 = STDOUT_FILENO)
    -> String
  {
    guard let colour, usesColour(descriptor) else { return text }
    return "\u{1b}[\(colour.rawValue)m\(text)\u{1b}[0m"
  }

  static func colour(ofState state: String) -> Colour? {
    switch state {
    case "ready", "running", "up": .green
    case "booting", "starting", "preparing", "stopping", "repaired": .yellow
    case "failed", "degraded": .red
    case "stopped", "created", "device": .dim
    default: nil
    }
  }

  static func print(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }

  static func write(_ text: String, to descriptor: Int32) {
    write(Array(text.utf8), to: descriptor)
  }

  /// Writes all bytes; a reader that is gone ends the program as SIGPIPE would.
  static func write(_ bytes: [UInt8], to descriptor: Int32) {
    var done = 0
    while done < bytes.count {
      // SAFETY: the call reads no more than the rest of the array.
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe Glibc.write(
          descriptor, buffer.baseAddress.map { unsafe $0 + done }, bytes.count - done)
      }
      if count < 0, errno == EINTR || errno == EAGAIN { continue }
      if count < 0 { exit(ExitStatus.failure) }
      done += count
    }
  }

  /// Shows what went wrong.
  static func complain(_ failure: Failure) {
    if !failure.console.isEmpty {
      write("last lines of its console:\n", to: STDERR_FILENO)
      for line in failure.console { write("  | \(line)\n", to: STDERR_FILENO) }
    }
    let label = coloured("vosctl:", .red, on: STDERR_FILENO)
    write("\(label) \(failure.message)\n", to: STDERR_FILENO)
  }

  private static func variable(_ name: String) -> String? {
    // SAFETY: the result is copied at once; nothing here changes the environment.
    guard let value = unsafe getenv(name) else { return nil }
    let text = unsafe String(cString: value)
    return text.isEmpty ? nil : text
  }
}

/// Columns as wide as their widest cell; the last one is left as it is.
func table(_ rows: [[String]]) -> [String] {
  let columns = rows.map(\.count).max() ?? 0
  let widths = (0..<columns).map { column in
    rows.map { $0.indices.contains(column) ? $0[column].count : 0 }.max() ?? 0
  }
  return rows.map { row in
    row.enumerated().map { column, cell in
      column == row.count - 1
        ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
    }.joined(separator: "  ")
  }
}
