// SPDX-License-Identifier: Apache-2.0

public import CLibvos
internal import CVosABI

// The calls that move data with addresses, and several messages at once.
// SAFETY (all below): a program's pointers are passed on as it gave them; a vector made here
// lives as long as the call.

@c(recvfrom)
public func recvfrom(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ flags: Int32,
  _ address: UnsafeMutableRawPointer?, _ length: UnsafeMutableRawPointer?
) -> Int {
  guard let address = unsafe address else { return unsafe recv(descriptor, buffer, count, flags) }
  if let result = unsafe received(descriptor, buffer, count, flags, from: address, length) {
    return result
  }
  return unsafe real().pointee.recvfrom(descriptor, buffer, count, flags, address, length)
}

/// A datagram and its sender without a trap, or nil.
func received(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ flags: Int32,
  from address: UnsafeMutableRawPointer, _ length: UnsafeMutableRawPointer?
) -> Int? {
  guard Hot.isRemote(descriptor), let length = unsafe length else { return nil }
  var vector = unsafe libvos_vector(base: buffer, length: count)
  var room = unsafe length.loadUnaligned(as: UInt32.self)
  guard let cursor = unsafe Cursor(&vector, 1), room <= UInt32(Int32.max),
    let (result, received) = Messages.receive(descriptor, cursor, flags, wantsName: true)
  else { return nil }
  if let received {
    unsafe Messages.give(received, address, &room)
    unsafe length.storeBytes(of: room, as: UInt32.self)
  }
  return result
}

@c(sendto)
public func sendto(
  _ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int, _ flags: Int32,
  _ address: UnsafeRawPointer?, _ length: UInt32
) -> Int {
  guard let address = unsafe address else { return unsafe send(descriptor, buffer, count, flags) }
  if let sent = unsafe sent(descriptor, buffer, count, flags, to: address, length) { return sent }
  return unsafe real().pointee.sendto(descriptor, buffer, count, flags, address, length)
}

/// A datagram to an address without a trap, or nil.
func sent(
  _ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int, _ flags: Int32,
  to address: UnsafeRawPointer, _ length: UInt32
) -> Int? {
  guard Hot.isRemote(descriptor) else { return nil }
  var vector = unsafe libvos_vector(
    base: UnsafeMutableRawPointer(mutating: buffer), length: count)
  guard let cursor = unsafe Cursor(&vector, 1) else { return nil }
  return unsafe Messages.send(descriptor, to: address, Int(length), cursor, flags)
}

/// Without a trap, or nil.
func received(
  _ descriptor: Int32, _ message: UnsafeMutablePointer<libvos_message>, _ flags: Int32
) -> Int? {
  guard Hot.isRemote(descriptor), let entry = Entry(descriptor),
    unsafe message.pointee.control == nil || message.pointee.control_length == 0
  else { return nil }
  let count = unsafe Int(truncatingIfNeeded: message.pointee.vector_count)
  let wantsName = unsafe message.pointee.name != nil
  if entry.load().isStream {
    guard !wantsName,
      let moved = unsafe Hot.read(descriptor, message.pointee.vectors, count, flags: flags)
    else { return nil }
    unsafe message.pointee.control_length = 0
    unsafe message.pointee.flags = 0
    return moved
  }
  guard let cursor = unsafe Cursor(message.pointee.vectors, count),
    unsafe message.pointee.name_length <= UInt32(Int32.max),
    let (result, received) = Messages.receive(descriptor, cursor, flags, wantsName: wantsName)
  else { return nil }
  if let received {
    if wantsName {
      var room = unsafe message.pointee.name_length
      unsafe Messages.give(received, message.pointee.name, &room)
      unsafe message.pointee.name_length = room
    }
    unsafe message.pointee.control_length = 0
    unsafe message.pointee.flags = received.flags
  }
  return result
}

/// Without a trap, or nil.
func sent(
  _ descriptor: Int32, _ message: UnsafePointer<libvos_message>, _ flags: Int32
) -> Int? {
  unsafe Sharing.giveBackPassed(in: message)
  guard Hot.isRemote(descriptor),
    unsafe message.pointee.control == nil || message.pointee.control_length == 0
  else { return nil }
  let count = unsafe Int(truncatingIfNeeded: message.pointee.vector_count)
  guard let name = unsafe message.pointee.name else {
    return unsafe Hot.write(descriptor, message.pointee.vectors, count, flags: flags)
  }
  guard let cursor = unsafe Cursor(message.pointee.vectors, count) else { return nil }
  return unsafe Messages.send(
    descriptor, to: name, Int(message.pointee.name_length), cursor, flags)
}

@c(recvmsg)
public func recvmsg(
  _ descriptor: Int32, _ message: UnsafeMutablePointer<libvos_message>?, _ flags: Int32
) -> Int {
  if let message = unsafe message, let moved = unsafe received(descriptor, message, flags) {
    return moved
  }
  return unsafe real().pointee.recvmsg(descriptor, message, flags)
}

@c(sendmsg)
public func sendmsg(
  _ descriptor: Int32, _ message: UnsafePointer<libvos_message>?, _ flags: Int32
) -> Int {
  if let message = unsafe message, let moved = unsafe sent(descriptor, message, flags) {
    return moved
  }
  return unsafe real().pointee.sendmsg(descriptor, message, flags)
}

/// As many messages as the kernel takes in one call (UIO_MAXIOV).
private let messageLimit: UInt32 = 1024

/// The message within an entry of a list: its first field.
private func message(
  _ list: UnsafeMutablePointer<libvos_many_messages>, _ index: Int
) -> UnsafeMutablePointer<libvos_message> {
  unsafe UnsafeMutableRawPointer(list + index).assumingMemoryBound(to: libvos_message.self)
}

@c(sendmmsg)
public func sendmmsg(
  _ descriptor: Int32, _ list: UnsafeMutablePointer<libvos_many_messages>?, _ count: UInt32,
  _ flags: Int32
) -> Int32 {
  guard let list = unsafe list, count > 0 else {
    return unsafe real().pointee.sendmmsg(descriptor, list, count, flags)
  }
  let all = Int(min(count, messageLimit))
  var done = 0
  while done < all, let moved = unsafe sent(descriptor, message(list, done), flags) {
    // The error of a later message is the next call's.
    if moved < 0 { return Int32(truncatingIfNeeded: done > 0 ? done : moved) }
    unsafe list[done].length = UInt32(truncatingIfNeeded: moved)
    done = done &+ 1
  }
  guard done < all else { return Int32(done) }
  for index in done..<all { unsafe Sharing.giveBackPassed(in: message(list, index)) }
  return counted(done) {
    unsafe real().pointee.sendmmsg(descriptor, list + done, UInt32(all &- done), flags)
  }
}

/// The kernel path's count on top of `done`; its error counts only if nothing was done before.
private func counted(_ done: Int, _ call: () -> Int32) -> Int32 {
  if done == 0 { return call() }
  let more = keepingErrorNumber(call)
  return Int32(done) &+ max(more, 0)
}

@c(recvmmsg)
public func recvmmsg(
  _ descriptor: Int32, _ list: UnsafeMutablePointer<libvos_many_messages>?, _ count: UInt32,
  _ flags: Int32, _ timeout: UnsafeMutableRawPointer?
) -> Int32 {
  guard let list = unsafe list, count > 0, unsafe timeout == nil, Hot.isRemote(descriptor) else {
    return unsafe real().pointee.recvmmsg(descriptor, list, count, flags, timeout)
  }
  let all = Int(min(count, messageLimit))
  let each = flags & ~Linux.messageWaitForOne
  var done = 0
  while done < all {
    let now = done == 0 ? each : each | Linux.messageDontWait
    guard let moved = unsafe received(descriptor, message(list, done), now) else { break }
    if moved < 0 { return Int32(truncatingIfNeeded: done > 0 ? done : moved) }
    unsafe list[done].length = UInt32(truncatingIfNeeded: moved)
    done = done &+ 1
  }
  let isEnough = done == all || done > 0 && flags & Linux.messageWaitForOne != 0
  if isEnough { return Int32(done) }
  return counted(done) {
    unsafe real().pointee.recvmmsg(descriptor, list + done, UInt32(all &- done), flags, nil)
  }
}

// What programs built with _FORTIFY_SOURCE call.

@c(__recvfrom_chk)
public func recvfromChecked(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ room: Int,
  _ flags: Int32, _ address: UnsafeMutableRawPointer?, _ length: UnsafeMutableRawPointer?
) -> Int {
  demand(count, fits: room)
  return unsafe recvfrom(descriptor, buffer, count, flags, address, length)
}
