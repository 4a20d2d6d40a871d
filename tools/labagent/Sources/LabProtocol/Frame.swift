// SPDX-License-Identifier: Apache-2.0

/// What a frame between `tools/dev` and the lab agent says.
public enum FrameKind: UInt32, Sendable {
  /// Host to agent: a new client is here; payload: its nonce. Ends whatever ran for an older client.
  case greet = 1
  /// Host to agent: start a command; payload: the argument vector, each ended by NUL.
  case run = 2
  /// Host to agent: bytes for the command's standard input; no bytes close it.
  case input = 3
  /// Host to agent: payload: a signal number (little-endian `UInt32`) for the command's group.
  case signal = 4
  /// Agent to host: payload: the nonce of the client greeted.
  case welcome = 16
  /// Agent to host: bytes the command wrote to its standard output.
  case output = 17
  /// Agent to host: bytes the command wrote to its standard error.
  case errors = 18
  /// Agent to host: the command has ended; payload: its wait status (little-endian `UInt32`).
  case exited = 19
  /// Agent to host: the command could not be started; payload: why, as text.
  case refused = 20
}

/// One message on the port between `tools/dev` and the lab agent.
///
/// On the wire: payload length, session and kind as little-endian `UInt32`, then the payload.
public struct Frame: Equatable, Sendable {
  /// Bytes before the payload.
  public static let headerBytes = 12
  /// The longest payload that either side sends or takes.
  public static let payloadLimit = 1 << 16
  /// Bytes of a client's nonce.
  public static let nonceBytes = 16

  public var kind: FrameKind
  /// Number of the command, chosen by the client.
  public var session: UInt32
  public var payload: [UInt8]

  public init(_ kind: FrameKind, session: UInt32, payload: [UInt8] = []) {
    self.kind = kind
    self.session = session
    self.payload = payload
  }

  /// The frame's bytes on the wire.
  public var encoded: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Frame.headerBytes + payload.count)
    for word in [UInt32(truncatingIfNeeded: payload.count), session, kind.rawValue] {
      bytes += littleEndianBytes(word)
    }
    return bytes + payload
  }
}

/// What is wrong with bytes that should be frames.
public enum FrameError: Error, Equatable, Sendable {
  case payloadTooLong(UInt32)
  case unknownKind(UInt32)
}

/// Cuts a byte stream into frames.
public struct FrameDecoder: Sendable {
  private var buffer: [UInt8] = []

  public init() {}

  /// Takes in bytes from the stream.
  public mutating func append(_ bytes: some Sequence<UInt8>) {
    buffer.append(contentsOf: bytes)
  }

  /// The next whole frame, or nil when more bytes are needed.
  public mutating func next() throws(FrameError) -> Frame? {
    guard buffer.count >= Frame.headerBytes else { return nil }
    let length = littleEndianWord(buffer[0..<4])
    guard length <= UInt32(Frame.payloadLimit) else { throw .payloadTooLong(length) }
    let end = Frame.headerBytes + Int(length)
    guard buffer.count >= end else { return nil }
    let rawKind = littleEndianWord(buffer[8..<12])
    guard let kind = FrameKind(rawValue: rawKind) else { throw .unknownKind(rawKind) }
    let frame = Frame(
      kind, session: littleEndianWord(buffer[4..<8]),
      payload: Array(buffer[Frame.headerBytes..<end]))
    buffer.removeFirst(end)
    return frame
  }

  /// Drops everything before the welcome that carries `nonce`: what an older client left unread.
  ///
  /// - Returns: whether the welcome was found; until then the bytes are kept.
  public mutating func synchronize(nonce: [UInt8]) -> Bool {
    let welcome = Frame(.welcome, session: 0, payload: nonce).encoded
    guard buffer.count >= welcome.count else { return false }
    for start in 0...(buffer.count - welcome.count)
    where buffer[start..<start + welcome.count].elementsEqual(welcome) {
      buffer.removeFirst(start + welcome.count)
      return true
    }
    return false
  }
}

/// The four bytes of `word`, lowest first.
public func littleEndianBytes(_ word: UInt32) -> [UInt8] {
  (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) }
}

/// The word whose bytes, lowest first, are the first four of `bytes`; missing ones count as zero.
public func littleEndianWord(_ bytes: some Sequence<UInt8>) -> UInt32 {
  var word: UInt32 = 0
  for (index, byte) in bytes.prefix(4).enumerated() { word |= UInt32(byte) << (index * 8) }
  return word
}
