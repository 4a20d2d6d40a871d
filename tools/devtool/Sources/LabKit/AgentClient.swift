// SPDX-License-Identifier: Apache-2.0
public import Foundation
import LabProtocol

/// How a command in the lab host ended, and what it wrote.
public struct LabResult: Sendable {
  /// The exit code; 128 + number for a signal.
  public var code: Int32
  public var output: String
  public var errors: String

  /// The output without white space around it.
  public var text: String { output.trimmingCharacters(in: .whitespacesAndNewlines) }
}

/// Commands for the lab host, over its agent's port. One client at a time.
public final class AgentClient {
  private let socket: Socket
  private var decoder = FrameDecoder()
  private var lastSession: UInt32 = 0
  private static let roundMilliseconds: Int32 = 200

  /// Where a running command's output goes, piece by piece.
  public typealias Sink = (_ output: [UInt8], _ isError: Bool) -> Void

  /// A command took longer than it may.
  public struct TimedOut: LocalizedError, CustomStringConvertible {
    public var awaited: String
    public var description: String { "timed out: waited for \(awaited)" }
    public var errorDescription: String? { description }
  }

  /// Connects, and waits until the agent answers.
  ///
  /// - Parameter isAlive: false when waiting is of no use any more.
  public init(
    _ path: URL, withinSeconds seconds: Double, while isAlive: () -> Bool = { true }
  ) throws {
    let deadline = Date().addingTimeInterval(seconds)
    socket = try AgentClient.connect(path, until: deadline, isAlive)
    let nonce = (0..<Frame.nonceBytes).map { _ in UInt8.random(in: 0...255) }
    try socket.send(Frame(.greet, session: 0, payload: nonce).encoded)
    while !decoder.synchronize(nonce: nonce) { try receive(until: deadline, "the agent's answer") }
  }

  private static func connect(
    _ path: URL, until deadline: Date, _ isAlive: () -> Bool
  ) throws -> Socket {
    while true {
      do {
        return try Socket(connectingTo: path)
      } catch {
        guard Date() < deadline, !Interrupts.raised, isAlive() else { throw error }
        usleep(20_000)
      }
    }
  }

  /// Runs a command to its end.
  ///
  /// - Parameters:
  ///   - seconds: after this long the command is killed, and that is an error (`TimedOut`).
  ///   - keeping: whether the result holds what the sink was given, too.
  public func run(
    _ arguments: [String], input: [UInt8] = [], withinSeconds seconds: Double = 120,
    sink: Sink? = nil, keeping: Bool = true
  ) throws -> LabResult {
    lastSession += 1
    let session = lastSession
    let deadline = Date().addingTimeInterval(seconds)
    try socket.send(
      Frame(.run, session: session, payload: arguments.flatMap { Array($0.utf8) + [0] }).encoded)
    for start in stride(from: 0, to: input.count, by: Frame.payloadLimit) {
      let piece = Array(input[start..<min(start + Frame.payloadLimit, input.count)])
      try socket.send(Frame(.input, session: session, payload: piece).encoded)
    }
    try socket.send(Frame(.input, session: session).encoded)
    do {
      return try follow(session, arguments, until: deadline, sink, keeping)
    } catch {
      try? socket.send(
        Frame(.signal, session: session, payload: littleEndianBytes(UInt32(SIGKILL))).encoded)
      throw error
    }
  }

  /// Runs a shell script to its end.
  public func shell(
    _ script: String, withinSeconds seconds: Double = 120, sink: Sink? = nil
  ) throws -> LabResult {
    try run(["sh", "-c", script], withinSeconds: seconds, sink: sink)
  }

  private func follow(
    _ session: UInt32, _ arguments: [String], until deadline: Date, _ sink: Sink?,
    _ keeping: Bool
  ) throws -> LabResult {
    var output: [UInt8] = []
    var errors: [UInt8] = []
    while true {
      while let frame = try decoder.next() {
        guard frame.session == session else { continue }
        switch frame.kind {
        case .output:
          sink?(frame.payload, false)
          if keeping { output += frame.payload }
        case .errors:
          sink?(frame.payload, true)
          if keeping { errors += frame.payload }
        case .exited:
          let status = Int32(bitPattern: littleEndianWord(frame.payload))
          return LabResult(
            code: exitCode(status), output: String(decoding: output, as: UTF8.self),
            errors: String(decoding: errors, as: UTF8.self))
        case .refused:
          throw Failure("lab host: \(String(decoding: frame.payload, as: UTF8.self))")
        case .greet, .run, .input, .signal, .welcome:
          throw Failure("the lab's agent sent a frame of kind \(frame.kind)")
        }
      }
      try receive(until: deadline, "the end of \(arguments.joined(separator: " "))")
    }
  }

  private func receive(until deadline: Date, _ awaited: String) throws {
    guard !Interrupts.raised else { throw Failure("interrupted") }
    guard Date() < deadline else { throw TimedOut(awaited: awaited) }
    guard let bytes = try socket.receive(withinMilliseconds: AgentClient.roundMilliseconds) else {
      return
    }
    guard !bytes.isEmpty else { throw Failure("the lab host is gone; waited for \(awaited)") }
    decoder.append(bytes)
  }
}
