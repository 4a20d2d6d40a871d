// SPDX-License-Identifier: Apache-2.0
import CGuest
import Testing

@testable import Guest

@Suite struct FuseSpaceTests {
  /// A call that finds room at its third try; how often it is tried, and what comes out.
  private func attempts(after opcodes: [fuse_opcode]) -> (count: Int, result: Int?) {
    let space = FuseSpace()
    for opcode in opcodes { space.note(opcode.rawValue) }
    var count = 0
    let result = space.awaited {
      count += 1
      return count < 3 ? Failure.noSpace : 0
    }
    return (count, result)
  }

  @Test func waitsForTheSpaceOfARemovedFile() {
    #expect(attempts(after: [FUSE_UNLINK]) == (3, 0))
    #expect(attempts(after: [FUSE_RENAME2, FUSE_LOOKUP]) == (3, 0))
  }

  @Test func saysAtOnceThatADiskIsFull() {
    #expect(attempts(after: []) == (1, Failure.noSpace))
    #expect(attempts(after: [FUSE_WRITE, FUSE_RELEASE]) == (1, Failure.noSpace))
  }

  @Test func givesUpOnADiskThatStaysFull() {
    let space = FuseSpace()
    space.note(FUSE_UNLINK.rawValue)
    var count = 0
    let result = space.awaited {
      count += 1
      return Failure.noSpace
    }
    #expect(result == Failure.noSpace)
    #expect((2...10).contains(count))
  }
}
