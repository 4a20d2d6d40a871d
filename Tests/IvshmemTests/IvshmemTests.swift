// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import Ivshmem
import PCI
import Testing

private final class Recorder: IvshmemHost, MessageInterruptSink {
  var trace: [String] = []

  func ring(peer: UInt16, vector: Int) { trace.append("ring \(peer)/\(vector)") }
  func droppedWrite(offset: UInt64) { trace.append("dropped \(offset)") }
  func raise(vector: Int) { trace.append("raise \(vector)") }
  func configure(vector: Int, message: InterruptMessage?) {
    let text = message.map { "\(String($0.address, radix: 16)):\($0.data)" } ?? "off"
    trace.append("configure \(vector) \(text)")
  }
}

private func makeLayout(readOnly: [Range<UInt64>] = []) throws -> IvshmemLayout {
  try IvshmemLayout(
    regionByteCount: 1 << 20, peer: 0, vectorCount: 2, remotes: [1: 2, 2: 1], readOnly: readOnly)
}

@Suite struct IvshmemTests {
  private let recorder = Recorder()
  private let device: IvshmemFunction

  init() throws {
    device = try IvshmemFunction(
      makeLayout(readOnly: [0..<0x1000, 0x2000..<0x4000]), sink: recorder, host: recorder)
  }

  @Test func looksLikeQEMUsDevice() {
    #expect(device.readConfiguration(offset: 0, width: 4) == 0x1110_1AF4)
    #expect(device.readConfiguration(offset: 8, width: 4) == 0x0500_0001)
    #expect(device.readConfiguration(offset: 0x3D, width: 1) == 0)
    #expect(
      device.bars == [
        .init(index: 0, kind: .memory32(prefetchable: false), byteCount: 256),
        .init(index: 1, kind: .memory32(prefetchable: false), byteCount: 4096),
        .init(index: 2, kind: .memory64(prefetchable: true), byteCount: 1 << 20),
      ])
    let capability = Int(device.readConfiguration(offset: 0x34, width: 1))
    #expect(device.readConfiguration(offset: capability, width: 4) == 0x0001_0011)
    #expect(device.readConfiguration(offset: capability + 4, width: 4) == 0x001)
    #expect(device.readConfiguration(offset: capability + 8, width: 4) == 0x801)
  }

  @Test func regionIsSplitIntoSlots() {
    #expect(
      device.directRanges(ofBAR: 2) == [
        DirectRange(offset: 0, byteCount: 0x1000, isReadOnly: true),
        DirectRange(offset: 0x1000, byteCount: 0x1000, isReadOnly: false),
        DirectRange(offset: 0x2000, byteCount: 0x2000, isReadOnly: true),
        DirectRange(offset: 0x4000, byteCount: 0xF_C000, isReadOnly: false),
      ])
    #expect(device.directRanges(ofBAR: 0).isEmpty)
  }

  @Test func doorbellsAreIoeventfdsWithDatamatch() {
    let bells = device.doorbells(ofBAR: 0)
    #expect(bells.map(\.value) == [0x1_0000, 0x1_0001, 0x2_0000])
    #expect(bells.allSatisfy { $0.offset == 0xC && $0.width == 4 })
    #expect(bells.map { "\(IvshmemFunction.peerAndVector(of: $0))" }.count == 3)
    #expect(IvshmemFunction.peerAndVector(of: bells[1]) == (1, 1))
    #expect(device.doorbells(ofBAR: 2).isEmpty)
  }

  /// A trace of register accesses, each with what reads as, then what reached the machine.
  @Test func registerTrace() {
    let reads: [(UInt64, Int, UInt64)] = [
      (0x0, 4, 0), (0x4, 4, 0), (0x8, 4, 0), (0xC, 4, 0), (0x8, 1, 0), (0x8, 8, 0), (0xFC, 4, 0),
    ]
    for (offset, width, expected) in reads {
      #expect(device.readBAR(0, offset: offset, width: width) == expected)
    }
    let writes: [(UInt64, Int, UInt64)] = [
      (0xC, 4, 0x1_0001), (0xC, 4, 0x2_0000), (0xC, 4, 0x2_0001), (0xC, 4, 0x3_0000),
      (0xC, 4, 0xFFFF_FFFF), (0xC, 2, 0x1), (0xC, 8, 0x1_0000), (0x8, 4, 7), (0x0, 4, 1),
      (0x8, 8, 0x1_0000_0000_0000),
    ]
    for (offset, width, value) in writes {
      device.writeBAR(0, offset: offset, width: width, value: value)
    }
    #expect(recorder.trace == ["ring 1/1", "ring 2/0"])
  }

  @Test func positionIsTheOwnPeer() throws {
    let other = try IvshmemFunction(
      IvshmemLayout(regionByteCount: 4096, peer: 7, vectorCount: 1, remotes: [:]),
      sink: recorder)
    #expect(other.readBAR(0, offset: 8, width: 4) == 7)
  }

  @Test func vectorsReachTheSinkOnceUnmasked() {
    let capability = Int(device.readConfiguration(offset: 0x34, width: 1))
    device.writeBAR(1, offset: 16, width: 4, value: 0xFEE0_0000)
    device.writeBAR(1, offset: 24, width: 4, value: 65)
    device.writeConfiguration(offset: capability + 2, width: 2, value: 0x8000)
    #expect(recorder.trace.isEmpty)
    device.writeBAR(0, offset: 0xC, width: 4, value: 1)  // rings itself: masked, so pending
    #expect(device.readBAR(1, offset: 0x800, width: 4) == 2)
    device.writeBAR(1, offset: 28, width: 4, value: 0)
    device.writeBAR(0, offset: 0xC, width: 4, value: 1)
    device.writeConfiguration(offset: capability + 2, width: 2, value: 0)
    device.writeBAR(0, offset: 0xC, width: 4, value: 1)
    #expect(
      recorder.trace == ["configure 1 fee00000:65", "raise 1", "raise 1", "configure 1 off"])
  }

  @Test func readOnlyPagesDropWrites() {
    device.writeBAR(2, offset: 0x10, width: 8, value: 1)
    #expect(recorder.trace == ["dropped 16"])
    #expect(device.readBAR(2, offset: 0, width: 2) == 0xFFFF)
  }
}

@Suite struct IvshmemLayoutTests {
  @Test func impossibleLayoutsAreRefused() throws {
    #expect(throws: IvshmemError.regionByteCount(5000)) {
      try IvshmemLayout(regionByteCount: 5000, peer: 0, vectorCount: 1, remotes: [:])
    }
    #expect(throws: IvshmemError.vectorCount(peer: 3, count: 0)) {
      try IvshmemLayout(regionByteCount: 4096, peer: 0, vectorCount: 1, remotes: [3: 0])
    }
    #expect(throws: IvshmemError.ownPeerIsRemote(1)) {
      try IvshmemLayout(regionByteCount: 4096, peer: 1, vectorCount: 1, remotes: [1: 1])
    }
    let bad: [Range<UInt64>] = [1..<4096, 0..<0, 0..<(2 << 20), 0x1000..<0x1800]
    for range in bad {
      #expect(throws: IvshmemError.readOnlyRange(range)) { try makeLayout(readOnly: [range]) }
    }
    #expect(throws: IvshmemError.readOnlyRange(0x1000..<0x3000)) {
      try makeLayout(readOnly: [0..<0x2000, 0x1000..<0x3000])
    }
  }
}
