// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import DeviceTree

private let dtc = "/usr/bin/dtc"
private let hasDTC: Bool = {
  if FileManager.default.isExecutableFile(atPath: dtc) { return true }
  print("SKIPPED: \(dtc) is missing (package device-tree-compiler), trees are not decompiled")
  return false
}()

private let network = DomainDescription(
  domain: "network", system: "lab", generation: 3, processorCount: 1,
  memoryByteCount: 0x1_2345_6000, roles: [.network],
  channels: [
    .init(number: 0, name: "control", role: .service, carries: .control, pciSlot: 3),
    .init(
      number: 17, name: "network", role: .service, carries: .sockets, pciSlot: 4,
      peer: "primary"),
    .init(
      number: 18, name: "storage", role: .client, carries: .files, pciSlot: 5, peer: "storage",
      mount: "/storage", export: "/export"),
  ],
  network: .init(address: "10.0.2.15/24", gateway: "10.0.2.2", nameserver: "10.0.2.3"),
  storage: .init(source: "/dev/sda", type: "ext4", options: "noatime"),
  modules: ["e1000e", "vos"])

private let bare = DomainDescription(
  domain: "m", system: "s", generation: 1, processorCount: 2, memoryByteCount: 16 << 20)

@Suite struct DomainDescriptionTests {
  @Test(arguments: [network, bare]) func comesBackAsItWas(description: DomainDescription) throws {
    #expect(try DomainDescription(decoding: try description.encoded()) == description)
  }

  @Test func growsUntilTheTreeFits() throws {
    var description = bare
    description.modules = (0..<5000).map { "module-number-\($0)" }
    let blob = try description.encoded()
    #expect(blob.count > 64 << 10)
    #expect(try DomainDescription(decoding: blob) == description)
  }

  @Test func refusesWhatDomainsCannotBeHanded() {
    var description = bare
    description.modules = [String(repeating: "x", count: 1 << 20)]
    #expect(throws: DeviceTreeError.tooLarge(limit: 0x6_E000)) { try description.encoded() }
    description = bare
    description.domain = "a\0b"
    #expect(throws: DeviceTreeError.holdsNUL(property: "domain")) { try description.encoded() }
  }

  @Test func sortsChannels() throws {
    var description = network
    description.channels.reverse()
    #expect(try DomainDescription(decoding: try description.encoded()) == network)
  }

  @Test func refusesTwoChannelsOfOneNumber() throws {
    var description = network
    description.channels[1].number = 0
    #expect(throws: DeviceTreeError.self) {
      try DomainDescription(decoding: try description.encoded())
    }
  }

  @Test func refusesGarbage() throws {
    for bytes in [[], [0xD0, 0x0D, 0xFE, 0xED], [UInt8](repeating: 0xFF, count: 300)] {
      #expect(throws: DeviceTreeError.self) { try DomainDescription(decoding: bytes) }
    }
  }

  @Test func refusesEveryTruncation() throws {
    let blob = try network.encoded()
    for count in 0..<blob.count {
      #expect(throws: DeviceTreeError.self) {
        try DomainDescription(decoding: Array(blob[0..<count]))
      }
    }
  }

  /// Whatever is flipped, the reader answers with a description or an error.
  @Test func survivesCorruption() throws {
    let blob = try network.encoded()
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<20_000 {
      var bytes = blob
      for _ in 0..<Int.random(in: 1...6, using: &generator) {
        let at = Int.random(in: 0..<bytes.count, using: &generator)
        bytes[at] = UInt8.random(in: 0...255, using: &generator)
      }
      _ = try? DomainDescription(decoding: bytes)
    }
  }

  @Test(.enabled(if: hasDTC, "dtc is missing: trees are not decompiled"))
  func dtcReadsIt() throws {
    let text = try decompile(try network.encoded())
    for line in [
      "compatible = \"vos,domain-1\";", "domain = \"network\";", "generation = <0x03>;",
      "memory-bytes = <0x01 0x23456000>;", "roles = \"network\";", "channel@11 {",
      "channel-name = \"storage\";", "pci-slot = <0x05>;", "modules = \"e1000e\\0vos\";",
      "mount = \"/storage\";", "gateway = \"10.0.2.2\";", "type = \"ext4\";",
    ] {
      #expect(text.contains(line), "\(line) is not in\n\(text)")
    }
    #expect(!text.contains("Warning") && !text.contains("ERROR"), "\(text)")
  }

  /// What people edit as text and compile with dtc reads as it was written.
  @Test(.enabled(if: hasDTC, "dtc is missing: trees are not compiled"))
  func readsWhatDTCWrites() throws {
    let text = try decompile(try network.encoded())
    let blob = try run(["-q", "-I", "dts", "-O", "dtb"], input: Data(text.utf8))
    #expect(try DomainDescription(decoding: [UInt8](blob)) == network)
  }

  @Test(.enabled(if: hasDTC, "dtc is missing: trees are not compiled"))
  func namesWhatIsWrong() throws {
    let good = try decompile(try network.encoded())
    for (old, new, message) in [
      ("vos,domain-1", "vos,domain-9", "device tree is not compatible with vos,domain-1"),
      ("roles = \"network\"", "roles = \"nobody\"", "is not one of primary, network, storage"),
      ("cpus = <0x01>", "cpus = <0x01 0x02>", "property cpus of /vos is not one cell"),
      ("domain = ", "dom = ", "device tree node /vos has no property domain"),
      (
        "carries = \"files\"", "carries = [80 00]",
        "carries of /vos/channels/channel@12 is not UTF-8"
      ),
      ("\tvos {", "\tother {", "device tree has no node /vos"),
    ] {
      let text = good.replacingOccurrences(of: old, with: new)
      #expect(text != good)
      let blob = try run(["-q", "-I", "dts", "-O", "dtb"], input: Data(text.utf8))
      let reason = refusal(of: [UInt8](blob))
      #expect(reason.contains(message), "\(new): \(reason)")
    }
  }

  /// Why `blob` is refused.
  private func refusal(of blob: [UInt8]) -> String {
    do {
      _ = try DomainDescription(decoding: blob)
      return "accepted"
    } catch { return error.description }
  }

  private func decompile(_ blob: [UInt8]) throws -> String {
    String(decoding: try run(["-I", "dtb", "-O", "dts"], input: Data(blob)), as: UTF8.self)
  }

  /// Runs dtc on `input`; its warnings come with its output.
  private func run(_ arguments: [String], input: Data) throws -> Data {
    let file = FileManager.default.temporaryDirectory.appending(path: "vos-\(UUID().uuidString)")
    try input.write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    let process = Process()
    process.executableURL = URL(filePath: dtc)
    process.arguments = arguments + [file.path]
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return output
  }
}
