// SPDX-License-Identifier: Apache-2.0
import CMicro
import CVosABI
import Channel
import MicroRuntime

/// What one slice's calls cost another's: calls one at a time, each right after a neighbour has posted
/// all its slots.
struct Fairness: ~Copyable {
  var beside = Histogram()

  /// Measures `rounds` calls; false if a reply is missing or wrong.
  mutating func measure(
    _ light: borrowing SliceClient, _ heavy: borrowing SliceClient, _ rounds: UInt64
  ) -> Bool {
    let call = Call(UInt16(VOS_CALL_NULL))
    var tickets = InlineArray<64, Ticket?>(repeating: nil)
    let count = min(heavy.shape.slotCount, tickets.count)
    for _ in 0..<rounds {
      for index in 0..<count {
        guard let slot = heavy.takeSlot() else { return false }
        tickets[index] = heavy.submit(call, in: slot)
      }
      guard let ticks = time(light, call) else { return false }
      beside.add(ticks)
      for index in 0..<count {
        guard let ticket = tickets[index], wait(heavy, ticket) else { return false }
        heavy.giveBack(ticket.slot)
      }
    }
    return true
  }

  /// Ticks of one call; nil if its reply was wrong.
  private func time(_ client: borrowing SliceClient, _ call: Call) -> UInt64? {
    let start = micro_ticks()
    guard let slot = client.takeSlot() else { return nil }
    let isRight = wait(client, client.submit(call, in: slot))
    let ticks = micro_ticks() &- start
    client.giveBack(slot)
    return isRight ? ticks : nil
  }

  /// The service spins: nobody has to be rung.
  private func wait(_ client: borrowing SliceClient, _ ticket: Ticket) -> Bool {
    while true {
      if let reply = client.poll(ticket) { return reply.result == 0 }
    }
  }
}
