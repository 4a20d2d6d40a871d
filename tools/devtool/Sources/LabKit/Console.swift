// SPDX-License-Identifier: Apache-2.0
import Foundation
import Synchronization

/// What a person sees: steps with elapsed times, on standard error; results go to standard output.
public final class Console: Sendable {
  public static let shared = Console()

  /// Colour and live times only where a person looks on.
  private let interactive = isatty(STDERR_FILENO) == 1
  private let started = Date()
  private let current = Mutex<(text: String, since: Date)?>(nil)

  private init() {
    guard interactive else { return }
    Thread.detachNewThread { [self] in
      while true {
        sleep(1)
        tick()
      }
    }
  }

  /// Runs `body` as a step that is shown with its time, and named when it fails.
  @discardableResult
  public func step<Result>(_ text: String, _ body: () throws -> Result) throws -> Result {
    begin(text)
    let since = Date()
    do {
      let result = try body()
      end(mark: "ok", colour: 32, text, since)
      return result
    } catch {
      end(mark: "FAILED", colour: 31, text, since)
      throw error
    }
  }

  /// Notes a step that had nothing to do, or could not be done.
  public func note(_ mark: String, _ text: String) {
    write(painted(mark.padding(toLength: 6, withPad: " ", startingAt: 0), 33) + " \(text)\n")
  }

  /// A line in between.
  public func say(_ text: String) { write(text + "\n") }

  /// A headline.
  public func headline(_ text: String) {
    let seconds = String(format: "%.0f s", Date().timeIntervalSince(started))
    write(painted("== \(text)", 1) + " (\(seconds) so far)\n")
  }

  private func begin(_ text: String) {
    current.withLock { $0 = (text, Date()) }
    if interactive { write("\r\u{1b}[K...    \(text)") }
  }

  private func end(mark: String, colour: Int, _ text: String, _ since: Date) {
    current.withLock { $0 = nil }
    let time = String(format: "%6.1f s", Date().timeIntervalSince(since))
    let padded = mark.padding(toLength: 6, withPad: " ", startingAt: 0)
    write((interactive ? "\r\u{1b}[K" : "") + painted(padded, colour) + " \(time)  \(text)\n")
  }

  private func tick() {
    guard let (text, since) = current.withLock({ $0 }) else { return }
    write("\r\u{1b}[K...    \(text) (\(Int(Date().timeIntervalSince(since))) s)")
  }

  private func painted(_ text: String, _ colour: Int) -> String {
    interactive ? "\u{1b}[\(colour)m\(text)\u{1b}[0m" : text
  }

  private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
