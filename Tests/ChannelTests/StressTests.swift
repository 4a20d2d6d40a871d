// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Glibc
import Testing

@testable import Channel

/// Answers every call with its first argument plus one, and copies its data's first word back
/// plus one, until `stop`.
private func echo(_ test: TestRegion, stop: Flag) {
  var port = ServicePort(region: test.region)
  while !stop.isSet {
    port.adoptAll()
    guard let request = port.next() else {
      sched_yield()
      continue
    }
    let bytes = port.bytes(request)
    var length: UInt32 = 0
    if bytes.count >= 8 {
      bytes.storeBytes(of: bytes.load(as: UInt64.self) &+ 1, as: UInt64.self)
      length = 8
    }
    _ = port.complete(
      request, Reply(result: Int64(request.call.arguments.0) + 1, dataLength: length))
  }
}

@Suite(.serialized) struct StressTests {
  @Test func aMillionCallsEachAnsweredOnce() throws {
    let test = try TestRegion(slots: 8)
    test.giveOut(0)
    let stop = Flag()
    let service = TestThread { echo(test, stop: stop) }
    let client = SliceClient(region: test.region, slice: 0)
    var wrong = 0
    let slots = (0..<8).map { _ in client.takeSlot()! }
    for round in 0..<125_000 {
      let tickets = slots.map { slot in
        var data = client.window(of: slot)
        data.length = 8
        client.bytes(data).storeBytes(of: UInt64(round * 8 + slot), as: UInt64.self)
        return client.submit(
          Call(1, arguments: (UInt64(round * 8 + slot), 0, 0), data: data), in: slot)
      }
      for (slot, ticket) in zip(slots, tickets) {
        var reply = client.poll(ticket)
        while reply == nil {
          reply = client.spin(ticket, SpinPolicy(spins: 50, yields: 1)) { sched_yield() }
        }
        let echoed = client.bytes(client.window(of: slot)).load(as: UInt64.self)
        if reply != Reply(result: Int64(round * 8 + slot + 1), dataLength: 8)
          || echoed != UInt64(round * 8 + slot + 1)
        {
          wrong += 1
        }
      }
    }
    stop.set()
    service.join()
    #expect(wrong == 0)
  }

  /// ABSENT, left over from the life before, is never seen with the generation of the next.
  @Test func aSideBeginsALifeInOneStep() throws {
    let test = try TestRegion()
    let page = test.region.page(of: .service)
    let lives: UInt32 = 300_000
    let side = TestThread {
      for generation in 1...lives {
        page.announce(.ready, generation: generation)
        page.announce(.absent, generation: generation)
      }
    }
    var (last, steps, back): (UInt64, Int, Int) = (1, 0, 0)
    while last < UInt64(lives) * 2 + 1 {
      let seen = page.standing
      // Each life is READY, then ABSENT: in this order they are numbered.
      let now = UInt64(seen.generation) * 2 + (seen.state == .absent ? 1 : 0)
      if now < last { back += 1 }
      if now > last { steps += 1 }
      last = now
    }
    side.join()
    #expect(back == 0)
    #expect(steps > 1)
  }

  @Test func threadsOfOneProcessShareASlice() throws {
    let test = try TestRegion(slots: 4)
    test.giveOut(0)
    let stop = Flag()
    let service = TestThread { echo(test, stop: stop) }
    final class Holder: Sendable {
      let client: SliceClient
      init(_ test: TestRegion) { client = SliceClient(region: test.region, slice: 0) }
    }
    let holder = Holder(test)
    let wrong = Flag()
    let threads = (0..<6).map { thread in
      TestThread {
        for round in 0..<5_000 {
          var slot = holder.client.takeSlot()
          while slot == nil {
            sched_yield()
            slot = holder.client.takeSlot()
          }
          let value = UInt64(thread * 1_000_000 + round)
          let ticket = holder.client.submit(Call(1, arguments: (value, 0, 0)), in: slot!)
          var reply = holder.client.poll(ticket)
          while reply == nil {
            sched_yield()
            reply = holder.client.poll(ticket)
          }
          if reply?.result != Int64(value) + 1 { wrong.set() }
          holder.client.giveBack(slot!)
        }
      }
    }
    for thread in threads { thread.join() }
    stop.set()
    service.join()
    #expect(!wrong.isSet)
  }

  /// Both sides go to sleep at every opportunity; one wake-up lost is one hang.
  @Test func noWakeUpIsLost() throws {
    let test = try TestRegion(slots: 2)
    test.giveOut(0)
    let (toService, toClient, stop, lost) = (Bell(), Bell(), Flag(), Flag())
    let service = TestThread {
      var port = ServicePort(region: test.region)
      while !stop.isSet {
        port.adoptAll()
        var eventDue = false
        while let request = port.next() {
          eventDue = port.complete(request, Reply(result: 1)) || eventDue
        }
        if eventDue { toClient.ring() }
        guard port.prepareToSleep() else { continue }
        if !toService.sleep() { lost.set() }
        port.wakeUp()
      }
    }
    let client = SliceClient(region: test.region, slice: 0)
    let slot = client.takeSlot()!
    for round in 0..<100_000 where !lost.isSet {
      let ticket = client.submit(Call(0), in: slot)
      if client.mustRing { toService.ring() }
      // Vary the moment of the announcement.
      for _ in 0..<(round & 63) { vos_pause() }
      while client.poll(ticket) == nil {
        guard client.announceWaiter(ticket) != nil else { continue }
        if !toClient.sleep() {
          lost.set()
          break
        }
      }
    }
    stop.set()
    toService.ring()
    service.join()
    #expect(!lost.isSet)
  }

  /// A client that scribbles over everything it may write while the service works: the service
  /// neither leaves the region (its neighbours are guard pages) nor stops.
  @Test func aScribblingClientIsHarmless() throws {
    let test = try GuardedRegion()
    let stop = Flag()
    let scribbler = TestThread {
      var generator = SystemRandomNumberGenerator()
      while !stop.isSet { test.scribble(&generator) }
    }
    var port = ServicePort(region: test.region)
    var producer = EventProducer(region: test.region)
    var sum: UInt64 = 0
    var served = 0
    for _ in 0..<200_000 {
      if let change = port.nextChange(), case .died(let slice, let generation) = change {
        port.released(slice, generation: generation)
      }
      for _ in 0..<4 {
        guard let request = port.next(refused: { _, _ in served += 1 }) else { continue }
        served += 1
        let bytes = port.bytes(request)
        // Touch both ends of whatever was granted.
        if !bytes.isEmpty {
          sum &+= UInt64(bytes[0]) &+ UInt64(bytes[bytes.count - 1])
          bytes[bytes.count - 1] = 1
        }
        if port.complete(request, Reply(result: 0, dataLength: request.call.data.capacity)) {
          producer.post(.completion(slice: UInt32(request.slice), slot: UInt32(request.slot)))
        }
      }
      if port.prepareToSleep() { port.wakeUp() }
    }
    stop.set()
    scribbler.join()
    #expect(served > 0)
    #expect(sum != .max)
  }

  /// The same with a service that scribbles while the client calls.
  @Test func aScribblingServiceIsHarmless() throws {
    let test = try GuardedRegion()
    let stop = Flag()
    let scribbler = TestThread {
      var generator = SystemRandomNumberGenerator()
      while !stop.isSet { test.scribble(&generator) }
    }
    let client = SliceClient(region: test.region, slice: 0)
    var consumer = EventConsumer(region: test.region)
    var replies = 0
    for _ in 0..<200_000 {
      guard let slot = client.takeSlot() else { break }
      let window = client.window(of: slot)
      let ticket = client.submit(Call(0, data: window), in: slot)
      _ = client.announceWaiter(ticket)
      if let reply = client.spin(ticket, SpinPolicy(spins: 4)) {
        replies += 1
        #expect(reply.dataLength <= window.capacity)
        #expect(reply.result >= -4095)
      }
      _ = client.withdraw(ticket)
      client.giveBack(slot)
      _ = consumer.next()
    }
    stop.set()
    scribbler.join()
    #expect(replies >= 0)
  }
}

/// A region between two pages that nobody may touch; it stays mapped until the process ends.
final class GuardedRegion: @unchecked Sendable {
  // @unchecked: the mapping never moves; the tests race on its contents on purpose.
  private let base: UnsafeMutableRawPointer
  private let bytes: Int
  let region: ChannelRegion

  init() throws {
    let geometry = try Geometry.layout(
      channel: 1, carries: VOS_CARRIES_FILES, sliceCount: 2, slotCount: 4, arenaBytes: 4096,
      eventCount: 16)
    // The last slice ends where the guard page begins.
    bytes = geometry.slicesOffset + geometry.sliceCount * geometry.sliceStride
    let mapping = mmap(nil, bytes + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
    base = mapping + 4096
    mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
    region = try ChannelRegion(
      formatting: base, geometry: geometry, name: Array("guarded".utf8).span)
    region.publish(SliceEntry(state: .live, generation: 1), slice: 0)
  }

  /// Writes a random word anywhere behind the superblock; often something plausible, so that
  /// calls do get through the checks.
  func scribble(_ generator: inout SystemRandomNumberGenerator) {
    let geometry = region.geometry
    let slice =
      geometry.slicesOffset + Int.random(in: 0..<2, using: &generator) * geometry.sliceStride
    let slot = slice + geometry.slotsOffset + Int.random(in: 0..<4, using: &generator) * 64
    switch Int.random(in: 0..<8, using: &generator) {
    case 0:
      let at = Int.random(in: 1024..<bytes / 4, using: &generator) * 4
      store(.random(in: 0...UInt32.max, using: &generator), at)
    case 1: store(.random(in: 0...70, using: &generator), slice)
    case 2: store(.random(in: 0...4096, using: &generator), slot + 16)
    case 3: store(.random(in: 0...4096, using: &generator), slot + 20)
    case 4: store(.random(in: 0...4096, using: &generator), slot + 24)
    case 5: store(0, slot + 4)
    case 6:
      let entry = geometry.sliceTableOffset + Int.random(in: 0..<2, using: &generator) * 64
      store(.random(in: 0...3, using: &generator), entry)
    default:
      store(
        .random(in: 0...7, using: &generator) | .random(in: 0...255, using: &generator) << 8, slot)
    }
  }

  private func store(_ value: UInt32, _ offset: Int) {
    vos_store_release32(
      (base + offset).assumingMemoryBound(to: UInt32.self), value)
  }
}
