// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// Datagrams with their addresses, as SENDMSG and RECVMSG carry them: struct vos_message, then the
/// payload, both in one slot's piece. Control data is the kernel path's.
enum Messages {
  private static let headBytes = MemoryLayout<vos_message>.size
  private static let addressBytes = Int(VOS_ADDRESS_BYTES)
  private static let sendFlags =
    Linux.messageDontWait | Linux.messageNoSignal | Linux.messageMore
  private static let receiveFlags = Linux.messagePeek | Linux.messageDontWait

  /// What a receive brought beside its bytes.
  struct Received {
    var bytes: Int
    /// msg_flags.
    var flags: Int32
    /// The sender's address; as many bytes of it count.
    var name: InlineArray<16, UInt64>
    var nameLength: Int
  }

  /// The socket and its channel, if a datagram of `bytes` fits a slot beside its head.
  private static func socket(_ descriptor: Int32, _ bytes: Int) -> (Entry, Word, Channel)? {
    guard let entry = Entry(descriptor) else { return nil }
    let word = Ownership.current(descriptor, entry)
    guard word.kind == .socket, !word.isStream,
      let channel = Sockets.channel(descriptor, entry, word, bytes &+ headBytes)
    else { return nil }
    return (entry, word, channel)
  }

  static func send(
    _ descriptor: Int32, to name: UnsafeRawPointer, _ nameLength: Int, _ start: Cursor,
    _ flags: Int32
  ) -> Int? {
    guard flags & ~sendFlags == 0, (1...addressBytes).contains(nameLength),
      let (entry, _, channel) = socket(descriptor, start.total),
      let slot = channel.allocate(waits: true)
    else { return Hot.fallback(VOS_CARRIES_SOCKETS) }
    let piece = unsafe channel.piece(slot)
    var head = vos_message()
    head.flags = UInt32(bitPattern: flags)
    head.name_length = UInt32(nameLength)
    head.payload_length = UInt32(start.total)
    // SAFETY: the piece has room for head and payload, as `socket` saw to; the program promised
    // `nameLength` bytes at `name`, at most as many as the field has.
    unsafe withUnsafeMutableBytes(of: &head.name) {
      unsafe libvos_copy($0.baseAddress, name, nameLength)
    }
    unsafe piece.storeBytes(of: head, as: vos_message.self)
    var cursor = start
    unsafe cursor.take(start.total, to: piece + headBytes)
    let request = Request(
      call: UInt32(VOS_CALL_SENDMSG), object: entry.object, argument: 0,
      length: headBytes &+ start.total, capacity: 0)
    guard case .done(let result) = channel.finish(channel.submit(request, in: slot)) else {
      return Hot.fallback(VOS_CARRIES_SOCKETS)
    }
    channel.release(slot)
    guard result >= 0 else { return refused(result, descriptor) }
    guard result <= Int64(start.total) else { return Hot.fallback(VOS_CARRIES_SOCKETS) }
    channel.countFast()
    return Int(result)
  }

  /// `wantsName`: the sender's address is asked for.
  static func receive(
    _ descriptor: Int32, _ start: Cursor, _ flags: Int32, wantsName: Bool
  ) -> (result: Int, received: Received?)? {
    guard flags & ~receiveFlags == 0, let (entry, word, channel) = socket(descriptor, start.total)
    else {
      _ = Hot.fallback(VOS_CARRIES_SOCKETS)
      return nil
    }
    let waits = word.isBlocking && flags & Linux.messageDontWait == 0
    var wait = Wait(channel, .arrival)
    while true {
      switch ask(channel, entry.object, start, flags, wantsName) {
      case .done(let received):
        if waits { wait.end() }
        channel.countFast()
        return (received.bytes, received)
      case .error(Linux.again):
        if waits, Sockets.pauses(&wait, descriptor) { continue }
        _ = Hot.fallback(VOS_CARRIES_SOCKETS)
        return nil
      case .error(let error): return refused(error, descriptor).map { ($0, nil) }
      case .unavailable:
        _ = Hot.fallback(VOS_CARRIES_SOCKETS)
        return nil
      }
    }
  }

  private static func refused(_ error: Int64, _ descriptor: Int32) -> Int? {
    error == Linux.again
      ? Hot.fallback(VOS_CARRIES_SOCKETS) : Sockets.failed(error, descriptor)
  }

  private enum Answer {
    case done(Received)
    case error(Int64)
    case unavailable
  }

  private static func ask(
    _ channel: Channel, _ object: UInt64, _ start: Cursor, _ flags: Int32, _ wantsName: Bool
  ) -> Answer {
    guard let slot = channel.allocate(waits: true) else { return .unavailable }
    let piece = unsafe channel.piece(slot)
    var head = vos_message()
    head.flags = UInt32(bitPattern: flags)
    head.name_length = wantsName ? UInt32(VOS_ADDRESS_BYTES) : 0
    head.payload_length = UInt32(start.total)
    // SAFETY: the piece has room for head and payload.
    unsafe piece.storeBytes(of: head, as: vos_message.self)
    let request = Request(
      call: UInt32(VOS_CALL_RECVMSG), object: object, argument: 0, length: headBytes,
      capacity: headBytes &+ start.total)
    guard case .done(let result) = channel.finish(channel.submit(request, in: slot)) else {
      return .unavailable
    }
    defer { channel.release(slot) }
    guard result >= 0 else { return .error(result) }
    // Copied once; the copy is what counts.
    let reply = unsafe piece.load(as: vos_message.self)
    guard result == Int64(reply.payload_length), result <= Int64(start.total),
      reply.name_length <= head.name_length
    else { return .unavailable }
    var cursor = start
    unsafe cursor.give(Int(result), from: piece + headBytes)
    return .done(
      Received(
        bytes: Int(result), flags: Int32(bitPattern: reply.flags) & Linux.messageResults,
        name: name(of: reply), nameLength: Int(reply.name_length)))
  }

  private static func name(of reply: vos_message) -> InlineArray<16, UInt64> {
    var reply = reply
    var name = InlineArray<16, UInt64>(repeating: 0)
    // SAFETY: both have VOS_ADDRESS_BYTES.
    unsafe withUnsafeBytes(of: &reply.name) { from in
      unsafe withUnsafeMutableBytes(of: &name) {
        unsafe libvos_copy($0.baseAddress, from.baseAddress, addressBytes)
      }
    }
    return name
  }

  /// Gives the sender's address as the kernel does: as much as there is room for, and its length.
  static func give(
    _ received: Received, _ name: UnsafeMutableRawPointer?, _ length: inout UInt32
  ) {
    var address = received.name
    // SAFETY: the program promised `length` bytes at `name`.
    unsafe withUnsafeBytes(of: &address) {
      unsafe libvos_copy(name, $0.baseAddress, min(Int(length), received.nameLength))
    }
    length = UInt32(received.nameLength)
  }
}
