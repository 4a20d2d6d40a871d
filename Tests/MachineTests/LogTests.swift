// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem
import Machine
import Testing

@Suite final class LogTests {
  private let reader: OwnedDescriptor
  private let writer: OwnedDescriptor

  init() throws {
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    reader = OwnedDescriptor(owning: ends[0])
    writer = OwnedDescriptor(owning: ends[1])
  }

  @Test func aLineNamesItsDomain() throws {
    Log(domain: "net", output: writer.rawValue).note("hello")
    #expect(try reader.read(maximum: 100) == Array("vosvmm[net]: hello\n".utf8))
  }

  /// All monitors share one standard error: nobody may wait for its reader.
  @Test(.timeLimit(.minutes(1))) func aReaderThatDoesNotReadHoldsNobodyUp() throws {
    try writer.setNonBlocking(true)
    let page = [UInt8](repeating: 0x2E, count: 4096)
    while write(writer.rawValue, page, page.count) > 0 {}
    try writer.setNonBlocking(false)
    Log(domain: "net", output: writer.rawValue).note("lost")
    let first = try reader.read(maximum: page.count)
    #expect(first == page)
  }

  /// A longer line could wait for room in a pipe that has some.
  @Test func aLineIsNoLongerThanAPipeTakesAtOnce() throws {
    Log(domain: "net", output: writer.rawValue)
      .note(String(repeating: "x", count: 3 * Int(PIPE_BUF)))
    let line = try reader.read(maximum: 4 * Int(PIPE_BUF))
    #expect(line.count == Int(PIPE_BUF) && line.last == 0x0A)
  }
}
