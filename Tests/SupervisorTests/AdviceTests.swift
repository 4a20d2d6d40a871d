// SPDX-License-Identifier: Apache-2.0
import Channel
import LinuxSystem
import SystemPackage
import Testing

@testable import Supervisor

/// What a sentence of advice may begin with: it tells somebody to do something.
private let verbs: Set<String> = [
  "run", "raise", "free", "make", "choose", "check", "build", "see", "end", "remove", "give",
  "read",
]

private let numbers: [Errno] = [
  .permissionDenied, .notPermitted, .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory,
  .resourceTemporarilyUnavailable, .noSpace, .readOnlyFileSystem, .noSuchFileOrDirectory,
  .notDirectory, .fileNameTooLong, .execFormatError, .ioError,
]

/// Everything of this module that is shown to people and begins as another error.
private let sentences: [String] =
  numbers.map { SystemCallError("open /x", errno: $0).sentence } + [
    "\(RuntimeDirectoryError.inUse(path: "/run/vos/x"))",
    "\(RuntimeDirectoryError.foreign(path: "/run/vos/x"))",
    "\(RuntimeDirectoryError.system(SystemCallError("create /run/vos", errno: .noSpace)))",
    "\(JournalError.write(SystemCallError("sync x", errno: .ioError)))",
    "\(JournalError.unreadable(path: "/run/vos/x/journal.json", reason: "damaged: {"))",
    "\(ChannelResourceError.system(SystemCallError("create memfd", errno: .noMemory)))",
    "\(ChannelResourceError.geometry(.badCount))",
  ]

@Suite struct HostLimitsTests {
  @Test func onlyKVMIsKVM() throws {
    for path in ["/dev/null", "/proc/self/stat"] {
      let answer = HostLimits.isKVM(try OwnedDescriptor.open(path))
      #expect(!answer, "\(path)")
    }
    guard let kvm = try? OwnedDescriptor.open("/dev/kvm") else { return }
    let answer = HostLimits.isKVM(kvm)
    #expect(answer)
  }
}

@Suite struct AdviceTests {
  @Test(arguments: sentences)
  func everyRefusalSaysWhatToDo(_ sentence: String) throws {
    let halves = sentence.split(separator: "; ", omittingEmptySubsequences: false)
    #expect(halves.count == 2, "one sentence of two halves: \(sentence)")
    let verb = try #require(halves.last?.split(separator: " ").first)
    #expect(verbs.contains(String(verb)), "\(sentence)")
    #expect(!sentence.hasSuffix(".") && !sentence.contains("\n"))
  }

  @Test func aDomainThatEndsUpSaysWhereToRead() {
    for phase in [SystemLifeCycle.DomainPhase.failed("its kernel panicked"), .gone] {
      var system = SystemLifeCycle(domains: ["net"], primary: "net")
      _ = system.handle(.prepared)
      _ = system.handle(.domain("net", phase))
      guard case .releasing(.failed(let text)) = system.state else {
        Issue.record("not released but \(system.state)")
        continue
      }
      #expect(text.contains("; read above what its console said last"), "\(text)")
    }
  }
}
