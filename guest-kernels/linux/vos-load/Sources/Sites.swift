// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosLoad

/// The program's system-call instructions, and how each is turned to the gate.
///
/// An instruction is 2 bytes, the jump to us 5. What is in its way is moved: best the one before it,
/// if it is long enough (`mov $number, %eax` is), for then the program's own instruction stays and is
/// the one that makes the call where we do not; else those behind it. No branch may lead into what is
/// moved: all of the program's code is read for that. A place that cannot be turned, and might make a
/// call that must be seen, is a reason to turn none.
@safe
struct Sites {
  private let list: UnsafeMutablePointer<vosload_site>
  private(set) var count = 0
  private(set) var turned = 0
  private var marks: Marks
  private let image: Image

  private static let limit = 8192
  private static let jumpBytes = 5
  private static let callBytes = 2
  /// So many bytes fit a stub beside what else it holds (Stubs.swift).
  private static let mostMoved = 32

  init(_ image: Image) throws(Refusal) {
    guard image.executable.upperBound &- image.executable.lowerBound < 1 << 30,
      let marks = Marks(image.executable),
      let place = System.reserve(
        0, UInt64(Self.limit &* MemoryLayout<vosload_site>.size), System.Protection.readWrite),
      let list = unsafe UnsafeMutablePointer<vosload_site>(bitPattern: UInt(place))
    else { throw .unsuited("its code is too large to be read") }
    unsafe self.list = unsafe list
    self.marks = marks
    self.image = image
    try sweep()
    try demandNoneHidden()
    try decide()
  }

  /// Gives the memory back.
  func end() {
    marks.end()
    unsafe System.unmap(
      UInt64(UInt(bitPattern: list)), UInt64(Self.limit &* MemoryLayout<vosload_site>.size))
  }

  // SAFETY (all below): indices lie below `count`, which never exceeds `limit`.

  subscript(_ index: Int) -> vosload_site { unsafe list[index] }

  // MARK: Reading

  private enum Section {
    static let program: UInt32 = 1  // SHT_PROGBITS
    static let executable: UInt64 = 4  // SHF_EXECINSTR
    static let limit: UInt16 = 4096
  }

  /// Reads each section of code from its start, or, without sections, each executable segment.
  private mutating func sweep() throws(Refusal) {
    var last: UInt64 = 0
    var found = false
    let header = image.header
    if Int(header.section_bytes) == MemoryLayout<vosload_section>.size,
      header.section_count <= Section.limit
    {
      for index in 0..<Int(header.section_count) {
        let place =
          Int(truncatingIfNeeded: header.sections_offset)
          &+ index &* MemoryLayout<vosload_section>.size
        guard let section = image.file.load(place, as: vosload_section.self) else { break }
        guard section.type == Section.program, section.flags & Section.executable != 0,
          section.address >= last, image.executable.contains(section.address),
          let code = image.file.slice(section.offset, section.bytes)
        else { continue }
        last = section.address &+ section.bytes
        found = true
        try sweep(code, at: section.address)
      }
    }
    if !found {
      try eachSegment { (code, address) throws(Refusal) in try sweep(code, at: address) }
    }
  }

  private func eachSegment(_ body: (Bytes, UInt64) throws(Refusal) -> Void) throws(Refusal) {
    for index in 0..<Int(image.header.segment_count) {
      let segment = image.segment(index)
      if Image.isLoaded(segment), segment.flags & Image.Flag.execute != 0,
        let code = image.file.slice(segment.offset, segment.file_bytes)
      {
        try body(code, segment.address)
      }
    }
  }

  /// What was read last.
  private struct Past {
    var before: (UInt8, UInt8, UInt8) = (0, 0, 0)
    var number: Int32 = -1
    var constantAt: UInt64 = 0

    mutating func take(_ decoded: Decoded, at address: UInt64) {
      before =
        decoded.isMovable ? (UInt8(decoded.length), before.0, before.1) : (0, 0, 0)
      switch decoded.accumulator {
      case .kept: break
      case .constant(let value):
        number = value < UInt32(VOSLOAD_CALLS) ? Int32(value) : -1
        constantAt = address
      case .unknown: number = -1
      }
    }
  }

  private mutating func sweep(_ code: Bytes, at start: UInt64) throws(Refusal) {
    var past = Past()
    var at = 0
    while at < code.count {
      let address = start &+ UInt64(at)
      // Zeros lie between sections; no compiler makes an instruction of two.
      let isPadding = code[at] == 0 && code[at &+ 1] == 0
      guard !isPadding, let decoded = Decoded(code.from(at)) else {
        past = Past()
        at = at &+ 1
        continue
      }
      switch decoded.flow {
      case .next: past.take(decoded, at: address)
      case .relative(let distance):
        marks.set(address &+ UInt64(bitPattern: Int64(distance)))
        past = Past()
      case .systemCall:
        try append(
          vosload_site(
            call: address, constant_at: past.constantAt, number: past.number, before: past.before,
            ahead: 0, behind: 0))
        past = Past()
      case .other: past = Past()
      }
      at = at &+ decoded.length
    }
  }

  private mutating func append(_ site: vosload_site) throws(Refusal) {
    guard count < Self.limit else { throw .unsuited("it has too many system calls") }
    unsafe list[count] = site
    count = count &+ 1
  }

  /// Bytes that look like a system call, but were read as parts of other instructions: then the
  /// reading went astray (tables within the code).
  private func demandNoneHidden() throws(Refusal) {
    var next = 0
    try eachSegment { (code, address) throws(Refusal) in
      var at = 0
      while at &+ 1 < code.count {
        defer { at = at &+ 1 }
        guard code[at] == 0x0f, code[at &+ 1] == 0x05 else { continue }
        let place = address &+ UInt64(at)
        while next < count, self[next].call < place { next = next &+ 1 }
        if next < count, self[next].call == place { continue }
        let isPrepared =
          at >= 5 && code[at &- 5] == 0xb8 && code.word(at &- 4) < UInt32(VOSLOAD_CALLS)
        let isJudged =
          code[at &+ 2] == 0x48 && code[at &+ 3] == 0x3d
          && code.word(at &+ 4) | 0xfff == 0xffff_ffff
        guard !isPrepared, !isJudged else {
          throw .unsuited("a system call hides among other instructions", at: place)
        }
      }
    }
  }

  // MARK: Deciding

  private mutating func decide() throws(Refusal) {
    var floor: UInt64 = 0
    for index in 0..<count {
      var site = self[index]
      let isKnown =
        site.number >= 0 && !marks.contains(site.constant_at &+ 1, through: site.call)
      let kind =
        isKnown ? vosload_kind(Int(site.number)) : UInt8(VOSLOAD_ALWAYS | VOSLOAD_MUST)
      guard kind & UInt8(VOSLOAD_KIND) != UInt8(VOSLOAD_PASS) else { continue }
      guard turn(&site, above: floor) else {
        guard kind & UInt8(VOSLOAD_MUST) == 0 else {
          throw .unsuited("a system call that must be seen cannot be turned", at: site.call)
        }
        continue
      }
      floor = site.call &+ UInt64(Self.callBytes) &+ UInt64(site.behind)
      unsafe list[index] = site
      turned = turned &+ 1
    }
  }

  /// Chooses what is moved; false if nothing makes room for a jump.
  private func turn(_ site: inout vosload_site, above floor: UInt64) -> Bool {
    let (first, second, third) = (Int(site.before.0), Int(site.before.1), Int(site.before.2))
    let two = second > 0 ? first &+ second : first
    let three = second > 0 && third > 0 ? two &+ third : two
    let near = behind(site, least: Self.jumpBytes &- Self.callBytes)
    let next = behind(site, least: 1)
    let ways: InlineArray<7, (ahead: Int, behind: Int)> = [
      (first, 0), (0, near), (two, 0), (three, 0), (first, next), (two, next), (three, next),
    ]
    for index in ways.indices {
      let way = ways[index]
      guard fits(site, way.ahead, way.behind, above: floor) else { continue }
      (site.ahead, site.behind) = (UInt8(way.ahead), UInt8(way.behind))
      return true
    }
    return false
  }

  /// Whether the jump has room in what is moved, and no branch leads into that.
  private func fits(
    _ site: vosload_site, _ ahead: Int, _ behind: Int, above floor: UInt64
  ) -> Bool {
    let bytes = behind > 0 ? ahead &+ Self.callBytes &+ behind : ahead
    let start = site.call &- UInt64(ahead)
    let last = behind > 0 ? start &+ UInt64(bytes) &- 1 : site.call
    return bytes >= Self.jumpBytes && ahead &+ behind <= Self.mostMoved && start >= floor
      && !marks.contains(start &+ 1, through: last)
  }

  /// Bytes of the instructions behind a call, `least` of them or more; 0 if they cannot be moved.
  private func behind(_ site: vosload_site, least: Int) -> Int {
    var total = 0
    while total < least {
      let place = site.call &+ UInt64(Self.callBytes &+ total)
      guard let code = code(at: place), let decoded = Decoded(code), decoded.isMovableBehind else {
        return 0
      }
      total = total &+ decoded.length
      guard decoded.isMovable || total >= least else { return 0 }
    }
    return total
  }

  /// The rest of the segment from an address on.
  private func code(at address: UInt64) -> Bytes? {
    for index in 0..<Int(image.header.segment_count) {
      let segment = image.segment(index)
      if Image.isLoaded(segment), segment.flags & Image.Flag.execute != 0,
        address >= segment.address, address &- segment.address < segment.file_bytes
      {
        let skipped = address &- segment.address
        return image.file.slice(segment.offset &+ skipped, segment.file_bytes &- skipped)
      }
    }
    return nil
  }
}

/// A bit for each address of the code: whether a branch leads there.
@safe
struct Marks {
  private let range: Range<UInt64>
  private let bits: UnsafeMutablePointer<UInt8>

  init?(_ range: Range<UInt64>) {
    let bytes = (range.upperBound &- range.lowerBound) / 8 &+ 1
    guard let place = System.reserve(0, bytes, System.Protection.readWrite),
      let bits = unsafe UnsafeMutablePointer<UInt8>(bitPattern: UInt(place))
    else { return nil }
    self.range = range
    unsafe self.bits = unsafe bits
  }

  func end() {
    unsafe System.unmap(
      UInt64(UInt(bitPattern: bits)), (range.upperBound &- range.lowerBound) / 8 &+ 1)
  }

  // SAFETY (both): there is a bit for each address of the range.

  mutating func set(_ address: UInt64) {
    guard range.contains(address) else { return }
    let index = Int(address &- range.lowerBound)
    unsafe bits[index / 8] |= 1 << UInt8(index % 8)
  }

  /// Whether any of the addresses is marked; both ends count.
  func contains(_ first: UInt64, through last: UInt64) -> Bool {
    var address = first
    while address <= last {
      if range.contains(address) {
        let index = Int(address &- range.lowerBound)
        if unsafe bits[index / 8] & 1 << UInt8(index % 8) != 0 { return true }
      }
      address = address &+ 1
    }
    return false
  }
}
