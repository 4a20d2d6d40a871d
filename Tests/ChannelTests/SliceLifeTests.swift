// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Testing

@testable import Channel

@Suite struct SliceLifeTests {
  @Test func aSliceIsServedWhileItsProcessLives() throws {
    let test = try TestRegion()
    let region = test.region
    var port = ServicePort(region: region)
    #expect(port.nextChange() == nil)
    test.giveOut(1, generation: 3)
    let client = SliceClient(region: region, slice: 1)
    _ = client.submit(Call(0), in: client.takeSlot()!)
    #expect(port.next() == nil)
    guard case .adopted(slice: 1, generation: 3) = port.nextChange() else {
      Issue.record("slice 1 was not adopted")
      return
    }
    #expect(client.servedGeneration == 3)
    #expect(port.isLive(1, generation: 3) == true)
    #expect(port.isLive(1, generation: 2) == false)
    let request = try the(port.next())
    #expect(request.generation == 3)

    region.publish(SliceEntry(state: .dead, generation: 3), slice: 1)
    guard case .died(slice: 1, generation: 3) = port.nextChange() else {
      Issue.record("slice 1 did not die")
      return
    }
    #expect(port.isIdle(1) == false)
    #expect(region.releasedGeneration(slice: 1) == 0)
    port.completer.drop(request)
    #expect(port.isIdle(1) == true)
    port.released(1, generation: 3)
    #expect(region.releasedGeneration(slice: 1) == 3)
    #expect(port.nextChange() == nil)
  }

  @Test func aSliceGivenOutAgainStartsAfresh() throws {
    let test = try TestRegion()
    var port = ServicePort(region: test.region)
    test.giveOut(0, generation: 1)
    port.adoptAll()
    do {
      let client = SliceClient(region: test.region, slice: 0)
      let ticket = client.submit(Call(0), in: client.takeSlot()!)
      _ = port.complete(try the(port.next()), Reply(result: 0))
      #expect(client.poll(ticket) != nil)
    }
    // The new process's first sequence number is the old one's last.
    test.giveOut(0, generation: 2)
    let client = SliceClient(region: test.region, slice: 0)
    let ticket = client.submit(Call(0), in: client.takeSlot()!)
    port.adoptAll()
    _ = port.complete(try the(port.next()), Reply(result: 5))
    #expect(client.poll(ticket)?.result == 5)
    #expect(test.region.releasedGeneration(slice: 0) == 1)
  }

  @Test func aSliceThatDiedUnservedIsReleased() throws {
    let test = try TestRegion()
    var port = ServicePort(region: test.region)
    test.region.publish(SliceEntry(state: .dead, generation: 6), slice: 1)
    #expect(port.nextChange() == nil)
    #expect(test.region.releasedGeneration(slice: 1) == 6)
  }

  /// A slot that another thread is about to let go of: its next call is there before, unrung.
  @Test func aSleeperNoticesACallInASlotThatIsStillHeld() throws {
    let test = try TestRegion()
    var port = ServicePort(region: test.region)
    test.giveOut(0)
    port.adoptAll()
    let client = SliceClient(region: test.region, slice: 0)
    let slot = client.takeSlot()!
    _ = client.submit(Call(0), in: slot)
    let held = try the(port.next())
    #expect(port.prepareToSleep() == true)
    port.wakeUp()
    _ = client.submit(Call(0), in: slot)
    #expect(port.next() == nil)
    #expect(port.prepareToSleep() == false)
    port.completer.drop(held)
    #expect(port.next() != nil)
  }

  @Test func aSleeperNoticesChangesOfTheTable() throws {
    let test = try TestRegion()
    var port = ServicePort(region: test.region)
    #expect(port.prepareToSleep() == true)
    port.wakeUp()
    test.giveOut(0)
    #expect(port.prepareToSleep() == false)
    port.adoptAll()
    #expect(port.prepareToSleep() == true)
    port.wakeUp()
    test.giveOut(0, generation: 2)
    #expect(port.prepareToSleep() == false)
  }
}

@Suite struct EventRingTests {
  @Test func eventsArriveInOrder() throws {
    let test = try TestRegion(events: 4)
    var producer = EventProducer(region: test.region)
    var consumer = EventConsumer(region: test.region)
    #expect(consumer.next() == nil)
    for round in UInt64(0)..<10 {
      producer.post(.ready(cookie: round, readiness: 1))
      producer.post(.completion(slice: 1, slot: 2))
      #expect(consumer.next() == .ready(cookie: round, readiness: 1))
      #expect(consumer.next() == .completion(slice: 1, slot: 2))
      #expect(consumer.next() == nil)
    }
    #expect(consumer.lostSome() == false)
  }

  @Test func aFullRingIsNoticed() throws {
    let test = try TestRegion(events: 4)
    var producer = EventProducer(region: test.region)
    var consumer = EventConsumer(region: test.region)
    let posted = (0..<6).map { producer.post(.ready(cookie: $0, readiness: 1)) }
    #expect(posted == [true, true, true, true, false, false])
    #expect(consumer.lostSome() == true)
    #expect(consumer.lostSome() == false)
    #expect(consumer.next() == .ready(cookie: 0, readiness: 1))
    #expect(producer.post(.ready(cookie: 9, readiness: 1)) == true)
  }

  @Test func lyingIndicesAreHarmless() throws {
    let test = try TestRegion(events: 4)
    var producer = EventProducer(region: test.region)
    var consumer = EventConsumer(region: test.region)
    test.region.page(of: .client).eventIndex = 0x8000_0000
    #expect(producer.post(.ready(cookie: 0, readiness: 1)) == false)
    test.region.page(of: .service).eventIndex = 0x7000_0000
    #expect(consumer.next() == nil)
    #expect(consumer.next() == nil)
  }

  @Test func eventsThatMakeNoSenseAreSkipped() throws {
    let test = try TestRegion(events: 4)
    var producer = EventProducer(region: test.region)
    var consumer = EventConsumer(region: test.region)
    producer.post(.completion(slice: 99, slot: 0))
    producer.post(.completion(slice: 0, slot: 64))
    producer.post(.ready(cookie: 3, readiness: 5))
    #expect(consumer.next() == .ready(cookie: 3, readiness: 5))
  }
}
