// SPDX-License-Identifier: Apache-2.0
@testable import Boot

/// A bzImage made for tests: the headers are right, the kernel is `payload`.
struct FakeBzImage {
  var version: UInt16 = 0x20F
  var extendedFlags: UInt16 = 1
  var loadFlags: UInt8 = 1
  var setupSectors: UInt8 = 3
  var preferredAddress: UInt64 = 0x100_0000
  var initialByteCount: UInt32 = 0x40_0000
  var commandLineLimit: UInt32 = 2047
  var initrdMax: UInt32 = 0x7FFF_FFFF
  var jumpLength: UInt8 = 0x6A
  var payload = [UInt8]((0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 7) })

  var bytes: [UInt8] {
    var file = [UInt8](repeating: 0xEE, count: (Int(setupSectors) + 1) * 512)
    file[0x1F1] = setupSectors
    file.store(UInt32(payload.count / 16), at: 0x1F4)
    file.store(0xAA55 as UInt16, at: 0x1FE)
    file[0x200] = 0xEB
    file[0x201] = jumpLength
    file.store(0x5372_6448 as UInt32, at: 0x202)
    file.store(version, at: 0x206)
    file[0x211] = loadFlags
    file.store(initrdMax, at: 0x22C)
    file.store(extendedFlags, at: 0x236)
    file.store(commandLineLimit, at: 0x238)
    file.store(0 as UInt64, at: 0x250)
    file.store(preferredAddress, at: 0x258)
    file.store(initialByteCount, at: 0x260)
    return file + payload
  }

  var image: BytesImage { BytesImage(name: "vmlinuz", bytes: bytes) }
}

/// An ELF made for tests: one note segment with a PVH entry, one loadable segment.
struct FakeELF {
  var is64 = true
  var noteType: UInt32 = 18
  var noteName = Array("Xen\0".utf8)
  var entry: UInt32 = 0x20_0040
  var address: UInt64 = 0x20_0000
  var payload = [UInt8](repeating: 0xC3, count: 300)
  var memoryByteCount: UInt64 = 0x3000

  private var note: [UInt8] {
    var note: [UInt8] = []
    note.append(littleEndian: UInt32(noteName.count))
    note.append(littleEndian: 4 as UInt32)
    note.append(littleEndian: noteType)
    note += noteName + [UInt8](repeating: 0, count: -noteName.count & 3)
    note.append(littleEndian: entry)
    return note
  }

  var bytes: [UInt8] {
    let noteOffset = 256
    let payloadOffset = 512
    var file: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, is64 ? 2 : 1, 1, 1]
    file += [UInt8](repeating: 0, count: payloadOffset - file.count)
    file.store((is64 ? 62 : 3) as UInt16, at: 18)
    if is64 {
      file.store(64 as UInt64, at: 32)
      file.store(56 as UInt16, at: 54)
      file.store(2 as UInt16, at: 56)
    } else {
      file.store(64 as UInt32, at: 28)
      file.store(32 as UInt16, at: 42)
      file.store(2 as UInt16, at: 44)
    }
    put(&file, 0, type: 4, offset: noteOffset, address: 0, inFile: note.count, inMemory: 0)
    put(
      &file, 1, type: 1, offset: payloadOffset, address: address, inFile: payload.count,
      inMemory: memoryByteCount)
    file.replaceSubrange(noteOffset..<(noteOffset + note.count), with: note)
    return file + payload
  }

  private func put(
    _ file: inout [UInt8], _ index: Int, type: UInt32, offset: Int, address: UInt64, inFile: Int,
    inMemory: UInt64
  ) {
    let at = 64 + index * (is64 ? 56 : 32)
    file.store(type, at: at)
    if is64 {
      file.store(UInt64(offset), at: at + 8)
      file.store(address, at: at + 24)
      file.store(UInt64(inFile), at: at + 32)
      file.store(inMemory, at: at + 40)
      file.store(4 as UInt64, at: at + 48)
    } else {
      file.store(UInt32(offset), at: at + 4)
      file.store(UInt32(address), at: at + 12)
      file.store(UInt32(inFile), at: at + 16)
      file.store(UInt32(inMemory), at: at + 20)
      file.store(4 as UInt32, at: at + 28)
    }
  }

  var image: BytesImage { BytesImage(name: "micro.elf", bytes: bytes) }
}

let testWindow: Range<UInt64> = 0x10_0000_0000..<0x50_0000_0000

func request(
  _ kernel: any ImageSource, initrd: [UInt8]? = nil, commandLine: String = "console=ttyS0",
  deviceTree: [UInt8] = [], ram: UInt64 = 64 << 20
) -> BootRequest {
  BootRequest(
    kernel: kernel, initrd: initrd.map { BytesImage(name: "initrd", bytes: $0) },
    commandLine: commandLine, deviceTree: deviceTree, ram: RAMLayout(byteCount: ram),
    processorCount: 2, pciWindow64: testWindow)
}

/// What loading throws, or nil.
func failure(_ request: BootRequest, memory: UInt64 = 64 << 20) -> BootError? {
  do {
    _ = try loadGuest(request, into: SparseMemory(byteCount: memory))
    return nil
  } catch {
    return error
  }
}
