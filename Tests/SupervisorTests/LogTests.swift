// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import LinuxSystem
import Testing

@testable import Supervisor

@Suite struct LogFileTests {
  private func size(_ path: String) -> Int {
    ((try? FileManager.default.attributesOfItem(atPath: path)[.size]) as? NSNumber)?.intValue ?? -1
  }

  @Test func itStaysWithinItsBound() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/log"
    // Stands for standard error: what is written to it goes to the newest file.
    let target = try OwnedDescriptor.open("/dev/null", flags: O_WRONLY)
    let log = try #require(LogFile(path, targets: [target.rawValue], limit: 1000))
    for index in 0..<1000 {
      try target.write(all: Array("line \(index) of many\n".utf8))
      log.trim()
      #expect(size(path) < 1000 + 20)
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.path).count == 2)
    #expect(size(path + ".1") < 1000 + 20)
    let both =
      try String(contentsOfFile: path + ".1", encoding: .utf8)
      + String(contentsOfFile: path, encoding: .utf8)
    #expect(both.hasSuffix("line 999 of many\n"), "the newest lines are kept")
    #expect(!both.contains("line 0 of many"), "the oldest go")
  }

  @Test func whatIsNoFileIsLeftAlone() throws {
    let target = try OwnedDescriptor.open("/dev/null", flags: O_WRONLY)
    let log = try #require(LogFile("/dev/null", targets: [target.rawValue], limit: 0))
    log.trim()
    #expect(!FileManager.default.fileExists(atPath: "/dev/null.1"))
  }

  /// If it cannot be renamed it is emptied: the bound holds.
  @Test func aPredecessorThatCannotBeReplacedCostsLines() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/log"
    try FileManager.default.createDirectory(
      atPath: path + ".1", withIntermediateDirectories: false)
    let target = try OwnedDescriptor.open("/dev/null", flags: O_WRONLY)
    let log = try #require(LogFile(path, targets: [target.rawValue], limit: 10))
    try target.write(all: Array("more than ten bytes\n".utf8))
    log.trim()
    #expect(size(path) == 0)
    try target.write(all: Array("x\n".utf8))
    #expect(size(path) == 2)
  }
}

@Suite struct MonitorLinesTests {
  @Test func linesComeWhole() {
    var lines = MonitorLines()
    #expect(lines.take(Array("one\ntw".utf8), at: 0) == ["one"])
    #expect(lines.take(Array("o\n\nlast".utf8), at: 0) == ["two", ""])
    #expect(lines.finish(at: 0) == ["last"])
  }

  @Test func controlCharactersAreReplaced() {
    var lines = MonitorLines()
    #expect(lines.take(Array("a\u{1b}[2J\u{9b}b\r\n".utf8), at: 0) == ["a?[2J?b?"])
  }

  @Test func aLongLineIsCut() {
    var lines = MonitorLines()
    let long = [UInt8](repeating: 0x61, count: 100_000)
    #expect(lines.take(long, at: 0).map(\.utf8.count) == [MonitorLines.lineBytes])
    #expect(lines.take(Array("tail\nnext\n".utf8), at: 0) == ["next"])
  }

  @Test func tooManyAreDroppedAndCounted() {
    var lines = MonitorLines()
    let flood = Array(String(repeating: "x\n", count: 500).utf8)
    #expect(lines.take(flood, at: 10).count == MonitorLines.linesPerSecond)
    #expect(lines.take(flood, at: 10.5) == [])
    let dropped = 1000 - MonitorLines.linesPerSecond
    #expect(lines.take(Array("y\n".utf8), at: 11) == ["(\(dropped) lines dropped)", "y"])
    #expect(lines.take(flood, at: 11).count == MonitorLines.linesPerSecond - 1)
    #expect(lines.finish(at: 11).last == "(\(501 - MonitorLines.linesPerSecond) lines dropped)")
  }
}
