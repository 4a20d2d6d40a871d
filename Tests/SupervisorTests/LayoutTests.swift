// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel
import DeviceTree
import Manifest
import Testing

@testable import Supervisor

private let text = """
  vos: 1
  system: toy
  domains:
    primary: {kernel: k, memory: 64MiB}
    network:
      kernel: k
      memory: 64MiB
      devices: [0000:01:00.0]
      modules: [e1000e]
      serves: sockets
      network: {address: 10.0.2.15/24, gateway: 10.0.2.2}
    storage: {kernel: k, memory: 64MiB, serves: files, storage: {source: /dev/sda}}
  """

private func layout() throws -> SystemLayout {
  try SystemLayout(
    Manifest.parse(text, file: "m", absolutePath: "/m", checkFiles: false))
}

@Suite struct SystemLayoutTests {
  @Test func everyDomainHasItsControlChannelFirst() throws {
    let layout = try layout()
    #expect(layout.channels.map(\.name) == ["control", "control", "control", "network", "storage"])
    #expect(layout.channels.map(\.number) == [0, 1, 2, 3, 4])
    for plan in layout.domains {
      let control = try #require(plan.ports.first)
      #expect(control.side == .service && control.slot == 3)
      #expect(layout.channels[control.channel].client == nil)
    }
    #expect(layout.domains[0].ports.map(\.slot) == [3, 4, 5])
    #expect(layout.domains[0].ports.dropFirst().allSatisfy { $0.side == .client })
    #expect(layout.domains[1].devices == [.init(address: "0000:01:00.0", slot: 5)])
  }

  @Test func eachSideReadsOnlyWhatTheOtherWrites() throws {
    let channel = try #require(try layout().channels.last)
    for side in [ChannelSide.client, .service] {
      let ranges = channel.readOnlyRanges(for: side)
      // The superblock is the host's.
      #expect(ranges.contains { $0.contains(0) })
      #expect(ranges == ranges.sorted { $0.lowerBound < $1.lowerBound })
      #expect(zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
      #expect(ranges.allSatisfy { $0.lowerBound % 4096 == 0 && $0.upperBound % 4096 == 0 })
      let own = UInt64(side == .client ? VOS_CLIENT_PAGE_OFFSET : VOS_SERVICE_PAGE_OFFSET)
      let other = UInt64(side == .client ? VOS_SERVICE_PAGE_OFFSET : VOS_CLIENT_PAGE_OFFSET)
      #expect(!ranges.contains { $0.contains(own) } && ranges.contains { $0.contains(other) })
      let table = UInt64(channel.geometry.sliceTableOffset)
      #expect(ranges.contains { $0.contains(table) } == (side == .service))
      let events = UInt64(channel.geometry.eventRingOffset)
      #expect(ranges.contains { $0.contains(events) } == (side == .client))
      #expect(!ranges.contains { $0.contains(UInt64(channel.geometry.slicesOffset)) })
    }
  }

  @Test func aDomainIsToldWhatConcernsIt() throws {
    let layout = try layout()
    let network = try #require(layout.description(of: "network", generation: 3))
    #expect(network.generation == 3)
    #expect(network.roles == [.network])
    #expect(network.modules == ["e1000e"])
    #expect(network.channels.map(\.carries) == [.control, .sockets])
    #expect(network.channels[1].peer == "primary" && network.channels[0].peer == nil)
    let primary = try #require(layout.description(of: "primary", generation: 1))
    #expect(primary.roles == [.primary])
    #expect(primary.channels.map(\.mount) == [nil, nil, "/storage"])
    let storage = try #require(layout.description(of: "storage", generation: 1))
    #expect(storage.channels[1].export == SystemLayout.exportPath)
    #expect(layout.description(of: "nobody", generation: 1) == nil)
    let bytes = try network.encoded()
    #expect(bytes.prefix(4) == [0xd0, 0x0d, 0xfe, 0xed])
  }
}

@Suite struct ChannelResourcesTests {
  @Test func aRegionIsWhatTheSuperblockSays() throws {
    let plan = try #require(try layout().channels.last)
    let channel = try ChannelResources(plan)
    // SAFETY: the mapping lives as long as `channel`.
    let read = try unsafe Geometry(
      superblockAt: UnsafeRawPointer(channel.mapping.baseAddress),
      byteCount: channel.mapping.byteCount)
    #expect(read == plan.geometry)
    channel.begin(.service)
    #expect(channel.view.life(of: .service) == .alive)
    #expect(channel.view.generation(of: .service) == 1)
    channel.view.page(of: .service).announce(.ready, generation: 1)
    channel.end(.service, as: .failed)
    #expect(channel.view.life(of: .service) == .failed)
    channel.begin(.service)
    #expect(channel.view.generation(of: .service) == 2)
    #expect(channel.view.page(of: .service).state == .absent)
  }

  @Test func theHostIsTheClientOfAControlChannel() throws {
    let channel = try ChannelResources(try #require(try layout().channels.first))
    #expect(channel.view.page(of: .client).state == .ready)
    #expect(channel.view.sliceEntry(0).state == .live)
  }

  @Test func callsAreAnsweredOrEnd() throws {
    let channel = try ChannelResources(try #require(try layout().channels.first))
    let caller = ControlCaller(channel)
    var port = ServicePort(region: channel.view)
    while port.nextChange() != nil {}
    var results: [Int64] = []
    var data: [UInt8] = []
    let posted = caller.call(VOS_CALL_EXEC, data: Array("abc".utf8), capacity: 16) {
      result, bytes in
      results.append(result)
      data = bytes
    }
    #expect(posted && caller.isWaiting)
    caller.poll()
    #expect(results == [])
    let next = port.next()
    let request = try #require(next)
    // SAFETY: the window is within the region, which lives.
    let sent = unsafe Array(port.bytes(request).prefix(3))
    #expect(sent == Array("abc".utf8))
    unsafe port.bytes(request).copyBytes(from: Array("xyz!".utf8))
    let mustRing = port.complete(request, Channel.Reply(result: 4, dataLength: 4))
    #expect(mustRing)
    caller.poll()
    #expect(results == [4])
    #expect(data == Array("xyz!".utf8))
    #expect(caller.call(VOS_CALL_NULL) { result, _ in results.append(result) })
    caller.failAll(errno: 107)
    #expect(results == [4, -107])
    #expect(!caller.isWaiting)
  }

  @Test func moreCallsThanSlotsAreRefused() throws {
    let channel = try ChannelResources(try #require(try layout().channels.first))
    let caller = ControlCaller(channel)
    for _ in 0..<SystemLayout.controlSlots { #expect(caller.call(VOS_CALL_NULL) { _, _ in }) }
    #expect(!caller.call(VOS_CALL_NULL) { _, _ in })
    let tooLong = [UInt8](repeating: 0, count: caller.windowBytes + 1)
    #expect(!caller.call(VOS_CALL_EXEC, data: tooLong) { _, _ in })
  }
}
