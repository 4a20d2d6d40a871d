// SPDX-License-Identifier: Apache-2.0
// Two of these ring each other: peer 0 rings, peer 1 answers each ring with one. Both sleep between,
// so an interrupt that does not come is a guest that does not go on.
import CMicro
import CVosABI
import Channel
import MicroRuntime

private let rings: UInt64 = 100

/// Rings or answers `rings` times; returns what went wrong.
private func exchange(_ device: Ivshmem, _ channel: ChannelRegion) -> String? {
  let side: ChannelSide = device.peer == VOS_PEER_CLIENT ? .client : .service
  let other = side.other.rawValue
  // SAFETY: never freed; the handler and the loop below use it atomically.
  let taken = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
  unsafe taken.initialize(to: 0)
  let vector = Interrupts.firstVector
  Interrupts.handle(vector) {
    _ = unsafe vos_fetch_add64(taken, 1)
    if side == .service { device.ring(peer: other) }
  }
  guard device.route(entry: 0, to: vector) else { return "no MSI-X" }
  LocalAPIC.enableInterrupts()
  channel.page(of: side).announce(.ready, generation: 1)
  guard spin(until: { channel.page(of: side.other).state == .ready }) else {
    return "the other side does not come"
  }
  let start = micro_ticks()
  for ring in 1...rings {
    if side == .client { device.ring(peer: other) }
    while true {
      micro_interrupts_off()
      if unsafe vos_load_acquire64(taken) >= ring { break }
      micro_wait()
    }
    micro_interrupts_on()
  }
  let ticks = (micro_ticks() &- start) / rings
  Console.line("RESULT doorbell_round_trip_ticks \(ticks)")
  let count = unsafe vos_load_acquire64(taken)
  return count == rings ? nil : "\(count) interrupts for \(rings) rings"
}

if let device = Ivshmem.first(), let channel = try? device.channel() {
  report("doorbell", exchange(device, channel))
} else {
  report("doorbell", "no channel")
}
