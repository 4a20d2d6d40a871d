// SPDX-License-Identifier: Apache-2.0
import Glibc
import LaunchPlan
import LinuxSystem
import Machine
import Testing

/// A channel as a guest sees it: an ivshmem function whose BARs the guest moves first.
@Suite(.enabled(if: kvmIsHere, "/dev/kvm cannot be opened"), .serialized)
struct ChannelTests {
  static let registers: UInt32 = 0xD800_0000
  static let messages: UInt32 = 0xD900_0000
  static let region: UInt32 = 0xD000_0000
  static let slot: UInt32 = 3
  private static let magic: [UInt8] = [0x78, 0x56, 0x34, 0x12]

  /// Moves all BARs below 4 GiB, where 32-bit code reaches them, and turns memory decoding on.
  func moveBARs(_ code: inout Code) {
    code.writeConfiguration(slot: Self.slot, offset: 0x10, Self.registers)
    code.writeConfiguration(slot: Self.slot, offset: 0x14, Self.messages)
    code.writeConfiguration(slot: Self.slot, offset: 0x18, Self.region)
    code.writeConfiguration(slot: Self.slot, offset: 0x1C, 0)
    code.writeConfiguration(slot: Self.slot, offset: 0x04, 0x2)
  }

  private func run(_ channel: borrowing ChannelEnds, _ code: [UInt8]) throws -> Domain {
    let domain = try Domain(code) { channel.add(to: &$0, &$1) }
    #expect(try domain.run() == .powerOff)
    return domain
  }

  @Test func theFunctionIsWhatQEMUDefines() throws {
    let channel = try ChannelEnds()
    let domain = try run(
      channel,
      guest { code in
        code.readConfiguration(slot: Self.slot, offset: 0x00, to: 0x20_0000)
        code.readConfiguration(slot: Self.slot, offset: 0x08, to: 0x20_0004)
        code.readConfiguration(slot: Self.slot, offset: 0x1C, to: 0x20_0008)
        code.powerOff()
      })
    #expect(domain.word(0x20_0000) == 0x1110_1AF4)
    #expect(domain.word(0x20_0004) == 0x0500_0001)
    // The region lies above 4 GiB before the guest moves it.
    #expect(domain.word(0x20_0008) > 0)
  }

  @Test func theRegionIsSharedAndItsFirstPageReadOnly() throws {
    let channel = try ChannelEnds()
    let region = try SharedMapping(channel.region, byteCount: ChannelEnds.byteCount)
    _ = region.copy(Self.magic.span, to: 0)
    let domain = try run(
      channel,
      guest { code in
        moveBARs(&code)
        code.copy(Self.region, to: 0x20_0000)
        code.store(Self.region, 0xDEAD_BEEF)  // read-only: dropped
        code.copy(Self.region, to: 0x20_0004)
        code.store(Self.region + 0x1000, 0xCAFE_F00D)
        code.store(Self.region + 0xFFFC, 0x0BAD_CAFE)
        code.powerOff()
      })
    #expect(domain.word(0x20_0000) == 0x1234_5678)
    #expect(domain.word(0x20_0004) == 0x1234_5678)
    let kept = region.copy(from: 0, count: 4)
    #expect(kept == Self.magic)
    let written = region.copy(from: 0x1000, count: 4)
    #expect(written == [0x0D, 0xF0, 0xFE, 0xCA])
    let last = region.copy(from: 0xFFFC, count: 4)
    #expect(last == [0xFE, 0xCA, 0xAD, 0x0B])
  }

  @Test func theRegionFollowsItsBAR() throws {
    let channel = try ChannelEnds()
    let region = try SharedMapping(channel.region, byteCount: ChannelEnds.byteCount)
    let elsewhere: UInt32 = 0xC800_0000
    let domain = try run(
      channel,
      guest { code in
        moveBARs(&code)
        code.store(Self.region + 0x1000, 1)
        code.writeConfiguration(slot: Self.slot, offset: 0x18, elsewhere)
        code.store(elsewhere + 0x2000, 2)
        code.store(Self.region + 0x3000, 3)  // nobody is there any more
        code.copy(Self.region + 0x1000, to: 0x20_0000)
        code.writeConfiguration(slot: Self.slot, offset: 0x18, 0x1000)  // over RAM: not decoded
        code.store(0x1000, 0x55)
        code.writeConfiguration(slot: Self.slot, offset: 0x18, Self.region)
        code.copy(Self.region + 0x2000, to: 0x20_0004)
        code.powerOff()
      })
    #expect(domain.word(0x20_0000) == 0xFFFF_FFFF)
    #expect(domain.word(0x20_0004) == 2)
    #expect(domain.word(0x1000) == 0x55)
    let bytes = [0x1000, 0x2000, 0x3000].map { region.copy(from: $0, count: 1) }
    #expect(bytes == [[1], [2], [0]])
  }

  @Test func doorbellsReachThePeerThatIsMeant() throws {
    let channel = try ChannelEnds()
    let domain = try run(
      channel,
      guest { code in
        moveBARs(&code)
        code.store(Self.registers + 0xC, 1 << 16 | 0)  // peer 1, vector 0
        code.store(Self.registers + 0xC, 1 << 16 | 1)  // no such vector
        code.store(Self.registers + 0xC, 7 << 16 | 0)  // no such peer
        code.copy(Self.registers + 0x8, to: 0x20_0000)
        code.powerOff()
      })
    let rings = channel.other.take()
    #expect(rings == 1)
    #expect(domain.word(0x20_0000) == 0)
  }

  @Test func aPeersRingInterruptsTheGuest() throws {
    let channel = try ChannelEnds()
    // What rings before the guest listens is delivered when it does.
    channel.own.ring()
    let apic: UInt32 = 0xFEE0_0000
    _ = try run(
      channel,
      guest { code in
        moveBARs(&code)
        code.store(apic + 0xF0, 0x1FF)  // enable the local APIC
        code.store(Self.messages + 0x0, apic)
        code.store(Self.messages + 0x4, 0)
        code.store(Self.messages + 0x8, 0x40)  // vector
        code.store(Self.messages + 0xC, 0)  // unmasked
        code.writeConfiguration(slot: Self.slot, offset: 0x40, 0x8000_0000)  // MSI-X on
        // Interrupts are off: the request shows in the local APIC.
        code.wait(apic + 0x200 + 0x20, for: 1)
        code.powerOff()
      })
    let left = channel.own.take()
    #expect(left == 0)
  }

  @Test func aMaskedVectorKeepsItsRing() throws {
    let channel = try ChannelEnds()
    channel.own.ring()
    _ = try run(
      channel,
      guest { code in
        moveBARs(&code)
        code.writeConfiguration(slot: Self.slot, offset: 0x40, 0xC000_0000)  // on, all masked
        code.powerOff()
      })
    let left = channel.own.take()
    #expect(left == 1)
  }

  @Test func aRegionOfTheWrongSizeIsRefused() throws {
    #expect(throws: MachineError.self) {
      _ = try Domain(guest { $0.powerOff() }) { plan, numbers in
        try addChannel(&plan, &numbers)
        plan.ivshmem[0].regionBytes *= 2
      }
    }
  }
}

/// Gives the plan a channel in slot 3: 64 KiB, page 0 read-only, one vector, peer 1 with one vector.
func addChannel(_ plan: inout LaunchPlan, _ numbers: inout [Int32]) throws {
  let channel = try ChannelEnds()
  channel.add(to: &plan, &numbers)
}

/// A channel's parts as a supervisor holds them.
struct ChannelEnds: ~Copyable {
  static let byteCount = 64 << 10
  let region: OwnedDescriptor
  let own: EventDescriptor
  let other: EventDescriptor

  init() throws {
    let region = try OwnedDescriptor.sharedMemory(name: "channel", byteCount: Self.byteCount)
    let own = try EventDescriptor()
    let other = try EventDescriptor()
    self.region = region
    self.own = own
    self.other = other
  }

  func add(to plan: inout LaunchPlan, _ numbers: inout [Int32]) {
    func add(_ number: Int32) -> Int {
      numbers.append(dup(number))
      return numbers.count - 1
    }
    plan.ivshmem.append(
      .init(
        slot: 3, region: add(region.rawValue), regionBytes: UInt64(Self.byteCount), peer: 0,
        vectors: [add(own.descriptor.rawValue)],
        remotes: [.init(peer: 1, vectors: [add(other.descriptor.rawValue)])],
        readOnly: [.init(offset: 0, byteCount: 4096)]))
  }
}
