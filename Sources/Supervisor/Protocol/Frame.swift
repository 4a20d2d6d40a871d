// SPDX-License-Identifier: Apache-2.0

/// One piece of what goes over the control socket.
///
///     bytes 0…3  payload bytes, little endian, at most `Frame.maximumPayload`
///     byte  4    kind
///     bytes 5…7  zero
///     then the payload
public struct Frame: Equatable, Sendable {
  public enum Kind: UInt8, Sendable {
    /// One JSON object: a request, or a reply.
    case message = 0
    /// Bytes for a program's standard input, or for a console; none: the end.
    case input = 1
    /// Bytes of standard output, of a log or of a device tree.
    case output = 2
    /// Bytes of standard error.
    case error = 3
  }

  public static let headerBytes = 8
  /// Bounds what a hostile peer can make us keep.
  public static let maximumPayload = 64 << 10

  public var kind: Kind
  public var payload: [UInt8]

  public init(_ kind: Kind, _ payload: [UInt8]) {
    self.kind = kind
    self.payload = payload
  }

  /// Header and payload. A longer payload than allowed is the caller's error and is cut.
  public var bytes: [UInt8] {
    let payload = payload.prefix(Self.maximumPayload)
    let count = UInt32(payload.count)
    let header =
      (0..<4).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) } + [kind.rawValue, 0, 0, 0]
    return header + payload
  }

  /// `bytes` cut into frames of one kind.
  public static func cutting(_ bytes: [UInt8], _ kind: Kind) -> [Frame] {
    stride(from: 0, to: bytes.count, by: maximumPayload).map {
      Frame(kind, Array(bytes[$0..<min($0 + maximumPayload, bytes.count)]))
    }
  }
}

/// A peer that does not speak the protocol.
public enum FrameError: Error, Equatable, CustomStringConvertible {
  case tooLong(Int)
  case unknownKind(UInt8)
  case reservedNotZero

  public var description: String {
    switch self {
    case .tooLong(let count):
      "frame of \(count) bytes, at most \(Frame.maximumPayload) allowed"
    case .unknownKind(let kind): "frame of unknown kind \(kind)"
    case .reservedNotZero: "frame header with reserved bytes that are not zero"
    }
  }
}

/// Puts frames together from bytes as they come. Holds at most one frame and what came with it.
public struct FrameDecoder: Sendable {
  private var buffer: [UInt8] = []

  public init() {}

  /// Bytes that wait for the rest of their frame.
  public var pending: Int { buffer.count }

  public mutating func append(_ bytes: some Sequence<UInt8>) {
    buffer += bytes
  }

  /// The next whole frame; `nil` until it is there.
  public mutating func next() throws(FrameError) -> Frame? {
    guard buffer.count >= Frame.headerBytes else { return nil }
    let count = (0..<4).reduce(0) { $0 | Int(buffer[$1]) << (8 * $1) }
    guard count <= Frame.maximumPayload else { throw .tooLong(count) }
    guard let kind = Frame.Kind(rawValue: buffer[4]) else { throw .unknownKind(buffer[4]) }
    guard buffer[5] == 0, buffer[6] == 0, buffer[7] == 0 else { throw .reservedNotZero }
    let end = Frame.headerBytes + count
    guard buffer.count >= end else { return nil }
    defer { buffer.removeFirst(end) }
    return Frame(kind, Array(buffer[Frame.headerBytes..<end]))
  }
}
