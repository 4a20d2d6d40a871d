// SPDX-License-Identifier: Apache-2.0
import Glibc
public import LinuxSystem

/// Who writes to sysfs. The real one writes; a test's one does what the kernel would.
public protocol AttributeWriter: AnyObject {
  /// Writes `text` to the attribute at `path`.
  func write(_ text: String, to path: String) throws(SystemCallError)
}

/// Writes to the file system.
public final class SysfsWriter: AttributeWriter {
  public init() {}

  public func write(_ text: String, to path: String) throws(SystemCallError) {
    let file = try OwnedDescriptor.open(path, flags: O_WRONLY)
    try file.write(all: Array(text.utf8))
  }
}

/// The files in which a host tells of itself, below roots that tests choose.
public struct HostFiles {
  public let sys: String
  public let proc: String
  public let dev: String
  let writer: any AttributeWriter

  /// No file read here is larger.
  private static let maximumByteCount = 4 << 20

  public init(
    sys: String = "/sys", proc: String = "/proc", dev: String = "/dev",
    writer: any AttributeWriter = SysfsWriter()
  ) {
    self.sys = sys
    self.proc = proc
    self.dev = dev
    self.writer = writer
  }

  /// The bytes of a file; `nil` if it cannot be read.
  func bytes(_ path: String) -> [UInt8]? {
    guard let file = try? OwnedDescriptor.open(path) else { return nil }
    var bytes: [UInt8] = []
    while bytes.count < Self.maximumByteCount {
      guard let part = try? file.read(maximum: 65536) else { return nil }
      if part.isEmpty { return bytes }
      bytes += part
    }
    return nil
  }

  /// The text of a file without its last line feed; `nil` if it cannot be read.
  func text(_ path: String) -> String? {
    guard var bytes = bytes(path) else { return nil }
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// A number as sysfs writes it: decimal, or hexadecimal after `0x`.
  func number(_ path: String) -> Int? { text(path).flatMap { HostFiles.number($0) } }

  static func number(_ text: some StringProtocol) -> Int? {
    text.hasPrefix("0x") ? Int(text.dropFirst(2), radix: 16) : Int(text)
  }

  /// Whether there is something at `path`.
  func exists(_ path: String) -> Bool {
    // SAFETY: the string outlives the call.
    unsafe access(path, F_OK) == 0
  }

  /// The names in a directory, sorted; none if there is no such directory.
  func names(in path: String) -> [String] {
    // SAFETY: the stream is closed before it is left and used only here.
    guard let stream = unsafe opendir(path) else { return [] }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    // SAFETY: an entry stays valid until the next call; its name is copied at once, and d_name is
    // the last member, NUL-terminated.
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// The path behind all links; `nil` if there is nothing.
  func resolved(_ path: String) -> String? {
    // SAFETY: the result is a string of its own, copied and freed here.
    guard let resolved = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
  }

  /// The last component of where a link leads; `nil` if there is none.
  func linkTarget(_ path: String) -> String? {
    resolved(path)?.split(separator: "/").last.map(String.init)
  }
}
