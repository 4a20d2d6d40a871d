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
    }
  }

  private func watch(_ side: ChannelSide, patience: UInt64? = nil) throws -> ChannelWatch {
    try the(ChannelWatch(region: region, side: side, milliseconds: 0, patience: patience))
  }

  @Test func aLifeBeginsWhenBothSidesAreAlive() throws {
    region.announce(.client, life: .absent, generation: 5)
    #expect(ChannelWatch(region: region, side: .service, milliseconds: 0) == nil)
    #expect(ChannelWatch(region: region, side: .client, milliseconds: 0) == nil)
    region.announce(.client, life: .alive, generation: 6)
    #expect(try watch(.client).generation == 6)
    #expect(try watch(.service).generation == 5)
  }

  @Test func theHostEndsALife() throws {
    for (side, life, generation) in [
      (ChannelSide.client, SideLife.failed, UInt32(5)), (.service, .absent, 5),
      (.client, .alive, 6),
      (.service, .alive, 4),
    ] {
      for own in [ChannelSide.client, .service] {
        region.announce(.client, life: .alive, generation: 5)
        region.announce(.service, life: .alive, generation: 5)
        var watch = try watch(own)
        #expect(watch.look(milliseconds: 1) == .sound)
        region.announce(side, life: life, generation: generation)
        #expect(watch.look(milliseconds: 2) == .ended)
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
    #expect(region.isDeclaredBroken)
    // So is one that says what nobody says.
    test.base.storeBytes(of: 77, toByteOffset: Int(VOS_SERVICE_PAGE_OFFSET), as: UInt32.self)
    #expect(client.look(milliseconds: 3) == .broken(.declared))
  }

  @Test func aSilentSideIsGivenUp() throws {
    var client = try watch(.client, patience: 100)
    region.page(of: .service).beat()
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
    try region.renew(name: Array("test".utf8).span, clientGeneration: 6, serviceGeneration: 7)
    let read = try Geometry(superblockAt: test.base, byteCount: test.byteCount)
    #expect(read == region.geometry)
    #expect(region.life(of: .client) == .alive)
    #expect(region.generation(of: .service) == 7)
    #expect(region.sliceEntry(0) == SliceEntry(state: .free, generation: 0))
    test.giveOut(0, generation: 6)
    var port = ServicePort(region: region)
    port.adoptAll()
    #expect(port.next() == nil)
  }
}
