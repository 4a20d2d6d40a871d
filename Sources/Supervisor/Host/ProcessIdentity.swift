// SPDX-License-Identifier: Apache-2.0
import Glibc
public import LinuxSystem

/// A process beyond doubt: its number and when it started, in this boot of this kernel.
///
/// Numbers are used again; a number with its start time (proc(5), stat field 22) is not.
public struct ProcessIdentity: Codable, Equatable, Sendable {
  public var pid: Int32
  /// Clock ticks since boot.
  public var startTime: UInt64
  /// /proc/sys/kernel/random/boot_id.
  public var boot: String

  /// The identity of a living process; `nil` if there is none with this number.
  public init?(pid: Int32) {
    guard pid > 0, let startTime = Self.startTime(of: pid) else { return nil }
    self.pid = pid
    self.startTime = startTime
    boot = Self.currentBoot()
  }

  init(pid: Int32, startTime: UInt64, boot: String) {
    self.pid = pid
    self.startTime = startTime
    self.boot = boot
  }

  /// This very process.
  public static var own: ProcessIdentity {
    ProcessIdentity(pid: getpid())
      ?? ProcessIdentity(pid: getpid(), startTime: 0, boot: currentBoot())
  }

  /// Whether it still lives. A zombie does not.
  public var isAlive: Bool {
    boot == Self.currentBoot() && Self.startTime(of: pid) == startTime
  }

  /// Ends it with SIGKILL if it still lives, and waits until it is gone.
  ///
  /// - Returns: whether it is gone after at most `timeoutMilliseconds`.
  public func kill(timeoutMilliseconds: Int32 = 10_000) throws(SystemCallError) -> Bool {
    guard isAlive else { return true }
    let process: PidDescriptor
    do throws(SystemCallError) {
      process = try PidDescriptor(pid)
    } catch  where error.errno == .noSuchProcess {
      return true
    }
    // Looked at again now that the number is held: it cannot pass to another process any more.
    guard isAlive else { return true }
    try process.send(signal: SIGKILL)
    let epoll = try Epoll()
    try epoll.add(process.descriptor.rawValue, interest: .readable, token: 0)
    return try !epoll.wait(timeoutMilliseconds: timeoutMilliseconds).isEmpty
  }

  private static func currentBoot() -> String {
    (readSmallFile("/proc/sys/kernel/random/boot_id") ?? "").filter { !$0.isWhitespace }
  }

  private static func startTime(of pid: Int32) -> UInt64? {
    guard let text = readSmallFile("/proc/\(pid)/stat"),
      // The name, field 2, may hold anything; the last parenthesis ends it.
      let end = text.lastIndex(of: ")")
    else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    // Field 3 is the state; field 22 the start time.
    guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
    return UInt64(fields[19])
  }
}

/// The text of a small file such as one of procfs; `nil` if it cannot be read.
func readSmallFile(_ path: String, maximum: Int = 64 << 10) -> String? {
  guard let file = try? OwnedDescriptor.open(path) else { return nil }
  var bytes: [UInt8] = []
  while bytes.count < maximum, let part = try? file.read(maximum: 4096), !part.isEmpty {
    bytes += part
  }
  return String(decoding: bytes, as: UTF8.self)
}
