// SPDX-License-Identifier: Apache-2.0
import CModule
import CVosABI
import Channel
import ChannelKit
import FuzzKit

// The kernel module's side of a channel: calls over slice 0, events, slices, and the channel's lives,
// while the service writes whatever it likes and the host ends and begins lives. Input: steps.
fuzz { input in
  var run = Run(input)
  run.all()
}

/// What happens while a call waits is taken from the same input.
nonisolated(unsafe) private var steps = Input([])
nonisolated(unsafe) private var peer: Peer?

/// The service, honest or not, and the host.
private final class Peer {
  let fuzzed = FuzzedRegion()
  private var port: ServicePort
  private var producer: EventProducer
  private var generation: UInt32 = 1

  init() {
    let region = fuzzed.region
    region.page(of: .service).announce(.ready, generation: 1)
    port = ServicePort(region: region)
    producer = EventProducer(region: region)
  }

  func act(_ input: inout Input) {
    switch input.below(8) {
    case 0: fuzzed.scribble(&input)
    case 1, 2: serve(&input)
    case 3: fuzz_module_interrupt()
    case 4: fuzz_module_work()
    case 5: producer.post(.completion(slice: UInt32(input.below(5)), slot: UInt32(input.below(6))))
    case 6: producer.post(.ready(cookie: input.interesting(), readiness: 1))
    default: host(&input)
    }
  }

  private func serve(_ input: inout Input) {
    while let change = port.nextChange() {
      if case .died(let slice, let generation) = change, port.isIdle(slice) {
        port.released(slice, generation: generation)
      }
    }
    guard let request = port.next() else { return }
    // Errnos of all kinds: Linux's, a kernel's own, and none.
    let result =
      input.byte() & 3 == 3 ? -Int64(input.below(5000)) : Int64(bitPattern: input.interesting())
    let reply = Reply(
      result: result, dataLength: UInt32(truncatingIfNeeded: input.interesting()))
    if port.complete(request, reply) {
      producer.post(.completion(slice: UInt32(request.slice), slot: UInt32(request.slot)))
    }
  }

  private func host(_ input: inout Input) {
    let region = fuzzed.region
    switch input.below(4) {
    case 0:
      for side in [ChannelSide.client, .service] {
        region.announce(side, life: .failed, generation: generation)
      }
    case 1: renew()
    case 2:
      // The service's domain starts again.
      region.announce(.service, life: .alive, generation: input.number())
    default:
      let side: ChannelSide = input.byte() & 1 == 0 ? .client : .service
      region.page(of: .service).announce(
        SideState(rawValue: UInt32(input.below(5))) ?? .broken,
        generation: region.generation(of: side))
    }
  }

  /// The module has left only when it says so; a host that does not wait spoils the new life.
  private func renew() {
    let region = fuzzed.region
    guard region.hasLeft(.client, generation: region.generation(of: .client)) else { return }
    generation &+= 1
    try? region.renew(
      name: Array("fuzz".utf8).span, client: .init(.alive, generation: generation),
      service: .init(.alive, generation: generation))
    region.page(of: .service).announce(.ready, generation: generation)
    port = ServicePort(region: region)
    producer = EventProducer(region: region)
  }
}

private struct Run {
  init(_ input: Input) { steps = input }

  mutating func all() {
    let peer = Peer()
    // The module is the only one who writes the table.
    for slice in 0..<peer.fuzzed.geometry.sliceCount {
      peer.fuzzed.region.publish(SliceEntry(state: .free, generation: 0), slice: slice)
    }
    withPeer(peer) {
      fuzz_module_start(
        peer.fuzzed.slices.baseAddress! - peer.fuzzed.geometry.slicesOffset,
        UInt64(peer.fuzzed.geometry.regionBytes)
      ) {
        guard !steps.isEmpty else { return false }
        peerActs()
        return true
      }
      while !steps.isEmpty { step() }
      fuzz_module_stop()
    }
  }

  private func withPeer(_ one: Peer, _ body: () -> Void) {
    peer = one
    body()
    peer = nil
  }

  private func step() {
    switch steps.below(8) {
    case 0, 1: call()
    case 2: _ = fuzz_module_hold(UInt32(truncatingIfNeeded: steps.interesting()))
    case 3: fuzz_module_let_go()
    case 4: fuzz_module_process(UInt32(steps.byte()))
    default: peerActs()
    }
  }

  private func call() {
    let numbers = [VOS_CALL_NULL, VOS_CALL_SOCKET, VOS_CALL_ACCEPT4, VOS_CALL_RECVMSG]
    let number = numbers[steps.below(numbers.count)]
    let data = steps.take(steps.below(64))
    let capacity = UInt32(truncatingIfNeeded: steps.interesting()) & 0x3fff
    _ = fuzz_module_call(UInt16(number), data, UInt32(data.count), capacity)
  }
}

private func peerActs() { peer?.act(&steps) }
