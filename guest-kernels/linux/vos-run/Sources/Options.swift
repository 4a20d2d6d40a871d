// SPDX-License-Identifier: Apache-2.0

/// A word of the command line or of the environment: bytes without the final zero.
typealias Word = [UInt8]

/// What the command line asks for.
struct Options {
  enum Speed { case fast, socketsOnly, filesOnly, off }

  var speed = Speed.fast
  /// Nanoseconds, as digits; nil: libvos's own.
  var spin: Word?
  var yield: Word?
  var rewrites = false
  var isUserThreaded = false
  /// The program and its arguments; empty: only help was asked for.
  var command: [Word] = []
}

/// Why a command line is refused: what is wrong, with which word, and what to do.
struct UsageError: Error {
  let problem: StaticString
  let word: Word
  let advice: StaticString
}

extension Options {
  /// Most digits of a time: nanoseconds up to a second.
  private static let digits = 9

  /// - Parameter words: all but the program's own name.
  init(_ words: [Word]) throws(UsageError) {
    var rest = words[...]
    while let word = rest.first, word.first == UInt8(ascii: "-"), word.count > 1 {
      rest.removeFirst()
      if word.equals("--") { break }
      if word.equals("--help") || word.equals("-h") { return }
      try take(word, &rest)
    }
    guard !rest.isEmpty else {
      throw UsageError(
        problem: "no program is named", word: [], advice: "give one after the options")
    }
    command = Array(rest)
    try check()
  }

  private mutating func take(_ word: Word, _ rest: inout ArraySlice<Word>) throws(UsageError) {
    if word.equals("--fast") {
      speed = .fast
    } else if word.equals("--fast=sockets") {
      speed = .socketsOnly
    } else if word.equals("--fast=files") {
      speed = .filesOnly
    } else if word.equals("--no-fast") {
      speed = .off
    } else if word.equals("--rewrite") {
      rewrites = true
    } else if word.equals("--mn") {
      isUserThreaded = true
    } else if let value = try Self.value(of: "--spin", word, &rest) {
      spin = value
    } else if let value = try Self.value(of: "--yield", word, &rest) {
      yield = value
    } else {
      throw UsageError(
        problem: "there is no option", word: word,
        advice: "see vos-run --help; a program whose name begins with - comes after --")
    }
  }

  /// `--name=NS` or `--name NS`; nil if the word is another option.
  private static func value(
    of name: StaticString, _ word: Word, _ rest: inout ArraySlice<Word>
  ) throws(UsageError) -> Word? {
    let length = name.utf8CodeUnitCount
    guard word.count >= length, Array(word[..<length]).equals(name) else { return nil }
    let value: Word
    if word.count > length {
      guard word[length] == UInt8(ascii: "=") else { return nil }
      value = Array(word[(length + 1)...])
    } else {
      value = rest.popFirst() ?? []
    }
    let isNumber = value.allSatisfy { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
    guard !value.isEmpty, isNumber, value.count <= digits else {
      throw UsageError(
        problem: "not a time", word: value,
        advice: "give nanoseconds, 0 to 999999999; 0 means not at all")
    }
    return value
  }

  private func check() throws(UsageError) {
    guard speed == .off else { return }
    guard spin == nil, yield == nil, !rewrites, !isUserThreaded else {
      throw UsageError(
        problem: "--no-fast leaves nothing to set", word: [],
        advice: "leave out --no-fast, or --spin, --yield, --rewrite and --mn")
    }
  }
}

extension [UInt8] {
  func equals(_ text: StaticString) -> Bool {
    guard count == text.utf8CodeUnitCount else { return false }
    // SAFETY: the text has as many bytes as was just compared.
    for index in indices where unsafe self[index] != text.utf8Start[index] { return false }
    return true
  }

  init(_ text: StaticString) {
    // SAFETY: static text and its length.
    self = unsafe Array(
      UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }
}
