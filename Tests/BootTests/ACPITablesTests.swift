// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import Boot

private let iasl = "/usr/bin/iasl"
private let hasIASL: Bool = {
  if FileManager.default.isExecutableFile(atPath: iasl) { return true }
  print("SKIPPED: \(iasl) is missing (package acpica-tools), acpi tables are not disassembled")
  return false
}()

/// A table of the guest, found by following the pointers that the guest would follow.
private struct FoundTable {
  let address: UInt64
  let bytes: [UInt8]
  var signature: String { String(decoding: bytes[0..<4], as: UTF8.self) }
}

@Suite struct ACPITablesTests {
  private let memory = SparseMemory(byteCount: 2 << 20)

  private func tables(processors: Int = 2) throws -> [String: FoundTable] {
    try ACPITables(processorCount: processors, pciWindow64: testWindow).write(into: memory)
    let xsdt = try table(at: try memory.load(UInt64.self, at: 0xE_0000 + 24))
    var found = [xsdt.signature: xsdt]
    for offset in stride(from: 36, to: xsdt.bytes.count, by: 8) {
      let entry = try table(at: xsdt.bytes.load(UInt64.self, at: offset))
      found[entry.signature] = entry
    }
    let fadt = try #require(found["FACP"])
    found["DSDT"] = try table(at: fadt.bytes.load(UInt64.self, at: 140))
    return found
  }

  private func table(at address: UInt64) throws -> FoundTable {
    let length = try memory.load(UInt32.self, at: address + 4)
    return FoundTable(
      address: address, bytes: try memory.read(at: address, byteCount: Int(length)))
  }

  @Test func sumsAreZero() throws {
    let found = try tables()
    #expect(found.keys.sorted() == ["APIC", "DSDT", "FACP", "MCFG", "SSDT", "XSDT"])
    for table in found.values {
      #expect(table.bytes.reduce(0, &+) == 0, "\(table.signature)")
      #expect(table.address % 16 == 0)
    }
    let rsdp = try memory.read(at: 0xE_0000, byteCount: 36)
    #expect(rsdp[0..<20].reduce(0, &+) == 0)
    #expect(rsdp.reduce(0, &+) == 0)
  }

  @Test func fadtNamesThePorts() throws {
    let fadt = try #require(try tables()["FACP"]).bytes
    #expect(fadt.count == 276)
    #expect(fadt.load(UInt32.self, at: 112) & (1 << 20) != 0, "hardware reduced")
    #expect(fadt.load(UInt64.self, at: 116 + 4) == 0x602)
    #expect(fadt[128] == 1)
    #expect(fadt.load(UInt64.self, at: 244 + 4) == 0x600)
    #expect(fadt.load(UInt64.self, at: 256 + 4) == 0x601)
    #expect(Platform.powerOffValue == 0x34)
  }

  @Test func madtNamesEachProcessorOnce() throws {
    let madt = try #require(try tables(processors: 5)["APIC"]).bytes
    var offset = 44
    var ids: [UInt8] = []
    var kinds: [UInt8] = []
    while offset < madt.count {
      kinds.append(madt[offset])
      if madt[offset] == 0 { ids.append(madt[offset + 3]) }
      offset += Int(madt[offset + 1])
    }
    #expect(offset == madt.count)
    #expect(ids == [0, 1, 2, 3, 4])
    #expect(kinds == [0, 0, 0, 0, 0, 1, 4])
  }

  @Test(arguments: [0, -1, 256]) func refusesProcessorCount(count: Int) {
    #expect(throws: BootError.tooManyProcessors(count: count, limit: 255)) {
      try ACPITables(processorCount: count, pciWindow64: testWindow)
    }
  }

  @Test func fitsWithTheMostProcessors() throws {
    _ = try tables(processors: 255)
  }

  @Test(.enabled(if: hasIASL, "iasl is missing: acpi tables not disassembled"))
  func iaslDisassemblesEveryTable() throws {
    try withScratchFolder { folder in
      for table in try tables().values where table.signature != "XSDT" {
        let file = folder.appending(path: table.signature + ".aml")
        try Data(table.bytes).write(to: file)
        let log = try run(iasl, ["-d", file.path])
        #expect(log.contains("ASL Output:") || log.contains("Formatted output:"), "\(log)")
        for sign in ["Error", "Warning", "invalid", "Invalid"] {
          #expect(!log.contains(sign), "\(table.signature): \(log)")
        }
        let text = try String(
          contentsOf: folder.appending(path: table.signature + ".dsl"), encoding: .utf8)
        #expect(!text.contains("Incorrect checksum"))
        #expect(!text.contains("Unknown"), "\(text)")
      }
      let text = try String(contentsOf: folder.appending(path: "SSDT.dsl"), encoding: .utf8)
      #expect(text.contains("Name (\\W64S, 0x0000001000000000)"))
      #expect(text.contains("Name (\\W64E, 0x0000004FFFFFFFFF)"))
    }
  }

  /// The checked-in bytes are those of firmware/dsdt.asl.
  @Test(.enabled(if: hasIASL, "iasl is missing: the dsdt is not compared with its source"))
  func checkedInDSDTMatchesItsSource() throws {
    let source = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../firmware/dsdt.asl").standardizedFileURL
    try withScratchFolder { folder in
      let log = try run(iasl, ["-p", folder.appending(path: "dsdt").path, source.path])
      #expect(log.contains("0 Errors, 0 Warnings"), "\(log)")
      let compiled = try Data(contentsOf: folder.appending(path: "dsdt.aml"))
      #expect(
        withoutCompilerRevision([UInt8](compiled)) == withoutCompilerRevision(compiledDSDT),
        "run firmware/generate-dsdt")
    }
  }

  /// Clears what differs between releases of iasl: the checksum and the creator's revision.
  private func withoutCompilerRevision(_ table: [UInt8]) -> [UInt8] {
    var table = table
    table[9] = 0
    for offset in 32..<36 { table[offset] = 0 }
    return table
  }

  private func withScratchFolder(_ body: (URL) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "vos-acpi-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try body(folder)
  }

  private func run(_ tool: String, _ arguments: [String]) throws -> String {
    let process = Process()
    process.executableURL = URL(filePath: tool)
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: output, as: UTF8.self)
  }
}
