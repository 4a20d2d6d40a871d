// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The emulator's own control socket (QMP): what happens to the machine's hardware, not within it.
final class QEMUMonitor {
  private let socket: Socket
  private var buffer: [UInt8] = []
  private static let replySeconds = 20.0

  /// Connects and leaves QMP's negotiation behind.
  init(_ path: URL) throws {
    socket = try Socket(connectingTo: path)
    _ = try reply()
    _ = try execute(["execute": "qmp_capabilities"])
  }

  /// Runs one command of the human monitor, for much has no other form; returns what it printed.
  ///
  /// - Parameter processor: the one whose registers and page tables the command means.
  func run(_ line: String, processor: Int = 0) throws -> String {
    let answer = try execute([
      "execute": "human-monitor-command",
      "arguments": ["command-line": line, "cpu-index": processor],
    ])
    return answer["return"] as? String ?? ""
  }

  private func execute(_ command: [String: Any]) throws -> [String: Any] {
    try socket.send(Array(JSONSerialization.data(withJSONObject: command)) + [UInt8(ascii: "\n")])
    while true {
      let answer = try reply()
      if let error = answer["error"] { throw Failure("QEMU's monitor: \(error)") }
      // Anything else is an event, which nobody here waits for.
      if answer["return"] != nil { return answer }
    }
  }

  /// One line of JSON.
  private func reply() throws -> [String: Any] {
    let deadline = Date().addingTimeInterval(QEMUMonitor.replySeconds)
    while true {
      if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
        let line = Data(buffer[..<end])
        buffer.removeFirst(end + 1)
        return try JSONSerialization.jsonObject(with: line) as? [String: Any] ?? [:]
      }
      guard Date() < deadline else { throw Failure("QEMU's monitor does not answer") }
      guard let bytes = try socket.receive(withinMilliseconds: 200) else { continue }
      guard !bytes.isEmpty else { throw Failure("QEMU is gone") }
      buffer += bytes
    }
  }
}
