// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
public import SystemPackage

/// A system call that failed, with what it was about.
public struct SystemCallError: Error, Equatable, CustomStringConvertible {
  /// The call's name and subject, such as `open /dev/kvm`.
  public let operation: String
  /// Why it failed.
  public let errno: Errno

  public init(_ operation: String, errno: Errno) {
    self.operation = operation
    self.errno = errno
  }

  /// Takes the calling thread's `errno`; call it right after the failure.
  public static func last(_ operation: String) -> SystemCallError {
    SystemCallError(operation, errno: Errno(rawValue: clinux_errno()))
  }

  public var description: String { "\(operation): \(errno)" }
}

/// Runs `call` until it is not interrupted; -1 becomes an error.
@discardableResult
public func retrying<T: SignedInteger>(
  _ operation: @autoclosure () -> String, _ call: () -> T
) throws(SystemCallError) -> T {
  while true {
    let result = call()
    if result != -1 { return result }
    let errno = Errno(rawValue: clinux_errno())
    if errno != .interrupted { throw SystemCallError(operation(), errno: errno) }
  }
}
