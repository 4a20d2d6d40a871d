// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Synchronization

/// What the monitor tells people on standard error: few lines, however hard a guest tries.
public final class Log: Sendable {
  /// Warnings in one second.
  private static let warningsPerSecond = 10
  /// Bytes of a line: what a pipe takes at once if it has room at all (PIPE_BUF).
  private static let lineLimit = 4096

  private struct State {
    var second: Int = 0
    var written = 0
    var suppressed = 0
  }

  private let domain: String
  private let output: Int32
  private let state = Mutex(State())

  /// A log on standard error whose lines begin with the domain's name.
  public convenience init(domain: String) { self.init(domain: domain, output: STDERR_FILENO) }

  /// A log that goes to the descriptor `output`, which stays open.
  public init(domain: String, output: Int32) {
    self.domain = domain
    self.output = output
  }

  /// Writes one line, whatever came before.
  public func note(_ text: String) {
    write("vosvmm[\(domain)]: \(text)")
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

  /// Writes a line if that needs no waiting: all monitors share one standard error, and the writer
  /// may be a guest's CPU with a lock held. A lost line is no reason to stop.
  private func write(_ line: String) {
    var room = pollfd(fd: output, events: Int16(POLLOUT), revents: 0)
    // SAFETY: the call changes one local of its type.
    guard unsafe poll(&room, 1, 0) == 1 else { return }
    let bytes = Array(line.utf8.prefix(Self.lineLimit - 1)) + [0x0A]
    // SAFETY: the bytes are read during the call only.
    _ = unsafe Glibc.write(output, bytes, bytes.count)
  }
}
