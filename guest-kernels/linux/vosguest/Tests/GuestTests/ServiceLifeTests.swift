// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel
import Foundation
import Synchronization
import Testing

@testable import Guest

private final class Ends: Sendable {
  private let list = Mutex<[ServiceLoop.End]>([])
  var all: [ServiceLoop.End] { list.withLock { $0 } }
  func note(_ end: ServiceLoop.End) { list.withLock { $0.append(end) } }
}

/// Lives of a channel as its service sees them; the test is the client and the host.
@Suite(.serialized) struct ServiceLifeTests {
  private let channel: MemoryChannel
  private let region: ChannelRegion
  private let handler = Hanging()
  private let ends = Ends()
  private let ended = DispatchSemaphore(value: 0)

  init() throws {
    channel = try the(MemoryChannel(carries: VOS_CARRIES_FILES))
    region = channel.region
    channel.giveOut(0)
  }

  /// What the daemon does, but for ending the process.
  private func serve() {
    let device = MemoryChannel.Service(channel)
    let (handler, ended, ends) = (handler, ended, ends)
    System.startThread {
      guard ServiceLife.awaitBegin(device) else { return }
      let loop = ServiceLoop(device, handler, threads: 2) { ends.note($0) }
      loop.run()
      ended.signal()
    }
  }

  private func comes(_ condition: () -> Bool) -> Bool {
    for _ in 0..<20000 {
      if condition() { return true }
      usleep(1000)
    }
    return false
  }

  private var state: SideState { region.page(of: .service).state }

  /// Both sides' lives fail; when the service has let go, others begin.
  private func makeNew() throws {
    let generation = region.generation(of: .service)
    region.announce(.service, life: .failed, generation: generation)
    channel.ringService()
    #expect(comes { ended.wait(timeout: .now()) == .success })
    // The next process.
    serve()
    #expect(comes { region.hasLeft(.service, generation: generation) })
    try region.renew(
      name: Array("memory".utf8).span, client: .init(.alive, generation: generation + 1),
      service: .init(.alive, generation: generation + 1))
    channel.giveOut(0, generation: 2)
    #expect(comes { state == .ready })
    #expect(region.page(of: .service).generation == generation + 1)
  }

  private func end() {
    region.announce(.service, life: .failed, generation: 99)
    channel.ringService()
    ended.wait()
  }

  @Test func aClientThatDeclaresItBrokenIsBelieved() throws {
    serve()
    #expect(try Caller(channel).call(VOS_CALL_NULL).result == 7)
    region.page(of: .client).announce(.broken, generation: 1)
    #expect(comes { state == .broken })
    #expect(ended.wait(timeout: .now() + 0.3) == .timedOut, "it says so until the host has heard")
    try makeNew()
    #expect(ends.all == [.broken(.declared)])
    #expect(try Caller(channel).call(VOS_CALL_NULL).result == 7)
    end()
    #expect(ends.all.last == .lifeEnded)
  }

  @Test func anImpossibleIndexIsDeclared() throws {
    serve()
    #expect(comes { state == .ready })
    // The event that is due cannot be written to a ring that the client read further than it goes.
    let words =
      UnsafeMutableRawPointer(MemoryChannel.Client(channel, slice: 0).slice)
      - region.geometry.slicesOffset
    words.storeBytes(
      of: 0x8000_0000, toByteOffset: Int(VOS_CLIENT_PAGE_OFFSET) + 64, as: UInt32.self)
    let client = SliceClient(region: region, slice: 0)
    let call = Call(UInt16(VOS_CALL_FUSE), object: 1, data: client.window(of: 0))
    let ticket = client.submit(call, in: try the(client.takeSlot()))
    channel.ringService()
    #expect(comes { handler.now == 1 })
    #expect(client.announceWaiter(ticket) != nil)
    handler.letGo(1)
    #expect(comes { state == .broken })
    try makeNew()
    #expect(ends.all == [.broken(.eventIndex(0x8000_0000))])
    end()
  }

  /// All threads but one hang in calls that never end.
  @Test func whatHangsDoesNotKeepItFromBeingDeclared() throws {
    serve()
    #expect(comes { state == .ready })
    let caller = Caller(channel)
    _ = try caller.post(VOS_CALL_FUSE, 1)
    _ = try caller.post(VOS_CALL_FUSE, 1)
    #expect(comes { handler.now == 1 })
    region.page(of: .client).announce(.broken, generation: 1)
    #expect(comes { state == .broken })
    region.announce(.service, life: .failed, generation: 1)
    channel.ringService()
    #expect(comes { ends.all == [.broken(.declared)] }, "the process would end here")
    handler.letGo(2)
    ended.wait()
  }

  @Test func theHostEndsALife() throws {
    serve()
    #expect(comes { state == .ready })
    // That the client comes and goes is no end.
    region.announce(.client, life: .absent, generation: 1)
    region.announce(.client, life: .alive, generation: 2)
    channel.giveOut(0, generation: 2)
    #expect(try Caller(channel).call(VOS_CALL_NULL).result == 7)
    try makeNew()
    #expect(ends.all == [.lifeEnded])
    #expect(try Caller(channel).call(VOS_CALL_NULL).result == 7)
    end()
  }
}
