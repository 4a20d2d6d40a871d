// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosLoad

/// The system calls that loading takes, by number (asm/unistd_64.h). Minus a Linux errno is an error.
enum System {
  static let pageBytes: UInt64 = 4096

  enum Protection {
    static let none = 0
    static let read = 1
    static let readWrite = 3
    static let readExecute = 5
    static let write = 2
  }

  private static let privateMapping = 0x2
  private static let fixed = 0x10
  private static let anonymous = 0x20
  private static let noReserve = 0x4000
  private static let fixedNoReplace = 0x100000

  static func call(
    _ number: Int, _ a: Int = 0, _ b: Int = 0, _ c: Int = 0, _ d: Int = 0, _ e: Int = 0,
    _ f: Int = 0
  ) -> Int { libvos_system_call(number, a, b, c, d, e, f) }

  /// Whole pages that hold so many bytes.
  static func pages(_ bytes: UInt64) -> UInt64 { (bytes &+ pageBytes &- 1) & ~(pageBytes &- 1) }

  /// Empty memory at `place`, or nil; with 0 anywhere.
  static func reserve(_ place: UInt64, _ bytes: UInt64, _ protection: Int) -> UInt64? {
    let flags = privateMapping | anonymous | noReserve | (place == 0 ? 0 : fixedNoReplace)
    let got = call(9, Int(truncatingIfNeeded: place), Int(bytes), protection, flags, -1, 0)
    guard got > 0 else { return nil }
    if place != 0, got != Int(truncatingIfNeeded: place) {
      // A kernel that does not know the flag takes the place for a wish.
      unmap(UInt64(got), bytes)
      return nil
    }
    return UInt64(got)
  }

  /// Empty memory over what was reserved.
  static func put(_ place: UInt64, _ bytes: UInt64, _ protection: Int) -> Bool {
    let flags = privateMapping | anonymous | fixed
    return call(9, Int(place), Int(bytes), protection, flags, -1, 0) == Int(place)
  }

  /// A file's bytes over what was reserved.
  static func put(
    _ place: UInt64, _ bytes: UInt64, _ protection: Int, _ file: Int, _ offset: UInt64
  ) -> Bool {
    call(9, Int(place), Int(bytes), protection, privateMapping | fixed, file, Int(offset))
      == Int(place)
  }

  /// A file's bytes to look at.
  static func map(_ file: Int, _ bytes: Int) -> Bytes? {
    let got = call(9, 0, bytes, Protection.read, privateMapping, file, 0)
    guard got > 0, let start = unsafe UnsafePointer<UInt8>(bitPattern: got) else { return nil }
    // SAFETY: so many bytes were just mapped, and stay until `unmap`.
    return unsafe Bytes(start, bytes)
  }

  static func protect(_ place: UInt64, _ bytes: UInt64, _ protection: Int) -> Bool {
    call(10, Int(place), Int(bytes), protection) == 0
  }

  static func unmap(_ place: UInt64, _ bytes: UInt64) { _ = call(11, Int(place), Int(bytes)) }

  static func close(_ file: Int) { _ = call(3, file) }

  static func end(_ status: Int) -> Never {
    while true { _ = call(231, status) }
  }

  /// A line on standard error: `vos-load: "PATH"`, then what is wrong with it.
  static func say(
    _ path: UnsafePointer<CChar>, _ what: StaticString, _ reason: StaticString = "",
    number: UInt64? = nil, place: UInt64 = 0
  ) {
    var line = Line()
    line.add("vos-load: \"")
    var at = 0
    // SAFETY: the path is NUL-terminated.
    while at < 150, case let byte = unsafe UInt8(bitPattern: path[at]), byte != 0 {
      line.add(byte: byte < 0x20 || byte == 0x7f ? UInt8(ascii: "?") : byte)
      at = at &+ 1
    }
    line.add("\"")
    line.add(what)
    line.add(reason)
    if let number { line.add(number) }
    if place != 0 { line.add(", at 0x") }
    for shift in stride(from: 60, through: 0, by: -4) where place >> UInt64(shift) != 0 {
      let digit = UInt8(place >> UInt64(shift) & 15)
      line.add(byte: digit &+ (digit < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") &- 10))
    }
    unsafe line.end { text in
      _ = call(1, 2, Int(bitPattern: text.baseAddress), text.count)
    }
  }
}

/// Why a program is not loaded here.
struct Refusal: Error {
  let reason: StaticString
  /// The file is no program; otherwise it may be one, which the kernel then executes as it is.
  let isMalformed: Bool
  /// The address in the program that it is about; 0: none.
  let place: UInt64

  static func malformed(_ reason: StaticString) -> Refusal {
    Refusal(reason: reason, isMalformed: true, place: 0)
  }
  static func unsuited(_ reason: StaticString, at place: UInt64 = 0) -> Refusal {
    Refusal(reason: reason, isMalformed: false, place: place)
  }
}
