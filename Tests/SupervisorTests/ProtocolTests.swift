// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Supervisor

@Suite struct FrameTests {
  @Test func framesSurviveAnyCutting() throws {
    let frames = [
      Frame(.message, Array("{}".utf8)), Frame(.input, []),
      Frame(.output, [UInt8](repeating: 7, count: 5000)),
    ]
    let bytes = frames.flatMap(\.bytes)
    for step in [1, 3, 8, 4096, bytes.count] {
      var decoder = FrameDecoder()
      var found: [Frame] = []
      for start in stride(from: 0, to: bytes.count, by: step) {
        decoder.append(bytes[start..<min(start + step, bytes.count)])
        while let frame = try decoder.next() { found.append(frame) }
      }
      #expect(found == frames)
      #expect(decoder.pending == 0)
    }
  }

  @Test func aLengthIsRefusedBeforeAnythingIsKept() {
    var decoder = FrameDecoder()
    decoder.append([0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0])
    #expect(throws: FrameError.tooLong(0x7fff_ffff)) { try decoder.next() }
  }

  @Test func unknownHeadersAreRefused() {
    var kind = FrameDecoder()
    kind.append([0, 0, 0, 0, 9, 0, 0, 0])
    #expect(throws: FrameError.unknownKind(9)) { try kind.next() }
    var reserved = FrameDecoder()
    reserved.append([0, 0, 0, 0, 0, 0, 1, 0])
    #expect(throws: FrameError.reservedNotZero) { try reserved.next() }
  }

  @Test func longOutputIsCut() {
    let frames = Frame.cutting([UInt8](repeating: 1, count: Frame.maximumPayload * 2 + 1), .output)
    #expect(frames.map(\.payload.count) == [Frame.maximumPayload, Frame.maximumPayload, 1])
  }

  @Test func messagesGoThereAndBack() {
    let request = Request(
      .exec(Execution(domain: "a", arguments: ["ls", "-l"], environment: ["A=b"], input: true)))
    #expect(Wire.decode(Request.self, Wire.frame(request)) == request)
    let reply = Reply.failure(Failure(.notRunning, "no", console: ["x"]))
    #expect(Wire.decode(Reply.self, Wire.frame(reply)) == reply)
    #expect(Wire.decode(Request.self, Frame(.message, Array("{\"version\":1}".utf8))) == nil)
    #expect(Wire.decode(Request.self, Frame(.output, Wire.frame(request).payload)) == nil)
  }
}

@Suite struct ExecRequestTests {
  @Test func theVectorFollowsItsHead() {
    let execution = Execution(
      domain: "a", arguments: ["ls", ""], environment: ["A=b"], input: false)
    let head: [UInt8] = [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    #expect(execution.encoded(maximum: 100) == head + Array("ls\0\0A=b\0".utf8))
    #expect(execution.encoded(maximum: 20) == nil)
  }

  @Test func whatCannotBeAVectorIsRefused() {
    #expect(
      Execution(domain: "a", arguments: [], environment: [], input: false).encoded(maximum: 99)
        == nil)
    #expect(
      Execution(domain: "a", arguments: ["a\0b"], environment: [], input: false).encoded(
        maximum: 99) == nil)
  }

  @Test func waitStatusesBecomeExitCodes() {
    #expect(exitCode(ofWaitStatus: 5 << 8) == 5)
    #expect(exitCode(ofWaitStatus: 9) == 137)
    #expect(exitCode(ofWaitStatus: 0) == 0)
  }
}

@Suite struct ConsoleLogTests {
  @Test func onlyTheLastPartIsKept() {
    var log = ConsoleLog(capacity: 8)
    log.append(Array("abcdef".utf8))
    #expect(log.bytes(from: 0, maximum: 100).bytes == Array("abcdef".utf8))
    log.append(Array("ghijk".utf8))
    #expect(log.start == 3 && log.end == 11)
    #expect(log.bytes(from: 0, maximum: 100).bytes == Array("defghijk".utf8))
    #expect(log.bytes(from: 9, maximum: 1).bytes == Array("j".utf8))
    #expect(log.bytes(from: 99, maximum: 1).bytes == [])
  }

  @Test func moreThanARingFullAtOnce() {
    var log = ConsoleLog(capacity: 8)
    log.append(Array("xyz".utf8))
    log.append(Array("0123456789abcdefghi".utf8))
    #expect(log.end == 22)
    #expect(log.bytes(from: 0, maximum: 100).bytes == Array("bcdefghi".utf8))
  }

  @Test(arguments: [1, 2, 5, 7])
  func anyChunkingGivesTheSame(_ chunk: Int) {
    let all = (0..<100).map { UInt8($0) }
    var log = ConsoleLog(capacity: 16)
    for start in stride(from: 0, to: all.count, by: chunk) {
      log.append(all[start..<min(start + chunk, all.count)])
    }
    #expect(log.bytes(from: 0, maximum: 16).bytes == Array(all.suffix(16)))
  }

  @Test func lastLinesHaveNoControlCharacters() {
    var log = ConsoleLog()
    log.append(Array("one\r\ntwo \u{1b}[31mred\r\nthree\r\n".utf8))
    #expect(log.lastLines(2) == ["two [31mred", "three"])
  }
}
