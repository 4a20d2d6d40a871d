// SPDX-License-Identifier: Apache-2.0
import CFuzz
import CVosABI
import Channel
import ChannelKit
import FuzzKit

// The slot decoder: a service works on a region while its client writes whatever it likes between
// any two steps. Input: steps.
fuzz { input in
  let fuzzed = FuzzedRegion()
  var service = Service(fuzzed.region)
  while !input.isEmpty {
    if input.byte() & 1 == 0 {
      fuzzed.scribble(&input)
    } else {
      service.step(&input)
    }
  }
  service.finish()
}

/// A service that keeps its own books, to compare.
struct Service: ~Copyable {
  private var port: ServicePort
  private var producer: EventProducer
  private let region: ChannelRegion
  private var outstanding: [Request] = []
  private var live: [Int: UInt32] = [:]
  private var dying: [Int: UInt32] = [:]

  init(_ region: ChannelRegion) {
    self.region = region
    port = ServicePort(region: region)
    producer = EventProducer(region: region)
  }

  mutating func step(_ input: inout Input) {
    switch input.below(6) {
    case 0: look()
    case 1, 2: take()
    case 3: answer(&input)
    case 4: bury()
    default: if port.prepareToSleep() { port.wakeUp() }
    }
  }

  mutating func finish() {
    while let request = outstanding.popLast() { _ = port.complete(request, Reply(result: 0)) }
    for slice in 0..<region.geometry.sliceCount {
      expect(port.isIdle(slice), "a slice is busy though all its calls are answered")
    }
  }

  private mutating func look() {
    switch port.nextChange() {
    case .adopted(let slice, let generation):
      expect(live[slice] == nil && dying[slice] == nil, "a slice was adopted twice")
      live[slice] = generation
    case .died(let slice, let generation):
      expect(live[slice] == generation, "a slice died that was not alive")
      live[slice] = nil
      dying[slice] = generation
    case nil: break
    }
  }

  private mutating func take() {
    guard let request = port.next() else { return }
    let same = outstanding.contains { $0.slice == request.slice && $0.slot == request.slot }
    expect(!same, "a slot was served twice at a time")
    expect(live[request.slice] == request.generation, "a call of a slice that is not served")
    let bytes = port.bytes(request)
    fuzz_expect_allowed(bytes.baseAddress, bytes.count, "a request's window leaves the region")
    let data = request.call.data
    expect(bytes.count >= max(data.length, data.capacity), "a window is smaller than it says")
    outstanding.append(request)
    expect(!port.isIdle(request.slice), "a slice is idle while a call is executed")
  }

  private mutating func answer(_ input: inout Input) {
    guard !outstanding.isEmpty else { return }
    let request = outstanding.remove(at: input.below(outstanding.count))
    if input.byte() == 0 { return port.completer.drop(request) }
    let reply = Reply(
      result: Int64(truncatingIfNeeded: input.interesting()),
      dataLength: UInt32(truncatingIfNeeded: input.interesting()))
    if port.complete(request, reply) {
      producer.post(.completion(slice: UInt32(request.slice), slot: UInt32(request.slot)))
    }
  }

  private mutating func bury() {
    guard let (slice, generation) = dying.first(where: { port.isIdle($0.key) }) else { return }
    port.released(slice, generation: generation)
    dying[slice] = nil
  }
}
