// SPDX-License-Identifier: Apache-2.0

/// Unpacks a gzip member to nowhere: it has no lengths to follow, but a checksum at its end
/// (RFC 1951, RFC 1952).
extension InitrdFile {
  mutating func gzip() throws(InitrdProblem) {
    cursor.part = "its gzip stream"
    let header = try cursor.take(10)
    guard header[2] == 8, header[3] & 0xe0 == 0 else { throw cursor.corrupt("no gzip header") }
    let flags = header[3]
    if flags & 0x04 != 0 { try cursor.skip(try cursor.number(2)) }
    // Name and comment end with a zero byte.
    for flag in [UInt8(0x08), 0x10] where flags & flag != 0 { while try cursor.byte() != 0 {} }
    if flags & 0x02 != 0 { try cursor.skip(2) }
    var inflation = Inflation(cursor, limit: memoryBytes)
    try inflation.run()
    cursor = inflation.cursor
    let crc = try cursor.number(4)
    let count = try cursor.number(4)
    guard crc == UInt64(inflation.crc.value), count == inflation.count & 0xffff_ffff else {
      throw cursor.corrupt("a checksum that does not fit the gzip stream")
    }
  }
}

/// Unpacks one deflate stream, of which only checksum and size are kept.
struct Inflation {
  private(set) var cursor: InitrdCursor
  private(set) var crc = CRC32()
  private(set) var count: UInt64 = 0
  private let limit: UInt64
  private var window = [UInt8](repeating: 0, count: 1 << 15)
  /// Bits that were read ahead, the next one lowest; zeros follow the last byte of the file.
  private var bits: UInt64 = 0
  private var bitCount = 0

  init(_ cursor: InitrdCursor, limit: UInt64) {
    self.cursor = cursor
    self.limit = limit
  }

  /// Symbols by the bits that stand for them, found in one step.
  private struct Code {
    /// Symbol and length (low four bits) for each value of the next `width` bits; 0 for none.
    var table: [UInt16] = []
    var width = 0

    /// `nil` if the lengths over-subscribe the code.
    init?(_ lengths: ArraySlice<UInt8>) {
      width = Int(lengths.max() ?? 0)
      table = [UInt16](repeating: 0, count: 1 << width)
      var counts = [Int](repeating: 0, count: 16)
      for length in lengths where length > 0 { counts[Int(length)] += 1 }
      var next = [Int](repeating: 0, count: 17)
      for length in 1...15 { next[length + 1] = (next[length] + counts[length]) << 1 }
      for (symbol, length) in lengths.enumerated() where length > 0 {
        let length = Int(length)
        let code = next[length]
        guard code < 1 << length else { return nil }
        next[length] += 1
        // Codes come highest bit first.
        var index = (0..<length).reduce(0) { $0 | (code >> $1 & 1) << (length - 1 - $1) }
        while index < table.count {
          table[index] = UInt16(symbol << 4 | length)
          index += 1 << length
        }
      }
    }
  }

  mutating func run() throws(InitrdProblem) {
    var isLast = false
    while !isLast {
      isLast = try take(1) == 1
      switch try take(2) {
      case 0: try stored()
      case 1: try compressed(Self.fixedLiterals, Self.fixedDistances)
      case 2: try dynamic()
      default: throw cursor.corrupt("no header of a deflate block")
      }
    }
    // Whole bytes that were read ahead belong to what follows.
    cursor.move(by: -(bitCount / 8))
  }

  // MARK: Bits

  private mutating func fill() {
    while bitCount <= 48, let byte = cursor.peek() {
      bits |= UInt64(byte) << UInt64(bitCount)
      bitCount += 8
      cursor.move(by: 1)
    }
  }

  private mutating func take(_ count: Int) throws(InitrdProblem) -> Int {
    if bitCount < count { fill() }
    guard bitCount >= count else { throw cursor.truncated }
    let value = Int(bits & (1 << UInt64(count) - 1))
    bits >>= UInt64(count)
    bitCount -= count
    return value
  }

  private mutating func symbol(_ code: borrowing Code) throws(InitrdProblem) -> Int {
    if bitCount < 15 { fill() }
    let entry = code.table[Int(bits & (1 << UInt64(code.width) - 1))]
    let length = Int(entry & 15)
    guard length > 0 else {
      throw bitCount < 15 ? cursor.truncated : cursor.corrupt("no code of a deflate block")
    }
    guard length <= bitCount else { throw cursor.truncated }
    bits >>= UInt64(length)
    bitCount -= length
    return Int(entry >> 4)
  }

  // MARK: Output

  private mutating func put(_ byte: UInt8) throws(InitrdProblem) {
    window[Int(count & 0x7fff)] = byte
    crc.add(byte)
    count += 1
    if count > limit {
      throw InitrdProblem(
        text: "unpacks to more than the domain's memory of \(formatByteCount(limit)); "
          + "give the domain more")
    }
  }

  // MARK: Blocks

  private mutating func stored() throws(InitrdProblem) {
    _ = try take(bitCount % 8)
    let length = try take(16)
    guard try take(16) == length ^ 0xffff else {
      throw cursor.corrupt("no length of a deflate block")
    }
    for _ in 0..<length { try put(UInt8(try take(8))) }
  }

  private static let fixedLiterals = Code(
    ArraySlice(
      [UInt8](repeating: 8, count: 144) + [UInt8](repeating: 9, count: 112)
        + [UInt8](repeating: 7, count: 24) + [UInt8](repeating: 8, count: 8)))
  private static let fixedDistances = Code(ArraySlice([UInt8](repeating: 5, count: 30)))

  /// The order in which lengths of the code for code lengths stand.
  private static let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

  private mutating func dynamic() throws(InitrdProblem) {
    let literals = try take(5) + 257
    let distances = try take(5) + 1
    let codes = try take(4) + 4
    var short = [UInt8](repeating: 0, count: 19)
    for index in Self.order.prefix(codes) { short[index] = UInt8(try take(3)) }
    guard let code = Code(short[...]), literals <= 286, distances <= 30 else {
      throw cursor.corrupt("no codes of a deflate block")
    }
    var lengths: [UInt8] = []
    while lengths.count < literals + distances {
      let symbol = try symbol(code)
      switch symbol {
      case 0...15: lengths.append(UInt8(symbol))
      case 16:
        guard let last = lengths.last else { throw cursor.corrupt("no codes of a deflate block") }
        lengths += [UInt8](repeating: last, count: try take(2) + 3)
      case 17: lengths += [UInt8](repeating: 0, count: try take(3) + 3)
      default: lengths += [UInt8](repeating: 0, count: try take(7) + 11)
      }
    }
    guard lengths.count == literals + distances else {
      throw cursor.corrupt("no codes of a deflate block")
    }
    try compressed(Code(lengths[..<literals]), Code(lengths[literals...]))
  }

  /// Extra bits of length symbols 257…285 and of distance symbols; bases follow from them.
  private static let lengthBits = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
  ]
  private static let lengthBases = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
  ]

  private mutating func compressed(
    _ literals: Code?, _ distances: Code?
  ) throws(InitrdProblem) {
    guard let literals, let distances else { throw cursor.corrupt("no codes of a deflate block") }
    while true {
      let symbol = try symbol(literals)
      if symbol < 256 {
        try put(UInt8(symbol))
      } else if symbol == 256 {
        return
      } else {
        try copy(symbol - 257, distances)
      }
    }
  }

  private mutating func copy(
    _ index: Int, _ distances: borrowing Code
  ) throws(InitrdProblem) {
    guard index < Self.lengthBits.count else { throw cursor.corrupt("no code of a deflate block") }
    let length = Self.lengthBases[index] + (try take(Self.lengthBits[index]))
    let symbol = try symbol(distances)
    guard symbol < 30 else { throw cursor.corrupt("no code of a deflate block") }
    // Two symbols share a number of extra bits, from the third pair on one more each.
    let extra = max(0, symbol / 2 - 1)
    let base = symbol < 2 ? symbol + 1 : (2 + symbol & 1) << extra + 1
    let distance = base + (try take(extra))
    guard UInt64(distance) <= count else {
      throw cursor.corrupt("a distance beyond the start of a deflate stream")
    }
    for _ in 0..<length { try put(window[Int((count &- UInt64(distance)) & 0x7fff)]) }
  }
}
