// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// Data over slots, cut into pieces as large as a slot's part of the arena.
extension Channel {
  /// How a transfer ended: bytes moved, and why it stopped before the end.
  struct Progress {
    enum Stop {
      /// All moved, or a short answer: the end of a file, a full disk.
      case end
      /// Minus a Linux errno.
      case error(Int64)
      /// No slot, no service, or an answer that makes no sense: the real call must go on.
      case unavailable
    }
    var bytes = 0
    var stop = Stop.unavailable
  }

  /// Pieces of one read in flight together.
  private static let window = 4

  /// Reads `cursor.total` bytes at `offset` of a file, several pieces in flight.
  func readFile(_ object: UInt64, at offset: Int, _ cursor: inout Cursor) -> Progress {
    var flight = InlineArray<4, Ticket>(repeating: Ticket())
    var progress = Progress()
    var issued = 0
    var head = 0
    var inFlight = 0
    var stopped = false
    while true {
      while !stopped, inFlight < Self.window, issued < cursor.total,
        let slot = allocate(waits: inFlight == 0)
      {
        let length = min(pieceBytes, cursor.total &- issued)
        let request = Request(
          call: UInt32(VOS_CALL_PREAD64), object: object,
          argument: UInt64(truncatingIfNeeded: offset &+ issued), length: 0, capacity: length)
        flight[(head &+ inFlight) % Self.window] = submit(request, in: slot)
        issued = issued &+ length
        inFlight = inFlight &+ 1
      }
      guard inFlight > 0 else { break }
      let expected = min(pieceBytes, cursor.total &- progress.bytes)
      let ticket = flight[head]
      head = (head &+ 1) % Self.window
      inFlight = inFlight &- 1
      // After a short piece the rest is waited for and dropped.
      if stopped {
        drain(ticket)
      } else {
        stopped = !accept(ticket, expected, &cursor, &progress)
      }
    }
    if !stopped, progress.bytes == cursor.total { progress.stop = .end }
    return progress
  }

  /// Takes one piece of a read; false if it is the last that counts.
  private func accept(
    _ ticket: Ticket, _ expected: Int, _ cursor: inout Cursor, _ progress: inout Progress
  ) -> Bool {
    guard let result = answer(to: ticket, &progress) else { return false }
    defer { release(ticket.slot) }
    guard result >= 0 else {
      progress.stop = .error(result)
      return false
    }
    // The peer's number is checked before it is used as a length.
    guard result <= Int64(expected) else { return false }
    unsafe cursor.give(Int(result), from: piece(ticket.slot))
    progress.bytes = progress.bytes &+ Int(result)
    if result < Int64(expected) { progress.stop = .end }
    return result == Int64(expected)
  }

  /// What a call came back with; nil if there is no answer, with what to do then in `progress`.
  private func answer(to ticket: Ticket, _ progress: inout Progress) -> Int64? {
    switch finish(ticket) {
    case .done(let result): return result
    case .lost: break
    case .damaged:
      // What names an offset may be done twice; what takes from a stream or adds to it must not.
      let call = ticket.request.call
      if call == UInt32(VOS_CALL_READ) || call == UInt32(VOS_CALL_WRITE) {
        progress.stop = .error(Linux.inputOutput)
      }
    }
    return nil
  }

  /// Whether a call without data came back with 0.
  func isDone(_ request: Request) -> Bool {
    guard let slot = allocate(waits: true) else { return false }
    guard case .done(let result) = finish(submit(request, in: slot)) else { return false }
    release(slot)
    return result == 0
  }

  private func drain(_ ticket: Ticket) {
    if case .done = finish(ticket) { release(ticket.slot) }
  }

  /// One answer of a socket: at most one piece, so an error is never swallowed behind data.
  func receive(_ object: UInt64, _ flags: Int32, _ cursor: inout Cursor) -> Progress {
    var progress = Progress()
    guard let slot = allocate(waits: true) else { return progress }
    let length = min(pieceBytes, cursor.total)
    let request = Request(
      call: UInt32(VOS_CALL_READ), object: object, argument: UInt64(UInt32(bitPattern: flags)),
      length: 0, capacity: length)
    if accept(submit(request, in: slot), length, &cursor, &progress) { progress.stop = .end }
    return progress
  }

  /// Writes all of `cursor` in order; the next piece is copied while one is under way. `offset`
  /// nil: a socket, with `flags`.
  func send(
    _ object: UInt64, at offset: Int?, _ flags: Int32, _ cursor: inout Cursor
  ) -> Progress {
    var progress = Progress()
    var copied = 0
    var last: (ticket: Ticket, length: Int)?
    while copied < cursor.total {
      let length = min(pieceBytes, cursor.total &- copied)
      guard let slot = allocate(waits: last == nil) else { break }
      unsafe cursor.take(length, to: piece(slot))
      if let (ticket, length) = last, !settle(ticket, length, &progress) {
        release(slot)
        return progress
      }
      let argument = offset.map { $0 &+ copied } ?? Int(UInt32(bitPattern: flags))
      let request = Request(
        call: UInt32(offset == nil ? VOS_CALL_WRITE : VOS_CALL_PWRITE64), object: object,
        argument: UInt64(truncatingIfNeeded: argument), length: length, capacity: 0)
      last = (submit(request, in: slot), length)
      copied = copied &+ length
    }
    if let (ticket, length) = last, !settle(ticket, length, &progress) { return progress }
    if progress.bytes == cursor.total { progress.stop = .end }
    return progress
  }

  /// Takes the answer to one piece of a write; false if it was not written whole.
  private func settle(_ ticket: Ticket, _ length: Int, _ progress: inout Progress) -> Bool {
    guard let result = answer(to: ticket, &progress) else { return false }
    release(ticket.slot)
    guard result >= 0 else {
      progress.stop = .error(result)
      return false
    }
    guard result <= Int64(length) else { return false }
    progress.bytes = progress.bytes &+ Int(result)
    if result < Int64(length) { progress.stop = .end }
    return result == Int64(length)
  }
}
