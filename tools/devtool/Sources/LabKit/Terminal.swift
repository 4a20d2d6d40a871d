// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// This terminal, connected with the lab host's second console.
public final class Terminal {
  /// What the console's shell prints when it ends (images/files/labhost-inittab).
  private static let farewell = Array("labhost: shell ended".utf8)
  private static let roundMilliseconds: Int32 = 50
  private let socket: Socket

  public init(_ path: URL) throws { socket = try Socket(connectingTo: path) }

  /// Passes bytes both ways until the shell, the lab or our input ends.
  public func run() throws {
    let saved = Terminal.makeRaw()
    defer { if var saved { _ = unsafe tcsetattr(STDIN_FILENO, TCSANOW, &saved) } }
    // An empty line, so that a prompt shows at once.
    try socket.send(Array("\n".utf8))
    var last: [UInt8] = []
    var inputOpen = true
    while !Interrupts.raised {
      if let bytes = try socket.receive(withinMilliseconds: Terminal.roundMilliseconds) {
        if bytes.isEmpty { return }
        FileHandle.standardOutput.write(Data(bytes))
        last = (last + bytes).suffix(Terminal.farewell.count * 4)
        if contains(last, Terminal.farewell) { return }
      }
      if inputOpen { inputOpen = try passInput() }
    }
  }

  /// Whether our input goes on; at its end the shell is asked to end.
  private func passInput() throws -> Bool {
    var ready = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
    // SAFETY: one entry, which outlives the call.
    guard unsafe poll(&ready, 1, 0) > 0 else { return true }
    let data = FileHandle.standardInput.availableData
    try socket.send(data.isEmpty ? Array("exit\n".utf8) : Array(data))
    return !data.isEmpty
  }

  /// - Returns: the terminal's old settings, or nil when our input is no terminal.
  private static func makeRaw() -> termios? {
    var settings = termios()
    // SAFETY: the settings outlive the calls.
    guard unsafe tcgetattr(STDIN_FILENO, &settings) == 0 else { return nil }
    let saved = settings
    unsafe cfmakeraw(&settings)
    _ = unsafe tcsetattr(STDIN_FILENO, TCSANOW, &settings)
    return saved
  }

  private func contains(_ bytes: [UInt8], _ pattern: [UInt8]) -> Bool {
    guard bytes.count >= pattern.count else { return false }
    return (0...(bytes.count - pattern.count)).contains {
      bytes[$0..<$0 + pattern.count].elementsEqual(pattern)
    }
  }
}
