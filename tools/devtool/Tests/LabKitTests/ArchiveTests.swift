// SPDX-License-Identifier: Apache-2.0
import Foundation
import LabProtocol
import Testing

@testable import LabKit

@Suite struct ArchiveTests {
  /// A folder that goes away with the test.
  private func withFolder(_ body: (URL) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "vos-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try body(folder)
  }

  @Test func cpioReadsWhatWeWrite() throws {
    try withFolder { folder in
      var archive = Archive()
      archive.add("/etc/vos/modules", .bytes(Array("one\n".utf8)))
      archive.add("init", .bytes(Array("#!/bin/sh\n".utf8)), permissions: 0o755)
      archive.add("bin/sh", .link("/init"))
      let file = folder.appending(path: "image.cpio")
      try archive.write(to: file)
      let listing = try capture(["sh", "-c", "cpio -itv --quiet < '\(file.path)'"])
      let lines = listing.split(separator: "\n").map(String.init)
      #expect(lines.count == 6)
      #expect(lines.contains { $0.hasPrefix("-rwxr-xr-x") && $0.hasSuffix("init") })
      #expect(lines.contains { $0.hasPrefix("drwxr-xr-x") && $0.hasSuffix("etc/vos") })
      #expect(lines.contains { $0.hasPrefix("l") && $0.hasSuffix("bin/sh -> /init") })
      let content = try capture([
        "sh", "-c", "cpio -i --quiet --to-stdout etc/vos/modules < '\(file.path)'",
      ])
      #expect(content == "one\n")
    }
  }

  @Test func treesKeepModesAndLinksAndLeaveOutWhatIsExcluded() throws {
    try withFolder { folder in
      _ = try capture([
        "sh", "-c",
        "cd '\(folder.path)' && mkdir -p a/b skip skipped && echo x > a/b/f && chmod 4755 a/b/f "
          + "&& ln -s f a/b/l && touch skip/g skipped/h",
      ])
      var archive = Archive()
      try archive.addTree(folder, excluding: ["skip"])
      #expect(archive.contains("a/b/l"))
      #expect(!archive.contains("skip/g"))
      #expect(archive.contains("skipped/h"))
    }
  }
}

@Suite struct ImageDescriptionTests {
  @Test func statementsAreRead() throws {
    let text = """
      # comment
      packages curl dash   # why
      file out/x /init 0755
      file a /b
      link /sh /bin/busybox
      busybox /bin/busybox
      """
    let image = try ImageDescription(text, name: "x.image")
    #expect(image.packages == ["curl", "dash"])
    #expect(image.files.map(\.permissions) == [0o755, 0o644])
    #expect(image.links == ["/sh": "/bin/busybox"])
    #expect(image.busybox == "/bin/busybox")
  }

  @Test(arguments: ["nonsense x", "link /a", "file a", "file a b 9z", "packages"])
  func wrongStatementsAreNamedByLine(line: String) {
    let error = #expect(throws: Failure.self) { try ImageDescription("\n" + line, name: "x.image") }
    #expect(error?.message.hasPrefix("x.image:2:") == true)
  }
}

@Suite struct FrameTests {
  @Test func framesSurviveBeingCutAnywhere() throws {
    let frames = [
      Frame(.run, session: 7, payload: Array("ls\0-l\0".utf8)), Frame(.input, session: 7),
      Frame(.exited, session: .max, payload: [1, 2, 3, 4]),
    ]
    let stream = frames.flatMap(\.encoded)
    for cut in 0...stream.count {
      var decoder = FrameDecoder()
      var seen: [Frame] = []
      for piece in [stream[..<cut], stream[cut...]] {
        decoder.append(piece)
        while let frame = try decoder.next() { seen.append(frame) }
      }
      #expect(seen == frames)
    }
  }

  @Test func whatAnOlderClientLeftIsSkipped() throws {
    let nonce = [UInt8](repeating: 9, count: Frame.nonceBytes)
    var decoder = FrameDecoder()
    decoder.append(Frame(.output, session: 1, payload: [1, 2, 3]).encoded.dropFirst(5))
    let early = decoder.synchronize(nonce: nonce)
    #expect(!early)
    decoder.append(Frame(.welcome, session: 0, payload: nonce).encoded)
    decoder.append(Frame(.input, session: 2).encoded)
    let found = decoder.synchronize(nonce: nonce)
    let next = try decoder.next()
    #expect(found && next == Frame(.input, session: 2))
  }

  @Test func lengthsAndKindsAreChecked() {
    var long = FrameDecoder()
    long.append(littleEndianBytes(UInt32(Frame.payloadLimit) + 1) + [UInt8](repeating: 0, count: 8))
    let tooLong = #expect(throws: FrameError.self) { try long.next() }
    #expect(tooLong == .payloadTooLong(UInt32(Frame.payloadLimit) + 1))
    var unknown = FrameDecoder()
    unknown.append([0, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0])
    #expect(throws: FrameError.unknownKind(99)) { try unknown.next() }
  }
}

@Suite struct TallyTests {
  @Test func runnerLinesAreCounted() {
    let text = """
      ◇ Test run started.
      ↳ Testing Library Version: 6.3
      ◇ Test "a name" started.
      ✔ Test "a name" passed after 0.001 seconds.
      ✔ Test cases(line:) with 5 test cases passed after 0.001 seconds.
      ✘ Test broken() recorded an issue at X.swift:1:2: Expectation failed: Test skipped
      ✘ Test broken() failed after 0.003 seconds with 1 issue.
      ✘ Test odd(n:) recorded an issue with 1 argument n → 2 at X.swift:3:4: Caught error
      ✘ Test odd(n:) with 2 test cases failed after 0.003 seconds with 1 issue.
      ➜ Test kvm() skipped: "there is no /dev/kvm"
      ✘ Suite Some failed after 0.003 seconds with 1 issue.
      ✘ Test run with 4 tests in 1 suite failed after 0.003 seconds with 1 issue.
      """
    let tally = Tally(swiftTestOutput: text, suite: "x")
    #expect(tally.passed == 2)
    #expect(tally.failed.count == 2)
    #expect(tally.failed[0].hasPrefix("x: broken()\n"))
    #expect(tally.failed[0].hasSuffix(" at X.swift:1:2: Expectation failed: Test skipped"))
    #expect(tally.failed[1].hasPrefix("x: odd(n:)\n"))
    #expect(tally.failed[1].hasSuffix(" with 1 argument n → 2 at X.swift:3:4: Caught error"))
    #expect(tally.skipped == ["x: kvm() skipped: \"there is no /dev/kvm\""])
  }

  @Test func scriptLinesAreCounted() {
    let text = """
      cc: a warning
      ok   one
      FAIL two: why
      skip three: there is no go
      """
    let tally = Tally(scriptOutput: text, suite: "x", code: 1)
    #expect(tally.passed == 1)
    #expect(tally.failed == ["x: two: why"])
    #expect(tally.skipped == ["x: three: there is no go"])
  }

  @Test func aRunThatDoesNotEndHasFailed() {
    let tally = Tally(swiftTestOutput: "error: fatalError", suite: "x")
    #expect(tally.failed == ["x: the test run did not end"])
  }
}
