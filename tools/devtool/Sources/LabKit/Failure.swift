// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// Why a step of `tools/dev` could not be done: one sentence, and where to read more.
public struct Failure: LocalizedError, CustomStringConvertible {
  /// What failed, on what, with which value; lower case, no full stop.
  public var message: String
  /// The log that tells more, if any.
  public var log: URL?

  public init(_ message: String, log: URL? = nil) {
    self.message = message
    self.log = log
  }

  public var description: String { message }
  public var errorDescription: String? { message }
}

/// A failed system call: its name and the text of `errno`.
func systemFailure(_ call: String, _ number: Int32 = errno) -> Failure {
  // SAFETY: strerror returns a NUL-terminated string that is copied at once.
  unsafe Failure("\(call): \(String(cString: strerror(number)))")
}
