// SPDX-License-Identifier: Apache-2.0

/// Follows an xz stream through its blocks to its footer ("The .xz File Format", version 1.1.0).
///
/// Headers, index and footer are checked by their checksums and against each other; the compressed
/// bytes themselves are stepped over by the chunk headers of LZMA2.
extension InitrdFile {
  /// Bytes of a block's check, by its type.
  private static let checkBytes: [UInt64] = [
    0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64,
  ]

  mutating func xz() throws(InitrdProblem) {
    cursor.part = "its xz stream"
    try cursor.skip(6)
    let flags = try cursor.take(2)
    guard try cursor.number(4) == UInt64(CRC32.of(flags)), flags[0] == 0, flags[1] < 16 else {
      throw cursor.corrupt("a damaged xz header")
    }
    let check = Self.checkBytes[Int(flags[1])]
    var blocks: [UInt64] = []
    while let size = try cursor.peekedByte() {
      if size == 0 { break }
      blocks.append(try block(headerBytes: (Int(size) + 1) * 4, check: check))
    }
    try indexAndFooter(flags: flags, blocks: blocks)
  }

  /// Returns the block's size without its padding.
  private mutating func block(
    headerBytes: Int, check: UInt64
  ) throws(InitrdProblem) -> UInt64 {
    let start = cursor.position
    let header = try cursor.take(headerBytes - 4)
    guard try cursor.number(4) == UInt64(CRC32.of(header)) else {
      throw cursor.corrupt("a damaged header of an xz block")
    }
    try chunks()
    let unpadded = UInt64(cursor.position - start) + check
    try cursor.align(from: start)
    try cursor.skip(check)
    return unpadded
  }

  /// LZMA2's chunks: a control byte, sizes less one in big endian, the bytes.
  private mutating func chunks() throws(InitrdProblem) {
    while true {
      let control = try cursor.byte()
      if control == 0 { return }
      guard control <= 2 || control >= 0x80 else {
        throw cursor.corrupt("no header of an LZMA2 chunk")
      }
      if control >= 0x80 { try cursor.skip(2) }
      let high = try cursor.byte()
      let low = try cursor.byte()
      // From 0xc0 on, a byte of properties comes before the data.
      try cursor.skip(UInt64(high) << 8 + UInt64(low) + 1 + (control >= 0xc0 ? 1 : 0))
    }
  }

  private mutating func indexAndFooter(
    flags: [UInt8], blocks: [UInt64]
  ) throws(InitrdProblem) {
    let start = cursor.position
    var crc = CRC32()
    crc.add(try cursor.byte())
    var fits = try variableNumber(&crc) == UInt64(blocks.count)
    guard fits else { throw cursor.corrupt("an xz index that does not fit its blocks") }
    for size in blocks {
      fits = try variableNumber(&crc) == size
      _ = try variableNumber(&crc)
      guard fits else { throw cursor.corrupt("an xz index that does not fit its blocks") }
    }
    while (cursor.position - start) % 4 != 0 { crc.add(try cursor.byte()) }
    guard try cursor.number(4) == UInt64(crc.value) else {
      throw cursor.corrupt("a damaged xz index")
    }
    let indexBytes = UInt64(cursor.position - start)
    let expected = try cursor.number(4)
    let footer = try cursor.take(6)
    let backward = footer.prefix(4).reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
    guard expected == UInt64(CRC32.of(footer)), (backward + 1) * 4 == indexBytes,
      Array(footer.suffix(2)) == flags, try cursor.take(2) == Array("YZ".utf8)
    else { throw cursor.corrupt("a damaged xz footer") }
  }

  /// Seven bits a byte, the lowest first, at most nine bytes.
  private mutating func variableNumber(_ crc: inout CRC32) throws(InitrdProblem) -> UInt64 {
    var number: UInt64 = 0
    for index in 0..<9 {
      let byte = try cursor.byte()
      crc.add(byte)
      number |= UInt64(byte & 0x7f) << UInt64(7 * index)
      if byte & 0x80 == 0 { return number }
    }
    throw cursor.corrupt("an xz index that does not fit its blocks")
  }
}

extension InitrdCursor {
  /// The next byte, which stays, where one must be.
  fileprivate func peekedByte() throws(InitrdProblem) -> UInt8? {
    guard let byte = peek() else { throw truncated }
    return byte
  }
}
