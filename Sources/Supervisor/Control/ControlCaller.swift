// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel

/// Posts calls to a domain's agent over slice 0 of its control channel. The agent is in a guest:
/// its answers are checked by `SliceClient`, and none of them can hold the caller.
final class ControlCaller {
  /// What a call came back with: the result and the reply's bytes.
  typealias Completion = (_ result: Int64, _ data: [UInt8]) -> Void

  private struct Outstanding {
    var ticket: Ticket
    var offset: Int
    var completion: Completion
  }

  private let channel: ChannelResources
  private let client: SliceClient
  private var outstanding: [Outstanding] = []

  init(_ channel: ChannelResources) {
    self.channel = channel
    client = SliceClient(region: channel.view, slice: 0)
  }

  func isOn(_ channel: ChannelResources) -> Bool { self.channel === channel }

  /// Bytes that one call may carry each way.
  var windowBytes: Int { channel.plan.geometry.arenaBytes / channel.plan.geometry.slotCount }

  /// Whether answers are awaited, so that `poll` has a purpose.
  var isWaiting: Bool { !outstanding.isEmpty }

  /// Posts a call; `completion` runs from a later `poll` or `failAll`.
  ///
  /// - Returns: false if all slots are in use or `data` is too long; nothing was posted then.
  func call(
    _ number: UInt32, object: UInt64 = 0, argument: UInt64 = 0, data: [UInt8] = [],
    capacity: Int = 0, completion: @escaping Completion
  ) -> Bool {
    guard data.count <= windowBytes, capacity <= windowBytes, let slot = client.takeSlot() else {
      return false
    }
    let offset = slot * windowBytes
    guard channel.mapping.copy(data.span, to: arenaStart + offset) else {
      client.giveBack(slot)
      return false
    }
    let window = DataWindow(
      offset: UInt32(offset), length: UInt32(data.count), capacity: UInt32(capacity))
    let call = Call(
      UInt16(number), object: object, arguments: (argument, 0, 0), data: window)
    let ticket = client.submit(call, in: slot)
    if client.mustRing { channel.ring(VOS_PEER_SERVICE) }
    // Always announced: this side never spins. Who answered already is found by the next poll.
    _ = client.announceWaiter(ticket)
    outstanding.append(Outstanding(ticket: ticket, offset: offset, completion: completion))
    return true
  }

  private var arenaStart: Int {
    channel.plan.geometry.slicesOffset + channel.plan.geometry.arenaOffset
  }

  /// Runs the completions of all calls that were answered.
  func poll() {
    var finished: [(Completion, Int64, [UInt8])] = []
    outstanding.removeAll { entry in
      guard let reply = client.poll(entry.ticket) else { return false }
      // The length was checked against the window's capacity.
      let data = channel.mapping.copy(from: arenaStart + entry.offset, count: Int(reply.dataLength))
      client.giveBack(entry.ticket.slot)
      finished.append((entry.completion, reply.result, data ?? []))
      return true
    }
    for (completion, result, data) in finished { completion(result, data) }
  }

  /// Ends every call with minus `errno`: the agent's life is over.
  func failAll(errno: Int32) {
    let entries = outstanding
    outstanding = []
    for entry in entries {
      _ = client.withdraw(entry.ticket)
      client.giveBack(entry.ticket.slot)
    }
    for entry in entries { entry.completion(-Int64(errno), []) }
  }
}
