// SPDX-License-Identifier: Apache-2.0

/// The headers of a little-endian x86 ELF, 32 or 64 bits (System V ABI, chapters 4 and 5).
struct ELFHeaders {
  struct ProgramHeader {
    let type: UInt32
    let fileOffset: UInt64
    let physicalAddress: UInt64
    let fileByteCount: UInt64
    let memoryByteCount: UInt64
    let alignment: UInt64

    var isLoad: Bool { type == 1 }
    var isNote: Bool { type == 4 }
  }

  struct Note {
    let name: [UInt8]
    let type: UInt32
    let description: [UInt8]
  }

  let programHeaders: [ProgramHeader]

  private static let magic: [UInt8] = [0x7F, 0x45, 0x4C, 0x46]
  private static let class32: UInt8 = 1
  private static let class64: UInt8 = 2
  private static let littleEndian: UInt8 = 1
  private static let machine386: UInt16 = 3
  private static let machineX8664: UInt16 = 62
  private static let programHeaderLimit = 128
  private static let noteByteCountLimit: UInt64 = 1 << 20

  /// nil if `source` is no x86 ELF.
  init?(examining source: any ImageSource) throws(BootError) {
    guard source.byteCount >= 64 else { return nil }
    let start = try source.checkedRead(at: 0, byteCount: 64)
    guard Array(start[0..<4]) == Self.magic, start[5] == Self.littleEndian else { return nil }
    let machine = start.load(UInt16.self, at: 18)
    let table: (offset: UInt64, entryByteCount: Int, count: Int)
    let is64 = start[4] == Self.class64
    switch (start[4], machine) {
    case (Self.class64, Self.machineX8664):
      table = (
        start.load(UInt64.self, at: 32), Int(start.load(UInt16.self, at: 54)),
        Int(start.load(UInt16.self, at: 56))
      )
    case (Self.class32, Self.machine386), (Self.class32, Self.machineX8664):
      table = (
        UInt64(start.load(UInt32.self, at: 28)), Int(start.load(UInt16.self, at: 42)),
        Int(start.load(UInt16.self, at: 44))
      )
    default: return nil
    }
    let minimum = is64 ? 56 : 32
    guard table.entryByteCount >= minimum, table.count <= Self.programHeaderLimit else {
      throw .malformed(
        image: source.name,
        reason: "\(table.count) program headers of \(table.entryByteCount) bytes")
    }
    let bytes = try source.checkedRead(
      at: table.offset, byteCount: UInt64(table.entryByteCount * table.count))
    programHeaders = (0..<table.count).map { index in
      let at = index * table.entryByteCount
      return is64 ? Self.header64(bytes, at: at) : Self.header32(bytes, at: at)
    }
  }

  private static func header64(_ bytes: [UInt8], at offset: Int) -> ProgramHeader {
    ProgramHeader(
      type: bytes.load(UInt32.self, at: offset),
      fileOffset: bytes.load(UInt64.self, at: offset + 8),
      physicalAddress: bytes.load(UInt64.self, at: offset + 24),
      fileByteCount: bytes.load(UInt64.self, at: offset + 32),
      memoryByteCount: bytes.load(UInt64.self, at: offset + 40),
      alignment: bytes.load(UInt64.self, at: offset + 48))
  }

  private static func header32(_ bytes: [UInt8], at offset: Int) -> ProgramHeader {
    ProgramHeader(
      type: bytes.load(UInt32.self, at: offset),
      fileOffset: UInt64(bytes.load(UInt32.self, at: offset + 4)),
      physicalAddress: UInt64(bytes.load(UInt32.self, at: offset + 12)),
      fileByteCount: UInt64(bytes.load(UInt32.self, at: offset + 16)),
      memoryByteCount: UInt64(bytes.load(UInt32.self, at: offset + 20)),
      alignment: UInt64(bytes.load(UInt32.self, at: offset + 28)))
  }

  /// The notes of `header`'s segment; a note that runs out of it ends the list.
  func notes(
    in header: ProgramHeader, of source: any ImageSource
  ) throws(BootError) -> [Note] {
    guard header.fileByteCount <= Self.noteByteCountLimit else {
      throw .malformed(
        image: source.name, reason: "a note segment has \(header.fileByteCount) bytes")
    }
    let bytes = try source.checkedRead(at: header.fileOffset, byteCount: header.fileByteCount)
    let alignment = header.alignment == 8 ? 8 : 4
    var notes: [Note] = []
    var offset = 0
    while bytes.count - offset >= 12 {
      let nameByteCount = Int(bytes.load(UInt32.self, at: offset))
      let byteCount = Int(bytes.load(UInt32.self, at: offset + 4))
      let name = offset + 12
      let description = offset + Self.padded(12 + nameByteCount, to: alignment)
      guard description <= bytes.count, byteCount <= bytes.count - description else { break }
      notes.append(
        Note(
          name: Array(bytes[name..<(name + nameByteCount)]),
          type: bytes.load(UInt32.self, at: offset + 8),
          description: Array(bytes[description..<(description + byteCount)])))
      offset = description + Self.padded(byteCount, to: alignment)
    }
    return notes
  }

  private static func padded(_ count: Int, to alignment: Int) -> Int {
    (count + alignment - 1) / alignment * alignment
  }
}
