// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Testing

@testable import Channel

@Suite struct WatchTests {
  private let test: TestRegion
  private let region: ChannelRegion

  init() throws {
    test = try TestRegion()
    region = test.region
    for side in [ChannelSide.client, .service] {
      region.announce(side, life: .alive, generation: 5)
      region.page(of: side).announce(.ready, generation: 5)
    }
  }

  private func watch(_ side: ChannelSide, patience: UInt64? = nil) throws -> ChannelWatch {
    try the(ChannelWatch(region: region, side: side, milliseconds: 0, patience: patience))
  }

  @Test func aLifeBeginsWhenTheHostSaysSo() throws {
    region.announce(.client, life: .failed, generation: 5)
    #expect(ChannelWatch(region: region, side: .client, milliseconds: 0) == nil)
    #expect(try watch(.service).generation == 5)
    region.announce(.client, life: .alive, generation: 6)
    #expect(try watch(.client).generation == 6)
    #expect(try watch(.service).generation == 5)
  }

  @Test func theHostEndsALife() throws {
    for (life, generation) in [
      (SideLife.failed, UInt32(5)), (.absent, 5), (.alive, 6), (.alive, 4),
    ] {
      for side in [ChannelSide.client, .service] {
        region.announce(.client, life: .alive, generation: 5)
        region.announce(.service, life: .alive, generation: 5)
        var own = try watch(side)
        // The other side comes and goes.
        var other = try watch(side.other)
        #expect(own.look(milliseconds: 1) == .sound)
        region.announce(side, life: life, generation: generation)
        #expect(own.look(milliseconds: 2) == .ended)
        #expect(other.look(milliseconds: 2) == .sound)
      }
    }
  }

  @Test func aSideThatSaysBrokenIsBelieved() throws {
    var client = try watch(.client)
    let service = try watch(.service)
    region.page(of: .service).announce(.ready, generation: 5)
    #expect(client.look(milliseconds: 1) == .sound)
    service.declareBroken()
    #expect(client.look(milliseconds: 2) == .broken(.declared))
    #expect(region.isDeclaredBroken(by: .service) && !region.isDeclaredBroken(by: .client))
    // So is one that says what nobody says.
    test.base.storeBytes(of: 77, toByteOffset: Int(VOS_SERVICE_PAGE_OFFSET), as: UInt32.self)
    #expect(client.look(milliseconds: 3) == .broken(.declared))
    // But not for what it said in an earlier life.
    region.announce(.service, life: .alive, generation: 6)
    #expect(client.look(milliseconds: 4) == .sound)
    #expect(!region.isDeclaredBroken(by: .service))
  }

  @Test func ownWordsThatChangedBreakIt() throws {
    var client = try watch(.client)
    var service = try watch(.service)
    #expect(client.look(milliseconds: 1) == .sound)
    test.base.storeBytes(of: 77, toByteOffset: Int(VOS_CLIENT_PAGE_OFFSET) + 4, as: UInt32.self)
    #expect(client.look(milliseconds: 2) == .broken(.page))
    #expect(service.look(milliseconds: 2) == .sound, "it may be an earlier life's page")
    client.declareBroken()
    #expect(service.look(milliseconds: 3) == .broken(.declared))
  }

  @Test func aSilentSideIsGivenUp() throws {
    var client = try watch(.client, patience: 100)
    region.page(of: .service).beat()
    // Its silence counts from its first life's begin on.
    region.announce(.service, life: .absent, generation: 5)
    #expect(client.look(milliseconds: 120) == .sound)
    region.announce(.service, life: .alive, generation: 5)
    #expect(client.look(milliseconds: 150) == .sound)
    #expect(client.look(milliseconds: 250) == .sound)
    #expect(client.look(milliseconds: 251) == .broken(.silence(milliseconds: 101)))
    region.page(of: .service).beat()
    #expect(client.look(milliseconds: 300) == .sound)
  }

  @Test func anImpossibleEventIsAFault() throws {
    var producer = EventProducer(region: region)
    var consumer = EventConsumer(region: region)
    producer.post(.ready(cookie: 1, readiness: 1))
    #expect(consumer.next() == .ready(cookie: 1, readiness: 1))
    #expect(consumer.fault == nil)
    producer.post(.completion(slice: 2, slot: 0))
    #expect(consumer.next() == nil)
    #expect(consumer.fault == .event)
    region.page(of: .service).eventIndex = 1000
    #expect(consumer.next() == nil)
    #expect(consumer.fault == .eventIndex(1000))
    for _ in 0..<65 { producer.post(.ready(cookie: 1, readiness: 1)) }
    region.page(of: .client).eventIndex = 70000
    producer.post(.ready(cookie: 1, readiness: 1))
    #expect(producer.fault == .eventIndex(70000))
  }

  @Test func aFullRingIsNoFault() throws {
    var producer = EventProducer(region: region)
    for _ in 0..<70 { producer.post(.ready(cookie: 1, readiness: 1)) }
    #expect(producer.fault == nil)
  }

  @Test func aChannelIsMadeNew() throws {
    test.giveOut(0)
    let client = SliceClient(region: region, slice: 0)
    _ = client.submit(Call(0), in: try the(client.takeSlot()))
    test.base.storeBytes(of: 0, as: UInt64.self)
    for side in [ChannelSide.client, .service] {
      region.announce(side, life: .failed, generation: 5)
      #expect(!region.hasLeft(side, generation: 5))
      region.leave(side)
      #expect(region.hasLeft(side, generation: 5))
    }
    try region.renew(
      name: Array("test".utf8).span, client: .init(.alive, generation: 6),
      service: .init(.failed, generation: 7))
    let read = try Geometry(superblockAt: test.base, byteCount: test.byteCount)
    #expect(read == region.geometry)
    #expect(region.life(of: .client) == .alive && region.life(of: .service) == .failed)
    #expect(region.generation(of: .service) == 7)
    #expect(region.sliceEntry(0) == SliceEntry(state: .free, generation: 0))
    test.giveOut(0, generation: 6)
    var port = ServicePort(region: region)
    port.adoptAll()
    #expect(port.next() == nil)
  }
}
