// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import Manifest

/// A directory that goes with its test.
final class Scratch {
  let path = FileManager.default.temporaryDirectory
    .appendingPathComponent("vos-manifest-\(UUID().uuidString)").path

  init() throws {
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String, _ bytes: [UInt8]) -> String {
    _ = FileManager.default.createFile(atPath: path + "/" + name, contents: Data(bytes))
    return path + "/" + name
  }
}

/// The smallest header that counts as a bzImage whose size is `units` paragraphs beyond set-up.
private func bzImage(units: UInt8) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: 1024)
  bytes[0x1f1] = 1
  bytes[0x1f4] = units
  bytes.replaceSubrange(0x1fe..<0x200, with: [0x55, 0xaa])
  bytes.replaceSubrange(0x202..<0x206, with: Array("HdrS".utf8))
  bytes.replaceSubrange(0x206..<0x208, with: [0x0f, 0x02])
  bytes[0x236] = 1
  return bytes
}

@Suite struct KernelFileTests {
  @Test func aWholeBzImageIsAccepted() throws {
    let scratch = try Scratch()
    let path = scratch.file("k", bzImage(units: 2) + [UInt8](repeating: 0, count: 32))
    #expect(KernelFile.problem(of: path) == nil)
  }

  @Test func whatIsNoKernelIsNamed() throws {
    let scratch = try Scratch()
    let truncated = KernelFile.problem(of: scratch.file("t", bzImage(units: 200)))
    #expect(truncated?.contains("is truncated: it has 1024 bytes, its header says 4224") == true)
    let text = KernelFile.problem(of: scratch.file("x", Array("hello".utf8)))
    #expect(text?.contains("neither a bzImage nor a PVH ELF") == true)
    #expect(KernelFile.problem(of: scratch.path + "/none")?.contains("does not exist") == true)
    #expect(KernelFile.problem(of: scratch.path)?.contains("not a regular file") == true)
    let elf = KernelFile.problem(of: scratch.file("e", [0x7f, 0x45, 0x4c, 0x46, 2, 1]))
    #expect(elf?.contains("truncated") == true)
  }

  @Test func theLineOfTheKernelIsNamed() {
    let found = complaints(goodManifest, checkFiles: true)
    #expect(
      found.contains { $0.hasPrefix("m.yaml:5:13: kernel \"/etc/vos/vmlinuz\" does not exist") })
  }

  @Test func initrdsMustFit() throws {
    let scratch = try Scratch()
    let empty = KernelFile.initrdProblem(of: scratch.file("i", []), memoryBytes: 1 << 20)
    #expect(empty?.contains("is empty") == true)
    let large = KernelFile.initrdProblem(
      of: scratch.file("l", [UInt8](repeating: 0, count: 4096)), memoryBytes: 4096)
    #expect(large?.contains("does not fit") == true)
  }
}
