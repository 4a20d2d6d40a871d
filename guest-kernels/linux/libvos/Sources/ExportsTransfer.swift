// SPDX-License-Identifier: Apache-2.0

public import CLibvos
internal import CVosABI

// The calls that move data. Each is what libc declares, then: local → the real call at once.
// SAFETY (all below): a program's pointers are passed on as it gave them; a vector made here
// lives as long as the call.

@c(read)
public func read(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
  if let moved = unsafe Hot.read(descriptor, into: buffer, count) { return moved }
  return unsafe real().pointee.read(descriptor, buffer, count)
}

@c(write)
public func write(_ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int) -> Int {
  if let moved = unsafe Hot.write(descriptor, from: buffer, count) { return moved }
  return unsafe real().pointee.write(descriptor, buffer, count)
}

@c(readv)
public func readv(
  _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32
) -> Int {
  if Hot.isRemote(descriptor), let moved = unsafe Hot.read(descriptor, vectors, Int(count)) {
    return moved
  }
  return unsafe real().pointee.readv(descriptor, vectors, count)
}

@c(writev)
public func writev(
  _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32
) -> Int {
  if Hot.isRemote(descriptor), let moved = unsafe Hot.write(descriptor, vectors, Int(count)) {
    return moved
  }
  return unsafe real().pointee.writev(descriptor, vectors, count)
}

@c(pread64)
public func pread64(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ offset: Int
) -> Int {
  if Hot.isRemote(descriptor),
    let moved = unsafe Files.pread(descriptor, into: buffer, count, at: offset)
  {
    return moved
  }
  return unsafe real().pointee.pread64(descriptor, buffer, count, offset)
}

@c(pread)
public func pread(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ offset: Int
) -> Int {
  unsafe pread64(descriptor, buffer, count, offset)
}

@c(pwrite64)
public func pwrite64(
  _ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int, _ offset: Int
) -> Int {
  if Hot.isRemote(descriptor),
    let moved = unsafe Files.pwrite(descriptor, from: buffer, count, at: offset)
  {
    return moved
  }
  return unsafe real().pointee.pwrite64(descriptor, buffer, count, offset)
}

@c(pwrite)
public func pwrite(
  _ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int, _ offset: Int
) -> Int {
  unsafe pwrite64(descriptor, buffer, count, offset)
}

@c(lseek64)
public func lseek64(_ descriptor: Int32, _ offset: Int, _ whence: Int32) -> Int {
  if Hot.isRemote(descriptor), let place = Files.seek(descriptor, offset, whence) { return place }
  return unsafe real().pointee.lseek64(descriptor, offset, whence)
}

@c(lseek)
public func lseek(_ descriptor: Int32, _ offset: Int, _ whence: Int32) -> Int {
  lseek64(descriptor, offset, whence)
}

@c(recv)
public func recv(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ flags: Int32
) -> Int {
  if let moved = unsafe Hot.read(descriptor, into: buffer, count, flags: flags) { return moved }
  return unsafe real().pointee.recv(descriptor, buffer, count, flags)
}

@c(send)
public func send(
  _ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int, _ flags: Int32
) -> Int {
  if let moved = unsafe Hot.write(descriptor, from: buffer, count, flags: flags) { return moved }
  return unsafe real().pointee.send(descriptor, buffer, count, flags)
}

@c(recvfrom)
public func recvfrom(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ flags: Int32,
  _ address: UnsafeMutableRawPointer?, _ length: UnsafeMutableRawPointer?
) -> Int {
  if unsafe address == nil { return unsafe recv(descriptor, buffer, count, flags) }
  return unsafe real().pointee.recvfrom(descriptor, buffer, count, flags, address, length)
}

@c(sendto)
public func sendto(
  _ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int, _ flags: Int32,
  _ address: UnsafeRawPointer?, _ length: UInt32
) -> Int {
  if unsafe address == nil { return unsafe send(descriptor, buffer, count, flags) }
  return unsafe real().pointee.sendto(descriptor, buffer, count, flags, address, length)
}

@c(recvmsg)
public func recvmsg(
  _ descriptor: Int32, _ message: UnsafeMutablePointer<libvos_message>?, _ flags: Int32
) -> Int {
  if Hot.isRemote(descriptor), let message = unsafe message, let entry = Entry(descriptor),
    entry.load().isStream, unsafe message.pointee.name == nil,
    unsafe message.pointee.control == nil || message.pointee.control_length == 0,
    let moved = unsafe Hot.read(
      descriptor, message.pointee.vectors, Int(truncatingIfNeeded: message.pointee.vector_count),
      flags: flags)
  {
    unsafe message.pointee.control_length = 0
    unsafe message.pointee.flags = 0
    return moved
  }
  return unsafe real().pointee.recvmsg(descriptor, message, flags)
}

@c(sendmsg)
public func sendmsg(
  _ descriptor: Int32, _ message: UnsafePointer<libvos_message>?, _ flags: Int32
) -> Int {
  if let message = unsafe message {
    unsafe Sharing.giveBackPassed(in: message)
    if Hot.isRemote(descriptor), unsafe message.pointee.name == nil,
      unsafe message.pointee.control == nil || message.pointee.control_length == 0,
      let moved = unsafe Hot.write(
        descriptor, message.pointee.vectors, Int(truncatingIfNeeded: message.pointee.vector_count),
        flags: flags)
    {
      return moved
    }
  }
  return unsafe real().pointee.sendmsg(descriptor, message, flags)
}

// What programs built with _FORTIFY_SOURCE call: the same, once the buffer is large enough.

/// Ends the program, as libc does, if it would write beyond its buffer.
private func demand(_ count: Int, fits room: Int) {
  // SAFETY: libc's own function, found at the start.
  if UInt(bitPattern: count) > UInt(bitPattern: room) { unsafe real().pointee.__chk_fail() }
}

@c(__read_chk)
public func readChecked(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ room: Int
) -> Int {
  demand(count, fits: room)
  return unsafe read(descriptor, buffer, count)
}

@c(__pread_chk)
public func preadChecked(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ offset: Int, _ room: Int
) -> Int {
  demand(count, fits: room)
  return unsafe pread64(descriptor, buffer, count, offset)
}

@c(__pread64_chk)
public func pread64Checked(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ offset: Int, _ room: Int
) -> Int {
  unsafe preadChecked(descriptor, buffer, count, offset, room)
}

@c(__recv_chk)
public func recvChecked(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ room: Int, _ flags: Int32
) -> Int {
  demand(count, fits: room)
  return unsafe recv(descriptor, buffer, count, flags)
}

@c(__recvfrom_chk)
public func recvfromChecked(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ room: Int,
  _ flags: Int32, _ address: UnsafeMutableRawPointer?, _ length: UnsafeMutableRawPointer?
) -> Int {
  demand(count, fits: room)
  return unsafe recvfrom(descriptor, buffer, count, flags, address, length)
}
