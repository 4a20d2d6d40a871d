// SPDX-License-Identifier: Apache-2.0

internal import CVosRun

/// The few things that vos-run asks of libc.
enum System {
  static let noEntry: Int32 = 2
  static let notDirectory: Int32 = 20
  private static let readOnlyCloseOnExec: Int32 = 0o2000000

  // SAFETY (all below): a word gets its final zero before libc sees it, and libc copies what it
  // keeps (setenv) or reads it during the call.

  private static func terminated(_ word: Word) -> [CChar] {
    word.map { CChar(bitPattern: $0) } + [0]
  }

  static func word(_ text: UnsafePointer<CChar>) -> Word {
    var word: Word = []
    var at = 0
    while case let byte = unsafe UInt8(bitPattern: text[at]), byte != 0 {
      word.append(byte)
      at += 1
    }
    return word
  }

  static var error: Int32 { unsafe __errno_location().pointee }

  static func describe(_ error: Int32) -> Word {
    unsafe strerror(error).map { unsafe word($0) } ?? Word("unknown error")
  }

  static func variable(_ name: StaticString) -> Word? {
    unsafe terminated(Word(name)).withUnsafeBufferPointer {
      unsafe getenv($0.baseAddress!).map { unsafe word($0) }
    }
  }

  static func set(_ name: StaticString, _ value: Word?) {
    unsafe terminated(Word(name)).withUnsafeBufferPointer { name in
      guard let value else {
        _ = unsafe unsetenv(name.baseAddress!)
        return
      }
      unsafe terminated(value).withUnsafeBufferPointer {
        _ = unsafe setenv(name.baseAddress!, $0.baseAddress!, 1)
      }
    }
  }

  static func isReadable(_ path: Word) -> Bool {
    let readable: Int32 = 4
    return unsafe terminated(path).withUnsafeBufferPointer {
      unsafe access($0.baseAddress!, readable) == 0
    }
  }

  static func isExecutable(_ path: Word) -> Bool {
    unsafe terminated(path).withUnsafeBufferPointer { unsafe access($0.baseAddress!, 1) == 0 }
  }

  /// Where this program's file lies, without its name.
  static func ownFolder() -> Word {
    var buffer = [CChar](repeating: 0, count: 4096)
    let length = unsafe terminated(Word("/proc/self/exe")).withUnsafeBufferPointer { link in
      unsafe buffer.withUnsafeMutableBufferPointer {
        unsafe readlink(link.baseAddress!, $0.baseAddress!, $0.count)
      }
    }
    let path = buffer.prefix(max(length, 0)).map { UInt8(bitPattern: $0) }
    guard let slash = path.lastIndex(of: UInt8(ascii: "/")) else { return Word("/usr/lib/vos") }
    return Array(path[..<slash])
  }

  /// Replaces this process; returns only with an error.
  static func execute(_ command: [Word]) -> Int32 {
    // Never freed: the process ends or is replaced.
    let list = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(
      capacity: command.count + 1)
    for index in command.indices {
      let text = terminated(command[index])
      let copy = UnsafeMutablePointer<CChar>.allocate(capacity: text.count)
      unsafe copy.initialize(from: text, count: text.count)
      unsafe list[index] = unsafe copy
    }
    unsafe list[command.count] = nil
    guard let name = unsafe list[0] else { return noEntry }
    _ = unsafe execvp(name, list)
    return error
  }

  static func print(_ text: Word, to descriptor: Int32) {
    var rest = text[...]
    while !rest.isEmpty {
      let written = unsafe Array(rest).withUnsafeBytes {
        unsafe write(descriptor, $0.baseAddress!, $0.count)
      }
      guard written > 0 else { return }
      rest = rest.dropFirst(written)
    }
  }

  static func end(_ status: Int32) -> Never { exit(status) }
}

extension System {
  /// What ld.so will make of a program.
  enum Linkage { case dynamic, fixed, unknown }

  private static let interpreterSegment: UInt32 = 3  // PT_INTERP
  private static let magic: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2]  // ELF, 64 bits
  private static let segmentLimit: UInt16 = 128

  /// Whether an ELF file asks for a dynamic linker; scripts and what cannot be read are `unknown`.
  static func linkage(of path: Word) -> Linkage {
    let file = unsafe terminated(path).withUnsafeBufferPointer {
      unsafe vosrun_open($0.baseAddress!, readOnlyCloseOnExec)
    }
    guard file >= 0 else { return .unknown }
    defer { _ = close(file) }
    var header = vos_elf_header()
    guard load(file, 0, &header) else { return .unknown }
    let identity = header.identity
    let start = [identity.0, identity.1, identity.2, identity.3, identity.4]
    guard start == magic, header.segment_count <= segmentLimit,
      Int(header.segment_bytes) == MemoryLayout<vos_elf_segment>.size
    else { return .unknown }
    for index in 0..<UInt64(header.segment_count) {
      var segment = vos_elf_segment()
      let place = header.segments_offset &+ index &* UInt64(header.segment_bytes)
      guard load(file, Int(truncatingIfNeeded: place), &segment) else { return .unknown }
      if segment.type == interpreterSegment { return .dynamic }
    }
    return .fixed
  }

  private static func load<Structure>(
    _ file: Int32, _ offset: Int, _ place: inout Structure
  ) -> Bool {
    let size = MemoryLayout<Structure>.size
    // SAFETY: a structure of plain integers, filled whole or not used.
    return unsafe withUnsafeMutableBytes(of: &place) {
      unsafe pread(file, $0.baseAddress!, size, offset) == size
    }
  }

  /// The file that execvp will run; nil if it finds none.
  static func find(_ name: Word) -> Word? {
    if name.contains(UInt8(ascii: "/")) { return name }
    let path = variable("PATH") ?? Word("/usr/local/bin:/usr/bin:/bin")
    for folder in path.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false) {
      let candidate = (folder.isEmpty ? Word(".") : Array(folder)) + [UInt8(ascii: "/")] + name
      if isExecutable(candidate) { return candidate }
    }
    return nil
  }
}
