// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// A process held by a pidfd: its number cannot be reused under us. Readable once it has exited.
public struct PidDescriptor: ~Copyable, Sendable {
  /// How a child ended.
  public enum Exit: Equatable, Sendable {
    case code(Int32)
    case signal(Int32)
  }

  public let descriptor: OwnedDescriptor
  /// The process number, for people and for records.
  public let processNumber: Int32

  /// Opens `processNumber`.
  public init(_ processNumber: Int32) throws(SystemCallError) {
    self.processNumber = processNumber
    descriptor = OwnedDescriptor(
      owning: try retrying("open process \(processNumber)") { clinux_pidfd_open(processNumber) })
  }

  /// Sends `signal`; a process that is gone already is no error.
  public func send(signal: Int32) throws(SystemCallError) {
    do throws(SystemCallError) {
      try retrying("signal process \(processNumber)") {
        clinux_pidfd_send_signal(descriptor.rawValue, signal)
      }
    } catch  where error.errno == .noSuchProcess {
      return
    }
  }

  /// Takes the exit status of our child; waits for it if `block`, else `nil` while it runs.
  public func reap(block: Bool) throws(SystemCallError) -> Exit? {
    var status: Int32 = 0
    let reaped = try retrying("wait for process \(processNumber)") {
      // SAFETY: the call writes a local of the type it expects.
      unsafe waitpid(processNumber, &status, block ? 0 : WNOHANG)
    }
    guard reaped == processNumber else { return nil }
    let signal = status & 0x7f
    return signal == 0 ? .code((status >> 8) & 0xff) : .signal(signal)
  }
}
