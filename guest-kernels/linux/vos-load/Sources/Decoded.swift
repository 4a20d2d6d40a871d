// SPDX-License-Identifier: Apache-2.0

/// One x86-64 instruction: its length, where it leads, and what matters for moving it elsewhere.
/// (Intel SDM volume 2, chapter 2 and appendix A.)
struct Decoded {
  enum Flow {
    /// Goes on with what follows.
    case next
    case systemCall
    /// A branch or call to so many bytes from the instruction's own start.
    case relative(Int)
    /// A return, an indirect jump, a trap.
    case other
  }

  /// What it leaves in rax.
  enum Accumulator {
    case kept
    case constant(UInt32)
    case unknown
  }

  static let longest = 15

  private(set) var length = 0
  private(set) var flow = Flow.next
  private(set) var accumulator = Accumulator.unknown
  private var isRelative = false
  private var isPadding = false

  /// Whether it does the same at another address. Not what lies between functions: who moved it
  /// might move a function's beginning, too.
  var isMovable: Bool {
    if case .next = flow { return !isRelative && !isPadding }
    return false
  }

  /// The same, or a jump that can be written anew; only as the last of what is moved.
  private(set) var isJump = false
  var isMovableBehind: Bool { isMovable || isJump }

  // What the prefixes said.
  private var has16BitOperands = false
  private var has32BitAddresses = false
  private var rex: UInt8 = 0

  /// Reads one instruction; nil for what is none, or does not end within `code`.
  init?(_ code: borrowing Bytes) {
    var reader = Reader(code)
    guard let opcode = prefixes(&reader) else { return nil }
    switch opcode {
    case 0x0f: guard two(&reader) else { return nil }
    case 0xc4, 0xc5, 0x62: guard vector(opcode, &reader) else { return nil }
    default: guard one(opcode, &reader) else { return nil }
    }
    guard reader.at <= min(code.count, Self.longest) else { return nil }
    length = reader.at
    // What was read as a distance counts from the end.
    if case .relative(let distance) = flow { flow = .relative(distance &+ length) }
  }

  /// Skips prefixes; the first byte of the opcode.
  private mutating func prefixes(_ reader: inout Reader) -> UInt8? {
    while let byte = reader.byte() {
      switch byte {
      case 0x66: has16BitOperands = true
      case 0x67: has32BitAddresses = true
      case 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65: break
      case 0x40...0x4f:
        rex = byte
        return reader.byte()
      default: return byte
      }
    }
    return nil
  }

  private var wordBytes: Int { has16BitOperands ? 2 : 4 }

  /// The one-byte opcodes.
  private mutating func one(_ opcode: UInt8, _ reader: inout Reader) -> Bool {
    switch opcode {
    case 0x70...0x7f, 0xeb:
      isJump = reader.at == 1
      return branch(1, &reader)
    case 0xe9:
      isJump = reader.at == 1
      return branch(4, &reader)
    case 0xe0...0xe3: return branch(1, &reader)
    case 0xe8: return branch(4, &reader)
    case 0xc3, 0xcb, 0xcc, 0xcf, 0xf1, 0xf4: flow = .other
    case 0xc2, 0xca:
      flow = .other
      return reader.skip(2)
    case 0xcd:
      flow = .other
      return reader.skip(1)
    case 0x90: isPadding = true
    default: break
    }
    guard let shape = Shape.one(opcode, wordBytes, rex & 8 != 0, has32BitAddresses) else {
      return false
    }
    var register: UInt8 = 0
    var operand = Operand.none
    if shape.hasOperand {
      guard let read = self.operand(&reader) else { return false }
      (register, operand) = (read.register, read.operand)
    }
    var immediate = shape.immediateBytes
    // test is the only one of its group with a number.
    if opcode & 0xfe == 0xf6, register & 7 < 2 { immediate = opcode == 0xf6 ? 1 : wordBytes }
    if opcode == 0xff, (2...5).contains(register & 7) { flow = .other }
    let value = reader.word
    guard reader.skip(immediate) else { return false }
    accumulator =
      has16BitOperands ? .unknown : Self.accumulator(after: opcode, register, operand, rex, value)
    return true
  }

  /// After 0f.
  private mutating func two(_ reader: inout Reader) -> Bool {
    guard let opcode = reader.byte() else { return false }
    switch opcode {
    case 0x05: flow = .systemCall
    case 0x06...0x09, 0x0e, 0x30...0x37, 0x77, 0xa0...0xa2, 0xa8...0xaa, 0xc8...0xcf: break
    case 0x0b: flow = .other
    case 0x04, 0x0a, 0x0c, 0x24...0x27, 0x39, 0x3b...0x3f: return false
    case 0x80...0x8f:
      isJump = reader.at == 2
      return branch(4, &reader)
    case 0x38:
      guard reader.byte() != nil else { return false }
      return operand(&reader) != nil
    case 0x3a:
      guard reader.byte() != nil, operand(&reader) != nil else { return false }
      return reader.skip(1)
    case 0x1e, 0x1f:  // endbr64, nop
      accumulator = .kept
      isPadding = true
      return operand(&reader) != nil
    default:
      guard operand(&reader) != nil else { return false }
      return reader.skip(Shape.hasByte(two: opcode) ? 1 : 0)
    }
    return true
  }

  /// VEX (c5: two bytes, c4: three) and EVEX (62: four).
  private mutating func vector(_ first: UInt8, _ reader: inout Reader) -> Bool {
    var map: UInt8 = 1
    if first != 0xc5 {
      guard let second = reader.byte() else { return false }
      map = second & (first == 0x62 ? 0x07 : 0x1f)
      guard reader.skip(first == 0x62 ? 1 : 0) else { return false }
    }
    guard (1...6).contains(map), reader.skip(1), let opcode = reader.byte() else { return false }
    if map == 1, opcode == 0x77, first != 0x62 { return true }
    guard operand(&reader) != nil else { return false }
    let hasByte = map == 3 || map == 1 && Shape.hasByte(two: opcode)
    return reader.skip(hasByte ? 1 : 0)
  }

  private mutating func branch(_ bytes: Int, _ reader: inout Reader) -> Bool {
    let distance = reader.signed(bytes)
    flow = .relative(distance)
    return reader.skip(bytes)
  }

  /// ModRM's second operand.
  enum Operand { case none, register(UInt8), memory }

  /// ModRM, SIB and displacement.
  private mutating func operand(
    _ reader: inout Reader
  ) -> (register: UInt8, operand: Operand)? {
    guard let byte = reader.byte() else { return nil }
    let (mode, low) = (byte >> 6, byte & 7)
    let register = byte >> 3 & 7 | (rex & 4) << 1
    if mode == 3 { return (register, .register(low | (rex & 1) << 3)) }
    var displacement = mode == 2 ? 4 : Int(mode)
    if low == 4 {
      guard let scale = reader.byte() else { return nil }
      if mode == 0, scale & 7 == 5 { displacement = 4 }
    } else if mode == 0, low == 5 {
      isRelative = true
      displacement = 4
    }
    return reader.skip(displacement) ? (register, .memory) : nil
  }

  /// Sure of few: what system calls are prepared with.
  private static func accumulator(
    after opcode: UInt8, _ register: UInt8, _ operand: Operand, _ rex: UInt8, _ value: UInt32
  ) -> Accumulator {
    switch (opcode, operand) {
    case (0xb8, _) where rex == 0: .constant(value)
    case (0xc7, .register(0)): register == 0 && value < 1 << 31 ? .constant(value) : .unknown
    case (0x31, .register(0)), (0x33, .register(0)): register == 0 ? .constant(0) : .unknown
    case (0xb8...0xbf, _): opcode == 0xb8 && rex & 1 == 0 ? .unknown : .kept
    // Results in ModRM's second operand, then in its register.
    case (0x01, .register(let to)), (0x09, .register(let to)), (0x21, .register(let to)),
      (0x29, .register(let to)), (0x31, .register(let to)), (0x89, .register(let to)),
      (0x81, .register(let to)), (0x83, .register(let to)), (0xc7, .register(let to)):
      to == 0 ? .unknown : .kept
    case (0x80, .register(let to)): to == 0 || to == 4 ? .unknown : .kept  // al, ah
    case (0x89, .memory), (0xc7, .memory), (0x80, .memory), (0x81, .memory), (0x83, .memory),
      (0xc6, .memory), (0x88, .memory), (0x39, _), (0x3b, _), (0x85, _), (0x84, _):
      .kept
    case (0x03, _), (0x0b, _), (0x23, _), (0x2b, _), (0x33, _), (0x8b, _), (0x8d, _), (0x63, _):
      register == 0 ? .unknown : .kept
    case (0x50...0x57, _): .kept
    case (0x58...0x5f, _): opcode == 0x58 && rex & 1 == 0 ? .unknown : .kept
    default: .unknown
    }
  }
}

/// What follows an opcode.
struct Shape {
  let hasOperand: Bool
  let immediateBytes: Int

  private init(_ hasOperand: Bool, _ immediateBytes: Int) {
    self.hasOperand = hasOperand
    self.immediateBytes = immediateBytes
  }

  /// Of the one-byte map, without what branches; nil if it is none in 64-bit mode.
  static func one(
    _ opcode: UInt8, _ word: Int, _ is64Bit: Bool, _ has32BitAddresses: Bool
  ) -> Shape? {
    switch opcode {
    case 0x00...0x3f:
      switch opcode & 7 {
      case 0...3: Shape(true, 0)
      case 4: Shape(false, 1)
      case 5: Shape(false, word)
      default: nil
      }
    case 0x50...0x5f, 0x6c...0x6f, 0x90...0x99, 0x9b...0x9f, 0xa4...0xa7, 0xaa...0xaf, 0xc3, 0xc9,
      0xcb, 0xcc, 0xcf, 0xd7, 0xec...0xef, 0xf1, 0xf4, 0xf5, 0xf8...0xfd:
      Shape(false, 0)
    case 0x63, 0x84...0x8f, 0xd0...0xd3, 0xd8...0xdf, 0xf6, 0xf7, 0xfe, 0xff: Shape(true, 0)
    case 0x68, 0xa9: Shape(false, word)
    case 0x69, 0x81, 0xc7: Shape(true, word)
    case 0x6a, 0xa8, 0xb0...0xb7, 0xe4...0xe7: Shape(false, 1)
    case 0x6b, 0x80, 0x83, 0xc0, 0xc1, 0xc6: Shape(true, 1)
    case 0xa0...0xa3: Shape(false, has32BitAddresses ? 4 : 8)
    case 0xb8...0xbf: Shape(false, is64Bit ? 8 : word)
    case 0xc8: Shape(false, 3)
    default: nil
    }
  }

  /// Whether an opcode with operands behind 0f ends with a byte of its own.
  static func hasByte(two opcode: UInt8) -> Bool {
    switch opcode {
    case 0x0f, 0x70...0x73, 0xa4, 0xac, 0xba, 0xc2, 0xc4...0xc6: true
    default: false
    }
  }
}

/// Bytes of a program that are looked at, never past their end.
@safe
struct Bytes {
  private let start: UnsafePointer<UInt8>
  let count: Int

  /// - Parameter start: `count` bytes that stay readable as long as this is used.
  init(_ start: UnsafePointer<UInt8>, _ count: Int) {
    unsafe self.start = unsafe start
    self.count = max(count, 0)
  }

  var address: UInt64 { unsafe UInt64(UInt(bitPattern: start)) }

  /// Zero outside.
  subscript(_ at: Int) -> UInt8 {
    // SAFETY: the index was just checked against the count.
    at >= 0 && at < count ? unsafe start[at] : 0
  }

  /// All from `at` on.
  func from(_ at: Int) -> Bytes {
    let place = min(max(at, 0), count)
    return unsafe Bytes(start + place, count &- place)
  }

  /// Nil if it does not lie within.
  func load<Value: BitwiseCopyable>(_ at: Int, as type: Value.Type) -> Value? {
    guard at >= 0, at <= count, count &- at >= MemoryLayout<Value>.size else { return nil }
    // SAFETY: the bytes lie within, as was just checked; the structure takes any.
    return unsafe UnsafeRawPointer(start + at).loadUnaligned(as: type)
  }

  /// `length` of them from `at` on; nil if they do not lie within.
  func slice(_ at: UInt64, _ length: UInt64) -> Bytes? {
    guard at <= UInt64(count), length <= UInt64(count) &- at else { return nil }
    return unsafe Bytes(start + Int(at), Int(length))
  }

  func word(_ at: Int) -> UInt32 {
    UInt32(self[at]) | UInt32(self[at &+ 1]) << 8 | UInt32(self[at &+ 2]) << 16
      | UInt32(self[at &+ 3]) << 24
  }
}

/// How far an instruction is read.
struct Reader {
  private let code: Bytes
  private(set) var at = 0

  init(_ code: Bytes) { self.code = code }

  /// Nil at the end.
  mutating func byte() -> UInt8? {
    guard at < code.count else { return nil }
    at = at &+ 1
    return code[at &- 1]
  }

  mutating func skip(_ bytes: Int) -> Bool {
    at = at &+ bytes
    return at <= code.count
  }

  var word: UInt32 { code.word(at) }

  func signed(_ bytes: Int) -> Int {
    bytes == 1 ? Int(Int8(bitPattern: code[at])) : Int(Int32(bitPattern: word))
  }
}
