// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Glibc

/// A program to start, as VOS_CALL_EXEC describes it.
struct Program {
  private var arguments: [[CChar]] = []
  private var environment: [[CChar]] = []
  private let uid: UInt32
  private let gid: UInt32

  /// Longest description, and most words in it.
  private static let byteLimit = 1 << 20
  private static let wordLimit: UInt32 = 4096
  static let library = "/usr/lib/vos/libvos.so"

  /// `nil` if the description is not whole.
  init?(_ bytes: UnsafeMutableRawBufferPointer, length: Int) {
    let headBytes = MemoryLayout<vos_exec>.size
    guard (headBytes...Self.byteLimit).contains(length), length <= bytes.count else { return nil }
    // Copied once; the copy is what counts.
    // SAFETY: `length` is at most the window's count, checked above.
    let copy = unsafe [UInt8](UnsafeRawBufferPointer(rebasing: bytes[..<length]))
    // SAFETY: `length` is at least the structure's size, checked above.
    let head = unsafe copy.withUnsafeBytes { unsafe $0.loadUnaligned(as: vos_exec.self) }
    guard head.argument_count > 0, head.argument_count <= Self.wordLimit,
      head.environment_count <= Self.wordLimit
    else { return nil }
    uid = head.uid
    gid = head.gid
    var rest = copy[headBytes...]
    for _ in 0..<head.argument_count {
      guard let word = Self.take(&rest) else { return nil }
      arguments.append(word)
    }
    for _ in 0..<head.environment_count {
      guard let word = Self.take(&rest) else { return nil }
      environment.append(word)
    }
    guard arguments[0].count > 1 else { return nil }
    addDefaults()
  }

  private static func take(_ rest: inout ArraySlice<UInt8>) -> [CChar]? {
    guard let end = rest.firstIndex(of: 0) else { return nil }
    defer { rest = rest[(end + 1)...] }
    return rest[rest.startIndex...end].map { CChar(bitPattern: $0) }
  }

  /// A path, a home, and, unless the host sets VOS_FAST=0 or a preload of its own, the library
  /// that makes remote descriptors fast.
  private mutating func addDefaults() {
    if value("PATH") == nil {
      set("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    }
    if value("HOME") == nil { set(uid == 0 ? "HOME=/root" : "HOME=/") }
    // SAFETY: static text, NUL-terminated.
    if value("VOS_FAST") != "0", value("LD_PRELOAD") == nil, unsafe access(Self.library, R_OK) == 0
    {
      set("LD_PRELOAD=" + Self.library)
    }
  }

  private func value(_ name: String) -> String? {
    let prefix = (name + "=").utf8.map { CChar(bitPattern: $0) }
    guard let word = environment.first(where: { $0.starts(with: prefix) }) else { return nil }
    return String(
      decoding: word.dropFirst(prefix.count).dropLast().map { UInt8(bitPattern: $0) },
      as: UTF8.self)
  }

  private mutating func set(_ word: String) {
    environment.append(word.utf8.map { CChar(bitPattern: $0) } + [0])
  }

  /// Starts it; 0 or minus an errno.
  func start(_ child: inout guest_child) -> Int {
    // SAFETY: `Words` keeps both lists until the program runs; the local is filled with
    // descriptors.
    unsafe Words.with(arguments) { arguments in
      unsafe Words.with(environment) { environment in
        unsafe Int(guest_spawn(arguments, environment, uid, gid, &child))
      }
    }
  }
}

/// Arrays of strings as C wants them.
enum Words {
  static func with<Result>(
    _ words: [[CChar]], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    // SAFETY: each copy has as many bytes as its word, all of them initialized.
    let copies = unsafe words.map { word in
      let copy = UnsafeMutablePointer<CChar>.allocate(capacity: word.count)
      unsafe copy.initialize(from: word, count: word.count)
      return unsafe copy
    }
    // SAFETY: allocated above and not yet given back.
    defer { unsafe copies.forEach { unsafe $0.deallocate() } }
    // SAFETY: the list holds the copies and ends with a null; copies and list live until `body` has
    // returned, and a list that ends with a null has a first element.
    var list: [UnsafeMutablePointer<CChar>?] = unsafe copies.map { unsafe $0 }
    unsafe list.append(nil)
    return unsafe list.withUnsafeBufferPointer { unsafe body($0.baseAddress!) }
  }

  static func with<Result>(
    _ words: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    // SAFETY: passed on: `body` gets a list that lives as long as it runs.
    unsafe with(words.map { $0.utf8.map { CChar(bitPattern: $0) } + [0] }, unsafe body)
  }
}
