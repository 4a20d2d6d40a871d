// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Boot

@Suite struct PVHImageTests {
  @Test(arguments: [true, false]) func entersIn32BitMode(is64: Bool) throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let fake = FakeELF(is64: is64)
    let entry = try loadGuest(request(fake.image), into: memory)
    #expect(entry.rip == 0x20_0040)
    #expect(entry.cr0 & 0x8000_0001 == 1)
    #expect(entry.efer == 0)
    #expect(entry.code.is32Bit && !entry.code.is64Bit)
    #expect(entry.task.limit == 0x67)
    #expect(try memory.read(at: 0x20_0000, byteCount: 300) == fake.payload)
    #expect(try memory.load(UInt32.self, at: entry.rbx) == 0x336E_C578)
    #expect(try memory.load(UInt32.self, at: entry.rbx + 4) == 1)
  }

  @Test func listsModulesByLabel() throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let entry = try loadGuest(
      request(FakeELF().image, initrd: [9, 8, 7], deviceTree: [1, 2, 3, 4]), into: memory)
    let count = try memory.load(UInt32.self, at: entry.rbx + 12)
    let list = try memory.load(UInt64.self, at: entry.rbx + 16)
    #expect(count == 2)
    var modules: [String: [UInt8]] = [:]
    for index in 0..<UInt64(count) {
      let at = list + index * 32
      let label = try memory.read(
        at: try memory.load(UInt64.self, at: at + 16), byteCount: 8)
      let name = String(decoding: label.prefix { $0 != 0 }, as: UTF8.self)
      modules[name] = try memory.read(
        at: try memory.load(UInt64.self, at: at),
        byteCount: Int(try memory.load(UInt64.self, at: at + 8)))
    }
    #expect(modules == ["initrd": [9, 8, 7], "dtb": [1, 2, 3, 4]])
  }

  @Test func withoutModulesTheListIsEmpty() throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let entry = try loadGuest(request(FakeELF().image), into: memory)
    #expect(try memory.load(UInt32.self, at: entry.rbx + 12) == 0)
    #expect(try memory.load(UInt64.self, at: entry.rbx + 16) == 0)
  }

  @Test func tellsMemoryMapTablesAndCommandLine() throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let entry = try loadGuest(request(FakeELF().image, commandLine: "x=1"), into: memory)
    let line = try memory.load(UInt64.self, at: entry.rbx + 24)
    #expect(try memory.read(at: line, byteCount: 4) == Array("x=1\0".utf8))
    let rsdp = try memory.load(UInt64.self, at: entry.rbx + 32)
    #expect(try memory.read(at: rsdp, byteCount: 8) == Array("RSD PTR ".utf8))
    let map = try memory.load(UInt64.self, at: entry.rbx + 40)
    #expect(try memory.load(UInt32.self, at: entry.rbx + 48) == 4)
    #expect(try memory.load(UInt64.self, at: map + 2 * 24) == 0x10_0000)
    #expect(try memory.load(UInt64.self, at: map + 2 * 24 + 8) == 63 << 20)
  }

  @Test func refusesELFWithoutNote() {
    var other = FakeELF()
    other.noteType = 17
    #expect(failure(request(other.image)) == .notAKernel(image: "micro.elf"))
    other = FakeELF()
    other.noteName = Array("GNU\0".utf8)
    #expect(failure(request(other.image)) == .notAKernel(image: "micro.elf"))
  }

  @Test func refusesWhatIsNoKernel() {
    for bytes in [[], [0x7F], Array("#!/bin/sh\n".utf8), [UInt8](repeating: 0, count: 9000)] {
      let error = failure(request(BytesImage(name: "/boot/x", bytes: bytes)))
      #expect(
        error?.description == "/boot/x is not a bzImage or PVH ELF; "
          + "give an x86-64 kernel of Linux 3.8 or later")
    }
  }

  @Test func refusesSegmentsOutsideRAM() {
    var low = FakeELF()
    low.address = 0x1000
    #expect(
      failure(request(low.image))
        == .unsupported(
          image: "micro.elf", reason: "a segment goes to 0x1000, below 1 MiB"))
    var high = FakeELF()
    high.address = 0xFFFF_FFFF_FFFF_F000
    #expect(
      failure(request(high.image))
        == .outOfMemory(what: "micro.elf", needed: .max, available: 64 << 20))
    var shrunk = FakeELF()
    shrunk.memoryByteCount = 10
    #expect(
      failure(request(shrunk.image))
        == .malformed(
          image: "micro.elf", reason: "a segment has more bytes in the file than in memory"))
  }

  @Test func noticesTruncationAnywhere() {
    let whole = FakeELF().bytes
    for count in stride(from: 64, to: whole.count, by: 13) {
      let error = failure(request(BytesImage(name: "cut", bytes: Array(whole[0..<count]))))
      guard case .truncated(image: "cut", byteCount: UInt64(count), needed: _)? = error else {
        Issue.record("\(count) bytes: \(String(describing: error))")
        return
      }
    }
  }

  /// Any byte of a valid image may be anything: loading fails with an error or works, never traps.
  @Test func survivesCorruptHeaders() {
    var generator = SystemRandomNumberGenerator()
    for whole in [FakeELF().bytes, FakeELF(is64: false).bytes, FakeBzImage().bytes] {
      for _ in 0..<300 {
        var bytes = whole
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
          let at = Int.random(in: 0..<min(bytes.count, 0x270), using: &generator)
          bytes[at] = UInt8.random(in: 0...255, using: &generator)
        }
        let image = BytesImage(name: "fuzz", bytes: bytes)
        _ = try? KernelImage(examining: image)
        if let error = failure(request(image)) { #expect(!error.description.isEmpty) }
      }
    }
  }
}
