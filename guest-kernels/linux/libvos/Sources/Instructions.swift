// SPDX-License-Identifier: Apache-2.0

/// The few x86-64 instructions that begin a system call's function in the C library. What is not
/// among them is not moved.
struct Instruction {
  let length: Int
  /// Where the 32-bit distance to its memory lies, counted from its end; nil if it has none.
  let relativeAt: Int?

  private init(_ length: Int, relativeAt: Int? = nil) {
    self.length = length
    self.relativeAt = relativeAt
  }

  /// Reads at most 8 bytes at `code`; nil for all other instructions.
  init?(_ code: UnsafePointer<UInt8>) {
    // SAFETY: the caller promises that 8 bytes can be read.
    let (first, second, third) = unsafe (code[0], code[1], code[2])
    switch (first, second) {
    case (0x50...0x57, _): self.init(1)  // push
    case (0x41, 0x50...0x57): self.init(2)  // push r8 to r15
    case (0xb8...0xbf, _): self.init(5)  // mov $number, %register
    case (0x0f, 0x05): self.init(2)  // syscall
    case (0xf3, 0x0f) where third == 0x1e: self.init(4)  // endbr64
    case (0x80, 0x3d): self.init(7, relativeAt: 2)  // cmpb $0, distance(%rip)
    case (0x48, 0x3d): self.init(6)  // cmp $number, %rax
    case (0x48, 0x83) where third == 0xec: self.init(4)  // sub $number, %rsp
    case (0x31, 0xc0...0xff), (0x89, 0xc0...0xff): self.init(2)  // xor, mov: registers
    case (0x40...0x4f, 0x89) where third >= 0xc0: self.init(3)  // mov: registers
    // mov %register, number(%rsp): ModRM 01 xxx 100, SIB 0x24
    case (0x40...0x4f, 0x89) where third & 0xc7 == 0x44: self.init(5)
    default: return nil
    }
  }

  /// Whether some jump among `count` bytes of a function may lead into the bytes after its first
  /// and before `end`. Every byte is taken for the start of a jump: it may say yes without need.
  static func mayBranch(_ code: UnsafePointer<UInt8>, _ count: Int, before end: Int) -> Bool {
    var at = 0
    while at &+ 2 <= count {
      // SAFETY: `at` and the bytes read after it lie below the count.
      let byte = unsafe code[at]
      if byte & 0xf0 == 0x70 || byte == 0xeb {
        let distance = unsafe Int(Int8(bitPattern: code[at &+ 1]))
        if (1..<end).contains(at &+ 2 &+ distance) { return true }
      }
      let isLong =
        unsafe byte == 0xe9 || byte == 0xe8 || byte == 0x0f && code[at &+ 1] & 0xf0 == 0x80
      let start = at &+ (byte == 0x0f ? 2 : 1)
      if isLong, start &+ 4 <= count {
        let distance = unsafe Int(UnsafeRawPointer(code + start).loadUnaligned(as: Int32.self))
        if (1..<end).contains(start &+ 4 &+ distance) { return true }
      }
      at = at &+ 1
    }
    return false
  }
}
