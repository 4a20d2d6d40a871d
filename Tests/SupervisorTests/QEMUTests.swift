// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Foundation
import Glibc
import Testing

@testable import Supervisor

/// A QEMU without a guest: this test is its processor (QEMU docs/devel/qtest).
private final class Board {
  static let program = "/usr/bin/qemu-system-x86_64"

  static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: program) }

  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()
  private var buffered: [UInt8] = []
  let errors: String

  init(_ options: [String], errors: String) throws {
    self.errors = errors
    _ = FileManager.default.createFile(atPath: errors, contents: nil)
    process.executableURL = URL(fileURLWithPath: Self.program)
    process.arguments =
      [
        "-accel", "tcg", "-S", "-M", "q35", "-m", "64M", "-nodefaults", "-no-user-config",
        "-display",
        "none", "-qtest", "stdio", "-qtest-log", "none",
      ] + options
    process.standardInput = input
    process.standardOutput = output
    process.standardError = FileHandle(forWritingAtPath: errors)
    try process.run()
  }

  deinit { end() }

  var pid: Int32 { process.processIdentifier }

  func end() {
    guard process.isRunning else { return }
    // Not SIGTERM: a test's thread may have it blocked, and a child inherits that.
    kill(pid, SIGKILL)
    process.waitUntilExit()
  }

  /// One command of qtest; the number that it answers with, if any.
  @discardableResult
  func ask(_ command: String) throws -> UInt64? {
    try input.fileHandleForWriting.write(contentsOf: Data((command + "\n").utf8))
    while !buffered.contains(UInt8(ascii: "\n")) {
      let data = output.fileHandleForReading.availableData
      try #require(!data.isEmpty, "QEMU ended; see \(errors)")
      buffered += data
    }
    let end = try #require(buffered.firstIndex(of: UInt8(ascii: "\n")))
    let line = String(decoding: buffered[..<end], as: UTF8.self)
    buffered.removeSubrange(...end)
    let words = line.split(separator: " ")
    try #require(words.first == "OK", "\(command): \(line)")
    return words.count > 1 ? UInt64(words[1].dropFirst(2), radix: 16) : nil
  }

  /// Writes 32 bits of the configuration space of device `slot` on bus 0.
  func configure(_ slot: Int, _ register: Int, _ value: UInt32) throws {
    try ask("outl 0xcf8 \(0x8000_0000 + slot << 11 + register)")
    try ask("outl 0xcfc \(value)")
  }

  /// Gives device `slot` its places for BAR 0 and BAR 2, and lets it decode them.
  func place(_ slot: Int, registers: UInt32, region: UInt32) throws {
    try configure(slot, 0x10, registers)
    try configure(slot, 0x18, region)
    try configure(slot, 0x1c, 0)
    try configure(slot, 0x04, 2)
  }
}

/// QEMU's own ivshmem-doorbell device as a client of vosd.
@Suite(
  .serialized,
  .enabled(
    if: (Programs.areBuilt && Board.isInstalled)
      || ProcessInfo.processInfo.environment["REQUIRE_LAB"] == "1",
    "there is no qemu-system-x86_64, or vosctl, vosd and vosfakevmm are not beside the tests"))
struct QEMUTests {
  private static let registers: UInt32 = 0xd000_0000
  private static let region: UInt32 = 0xc000_0000

  private func board(_ programs: Programs) throws -> Board {
    let options = try programs.vosctl("qemu-args", "other").output
      .split(whereSeparator: \.isWhitespace).map(String.init)
    // A device tree goes with a kernel, and there is none.
    let tree = try #require(options.firstIndex(of: "-dtb"))
    return try Board(
      Array(options[..<tree]) + ["-no-reboot"], errors: programs.scratch.path + "/qemu.err")
  }

  @Test func itsDeviceFindsRoleRegionAndDoorbells() throws {
    let programs = try Programs()
    try programs.scratch.write("external.yaml", ExternalDomainTests.manifest)
    #expect(try programs.up("external").code == 0)
    for life in UInt32(1)...2 {
      let board = try board(programs)
      try programs.wait("both ends") {
        try programs.other().external?.sockets.allSatisfy(\.isConnected) == true
      }
      #expect(try programs.other().pid == board.pid)
      try board.place(3, registers: Self.registers, region: Self.region)
      #expect(try board.ask("readl \(Self.registers + 8)") == UInt64(VOS_PEER_SERVICE))
      #expect(try board.ask("readq \(Self.region)") == VOS_MAGIC)
      // service_life, service_generation
      #expect(try board.ask("readl \(Self.region + 92)") == UInt64(VOS_LIFE_ALIVE))
      #expect(try board.ask("readl \(Self.region + 100)") == UInt64(life))
      // The page of an earlier life does not count for this one.
      let page = Self.region + VOS_SERVICE_PAGE_OFFSET
      #expect(try board.ask("readl \(page)") == UInt64(VOS_SIDE_ABSENT))
      #expect(try programs.other().state == "booting")
      try board.ask("writel \(page + 4) \(life)")
      try board.ask("writel \(page) \(VOS_SIDE_READY)")
      try board.ask("writel \(Self.registers + 12) \(VOS_PEER_HOST << 16)")
      try programs.wait("ready") { try programs.other().state == "ready" }
      #expect(try programs.other().generation == life)
      board.end()
      try programs.wait("the end") { try programs.other().state == "awaited" }
    }
    #expect(try programs.vosctl("down").code == 0)
    try programs.expectClean()
  }
}
