// SPDX-License-Identifier: Apache-2.0
import CFuzz
import CVosABI
import Channel
import ChannelKit
import FuzzKit

// What a client takes from its service: replies, slot words and events, while the service writes
// whatever it likes between any two steps. Input: steps.
fuzz { input in
  let fuzzed = FuzzedRegion()
  var client = Client(fuzzed.region)
  while !input.isEmpty {
    if input.byte() & 1 == 0 {
      fuzzed.scribble(&input)
    } else {
      client.step(&input)
    }
  }
}

struct Client: ~Copyable {
  private let client: SliceClient
  private let region: ChannelRegion
  private var consumer: EventConsumer
  private var flying: [(ticket: Ticket, window: DataWindow)] = []

  init(_ region: ChannelRegion) {
    self.region = region
    client = SliceClient(region: region, slice: 1)
    consumer = EventConsumer(region: region)
  }

  mutating func step(_ input: inout Input) {
    switch input.below(6) {
    case 0, 1: submit(&input)
    case 2: poll(&input)
    case 3: events()
    case 4: withdraw(&input)
    default:
      guard !flying.isEmpty else { return }
      _ = client.announceWaiter(flying[input.below(flying.count)].ticket)
    }
  }

  private mutating func submit(_ input: inout Input) {
    guard let slot = client.takeSlot() else {
      return expect(flying.count == region.geometry.slotCount, "a slot was lost")
    }
    expect(!flying.contains { $0.ticket.slot == slot }, "a slot was given out twice")
    let window = client.window(of: slot)
    let call = Call(UInt16(VOS_CALL_NULL), arguments: (input.number(), 0, 0), data: window)
    flying.append((client.submit(call, in: slot), window))
    _ = client.mustRing
  }

  private mutating func poll(_ input: inout Input) {
    guard !flying.isEmpty else { return }
    let index = input.below(flying.count)
    if let reply = client.poll(flying[index].ticket) { finish(index, reply) }
  }

  private mutating func withdraw(_ input: inout Input) {
    guard !flying.isEmpty else { return }
    let index = input.below(flying.count)
    var reply: Reply?
    if case .answered(let early) = client.withdraw(flying[index].ticket) { reply = early }
    finish(index, reply)
  }

  private mutating func finish(_ index: Int, _ reply: Reply?) {
    let (ticket, window) = flying.remove(at: index)
    if let reply {
      expect(reply.result >= -4095, "an errno that does not exist")
      expect(reply.dataLength <= window.capacity, "a reply longer than its room")
      let bytes = client.bytes(window)
      fuzz_expect_allowed(bytes.baseAddress, Int(reply.dataLength), "a reply leaves the region")
    }
    client.giveBack(ticket.slot)
  }

  private mutating func events() {
    // A ring's worth at most: the consumer cannot be held.
    for _ in 0...region.geometry.eventCount {
      guard let event = consumer.next() else { break }
      guard case .completion(let slice, let slot) = event else { continue }
      expect(
        slice < UInt32(region.geometry.sliceCount) && slot < UInt32(region.geometry.slotCount),
        "an event of a slot that does not exist")
    }
    _ = consumer.lostSome()
  }
}
