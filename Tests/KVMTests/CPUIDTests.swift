// SPDX-License-Identifier: Apache-2.0
import KVM
import Testing

@Suite(.enabled(if: kvmIsHere, "/dev/kvm cannot be opened"))
struct CPUIDTests {
  private func table(_ identifier: UInt32, of count: Int) throws -> CPUIDTable {
    var table = try KVMSystem.open().supportedCPUID()
    table.adapt(identifier: identifier, count: count, hasTSCDeadlineTimer: true)
    return table
  }

  @Test(arguments: [(0, 1), (0, 2), (1, 2), (2, 3), (7, 8), (63, 64)])
  func everyCPUKnowsItself(identifier: UInt32, count: Int) throws {
    let entries = try table(identifier, of: count).entries
    let one = try #require(entries.first { $0.function == 1 })
    #expect(one.ebx >> 24 == identifier)
    #expect(Int(one.ebx >> 16 & 0xFF) >= count)
    #expect(one.ecx >> 31 == 1 && one.ecx >> 24 & 1 == 1)
    #expect(one.edx >> 28 & 1 == (count > 1 ? 1 : 0))
    for leaf in entries where leaf.function == 0xB { #expect(leaf.edx == identifier) }
    if let cores = entries.first(where: { $0.function == 0xB && $0.index == 1 }) {
      #expect(cores.ebx == UInt32(count) && 1 << cores.eax >= UInt32(count))
    }
    if let extended = entries.first(where: { $0.function == 0x8000_0008 }) {
      #expect(extended.ecx & 0xFF == UInt32(count - 1))
    }
  }

  @Test func theHypervisorSaysThatItIsKVM() throws {
    let leaf = try #require(try table(0, of: 1).entries.first { $0.function == 0x4000_0000 })
    // "KVMKVMKVM\0\0\0"
    #expect([leaf.ebx, leaf.ecx, leaf.edx] == [0x4B4D_564B, 0x564B_4D56, 0x4D])
    #expect(try table(0, of: 1).physicalAddressBits >= 36)
  }
}
