// SPDX-License-Identifier: Apache-2.0

internal import CLibvos

/// A static program's file, checked: each number of it may be anything. (System V ABI, chapter 5.)
struct Image {
  let file: Bytes
  let header: vos_elf_header
  /// Of all loaded segments, in whole pages, as the file has the addresses.
  private(set) var span: Range<UInt64> = 0..<0
  private(set) var executable: Range<UInt64> = 0..<0
  /// The largest that a segment asks for.
  private(set) var alignment = System.pageBytes
  private(set) var isGo = false

  private static let magic: UInt32 = 0x464c_457f
  private static let fixedType: UInt16 = 2  // ET_EXEC
  private static let movableType: UInt16 = 3  // ET_DYN
  private static let machine: UInt16 = 62  // EM_X86_64
  private static let segmentLimit: UInt16 = 128
  private static let addressLimit: UInt64 = 0x7fff_ffff_f000
  private static let alignmentLimit: UInt64 = 1 << 30

  private enum Kind {
    static let load: UInt32 = 1
    static let dynamic: UInt32 = 2
    static let interpreter: UInt32 = 3
    static let note: UInt32 = 4
    static let stack: UInt32 = 0x6474_e551
  }
  enum Flag {
    static let execute: UInt32 = 1
    static let write: UInt32 = 2
    static let read: UInt32 = 4
  }

  var isMovable: Bool { header.type == Self.movableType }

  init(_ file: Bytes) throws(Refusal) {
    guard let header = file.load(0, as: vos_elf_header.self), file.word(0) == Self.magic else {
      throw .malformed("it is no ELF file")
    }
    guard header.identity.4 == 2, header.identity.5 == 1, header.machine == Self.machine,
      header.type == Self.fixedType || header.type == Self.movableType
    else { throw .malformed("it is no program for x86-64") }
    guard Int(header.segment_bytes) == MemoryLayout<vos_elf_segment>.size,
      (1...Self.segmentLimit).contains(header.segment_count),
      file.slice(
        header.segments_offset,
        UInt64(header.segment_count) &* UInt64(MemoryLayout<vos_elf_segment>.size)) != nil
    else { throw .malformed("its table of segments does not lie in the file") }
    self.file = file
    self.header = header
    for index in 0..<Int(header.segment_count) { try take(segment(index)) }
    guard !span.isEmpty else { throw .malformed("it has nothing to load") }
    guard isExecutable(header.entry) else {
      throw .malformed("its entry point is in no executable segment")
    }
  }

  func segment(_ index: Int) -> vos_elf_segment {
    let place =
      Int(truncatingIfNeeded: header.segments_offset)
      &+ index &* MemoryLayout<vos_elf_segment>.size
    // All zero is a segment of no kind.
    return file.load(place, as: vos_elf_segment.self) ?? vos_elf_segment()
  }

  static func isLoaded(_ segment: vos_elf_segment) -> Bool {
    segment.type == Kind.load && segment.memory_bytes > 0
  }

  private mutating func take(_ segment: vos_elf_segment) throws(Refusal) {
    switch segment.type {
    case Kind.load: if segment.memory_bytes > 0 { try takeLoaded(segment) }
    case Kind.interpreter: throw .unsuited("it names a dynamic linker")
    case Kind.stack where segment.flags & Flag.execute != 0:
      throw .unsuited("it wants an executable stack")
    case Kind.dynamic where isLibrary(segment): throw .unsuited("it is a library")
    case Kind.note: takeNotes(segment)
    default: break
    }
  }

  private mutating func takeLoaded(_ segment: vos_elf_segment) throws(Refusal) {
    guard segment.file_bytes <= segment.memory_bytes else {
      throw .malformed("a segment has more bytes in the file than in memory")
    }
    guard file.slice(segment.offset, segment.file_bytes) != nil else {
      throw .malformed("a segment lies beyond the end of the file")
    }
    guard segment.address < Self.addressLimit,
      segment.memory_bytes <= Self.addressLimit &- segment.address
    else { throw .malformed("a segment lies outside the address space") }
    guard (segment.address &- segment.offset) % System.pageBytes == 0 else {
      throw .malformed("a segment's address does not match its place in the file")
    }
    let aligned = max(segment.alignment, 1)
    guard aligned & (aligned &- 1) == 0, aligned <= Self.alignmentLimit else {
      throw .malformed("a segment's alignment is no power of two")
    }
    let pages = Self.pages(of: segment)
    guard span.isEmpty || pages.lowerBound >= span.upperBound else {
      throw .unsuited("its segments share pages or are not in order")
    }
    alignment = max(alignment, aligned)
    span = (span.isEmpty ? pages.lowerBound : span.lowerBound)..<pages.upperBound
    guard segment.flags & Flag.execute != 0 else { return }
    guard segment.flags & Flag.write == 0 else {
      throw .unsuited("a segment is writable and executable")
    }
    executable =
      (executable.isEmpty ? pages.lowerBound : executable.lowerBound)..<pages.upperBound
  }

  static func pages(of segment: vos_elf_segment) -> Range<UInt64> {
    let start = segment.address & ~(System.pageBytes &- 1)
    return start..<System.pages(segment.address &+ segment.memory_bytes)
  }

  private func isExecutable(_ address: UInt64) -> Bool {
    for index in 0..<Int(header.segment_count) {
      let segment = segment(index)
      if Self.isLoaded(segment), segment.flags & Flag.execute != 0, address >= segment.address,
        address &- segment.address < segment.file_bytes
      {
        return true
      }
    }
    return false
  }

  /// ld.so, too, which would load a program with libvos once more.
  private func isLibrary(_ segment: vos_elf_segment) -> Bool {
    guard let list = file.slice(segment.offset, segment.file_bytes) else { return false }
    let (ends, ownName): (UInt64, UInt64) = (0, 14)  // DT_NULL, DT_SONAME
    var at = 0
    while let tag = list.load(at, as: UInt64.self), tag != ends {
      if tag == ownName { return true }
      at = at &+ 16
    }
    return false
  }

  private static let goName: UInt32 = 0x6f47  // "Go", two zero bytes

  /// Go's linker leaves a note; its goroutines' stacks are small.
  private mutating func takeNotes(_ segment: vos_elf_segment) {
    guard let notes = file.slice(segment.offset, segment.file_bytes) else { return }
    var at = 0
    while at &+ 16 <= notes.count {
      let (name, bytes) = (Int(notes.word(at)), Int(notes.word(at &+ 4)))
      if name == 4, notes.word(at &+ 12) == Self.goName { isGo = true }
      at = at &+ 12 &+ (name &+ 3) & ~3 &+ (bytes &+ 3) & ~3
    }
  }

  /// Where the program finds its segments' table in memory; 0 if no segment holds it.
  var tableAddress: UInt64 {
    for index in 0..<Int(header.segment_count) {
      let segment = segment(index)
      if Self.isLoaded(segment), header.segments_offset >= segment.offset,
        header.segments_offset &- segment.offset < segment.file_bytes
      {
        return segment.address &+ (header.segments_offset &- segment.offset)
      }
    }
    return 0
  }
}
