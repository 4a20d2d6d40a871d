// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Glibc
import Testing

@testable import Channel

/// Random bytes over the whole region while calls run: both sides and the host stay within it (each
/// has a mapping of its own between pages that nobody may touch), every call ends, the channel is
/// declared broken, and is made new again and again.
///
/// `VOS_SCRIBBLE_SECONDS` says for how long; 8 by default.
@Suite(.serialized) struct ScribbleTests {
  @Test func aScribbledChannelIsBrokenAndMadeNew() throws {
    let seconds = getenv("VOS_SCRIBBLE_SECONDS").flatMap { UInt64(String(cString: $0)) } ?? 8
    let memory = try SharedRegion()
    let (stop, quiet, calm) = (Flag(), Flag(), Flag())
    let host = HostParty(try memory.format())
    let service = ServiceParty(try memory.view())
    let client = ClientParty(try memory.view())
    let scribbler = Scribbler(memory)
    let threads = [
      TestThread { service.run(stop) }, TestThread { client.run(stop, calm) },
      TestThread { scribbler.run(quiet) },
    ]
    let start = monotonicMilliseconds()
    while monotonicMilliseconds() - start < seconds * 1000, !host.isStuck { host.step() }
    quiet.set()
    threads[2].join()
    // What was damaged last may not have been noticed: the last life begins on a clean region.
    host.renew()
    calm.set()
    let end = monotonicMilliseconds()
    while !client.isSatisfied.isSet, monotonicMilliseconds() - end < 60_000, !host.isStuck {
      host.step()
    }
    stop.set()
    threads[0].join()
    threads[1].join()
    print(
      "scribbled \(scribbler.writes) times over \(host.renewals) lives: "
        + "\(client.answered) calls answered, \(client.failed) ended with an error, "
        + "\(client.altered) answered with what was not asked; "
        + "broken by the client \(client.broken) times, by the service \(service.broken) times")
    #expect(!host.isStuck, "a side did not end its life")
    #expect(client.isSatisfied.isSet, "the last life did not serve")
    #expect(client.wrongInCalm == 0)
    #expect(host.renewals > 1)
    #expect(client.broken > 0)
    #expect(client.failed > 0)
    #expect(client.answered > 0)
    // A reply's own words and data may be anything; whatever was asked is compared.
    #expect(client.altered * 10 < client.failed)
    #expect(client.posted == client.answered + client.failed + client.altered)
  }
}

private func monotonicMilliseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
}

private let channelName = Array("scribbled".utf8)
/// Whatever takes so long has been lost: nothing here waits for anything but a turn on a processor.
private let patience: UInt64 = 3000

/// A file in memory, mapped anew for each party between pages that nobody may touch. It stays mapped until
/// the process ends.
private final class SharedRegion: @unchecked Sendable {
  // @unchecked: nothing changes after `init`.
  private let file: Int32
  let geometry: Geometry

  init() throws {
    geometry = try Geometry.layout(
      channel: 3, carries: VOS_CARRIES_SOCKETS, sliceCount: 2, slotCount: 4, arenaBytes: 4096,
      eventCount: 16)
    var path = Array("/dev/shm/vos-scribbled-XXXXXX".utf8CString)
    file = mkstemp(&path)
    unlink(path)
    guard file >= 0, ftruncate(file, geometry.regionBytes) == 0 else { throw Missing() }
  }

  func map() -> UnsafeMutableRawPointer {
    let bytes = geometry.regionBytes
    let room = mmap(nil, bytes + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)! + 4096
    return mmap(room, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0)!
  }

  func format() throws -> ChannelRegion {
    try ChannelRegion(formatting: map(), geometry: geometry, name: channelName.span)
  }

  func view() throws -> ChannelRegion {
    try ChannelRegion(mappedAt: map(), byteCount: geometry.regionBytes)
  }
}

/// Writes random bytes anywhere, and every other time a plausible word where it matters.
private final class Scribbler: @unchecked Sendable {
  // @unchecked: used by one thread, read after it was joined.
  private let base: UnsafeMutableRawPointer
  private let geometry: Geometry
  var writes = 0

  init(_ memory: SharedRegion) {
    base = memory.map()
    geometry = memory.geometry
  }

  func run(_ quiet: Flag) {
    var generator = SystemRandomNumberGenerator()
    while !quiet.isSet {
      for _ in 0..<Int.random(in: 1...6, using: &generator) { write(&generator) }
      usleep(.random(in: 0...1500, using: &generator))
    }
  }

  private func write(_ generator: inout SystemRandomNumberGenerator) {
    writes += 1
    guard Bool.random(using: &generator) else {
      base.storeBytes(
        of: .random(in: 0...255, using: &generator),
        toByteOffset: .random(in: 0..<geometry.regionBytes, using: &generator), as: UInt8.self)
      return
    }
    let slice =
      geometry.slicesOffset + .random(in: 0..<2, using: &generator) * geometry.sliceStride
    let slot = slice + geometry.slotsOffset + .random(in: 0..<4, using: &generator) * 64
    let small = UInt32.random(in: 0...7, using: &generator)
    let places = [
      slot, slot + 4 * .random(in: 0..<16, using: &generator), slice, slice + 64,
      geometry.sliceTableOffset + 4 * .random(in: 0..<32, using: &generator),
      Int(VOS_CLIENT_PAGE_OFFSET) + 64, Int(VOS_SERVICE_PAGE_OFFSET) + 64,
      Int(VOS_CLIENT_PAGE_OFFSET), Int(VOS_SERVICE_PAGE_OFFSET),
    ]
    let place = places.randomElement(using: &generator) ?? slot
    let shift = UInt32.random(in: 0...1, using: &generator) * 8
    vos_store_release32((base + place).assumingMemoryBound(to: UInt32.self), small << shift)
  }
}

/// The host: ends a life that somebody broke, and begins another.
private final class HostParty: @unchecked Sendable {
  // @unchecked: used by the test's own thread.
  private let region: ChannelRegion
  private var generation: UInt32 = 1
  var renewals = 0
  var isStuck = false

  init(_ region: ChannelRegion) {
    self.region = region
    begin()
  }

  func step() {
    if !isWell { renew() }
    usleep(200)
  }

  private var isWell: Bool {
    [ChannelSide.client, .service].allSatisfy {
      region.life(of: $0) == .alive && region.generation(of: $0) == generation
        && !region.isDeclaredBroken(by: $0) && !region.hasLeft($0, generation: generation)
    }
  }

  func renew() {
    let start = monotonicMilliseconds()
    repeat {
      region.announce(.client, life: .failed, generation: generation)
      region.announce(.service, life: .failed, generation: generation)
      usleep(100)
      isStuck = monotonicMilliseconds() - start > 10 * patience
    } while !isStuck
      && !(region.hasLeft(.client, generation: generation)
        && region.hasLeft(.service, generation: generation))
    generation += 1
    begin()
  }

  private func begin() {
    renewals += 1
    try? region.renew(
      name: channelName.span, client: .init(.alive, generation: generation),
      service: .init(.alive, generation: generation))
  }
}

extension ChannelRegion {
  /// Waits for a life that is not `last`'s; `nil` when the test stops.
  fileprivate func begin(_ side: ChannelSide, after last: UInt32, _ stop: Flag) -> ChannelWatch? {
    while !stop.isSet {
      let now = monotonicMilliseconds()
      if let watch = ChannelWatch(
        region: self, side: side, milliseconds: now, patience: patience),
        watch.generation != last
      {
        return watch
      }
      leave(side)
      usleep(50)
    }
    return nil
  }

  /// Declares the channel broken until the host has ended the life.
  fileprivate func giveUp(_ watch: inout ChannelWatch, _ stop: Flag) {
    while !stop.isSet, watch.look(milliseconds: monotonicMilliseconds()) != .ended {
      watch.declareBroken()
      usleep(50)
    }
  }
}

/// A service that answers with the first argument plus one.
private final class ServiceParty: @unchecked Sendable {
  // @unchecked: used by one thread, read after it was joined.
  private let region: ChannelRegion
  var broken = 0

  init(_ region: ChannelRegion) { self.region = region }

  func run(_ stop: Flag) {
    var last: UInt32 = 0
    while var watch = region.begin(.service, after: last, stop) {
      last = watch.generation
      if live(&watch, stop) {
        broken += 1
        region.giveUp(&watch, stop)
      }
    }
  }

  /// True if this side found the channel broken.
  private func live(_ watch: inout ChannelWatch, _ stop: Flag) -> Bool {
    let page = region.page(of: .service)
    var port = ServicePort(region: region)
    var producer = EventProducer(region: region)
    page.announce(.ready, generation: watch.generation)
    var turn = 0
    while !stop.isSet {
      turn += 1
      if turn % 16 == 1 {
        page.beat()
        switch watch.look(milliseconds: monotonicMilliseconds()) {
        case .sound: break
        case .ended: return false
        case .broken: return true
        }
        if producer.fault != nil { return true }
        port.adoptAll()
      }
      if !serve(&port, &producer) { sched_yield() }
    }
    return false
  }

  private func serve(_ port: inout ServicePort, _ producer: inout EventProducer) -> Bool {
    guard let request = port.next() else { return false }
    let bytes = port.bytes(request)
    // Both ends of what was granted: outside there is nothing.
    if let end = bytes.indices.last { bytes[end] = bytes[0] &+ 1 }
    let reply = Reply(result: Int64(request.call.arguments.0 & 0xffff_ffff) + 1)
    if port.complete(request, reply) {
      producer.post(.completion(slice: UInt32(request.slice), slot: UInt32(request.slot)))
    }
    return true
  }
}

/// A client's kernel with calls on both slices.
private final class ClientParty: @unchecked Sendable {
  // @unchecked: used by one thread, read after it was joined; the flag is atomic.
  private let region: ChannelRegion
  var (posted, answered, failed, altered, broken) = (0, 0, 0, 0, 0)
  /// Of the last life, on a region that nobody scribbles over.
  let isSatisfied = Flag()
  var wrongInCalm = 0
  private var calm = 0
  private var isCalm = false

  private struct Flying {
    let slice: Int
    let ticket: Ticket
    let call: Call
    let since: UInt64
  }
  private var flying: [Flying] = []

  private final class Holder {
    let client: SliceClient
    init(_ region: ChannelRegion, _ slice: Int) {
      client = SliceClient(region: region, slice: slice)
    }
  }

  init(_ region: ChannelRegion) { self.region = region }

  func run(_ stop: Flag, _ calmDown: Flag) {
    var last: UInt32 = 0
    while var watch = region.begin(.client, after: last, stop) {
      last = watch.generation
      let fault = live(&watch, stop, calmDown)
      // Whoever waits is told: nobody will answer any more.
      failed += flying.count
      flying = []
      if fault {
        broken += 1
        region.giveUp(&watch, stop)
      }
    }
  }

  private func live(_ watch: inout ChannelWatch, _ stop: Flag, _ calmDown: Flag) -> Bool {
    let slices = (0..<2).map { Holder(region, $0) }
    var consumer = EventConsumer(region: region)
    let entry = SliceEntry(state: .live, generation: watch.generation)
    for slice in 0..<2 { region.publish(entry, slice: slice) }
    region.page(of: .client).announce(.ready, generation: watch.generation)
    while !stop.isSet {
      region.page(of: .client).beat()
      isCalm = calmDown.isSet
      let now = monotonicMilliseconds()
      switch watch.look(milliseconds: now) {
      case .sound: break
      case .ended: return false
      case .broken: return true
      }
      for slice in 0..<2 {
        if region.sliceEntry(slice) != entry { return true }
        post(slices[slice].client, slice, now)
      }
      if take(slices, now) { return true }
      while consumer.next() != nil {}
      if consumer.fault != nil { return true }
      sched_yield()
    }
    return false
  }

  private func post(_ client: borrowing SliceClient, _ slice: Int, _ now: UInt64) {
    while let slot = client.takeSlot() {
      posted += 1
      var data = client.window(of: slot)
      data.length = 8
      let call = Call(
        UInt16(VOS_CALL_NULL), object: UInt64(slot), arguments: (UInt64(posted), 1, 2), data: data)
      let ticket = client.submit(call, in: slot)
      _ = client.mustRing
      if posted % 3 == 0 { _ = client.announceWaiter(ticket) }
      flying.append(Flying(slice: slice, ticket: ticket, call: call, since: now))
    }
  }

  /// Takes what was answered; true if something is not as it must be.
  private func take(_ slices: [Holder], _ now: UInt64) -> Bool {
    var isBroken = false
    flying.removeAll { one in
      let slice = slices[one.slice]
      let isIntact = slice.client.isIntact(one.ticket, one.call)
      let reply = slice.client.poll(one.ticket)
      let isDamaged = !isIntact || reply == Reply.protocolError
      if isDamaged || now &- one.since > patience {
        if isDamaged, isCalm { wrongInCalm += 1 }
        isBroken = true
        failed += 1
        return true
      }
      guard let reply else { return false }
      count(reply.result == Int64(one.call.arguments.0) + 1)
      slice.client.giveBack(one.ticket.slot)
      return true
    }
    return isBroken
  }

  private func count(_ isRight: Bool) {
    if isRight { answered += 1 } else { altered += 1 }
    guard isCalm else { return }
    if !isRight { wrongInCalm += 1 }
    calm += 1
    if calm == 10_000 { isSatisfied.set() }
  }
}
