// SPDX-License-Identifier: Apache-2.0
import Glibc
import LabProtocol

/// Serves one client at a time on the lab's port: runs its commands and streams what they write.
struct Agent {
  private let path: String
  private var port: Int32 = -1
  private var decoder = FrameDecoder()
  private var sessions: [UInt32: Session] = [:]

  /// How long one round waits: the longest time that the end of a silent command goes unnoticed.
  private static let roundMilliseconds: Int32 = 20
  /// The same without a command. Not for ever: an emulator that loses the port's interrupt, while
  /// other devices come and go, must not make the whole lab host deaf; to look finds what is there.
  private static let idleMilliseconds: Int32 = 500
  /// How long to wait before looking again for a client.
  private static let idleMicroseconds: UInt32 = 20_000

  init(path: String) { self.path = path }

  mutating func serve() throws(SystemError) -> Never {
    try reopen()
    while true {
      do {
        try round()
      } catch {
        // The client has gone, or sends what are not frames: start afresh for the next one.
        forgetClient()
        try reopen()
        usleep(Agent.idleMicroseconds)
      }
    }
  }

  private mutating func reopen() throws(SystemError) {
    if port >= 0 { close(port) }
    decoder = FrameDecoder()
    // SAFETY: the string outlives the call.
    port = unsafe open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
    guard port >= 0 else { throw SystemError("open \(path)") }
  }

  private mutating func forgetClient() {
    for var session in sessions.values {
      session.signal(SIGKILL)
      session.closeAll()
      _ = session.reap()
    }
    sessions = [:]
  }

  private mutating func round() throws {
    var watched = [pollfd(fd: port, events: Int16(POLLIN), revents: 0)]
    for session in sessions.values {
      for descriptor in [session.output, session.errors] where descriptor >= 0 {
        watched.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
      }
    }
    let wait = sessions.isEmpty ? Agent.idleMilliseconds : Agent.roundMilliseconds
    // SAFETY: the array outlives the call and the count is its own.
    _ = unsafe poll(&watched, nfds_t(watched.count), wait)
    if watched[0].revents & Int16(POLLIN) != 0 {
      try takeFrames()
    } else if watched[0].revents & Int16(POLLHUP) != 0 {
      if !sessions.isEmpty { throw SystemError("client", EPIPE) }
      usleep(Agent.idleMicroseconds)
    }
    try pumpSessions()
  }

  private mutating func takeFrames() throws {
    guard let bytes = try readSome(port, limit: Frame.payloadLimit) else { return }
    if bytes.isEmpty { throw SystemError("client", EPIPE) }
    decoder.append(bytes)
    while let frame = try decoder.next() { try handle(frame) }
  }

  private mutating func handle(_ frame: Frame) throws {
    switch frame.kind {
    case .greet:
      forgetClient()
      try send(.welcome, 0, frame.payload)
    case .run:
      try start(frame)
    case .input:
      sessions[frame.session]?.feed(frame.payload)
    case .signal:
      sessions[frame.session]?.signal(Int32(truncatingIfNeeded: littleEndianWord(frame.payload)))
    case .welcome, .output, .errors, .exited, .refused:
      throw SystemError("frame kind \(frame.kind.rawValue)", EPROTO)
    }
  }

  private mutating func start(_ frame: Frame) throws {
    let arguments = frame.payload.split(separator: 0, omittingEmptySubsequences: false).dropLast()
    do {
      sessions[frame.session] = try Session(
        arguments: arguments.map { String(decoding: $0, as: UTF8.self) })
    } catch {
      try send(.refused, frame.session, Array("\(error)".utf8))
    }
  }

  private mutating func pumpSessions() throws {
    for (number, var session) in sessions {
      // The status first: what the command wrote before it ended is then in the pipes.
      let status = session.reap()
      try pump(&session, number, untilEmpty: status != nil)
      sessions[number] = session
      guard let status else { continue }
      session.closeAll()
      sessions[number] = nil
      try send(.exited, number, littleEndianBytes(UInt32(bitPattern: status)))
    }
  }

  private func pump(_ session: inout Session, _ number: UInt32, untilEmpty: Bool) throws {
    var more = true
    while more {
      let (output, errors) = session.drain()
      if !output.isEmpty { try send(.output, number, output) }
      if !errors.isEmpty { try send(.errors, number, errors) }
      more = untilEmpty && !(output.isEmpty && errors.isEmpty)
    }
  }

  private func send(_ kind: FrameKind, _ session: UInt32, _ payload: [UInt8]) throws {
    try writeAll(port, Frame(kind, session: session, payload: payload).encoded)
  }
}
