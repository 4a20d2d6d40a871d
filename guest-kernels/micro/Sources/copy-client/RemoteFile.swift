// SPDX-License-Identifier: Apache-2.0
import CMicro
import CVosABI
import Channel
import MicroRuntime

/// Reads a file of the service, as a program's fast path does.
///
/// A long read goes out in pieces, each in a slot and a part of the arena of its own: while one
/// piece is copied out of the arena here, the service copies the next ones into it.
struct RemoteFile: ~Copyable {
  private let client: SliceClient
  private let device: Ivshmem
  /// Pieces on their way, the oldest first at `taken`; both run freely.
  private var tickets = InlineArray<16, Ticket?>(repeating: nil)

  /// Pieces that are on their way at most.
  private static let depth = 16
  /// A read up to this length is one call: for less, a second call costs more than it saves.
  private static let shortest = 8192
  /// A piece's longest length: depth times this fits the service's cache.
  private static let longest = 32 << 10
  /// Pieces that a read is split into, if they are not too short or too long then.
  private static let parts = 4
  private static let lineBytes = 64

  init(_ client: consuming SliceClient, _ device: Ivshmem) {
    self.client = client
    self.device = device
  }

  /// Bytes of the arena that pieces use, from `CopyPage.dataOffset` on.
  static let arenaBytes = depth * longest

  var servedGeneration: UInt32 { client.servedGeneration }

  /// A call without data; nil if it cannot be made.
  func call(_ call: Call) -> Int64? {
    guard let slot = client.takeSlot() else { return nil }
    let ticket = client.submit(call, in: slot)
    ring()
    let reply = wait(ticket)
    client.giveBack(slot)
    return reply.result
  }

  /// Reads `buffer.count` bytes from `offset` on; false if not all of them came.
  mutating func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
    guard let target = buffer.baseAddress else { return true }
    let piece = Self.pieceBytes(buffer.count)
    var (asked, taken, isWhole) = (0, 0, true)
    var (next, oldest) = (0, 0)
    while taken < buffer.count {
      let first = next
      while asked < buffer.count, next - oldest < Self.depth {
        let count = min(piece, buffer.count - asked)
        guard let ticket = post(count, at: offset + asked) else { break }
        tickets[next & (Self.depth - 1)] = ticket
        asked += count
        next += 1
      }
      if next != first { ring() }
      guard let ticket = tickets[oldest & (Self.depth - 1)] else { return false }
      let count = min(piece, buffer.count - taken)
      // SAFETY: `taken + count` is at most the buffer's size.
      isWhole = unsafe take(ticket, target + taken, count) && isWhole
      taken += count
      oldest += 1
    }
    return isWhole
  }

  private static func pieceBytes(_ count: Int) -> Int {
    if count <= shortest { return max(count, 1) }
    let part = (count / parts + lineBytes - 1) & ~(lineBytes - 1)
    return min(max(part, shortest / 2), longest)
  }

  private func window(_ slot: Int, _ count: Int) -> DataWindow {
    DataWindow(
      offset: UInt32(CopyPage.dataOffset + slot * Self.longest), capacity: UInt32(count))
  }

  private func post(_ count: Int, at offset: Int) -> Ticket? {
    guard let slot = client.takeSlot() else { return nil }
    let call = Call(
      UInt16(VOS_CALL_PREAD64), object: CopyPage.file, arguments: (UInt64(offset), 0, 0),
      data: window(slot, count))
    return client.submit(call, in: slot)
  }

  /// Waits for a piece and copies it out.
  private func take(_ ticket: Ticket, _ target: UnsafeMutableRawPointer, _ count: Int) -> Bool {
    let reply = wait(ticket)
    let isWhole = reply.result == Int64(count) && reply.dataLength == UInt32(count)
    if isWhole, let source = unsafe client.bytes(window(ticket.slot, count)).baseAddress {
      // SAFETY: the window was checked to hold `count` bytes, and the caller has room for them.
      unsafe micro_copy(target, source, UInt64(count))
    }
    client.giveBack(ticket.slot)
    return isWhole
  }

  private func ring() {
    if client.mustRing { device.ring(peer: VOS_PEER_SERVICE) }
  }

  /// With a pause between looks, as `SliceClient.spin` has it: a look takes the slot's line away
  /// from the service, which is about to write to it. Between processors that share no cache a
  /// read of 256 bytes takes a fifth longer without.
  private func wait(_ ticket: Ticket) -> Reply {
    while true {
      if let reply = client.poll(ticket) { return reply }
      vos_pause()
    }
  }
}
