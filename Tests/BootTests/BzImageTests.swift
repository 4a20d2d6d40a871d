// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Boot

@Suite struct BzImageTests {
  @Test func entersAt64BitEntryOfPreferredAddress() throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let fake = FakeBzImage()
    let entry = try loadGuest(request(fake.image), into: memory)
    #expect(entry.rip == 0x100_0200)
    #expect(try memory.read(at: 0x100_0000, byteCount: 4096) == fake.payload)
    #expect(try memory.load(UInt32.self, at: entry.rsi + 0x202) == 0x5372_6448)
    #expect(entry.efer == 0x500)
    #expect(entry.cr0 & 0x8000_0001 == 0x8000_0001)
    #expect(entry.code.is64Bit && entry.code.selector == 0x10)
  }

  @Test func passesHeaderAndNothingElseOfTheSetupCode() throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let entry = try loadGuest(request(FakeBzImage().image), into: memory)
    let page = try memory.read(at: entry.rsi, byteCount: 4096)
    #expect(page[0x100] == 0, "bytes before the header stay zero")
    #expect(page[0x1F1] == 3)
    #expect(page[0x26B] == 0xEE, "the header's last byte is copied")
    #expect(page[0x26C] == 0, "bytes after the header stay zero")
    #expect(page[0x210] == 0xFF)
  }

  @Test func placesInitrdPageAlignedBelowEndOfRAM() throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let initrd = [UInt8](repeating: 0x5A, count: 5000)
    let entry = try loadGuest(request(FakeBzImage().image, initrd: initrd), into: memory)
    let address = UInt64(try memory.load(UInt32.self, at: entry.rsi + 0x218))
    #expect(address == (64 << 20) - 8192)
    #expect(try memory.load(UInt32.self, at: entry.rsi + 0x21C) == 5000)
    #expect(try memory.read(at: address, byteCount: 5000) == initrd)
  }

  @Test func keepsInitrdBelowTheKernelsLimit() throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let fake = FakeBzImage(initrdMax: 0x1FF_FFFF)
    let entry = try loadGuest(request(fake.image, initrd: [1, 2, 3]), into: memory)
    #expect(try memory.load(UInt32.self, at: entry.rsi + 0x218) == 0x1FF_F000)
  }

  @Test func chainsDeviceTreeAsSetupData() throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let tree = [UInt8](1...200)
    let entry = try loadGuest(request(FakeBzImage().image, deviceTree: tree), into: memory)
    let node = try memory.load(UInt64.self, at: entry.rsi + 0x250)
    #expect(try memory.load(UInt64.self, at: node) == 0, "the chain ends")
    #expect(try memory.load(UInt32.self, at: node + 8) == 2, "SETUP_DTB")
    #expect(try memory.load(UInt32.self, at: node + 12) == 200)
    #expect(try memory.read(at: node + 16, byteCount: 200) == tree)
  }

  @Test func writesCommandLineAndPointsAtTables() throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let entry = try loadGuest(
      request(FakeBzImage().image, commandLine: "quiet panic=-1"), into: memory)
    let line = UInt64(try memory.load(UInt32.self, at: entry.rsi + 0x228))
    #expect(try memory.read(at: line, byteCount: 15) == Array("quiet panic=-1\0".utf8))
    let rsdp = try memory.load(UInt64.self, at: entry.rsi + 0x70)
    #expect(try memory.read(at: rsdp, byteCount: 8) == Array("RSD PTR ".utf8))
  }

  @Test func tellsMemoryMapWithHighRAM() throws {
    let memory = SparseMemory(byteCount: 0x1_4000_0000)
    let entry = try loadGuest(request(FakeBzImage().image, ram: 4 << 30), into: memory)
    let count = Int(try memory.load(UInt8.self, at: entry.rsi + 0x1E8))
    var map: [[UInt64]] = []
    for index in 0..<count {
      let at = entry.rsi + 0x2D0 + UInt64(index * 20)
      map.append([
        try memory.load(UInt64.self, at: at), try memory.load(UInt64.self, at: at + 8),
        UInt64(try memory.load(UInt32.self, at: at + 16)),
      ])
    }
    #expect(
      map == [
        [0, 0xA_0000, 1], [0xA_0000, 0x6_0000, 2], [0x10_0000, 0xBFF0_0000, 1],
        [0xE000_0000, 0x10_0000, 2], [0x1_0000_0000, 0x4000_0000, 1],
      ])
  }

  @Test func mapsFirst4GiBOntoThemselves() throws {
    let memory = SparseMemory(byteCount: 64 << 20)
    let entry = try loadGuest(request(FakeBzImage().image), into: memory)
    for address: UInt64 in [0, 0x7000, 0x100_0200, 0xBFFF_F000, 0xFFFF_FFFF] {
      let pml4e = try memory.load(UInt64.self, at: entry.cr3 + (address >> 39 & 511) * 8)
      let pdpte = try memory.load(UInt64.self, at: pml4e & ~0xFFF + (address >> 30 & 511) * 8)
      let pde = try memory.load(UInt64.self, at: pdpte & ~0xFFF + (address >> 21 & 511) * 8)
      #expect(pde & 0x83 == 0x83)
      #expect(pde & ~0x1F_FFFF == address & ~0x1F_FFFF)
    }
    let code = try memory.load(UInt64.self, at: entry.gdt.base + 0x10)
    #expect(code == 0x00AF_9B00_0000_FFFF)
    #expect(try memory.load(UInt64.self, at: entry.gdt.base + 0x18) == 0x00CF_9300_0000_FFFF)
  }

  @Test func refusesWhatItCannotBoot() {
    var old = FakeBzImage()
    old.version = 0x20B
    #expect(
      failure(request(old.image))?.description
        == "vmlinuz cannot be booted: boot protocol 2.11 is older than 2.12 (Linux 3.8); "
        + "give an x86-64 kernel of Linux 3.8 or later")
    var only32 = FakeBzImage()
    only32.extendedFlags = 0
    #expect(
      failure(request(only32.image))
        == .unsupported(
          image: "vmlinuz", reason: "the kernel has no 64-bit entry (XLF_KERNEL_64)"))
    var low = FakeBzImage()
    low.loadFlags = 0
    #expect(
      failure(request(low.image))
        == .unsupported(image: "vmlinuz", reason: "the kernel is a zImage, loaded low"))
    var short = FakeBzImage()
    short.jumpLength = 0x20
    #expect(
      failure(request(short.image))
        == .malformed(image: "vmlinuz", reason: "setup header ends at 0x222"))
    var strange = FakeBzImage()
    strange.preferredAddress = 0x1000
    #expect(
      failure(request(strange.image))
        == .malformed(image: "vmlinuz", reason: "preferred load address is 0x1000"))
  }

  @Test func noticesTruncationAnywhere() {
    let whole = FakeBzImage().bytes
    for count in stride(from: 0x206, to: whole.count, by: 97) {
      let image = BytesImage(name: "cut", bytes: Array(whole[0..<count]))
      guard
        case .truncated(image: "cut", byteCount: UInt64(count), needed: _)? = failure(
          request(image))
      else {
        Issue.record("\(count) bytes: \(String(describing: failure(request(image))))")
        return
      }
    }
  }

  @Test func refusesTooLittleMemory() {
    let small = request(FakeBzImage().image, ram: 18 << 20)
    #expect(
      failure(small)
        == .outOfMemory(what: "vmlinuz", needed: 0x140_0000, available: 0x120_0000))
    let initrd = [UInt8](repeating: 0, count: 1 << 20)
    let tight = request(FakeBzImage().image, initrd: initrd, ram: 20 << 20)
    #expect(
      failure(tight) == .outOfMemory(what: "initrd", needed: 0x150_0000, available: 0x140_0000))
    var endless = FakeBzImage()
    endless.preferredAddress = .max & ~4095
    #expect(
      failure(request(endless.image))
        == .outOfMemory(what: "vmlinuz", needed: .max, available: 64 << 20))
  }

  @Test func refusesBadCommandLinesAndTrees() {
    let long = String(repeating: "a", count: 2048)
    #expect(
      failure(request(FakeBzImage().image, commandLine: long))
        == .commandLineTooLong(byteCount: 2048, limit: 2047))
    #expect(
      failure(request(FakeBzImage().image, commandLine: "a\0b")) == .commandLineHoldsNUL)
    let tree = [UInt8](repeating: 1, count: 1 << 20)
    #expect(
      failure(request(FakeBzImage().image, deviceTree: tree))
        == .deviceTreeTooLarge(byteCount: 1 << 20, limit: 0x6_EFF0))
  }

  @Test func passesOnWhatMemoryRefuses() {
    guard case .memory? = failure(request(FakeBzImage().image), memory: 1 << 20) else {
      Issue.record("no memory error")
      return
    }
  }
}
