// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Glibc
import Supervisor

/// Shows a system on its way up or down: a line for each step, and on a screen a last line with who
/// is waited for.
struct ProgressView {
  private let system: String
  private let verb: String
  private let start = Date()
  private let isLive = Terminal.isScreen(STDOUT_FILENO)
  private var waiting: [String]
  private var width: Int

  init(system: String, domains: [String], verb: String) {
    self.system = system
    self.verb = verb
    waiting = domains
    width = max(6, domains.map(\.count).max() ?? 0)
  }

  /// Shows what comes until the end.
  ///
  /// - Throws: the failure that vosd reports; `notRunning` if vosd died.
  mutating func follow(
    _ client: ControlClient, interrupts: Interrupts?, cancel: () -> Void
  ) throws {
    var cancelled = false
    // vosd hangs up last: when the connection is closed, everything that it said is true.
    defer { while client.fill() {} }
    while true {
      while let incoming = client.next() {
        if try take(incoming) { return }
      }
      showWaiting()
      var descriptors = [client.descriptor]
      if let interrupts { descriptors.append(interrupts.descriptor) }
      let ready = waitForAny(descriptors, timeoutMilliseconds: isLive ? 500 : -1)
      if let interrupts, ready[1], interrupts.take() {
        clearLine()
        if cancelled { throw ExitCode(ExitStatus.cancelled) }
        cancelled = true
        Terminal.print("undoing everything; ^C again to leave at once")
        cancel()
      }
      if ready[0], !client.fill() {
        clearLine()
        throw Failure(.notRunning, "vosd has died; run \"vosctl down\" to clean up")
      }
    }
  }

  /// Whether this was the last.
  private mutating func take(_ incoming: ControlClient.Incoming) throws -> Bool {
    guard case .reply(let reply) = incoming else { return false }
    clearLine()
    switch reply {
    case .progress(let progress): show(progress)
    case .status: break
    case .failure(let failure): throw failure
    case .done:
      let time = formatSeconds(Date().timeIntervalSince(start))
      let word = Terminal.coloured(verb, .green)
      Terminal.print("system \(system) is \(word) after \(time)")
      return true
    }
    return false
  }

  private mutating func show(_ progress: ProgressStep) {
    if let domain = progress.domain, progress.state != "booting" {
      waiting.removeAll { $0 == domain }
    }
    if progress.domain == nil, progress.state == "up" { return }
    let time = formatSeconds(progress.elapsedSeconds)
    let clock = String(repeating: " ", count: max(0, 8 - time.count)) + time
    let name = progress.domain ?? "-"
    let padding = String(repeating: " ", count: max(0, width - name.count))
    let state = Terminal.coloured(progress.state, Terminal.colour(ofState: progress.state))
    Terminal.print("\(clock)  \(name)\(padding)  \(state) \(progress.detail ?? "")")
  }

  private func showWaiting() {
    guard isLive, !waiting.isEmpty else { return }
    let time = Int(Date().timeIntervalSince(start))
    Terminal.write(
      "\r\u{1b}[Kwaiting for \(waiting.joined(separator: ", ")), \(time) s", to: STDOUT_FILENO)
  }

  private func clearLine() {
    if isLive { Terminal.write("\r\u{1b}[K", to: STDOUT_FILENO) }
  }
}
