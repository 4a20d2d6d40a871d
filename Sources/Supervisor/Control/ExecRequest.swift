// SPDX-License-Identifier: Apache-2.0
import CVosABI

extension Execution {
  /// The data of VOS_CALL_EXEC: struct vos_exec, then arguments and environment, each with its NUL;
  /// `nil` if a text holds a NUL or all of it exceeds `maximum` bytes.
  func encoded(maximum: Int) -> [UInt8]? {
    guard !arguments.isEmpty else { return nil }
    let words = [UInt32(arguments.count), UInt32(environment.count), 0, 0]
    var bytes = words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
    }
    for text in arguments + environment {
      guard !text.utf8.contains(0) else { return nil }
      bytes += Array(text.utf8) + [0]
      guard bytes.count <= maximum else { return nil }
    }
    return bytes
  }
}

/// What a shell would make of a wait status (wait4(2), bash(1) EXIT STATUS).
func exitCode(ofWaitStatus status: Int64) -> Int32 {
  let status = Int32(truncatingIfNeeded: status)
  let signal = status & 0x7f
  return signal == 0 ? (status >> 8) & 0xff : 128 + signal
}
