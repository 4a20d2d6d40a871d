// SPDX-License-Identifier: Apache-2.0

/// What is wrong with an initrd, as the rest of a sentence.
struct InitrdProblem: Error, Equatable {
  let text: String
}

/// A place in an initrd that moves forward. Whatever reaches beyond the file's end means that the
/// file was cut off.
struct InitrdCursor {
  private let file: RegularFile
  private(set) var position = 0
  /// What is being followed, for messages.
  var part = "its first bytes"

  init(_ file: RegularFile) {
    self.file = file
  }

  var truncated: InitrdProblem {
    InitrdProblem(
      text: "is truncated: it has \(file.byteCount) bytes, which end within \(part); "
        + "build or copy it again")
  }

  func corrupt(_ found: String) -> InitrdProblem {
    InitrdProblem(text: "is corrupt: there is \(found) at byte \(position); build or copy it again")
  }

  /// The next byte, which stays; `nil` at the end.
  func peek() -> UInt8? { file.byte(at: position) }

  /// The next bytes, which stay; fewer at the end.
  func peek(_ count: Int) -> [UInt8] {
    (0..<count).compactMap { file.byte(at: position + $0) }
  }

  /// The last bytes of the file from here on.
  func tail(_ count: Int) -> [UInt8] {
    let start = max(position, file.byteCount - count)
    return file.bytes(at: start, maximum: count)
  }

  mutating func byte() throws(InitrdProblem) -> UInt8 {
    guard let byte = file.byte(at: position) else { throw truncated }
    position += 1
    return byte
  }

  mutating func take(_ count: Int) throws(InitrdProblem) -> [UInt8] {
    let bytes = peek(count)
    guard bytes.count == count else { throw truncated }
    position += count
    return bytes
  }

  /// A number of `width` bytes, little endian.
  mutating func number(_ width: Int) throws(InitrdProblem) -> UInt64 {
    try take(width).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  mutating func skip(_ count: UInt64) throws(InitrdProblem) {
    guard count <= UInt64(max(0, file.byteCount - position)) else { throw truncated }
    position += Int(count)
  }

  /// Goes on to the next multiple of four from `start` on.
  mutating func align(from start: Int) throws(InitrdProblem) {
    try skip(UInt64((4 - (position - start) % 4) % 4))
  }

  mutating func goToEnd() { position = file.byteCount }

  /// Goes over bytes that were peeked at, or back over such that were taken ahead.
  mutating func move(by count: Int) { position += count }
}

/// The checksum of gzip, xz and others (ISO 3309).
struct CRC32 {
  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { sum, _ in sum & 1 == 1 ? 0xedb8_8320 ^ sum >> 1 : sum >> 1 }
  }

  private let table = Self.table
  private var sum = UInt32.max

  var value: UInt32 { ~sum }

  mutating func add(_ byte: UInt8) {
    sum = table[Int(UInt8(truncatingIfNeeded: sum) ^ byte)] ^ sum >> 8
  }

  static func of(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var crc = CRC32()
    for byte in bytes { crc.add(byte) }
    return crc.value
  }
}
