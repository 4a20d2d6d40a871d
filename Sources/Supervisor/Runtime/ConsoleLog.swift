// SPDX-License-Identifier: Apache-2.0

/// The last part of what a domain wrote to its console: a ring of bytes, so that a domain that
/// never stops talking costs no more than its capacity.
public struct ConsoleLog: Sendable {
  /// Bytes kept unless said otherwise.
  public static let standardCapacity = 1 << 20

  public let capacity: Int
  /// Bytes ever written; the position after the last one.
  public private(set) var end: UInt64 = 0
  private var ring: [UInt8] = []

  public init(capacity: Int = standardCapacity) {
    self.capacity = max(1, capacity)
  }

  /// The oldest position still kept.
  public var start: UInt64 { end - UInt64(ring.count) }

  /// Takes what the domain wrote.
  public mutating func append(_ bytes: some Collection<UInt8>) {
    // Of more than a ring full, the front would be overwritten anyway.
    let skipped = max(0, bytes.count - capacity)
    end += UInt64(skipped)
    if skipped > 0 { restart() }
    for byte in bytes.dropFirst(skipped) {
      if ring.count < capacity {
        ring.append(byte)
      } else {
        ring[Int(end % UInt64(capacity))] = byte
      }
      end += 1
    }
  }

  /// Fills the ring anew from position `end`, keeping every byte at its position modulo capacity.
  private mutating func restart() {
    ring = [UInt8](repeating: 0, count: capacity)
  }

  /// At most `maximum` bytes from `position` on; what is no longer kept is left out.
  public func bytes(from position: UInt64, maximum: Int) -> (bytes: [UInt8], next: UInt64) {
    let first = min(max(position, start), end)
    let count = Int(min(UInt64(max(0, maximum)), end - first))
    let bytes = (0..<count).map { index -> UInt8 in
      let at = first + UInt64(index)
      return ring.count < capacity ? ring[Int(at)] : ring[Int(at % UInt64(capacity))]
    }
    return (bytes, first + UInt64(count))
  }

  /// The last `count` lines, without control characters other than tabs.
  public func lastLines(_ count: Int) -> [String] {
    let tail = bytes(from: end > 16384 ? end - 16384 : 0, maximum: 16384).bytes
    return String(decoding: tail, as: UTF8.self).split(whereSeparator: \.isNewline).suffix(count)
      .map { $0.unicodeScalars.filter { $0.value >= 32 || $0 == "\t" } }
      .map { String(String.UnicodeScalarView($0)) }
  }
}
