// SPDX-License-Identifier: Apache-2.0

/// A bounded first-in, first-out queue of bytes; it allocates once.
public struct ByteQueue: Sendable {
  private var bytes: [UInt8]
  private var head = 0
  /// Bytes that wait.
  public private(set) var count = 0

  /// A queue of at most `limit` bytes.
  public init(limit: Int) {
    bytes = [UInt8](repeating: 0, count: max(1, limit))
  }

  /// Bytes that still fit.
  public var room: Int { bytes.count - count }
  /// Whether nothing waits.
  public var isEmpty: Bool { count == 0 }

  /// Appends `byte`; false if the queue is full.
  public mutating func append(_ byte: UInt8) -> Bool {
    guard count < bytes.count else { return false }
    bytes[(head + count) % bytes.count] = byte
    count += 1
    return true
  }

  /// Takes the first byte.
  public mutating func removeFirst() -> UInt8? {
    guard count > 0 else { return nil }
    let byte = bytes[head]
    removeFirst(1)
    return byte
  }

  /// Drops the first `number` bytes, or all if there are fewer.
  public mutating func removeFirst(_ number: Int) {
    let number = min(max(0, number), count)
    head = (head + number) % bytes.count
    count -= number
  }

  /// Drops everything.
  public mutating func removeAll() { removeFirst(count) }

  /// Calls `body` with the first bytes that lie side by side; empty only if the queue is.
  public func withFirstStretch<R>(_ body: (Span<UInt8>) -> R) -> R {
    body(bytes.span.extracting(head..<min(head + count, bytes.count)))
  }
}

/// What an access of `width` bytes to nothing reads.
func allOnes(_ width: Int) -> UInt64 {
  width >= 8 ? .max : (1 << UInt64(max(0, width) * 8)) - 1
}
