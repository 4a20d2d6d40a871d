// SPDX-License-Identifier: Apache-2.0
import CMicro
import CVosABI
import Channel
import MicroRuntime

/// Ticks of a run with 1, 2, 4, … outstanding calls: the median of `runs`.
struct Throughput {
  /// 1 to 64 calls: a slice has no more slots.
  static let steps = 7
  static let runs = 5
  private(set) var ticks = InlineArray<7, UInt64>(repeating: 0)
  private(set) var count = 0

  mutating func add(_ ticks: UInt64) {
    self.ticks[count] = ticks
    count += 1
  }
}

/// A number of outstanding calls: the oldest is waited for, and the next one posted in its slot.
struct Flow {
  private let device: Ivshmem
  private let call: Call
  private let outstanding: Int
  /// Since the last look whether the service sleeps.
  private var hasPosted = false
  private var tickets = InlineArray<64, Ticket?>(repeating: nil)
  /// Doorbells that the service asked for.
  private(set) var rings: UInt64 = 0

  /// - Parameter outstanding: 1...64, a power of two.
  init(_ device: Ivshmem, _ call: Call, outstanding: Int) {
    self.device = device
    self.call = call
    self.outstanding = outstanding
  }

  /// Makes `count` calls, at least as many as are outstanding, and returns the ticks that they
  /// took; nil if a reply was wrong.
  mutating func run(_ client: borrowing SliceClient, _ count: UInt64) -> UInt64? {
    let start = micro_ticks()
    for index in 0..<outstanding {
      guard let slot = client.takeSlot() else { return nil }
      tickets[index] = client.submit(call, in: slot)
    }
    ring(client)
    var isRight = true
    for number in 0..<count {
      let index = Int(number) & (outstanding - 1)
      guard let ticket = tickets[index] else { return nil }
      isRight = wait(client, ticket) && isRight
      if number + UInt64(outstanding) < count {
        tickets[index] = client.submit(call, in: ticket.slot)
        hasPosted = true
      } else {
        client.giveBack(ticket.slot)
      }
    }
    return isRight ? micro_ticks() &- start : nil
  }

  /// Waits for a call; whether its result is right. What was posted since the last wait is one
  /// batch: one look whether the service sleeps.
  private mutating func wait(_ client: borrowing SliceClient, _ ticket: Ticket) -> Bool {
    if let reply = client.poll(ticket) { return reply.result == 0 }
    if hasPosted { ring(client) }
    hasPosted = false
    while true {
      if let reply = client.poll(ticket) { return reply.result == 0 }
    }
  }

  private mutating func ring(_ client: borrowing SliceClient) {
    guard client.mustRing else { return }
    rings &+= 1
    device.ring(peer: VOS_PEER_SERVICE)
  }
}
