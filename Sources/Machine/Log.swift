// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Synchronization

/// What the monitor tells people on standard error: few lines, however hard a guest tries.
public final class Log: Sendable {
  /// Warnings in one second.
  private static let warningsPerSecond = 10

  private struct State {
    var second: Int = 0
    var written = 0
    var suppressed = 0
  }

  private let domain: String
  private let state = Mutex(State())

  /// A log whose lines begin with the domain's name.
  public init(domain: String) {
    self.domain = domain
  }

  /// Writes one line, whatever came before.
  public func note(_ text: String) {
    Self.write("vosvmm[\(domain)]: \(text)\n")
  }

  /// Writes one line, unless too many were written in this second.
  func warn(_ text: @autoclosure () -> String) {
    var now = timespec()
    // SAFETY: the call fills a local of its type.
    unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
    let second = now.tv_sec
    let suppressed: Int? = state.withLock { state in
      let before = state.suppressed
      if state.second != second { state = State(second: second) }
      guard state.written < Self.warningsPerSecond else {
        state.suppressed += 1
        return nil
      }
      state.written += 1
      return state.written == 1 ? before : 0
    }
    guard let suppressed else { return }
    note(suppressed > 0 ? "\(text()) (\(suppressed) lines suppressed)" : text())
  }

  private static func write(_ line: String) {
    var line = line
    // SAFETY: the bytes are read during the call only. A lost line is no reason to stop.
    line.withUTF8 { bytes in
      _ = unsafe Glibc.write(STDERR_FILENO, bytes.baseAddress, bytes.count)
    }
  }
}
