// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import Manifest

/// A generator whose numbers are the same in each run.
private struct Sequence64: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
}

@Suite struct InitrdTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func problem(_ bytes: [UInt8], memoryBytes: UInt64 = 64 << 20) -> String? {
    KernelFile.initrdProblem(of: scratch.file("initrd", bytes), memoryBytes: memoryBytes)
  }

  /// Formats whose end can be found.
  static let followed: [InitrdFixture] = [.cpio, .gzip, .xz, .zstd, .lz4, .bzip2]

  @Test(arguments: followed)
  func aWholeOneIsAccepted(_ fixture: InitrdFixture) {
    #expect(problem(fixture.bytes) == nil)
    #expect(problem(fixture.bytes + [UInt8](repeating: 0, count: 500)) == nil, "zeros may follow")
  }

  /// Wherever the file is cut off, it is noticed, and called what it is.
  @Test(arguments: followed)
  func aTruncatedOneIsRefused(_ fixture: InitrdFixture) throws {
    let bytes = fixture.bytes
    for count in 1..<bytes.count {
      let found = try #require(problem(Array(bytes[..<count])), "\(count) of \(bytes.count) bytes")
      #expect(
        found.hasPrefix("is truncated: it has \(count) bytes") && found.hasSuffix("copy it again"),
        "\(count): \(found)")
    }
  }

  /// As distributions build them: microcode plain, then the rest compressed.
  @Test(arguments: followed)
  func segmentsMayFollowEachOther(_ fixture: InitrdFixture) {
    let early = InitrdFixture.cpio.bytes + [UInt8](repeating: 0, count: 515)
    #expect(problem(early + fixture.bytes) == nil)
    #expect(problem(early + fixture.bytes.dropLast(5))?.contains("truncated") == true)
  }

  @Test(arguments: [InitrdFixture.gzip, .xz, .zstd])
  func aCompressedOneMayBeFollowed(_ fixture: InitrdFixture) {
    let first = fixture.bytes
    let padding = [UInt8](repeating: 0, count: (4 - first.count % 4) % 4)
    #expect(problem(first + padding + InitrdFixture.cpio.bytes) == nil)
    #expect(problem(first + first) == nil)
    #expect(
      problem(first + Array("junk".utf8))?.contains("unknown bytes after a segment") == true)
  }

  /// What a checksum covers cannot change unnoticed: all of gzip but header bytes that say when and
  /// where it was packed, and the bits that fill the stream's last byte.
  @Test func everyChangedByteOfGzipIsNoticed() {
    let bytes = InitrdFixture.gzip.bytes
    for index in 10..<bytes.count where index != bytes.count - 9 {
      var changed = bytes
      changed[index] ^= 0x10
      #expect(problem(changed) != nil, "byte \(index)")
    }
  }

  /// Of xz: its headers, index and footer.
  @Test func changedStructureOfXZIsNoticed() {
    let bytes = InitrdFixture.xz.bytes
    for index in Array(0..<24) + Array(bytes.count - 24..<bytes.count) {
      var changed = bytes
      changed[index] ^= 0x10
      #expect(problem(changed) != nil, "byte \(index)")
    }
  }

  @Test func changedHeadersOfCPIOAreNoticed() {
    var changed = InitrdFixture.cpio.bytes
    changed[58] = UInt8(ascii: "f")
    #expect(problem(changed)?.contains("truncated") == true)
    changed = InitrdFixture.cpio.bytes
    changed[54] = UInt8(ascii: "x")
    #expect(problem(changed)?.contains("no header of a cpio entry at byte") == true)
    let shifted = InitrdFixture.gzip.bytes + [UInt8](repeating: 0, count: 1)
    let odd = shifted.count % 4 == 0 ? shifted + [0] : shifted
    #expect(problem(odd + InitrdFixture.cpio.bytes)?.contains("multiple of 4") == true)
  }

  @Test func anotherFormatIsRefusedWithWhatWasExpected() {
    for bytes in [Array("#!/bin/sh\n".utf8), [UInt8](repeating: 0, count: 4096), [0xff]] {
      #expect(
        problem(bytes)
          == "is no initial RAM disk; expected a cpio archive of format newc, plain or compressed "
          + "by gzip, bzip2, lzma, xz, lzo, lz4 -l or zstd")
    }
    #expect(problem(InitrdFixture.lz4Frame.bytes)?.contains("compress with \"lz4 -l\"") == true)
    #expect(problem(Array("070707000000".utf8))?.contains("cpio -o -H newc") == true)
  }

  @Test func whatUnpacksToMoreThanTheMemoryIsRefused() {
    let unpacked = UInt64(InitrdFixture.cpio.bytes.count)
    #expect(problem(InitrdFixture.gzip.bytes, memoryBytes: unpacked) == nil)
    #expect(
      problem(InitrdFixture.gzip.bytes, memoryBytes: unpacked - 1)?.contains("unpacks to more")
        == true)
  }

  /// A stored block and the fixed codes, which a good compressor rarely writes.
  @Test func allKindsOfBlocksAreUnpacked() {
    // RFC 1951: a stored block of "abc", then a block of fixed codes with "abc" and a copy of it.
    let header: [UInt8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]
    let stored: [UInt8] = [1, 3, 0, 0xfc, 0xff] + Array("abc".utf8)
    let end: [UInt8] = [0xc2, 0x41, 0x24, 0x35, 3, 0, 0, 0]
    #expect(problem(header + stored + end) == nil)
    let fixed: [UInt8] = [0x4b, 0x4c, 0x4a, 0x06, 0]
    #expect(problem(header + fixed + end) == nil)
  }

  /// Garbage behind each magic number ends in a sentence, never in a trap or a loop.
  @Test(arguments: InitrdFixture.allCases)
  func garbageIsSurvived(_ fixture: InitrdFixture) {
    var random = Sequence64(state: 1)
    for _ in 0..<300 {
      var bytes = fixture.bytes
      for _ in 0..<Int.random(in: 1...20, using: &random) {
        let index = Int.random(in: 0..<bytes.count, using: &random)
        bytes[index] = UInt8.random(in: 0...255, using: &random)
      }
      _ = problem(bytes)
      let start = fixture.bytes.prefix(Int.random(in: 2...40, using: &random))
      _ = problem(start + (0..<200).map { _ in UInt8.random(in: 0...255, using: &random) })
    }
  }
}
