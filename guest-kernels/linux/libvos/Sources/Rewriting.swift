// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// Turns the entries of the C library's functions to ours, so that its own calls come by as well:
/// streams, the resolver. Asked for by VOS_REWRITE=1.
///
/// Done once, before main, while there is one thread: nobody stands in what is changed. An entry
/// becomes one jump; the instructions that it covers are moved to a page near by, from where the
/// function goes on: that is its way from then on. All functions or none, or a file could be opened
/// by one that is ours and closed by one that is not. Pages are changed in a copy, which takes their
/// place when it is executable: none is writable then, and none at address 0 is needed.
enum Rewriting {
  enum State {
    static let no: UInt32 = 0
    static let wanted: UInt32 = 1
    static let done: UInt32 = 2
    static let refused: UInt32 = 3
  }

  private static let pageBytes = UInt(LIBVOS_PAGE)
  private static let entryBytes = 5  // e9 and a 32-bit distance
  private static let stubBytes = 64
  private static let stubLimit = 64
  private static let reach: UInt = 1 << 30
  /// Bytes after an entry in which jumps to it are looked for: more than such a function has.
  private static let scanned = 512
  /// The longest run of whole instructions over an entry.
  private static let mostMoved = 12

  @inline(__always)
  static var isDone: Bool { unsafe libvos_set().pointee.rewrite == State.done }

  /// A function that is to be turned.
  private struct Place {
    let entry: UInt
    let moved: Int
  }

  static func run() {
    guard unsafe libvos_set().pointee.rewrite == State.wanted else { return }
    let isDone = withoutSignals { turnAll() }
    unsafe libvos_set().pointee.rewrite = isDone ? State.done : State.refused
  }

  private static func turnAll() -> Bool {
    let count = Int(libvos_detours_made())
    guard isSingleThreaded, count <= stubLimit, let text = libraryText else { return false }
    var places = InlineArray<64, Place>(repeating: Place(entry: 0, moved: 0))
    for index in 0..<count {
      guard let place = find(index, in: text) else { return false }
      places[index] = place
    }
    guard let stubs = stubPage(near: text.lowerBound) else { return false }
    for index in 0..<count {
      guard fill(stubs &+ UInt(index &* stubBytes), places[index], index) else { return false }
    }
    guard protect(stubs, pageBytes, readExecute),
      let copies = copies(of: places, count, stubs)
    else { return false }
    // The moved beginning is a way to the function before its entry is turned, too.
    for index in 0..<count {
      let next = stubs &+ UInt(index &* stubBytes) &+ ourBytes
      unsafe libvos_detour_at(Int32(index)).pointee.next.pointee =
        unsafe UnsafeMutableRawPointer(bitPattern: next)
    }
    return exchange(places, count, copies)
  }

  private static let threadFlag: StaticString = "__libc_single_threaded"
  private static let someFunction: StaticString = "gnu_get_libc_version"

  /// The C library says so itself (glibc 2.32 and later).
  private static var isSingleThreaded: Bool {
    // SAFETY: RTLD_DEFAULT is null; the variable is a char.
    guard let flag = unsafe dlsym(nil, threadFlag.cString) else { return false }
    return unsafe flag.load(as: UInt8.self) != 0
  }

  private static let loadSegment: UInt32 = 1  // PT_LOAD
  private static let executable: UInt32 = 1  // PF_X
  private static let segmentLimit: UInt16 = 64

  /// Where the C library's code lies.
  private static var libraryText: Range<UInt>? {
    var info = unsafe libvos_dl_info()
    // SAFETY: the function exists in glibc; what dladdr fills in stays valid while it is loaded.
    guard let symbol = unsafe dlsym(nil, someFunction.cString),
      unsafe dladdr(symbol, &info) != 0, let base = unsafe info.base
    else { return nil }
    // SAFETY: a loaded library begins with its ELF header, and its segment table is mapped.
    let header = unsafe base.load(as: vos_elf_header.self)
    let size = MemoryLayout<vos_elf_segment>.size
    guard header.segment_count <= segmentLimit, Int(header.segment_bytes) == size else {
      return nil
    }
    for index in 0..<Int(header.segment_count) {
      let place = Int(truncatingIfNeeded: header.segments_offset) &+ index &* size
      let segment = unsafe base.load(fromByteOffset: place, as: vos_elf_segment.self)
      if segment.type == loadSegment, segment.flags & executable != 0 {
        let start = UInt(bitPattern: base) &+ UInt(segment.address)
        return start..<(start &+ UInt(segment.memory_bytes))
      }
    }
    return nil
  }

  /// Nil if the function is not the C library's own (another preloaded library stands before it),
  /// or begins with something that cannot be moved.
  private static func find(_ index: Int, in text: Range<UInt>) -> Place? {
    let found = unsafe libvos_detour_at(Int32(index)).pointee.next.pointee
    let entry = UInt(bitPattern: found)
    guard text.contains(entry), text.upperBound &- entry >= UInt(scanned),
      let code = unsafe UnsafePointer<UInt8>(bitPattern: entry)
    else { return nil }
    var moved = 0
    while moved < entryBytes {
      // SAFETY: `scanned` bytes of the text follow, far more than are looked at.
      guard let instruction = unsafe Instruction(code + moved) else { return nil }
      moved = moved &+ instruction.length
    }
    // Functions begin at 16 bytes; the jump must lie in one page.
    guard entry % 16 == 0, moved <= mostMoved,
      unsafe !Instruction.mayBranch(code, scanned, before: moved)
    else {
      return nil
    }
    return Place(entry: entry, moved: moved)
  }

  // MARK: Pages

  private static let mapCall = 9  // __NR_mmap
  private static let privateAnonymous = 0x2 | 0x20
  private static let readWrite = 3
  private static let readExecute = 5

  // SAFETY (all below): addresses of the C library's text and of our own pages; one thread runs, and no
  // signal comes.

  private static func protect(_ start: UInt, _ bytes: UInt, _ protection: Int) -> Bool {
    let protectCall = 10
    return libvos_system_call(
      protectCall, Int(start), Int(bytes), protection, 0, 0, 0) == 0
  }

  /// An empty page within a jump's reach of the library, below it.
  private static func stubPage(near base: UInt) -> UInt? {
    let noReplace = 0x100000
    var distance: UInt = 1 << 20
    while distance < reach, distance < base {
      let wanted = (base &- distance) & ~(pageBytes &- 1)
      let got = libvos_system_call(
        mapCall, Int(wanted), Int(pageBytes), readWrite, privateAnonymous | noReplace, -1, 0)
      if got == Int(wanted) { return wanted }
      distance = distance &+ 1 << 20
    }
    return nil
  }

  private static func page(_ place: Place) -> UInt { place.entry & ~(pageBytes &- 1) }

  /// Whether no earlier entry is in the same page.
  private static func isFirst(_ index: Int, _ places: borrowing InlineArray<64, Place>) -> Bool {
    for earlier in 0..<index where page(places[earlier]) == page(places[index]) { return false }
    return true
  }

  /// A copy of each page that has entries, with these turned to the stubs; executable.
  private static func copies(
    of places: borrowing InlineArray<64, Place>, _ count: Int, _ stubs: UInt
  ) -> UInt? {
    let bytes = UInt(count) &* pageBytes
    let got = libvos_system_call(mapCall, 0, Int(bytes), readWrite, privateAnonymous, -1, 0)
    guard got > 0 else { return nil }
    var copy = UInt(got)
    for index in 0..<count where isFirst(index, places) {
      let original = page(places[index])
      unsafe libvos_copy(
        UnsafeMutableRawPointer(bitPattern: copy), UnsafeRawPointer(bitPattern: original),
        Int(pageBytes))
      for other in index..<count where page(places[other]) == original {
        turn(places[other], in: copy, to: stubs &+ UInt(other &* stubBytes))
      }
      copy = copy &+ pageBytes
    }
    return protect(UInt(got), bytes, readExecute) ? UInt(got) : nil
  }

  /// Puts the copies in the pages' places, each in one step. Should one fail after others have not,
  /// some functions come by and some do not: then nothing is made fast in this process.
  private static func exchange(
    _ places: borrowing InlineArray<64, Place>, _ count: Int, _ copies: UInt
  ) -> Bool {
    let moveCall = 25  // __NR_mremap
    let moveToPlace = 3  // MREMAP_MAYMOVE, MREMAP_FIXED
    let size = Int(pageBytes)
    var copy = copies
    for index in 0..<count where isFirst(index, places) {
      let target = Int(page(places[index]))
      guard libvos_system_call(moveCall, Int(copy), size, size, moveToPlace, target, 0) == target
      else {
        unsafe libvos_set().pointee.off = VOS_CARRIES_SOCKETS | VOS_CARRIES_FILES
        return false
      }
      copy = copy &+ pageBytes
    }
    let unmapCall = 11
    let end = copies &+ UInt(count) &* pageBytes
    if copy < end { _ = libvos_system_call(unmapCall, Int(copy), Int(end &- copy), 0, 0, 0, 0) }
    return true
  }

  // MARK: Code

  /// A jump by an address that follows: jmp *0(%rip), 8 bytes.
  private static let jumpBytes: UInt = 14
  private static let ourBytes: UInt = 16

  /// A stub: a jump to ours; from byte 16 the moved instructions and a jump back behind them.
  private static func fill(_ stub: UInt, _ place: Place, _ index: Int) -> Bool {
    jump(at: stub, to: unsafe UInt(bitPattern: libvos_detour_at(Int32(index)).pointee.ours))
    var done = 0
    while done < place.moved {
      guard let code = unsafe UnsafePointer<UInt8>(bitPattern: place.entry &+ UInt(done)),
        let instruction = unsafe Instruction(code),
        let target = unsafe UnsafeMutableRawPointer(bitPattern: stub &+ ourBytes &+ UInt(done))
      else { return false }
      unsafe target.copyMemory(from: code, byteCount: instruction.length)
      if let at = instruction.relativeAt {
        // What was `old` bytes from there is further from here.
        let old = unsafe Int(UnsafeRawPointer(code + at).loadUnaligned(as: Int32.self))
        let new = old &+ (Int(place.entry) &- Int(stub &+ ourBytes))
        guard let distance = Int32(exactly: new) else { return false }
        unsafe (target + at).storeBytes(of: distance, as: Int32.self)
      }
      done = done &+ instruction.length
    }
    jump(at: stub &+ ourBytes &+ UInt(done), to: place.entry &+ UInt(done))
    return true
  }

  private static func jump(at place: UInt, to target: UInt) {
    guard let bytes = unsafe UnsafeMutableRawPointer(bitPattern: place) else { return }
    unsafe bytes.storeBytes(of: 0x25ff, as: UInt16.self)
    unsafe (bytes + 2).storeBytes(of: 0, as: UInt32.self)
    unsafe (bytes + 6).storeBytes(of: target, as: UInt.self)
  }

  /// A jump in the copy of the entry's page: both ends are within reach, as the page was chosen.
  private static func turn(_ place: Place, in copy: UInt, to stub: UInt) {
    let here = copy &+ (place.entry &- page(place))
    guard let bytes = unsafe UnsafeMutableRawPointer(bitPattern: here) else { return }
    let distance = Int(stub) &- Int(place.entry) &- entryBytes
    unsafe bytes.storeBytes(of: 0xe9, as: UInt8.self)
    unsafe (bytes + 1).storeBytes(of: Int32(truncatingIfNeeded: distance), as: Int32.self)
  }
}
