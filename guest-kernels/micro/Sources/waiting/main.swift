// SPDX-License-Identifier: Apache-2.0
// Both ends of a channel that wait as programs and services of Linux guests do: they look for a while,
// which they learn, and then sleep. So they get on even where only one of them can run at a time.
import CMicro
import CVosABI
import Channel
import MicroRuntime

private let callCount: UInt64 = 400

/// Some 50 microseconds, about what a sleep costs; there is nobody to yield to.
private let limits = WaitPolicy.Limits(spin: 1 << 17, yield: 0, sleepCost: 1 << 17)

/// What `run` returns, if not the number of calls.
private enum Failure {
  static let notServed: Int64 = -1
  static let badReply: Int64 = -2
}

/// One end; ring 3 runs it.
@safe
private struct Side: ~Copyable {
  let channel: ChannelRegion
  let device: Ivshmem
  /// Doorbells that arrived; the interrupt's stub counts them.
  @unsafe let taken: UnsafeMutablePointer<UInt64>
  var policy = WaitPolicy(limits)
  var sleeps: UInt64 = 0

  var isClient: Bool { device.peer == VOS_PEER_CLIENT }

  mutating func run() -> Int64 { isClient ? ask() : serve() }

  /// Looks until `isDone`, sleeping in between when it has been too long. `announce` tells the other
  /// side that a doorbell is needed, and says whether it is: after it the condition is looked at
  /// again by whoever announces.
  private mutating func wait(
    until isDone: () -> Bool, announce: () -> Bool, awake: () -> Void = {}
  ) {
    let start = micro_ticks()
    while !isDone() {
      guard policy.step(after: micro_ticks() &- start) == .sleep else {
        vos_pause()
        continue
      }
      // SAFETY: the counter is never freed.
      let seen = unsafe vos_load_acquire64(taken)
      guard announce() else { continue }
      sleeps &+= 1
      UserMode.sleep(whileInterruptsAre: seen)
      awake()
    }
    policy.finished(after: micro_ticks() &- start)
  }

  private mutating func ask() -> Int64 {
    let client = SliceClient(region: channel, slice: 0)
    channel.page(of: .client).announce(.ready, generation: 1)
    channel.publish(SliceEntry(state: .live, generation: 1), slice: 0)
    device.ring(peer: VOS_PEER_SERVICE)
    guard spin(until: { client.servedGeneration == 1 }) else { return Failure.notServed }
    for _ in 0..<callCount where call(client, UInt16(VOS_CALL_NULL)) != 0 {
      return Failure.badReply
    }
    _ = call(client, BenchCall.stop)
    return Int64(callCount)
  }

  private mutating func call(_ client: borrowing SliceClient, _ number: UInt16) -> Int64? {
    guard let slot = client.takeSlot() else { return nil }
    let ticket = client.submit(Call(number), in: slot)
    if client.mustRing { device.ring(peer: VOS_PEER_SERVICE) }
    var reply: Reply?
    wait(
      until: {
        reply = client.poll(ticket)
        return reply != nil
      }, announce: { client.announceWaiter(ticket) != nil })
    client.giveBack(slot)
    return reply?.result
  }

  private mutating func serve() -> Int64 {
    var port = ServicePort(region: channel)
    channel.page(of: .service).announce(.ready, generation: 1)
    var served: Int64 = 0
    while true {
      var request: Request?
      wait(
        until: {
          while port.nextChange() != nil {}
          request = port.next()
          return request != nil
        }, announce: { port.prepareToSleep() }, awake: { port.wakeUp() })
      guard let request else { continue }
      if port.complete(request, Reply(result: 0)) { device.ring(peer: VOS_PEER_CLIENT) }
      if request.call.number == BenchCall.stop { return served }
      served += 1
    }
  }
}

private func run() -> String? {
  guard let device = Ivshmem.first() else { return "no ivshmem device" }
  guard let channel = try? device.channel() else { return "no channel" }
  // SAFETY: never freed, in memory that ring 3 may touch.
  let taken = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
  unsafe taken.initialize(to: 0)
  micro_count_interrupts(UInt64(UInt(bitPattern: taken)))
  guard device.route(entry: 0, to: Interrupts.firstVector) else { return "no MSI-X" }
  LocalAPIC.enableInterrupts()
  // SAFETY: as above; ring 3 uses it first, then ring 0.
  let side = UnsafeMutablePointer<Side>.allocate(capacity: 1)
  unsafe side.initialize(to: Side(channel: channel, device: device, taken: taken))
  let result = unsafe UserMode.run(
    { unsafe $0!.assumingMemoryBound(to: Side.self).pointee.run() }, side)
  if let vector = UserFault.vector(of: result) { return "ring 3 stopped by exception \(vector)" }
  Console.line("RESULT sleeps \(unsafe side.pointee.sleeps)")
  switch result {
  case Failure.notServed: return "the other side does not come"
  case Failure.badReply: return "a call was answered wrongly"
  default:
    Console.line("RESULT calls \(result)")
    return nil
  }
}

report("waiting", run())
