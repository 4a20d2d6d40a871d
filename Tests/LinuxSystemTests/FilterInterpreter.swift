// SPDX-License-Identifier: Apache-2.0
import LinuxSystem

/// A system call as the kernel describes it to a filter: `struct seccomp_data`.
struct DescribedCall {
  /// ELF's number of the machine, 64-bit, little endian (linux/audit.h).
  static let x86: UInt32 = 62 | 0x8000_0000 | 0x4000_0000
  static let i386: UInt32 = 3 | 0x4000_0000

  var number: Int32
  var architecture = x86
  var arguments: [UInt64] = []

  var bytes: [UInt8] {
    func le<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
      withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
    let padded = arguments + Array(repeating: 0, count: 6 - arguments.count)
    let instructionPointer = le(UInt64(0x1234_5678_9ABC))
    return le(number) + le(architecture) + instructionPointer + padded.flatMap(le)
  }
}

/// Runs a filter as the kernel would, by the numbers of its own documentation.
struct FilterInterpreter {
  struct Stray: Error {
    let instruction: Int
  }

  static let killProcess: UInt32 = 0x8000_0000
  static let log: UInt32 = 0x7FFC_0000
  static let allow: UInt32 = 0x7FFF_0000

  let program: [FilterInstruction]

  /// The verdict, and how many instructions it took.
  func run(_ call: DescribedCall) throws -> (verdict: UInt32, steps: Int) {
    let data = call.bytes
    var accumulator: UInt32 = 0
    var next = 0
    var steps = 0
    while program.indices.contains(next) {
      let instruction = program[next]
      next += 1
      steps += 1
      switch instruction.code {
      case 0x20:  // ld [k]
        let offset = Int(instruction.constant)
        guard offset % 4 == 0, offset + 4 <= data.count else { throw Stray(instruction: next) }
        accumulator = (0..<4).reduce(0) { $0 | UInt32(data[offset + $1]) << UInt32(8 * $1) }
      case 0x54: accumulator &= instruction.constant  // and #k
      case 0x15:  // jeq #k
        next += Int(
          accumulator == instruction.constant ? instruction.skipIfTrue : instruction.skipIfFalse)
      case 0x06: return (instruction.constant, steps)  // ret #k
      default: throw Stray(instruction: next)
      }
    }
    throw Stray(instruction: next)
  }

  func verdict(_ number: Int32, _ arguments: UInt64...) throws -> UInt32 {
    try run(DescribedCall(number: number, arguments: arguments)).verdict
  }

  func allows(_ number: Int32, _ arguments: UInt64...) throws -> Bool {
    try run(DescribedCall(number: number, arguments: arguments)).verdict == Self.allow
  }
}
