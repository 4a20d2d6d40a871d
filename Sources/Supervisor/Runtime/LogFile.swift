// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem

/// vosd's log: a file that stays within its bound, whatever makes vosd write. When it is full it
/// becomes the file's predecessor, `PATH.1`, whose own predecessor goes.
public final class LogFile {
  /// What is added to the name of the predecessor.
  static let olderSuffix = ".1"
  /// Bytes of the file; it and its predecessor together take twice that.
  public static let standardLimit = 4 << 20

  private let path: String
  private let limit: Int
  private let targets: [Int32]
  private var file: OwnedDescriptor

  /// Opens the file at `path` for appending and makes `targets` write to it; `nil` if it cannot be
  /// opened.
  ///
  /// - Parameter targets: descriptors that stay open; standard output and error if not given.
  public init?(
    _ path: String, targets: [Int32] = [1, 2], limit: Int = standardLimit
  ) {
    guard let file = Self.open(path) else { return nil }
    self.path = path
    self.limit = limit
    self.targets = targets
    self.file = file
    redirect()
  }

  private static func open(_ path: String) -> OwnedDescriptor? {
    try? OwnedDescriptor.open(
      path, flags: O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, mode: 0o600)
  }

  private func redirect() {
    for target in targets { dup2(file.rawValue, target) }
  }

  /// Begins a new file if this one is full.
  func trim() {
    var status = stat()
    // SAFETY: the call fills a local of the type it expects.
    guard unsafe fstat(file.rawValue, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      status.st_size >= limit
    else { return }
    // SAFETY: the strings outlive the call.
    guard unsafe rename(path, path + Self.olderSuffix) == 0, let fresh = Self.open(path) else {
      // The bound matters more than the oldest lines.
      _ = ftruncate(file.rawValue, 0)
      return
    }
    file = fresh
    redirect()
  }
}

/// What a monitor writes to its standard error, made into lines for vosd's log: few of them, none
/// long, without control characters. A hostile guest may have a hand in every byte.
struct MonitorLines {
  static let lineBytes = 4096
  static let linesPerSecond = 50

  private var rest: [UInt8] = []
  /// The line that is being read is longer than `lineBytes`; its end is not wanted.
  private var skips = false
  private var second: Seconds = -.infinity
  private var taken = 0
  private var dropped = 0

  /// The lines to write now.
  mutating func take(_ bytes: [UInt8], at now: Seconds) -> [String] {
    var lines: [String] = []
    for byte in bytes {
      if byte == 0x0a {
        if !skips { emit(&lines, at: now) }
        skips = false
      } else if !skips {
        rest.append(byte)
        if rest.count == Self.lineBytes {
          emit(&lines, at: now)
          skips = true
        }
      }
    }
    return lines
  }

  /// What is left when the monitor has ended.
  mutating func finish(at now: Seconds) -> [String] {
    var lines: [String] = []
    if !rest.isEmpty { emit(&lines, at: now) }
    noteDropped(&lines)
    return lines
  }

  private mutating func emit(_ lines: inout [String], at now: Seconds) {
    defer { rest = [] }
    if now - second >= 1 {
      second = now
      taken = 0
      noteDropped(&lines)
    }
    guard taken < Self.linesPerSecond else {
      dropped += 1
      return
    }
    taken += 1
    let text = String(decoding: rest, as: UTF8.self).unicodeScalars.map {
      $0.value < 32 || (127..<160).contains($0.value) ? "?" : String($0)
    }
    lines.append(text.joined())
  }

  private mutating func noteDropped(_ lines: inout [String]) {
    if dropped > 0 { lines.append("(\(dropped) lines dropped)") }
    dropped = 0
  }
}
