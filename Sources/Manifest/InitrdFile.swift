// SPDX-License-Identifier: Apache-2.0

/// Whether an initial RAM disk is whole, told before anything is started.
///
/// It is a concatenation of segments, each a cpio archive or a compressed stream, with zeros
/// between them (Documentation/driver-api/early-userspace/buffer-format.rst; init/initramfs.c and
/// lib/decompress.c say which ones Linux takes). A segment is followed to its end by its own
/// headers, so a file that was cut off is found wherever the cut is. What a format does not let us
/// see without a decompressor of its own is said at its case.
struct InitrdFile {
  var cursor: InitrdCursor
  /// What the gzip segments may unpack to.
  let memoryBytes: UInt64

  private enum Format {
    case cpio, gzip, xz, zstd, lz4
    /// Not followed: their ends are found by decompressing only.
    case bzip2, lzma, lzo
  }

  /// First bytes of each format, and what is said of those that Linux does not take.
  private static let formats: [(magic: [UInt8], format: Format)] = [
    (Array("070701".utf8), .cpio), (Array("070702".utf8), .cpio), ([0x1f, 0x8b], .gzip),
    ([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], .xz), ([0x28, 0xb5, 0x2f, 0xfd], .zstd),
    ([0x02, 0x21, 0x4c, 0x18], .lz4), (Array("BZh".utf8), .bzip2), ([0x5d, 0x00, 0x00], .lzma),
    ([0x89, 0x4c, 0x5a, 0x4f, 0x00], .lzo),
  ]
  private static let refused: [(magic: [UInt8], remedy: String)] = [
    (Array("070707".utf8), "is an old cpio archive; write it with \"cpio -o -H newc\""),
    ([0xc7, 0x71], "is an old binary cpio archive; write it with \"cpio -o -H newc\""),
    (
      [0x04, 0x22, 0x4d, 0x18],
      "is an lz4 frame, which Linux does not take; compress with \"lz4 -l\""
    ),
  ]

  /// What is wrong with `file`, as the rest of a sentence; `nil` if nothing is.
  static func problem(of file: RegularFile, memoryBytes: UInt64) -> String? {
    var walk = InitrdFile(cursor: InitrdCursor(file), memoryBytes: memoryBytes)
    do throws(InitrdProblem) {
      try walk.follow()
      return nil
    } catch {
      return error.text
    }
  }

  private mutating func follow() throws(InitrdProblem) {
    var segments = 0
    while true {
      while cursor.peek() == 0 { try cursor.skip(1) }
      guard cursor.peek() != nil else { break }
      try segment(isFirst: segments == 0)
      segments += 1
    }
    if segments == 0 { throw Self.unknown }
  }

  private static let unknown = InitrdProblem(
    text: "is no initial RAM disk; expected a cpio archive of format newc, plain or compressed by "
      + "gzip, bzip2, lzma, xz, lzo, lz4 -l or zstd")

  private mutating func segment(isFirst: Bool) throws(InitrdProblem) {
    let start = cursor.peek(6)
    if let entry = Self.refused.first(where: { start.starts(with: $0.magic) }) {
      throw InitrdProblem(text: entry.remedy)
    }
    guard let format = Self.formats.first(where: { start.starts(with: $0.magic) })?.format else {
      // A cut within the first bytes leaves the start of something.
      let isPart = Self.formats.contains { $0.magic.starts(with: start) }
      if isPart { throw cursor.truncated }
      throw isFirst ? Self.unknown : cursor.corrupt("unknown bytes after a segment")
    }
    switch format {
    case .cpio: try cpio()
    case .gzip: try gzip()
    case .xz: try xz()
    case .zstd: try zstd()
    case .lz4: try lz4()
    case .bzip2: try bzip2()
    case .lzma, .lzo: cursor.goToEnd()
    }
  }

  // MARK: cpio

  private static let trailer = Array("TRAILER!!!\0".utf8)
  /// Magic and thirteen fields of eight hexadecimal digits.
  private static let headerBytes = 110
  private static let maximumNameBytes: UInt64 = 4096

  /// Follows entries to the trailer, which every archiver writes last. The files' bytes have no
  /// checksum (but for the rare format 070702), so they are not judged.
  private mutating func cpio() throws(InitrdProblem) {
    cursor.part = "its cpio archive"
    guard cursor.position % 4 == 0 else {
      throw cursor.corrupt("a cpio archive that does not start at a multiple of 4")
    }
    while true {
      let header = try cursor.take(Self.headerBytes)
      guard header.starts(with: Array("07070".utf8)), header[5] == 0x31 || header[5] == 0x32,
        let size = Self.hexadecimal(header[54..<62]), let name = Self.hexadecimal(header[94..<102]),
        (1...Self.maximumNameBytes).contains(name)
      else { throw cursor.corrupt("no header of a cpio entry") }
      let text = try cursor.take(Int(name))
      guard text.last == 0 else { throw cursor.corrupt("a cpio entry without a name") }
      // The end of the file may stand for the padding after the trailer.
      if text == Self.trailer { return }
      try cursor.align(from: 0)
      try cursor.skip(size)
      try cursor.align(from: 0)
    }
  }

  private static func hexadecimal(_ digits: ArraySlice<UInt8>) -> UInt64? {
    digits.reduce(0 as UInt64?) { sum, digit in
      guard let sum else { return nil }
      switch digit {
      case 0x30...0x39: return sum << 4 | UInt64(digit - 0x30)
      case 0x41...0x46: return sum << 4 | UInt64(digit - 0x37)
      case 0x61...0x66: return sum << 4 | UInt64(digit - 0x57)
      default: return nil
      }
    }
  }

  // MARK: zstd, RFC 8878

  private static let zstdBlockBytes: UInt64 = 128 << 10

  private mutating func zstd() throws(InitrdProblem) {
    cursor.part = "its zstd frame"
    try cursor.skip(4)
    let descriptor = try cursor.byte()
    guard descriptor & 0x08 == 0 else { throw cursor.corrupt("no header of a zstd frame") }
    let isSingle = descriptor & 0x20 != 0
    let dictionary: UInt64 = [0, 1, 2, 4][Int(descriptor & 3)]
    let content: UInt64 = [isSingle ? 1 : 0, 2, 4, 8][Int(descriptor >> 6)]
    try cursor.skip((isSingle ? 0 : 1) + dictionary + content)
    while true {
      let header = try cursor.number(3)
      let size = header >> 3
      guard header >> 1 & 3 != 3, size <= Self.zstdBlockBytes else {
        throw cursor.corrupt("no header of a zstd block")
      }
      // Type 1 is one byte, repeated.
      try cursor.skip(header >> 1 & 3 == 1 ? 1 : size)
      if header & 1 == 1 { break }
    }
    if descriptor & 0x04 != 0 { try cursor.skip(4) }
  }

  // MARK: lz4, legacy format (doc/lz4_Frame_format.md)

  /// LZ4_COMPRESSBOUND of the 8 MiB that a block holds.
  private static let lz4BlockBytes: UInt64 = (8 << 20) + (8 << 20) / 255 + 16

  /// Blocks follow until the file ends, or zeros. A cut between two blocks cannot be told from the
  /// end; the format has no other.
  private mutating func lz4() throws(InitrdProblem) {
    cursor.part = "its lz4 stream"
    try cursor.skip(4)
    var blocks = 0
    while cursor.peek() != nil || blocks == 0 {
      if blocks > 0, cursor.peek(4).allSatisfy({ $0 == 0 }) { return }
      let size = try cursor.number(4)
      guard (1...Self.lz4BlockBytes).contains(size) else {
        throw cursor.corrupt("no size of an lz4 block")
      }
      try cursor.skip(size)
      blocks += 1
    }
  }

  // MARK: bzip2

  /// The digits of the square root of pi that stand before the stream's checksum.
  private static let bzip2End: UInt64 = 0x1772_4538_5090
  private static let bzip2Tail = 1024

  /// Blocks are not aligned to bytes and have no lengths, so only the end of the file is looked at:
  /// end mark, 32 bits of checksum, then less than a byte and perhaps zeros.
  private mutating func bzip2() throws(InitrdProblem) {
    cursor.part = "its bzip2 stream"
    let tail = cursor.tail(Self.bzip2Tail)
    cursor.goToEnd()
    var bits: UInt64 = 0
    for (index, byte) in tail.enumerated() {
      for shift in (0..<8).reversed() {
        bits = (bits << 1 | UInt64(byte >> UInt8(shift) & 1)) & 0xffff_ffff_ffff
        // 32 bits and a part of a byte are at most five bytes.
        if bits == Self.bzip2End, index + 4 < tail.count,
          tail.dropFirst(index + 6).allSatisfy({ $0 == 0 })
        {
          return
        }
      }
    }
    throw cursor.truncated
  }
}
