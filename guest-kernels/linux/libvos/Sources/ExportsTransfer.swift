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

@c(preadv64)
public func preadv64(
  _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32, _ offset: Int
) -> Int {
  if Hot.isRemote(descriptor),
    let moved = unsafe Files.pread(descriptor, vectors, Int(count), at: offset)
  {
    return moved
  }
  return unsafe real().pointee.preadv64(descriptor, vectors, count, offset)
}

@c(preadv)
public func preadv(
  _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32, _ offset: Int
) -> Int {
  unsafe preadv64(descriptor, vectors, count, offset)
}

@c(pwritev64)
public func pwritev64(
  _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32, _ offset: Int
) -> Int {
  if Hot.isRemote(descriptor),
    let moved = unsafe Files.pwrite(descriptor, vectors, Int(count), at: offset)
  {
    return moved
  }
  return unsafe real().pointee.pwritev64(descriptor, vectors, count, offset)
}

@c(pwritev)
public func pwritev(
  _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32, _ offset: Int
) -> Int {
  unsafe pwritev64(descriptor, vectors, count, offset)
}

/// The forms with flags: without any, what they do is known; offset -1 is the descriptor's own.
@c(preadv64v2)
public func preadv64v2(
  _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32, _ offset: Int,
  _ flags: Int32
) -> Int {
  if Hot.isRemote(descriptor) {
    if flags == 0 {
      return unsafe offset == -1
        ? readv(descriptor, vectors, count) : preadv64(descriptor, vectors, count, offset)
    }
    Ownership.giveBack(descriptor)
  }
  return unsafe real().pointee.preadv64v2(descriptor, vectors, count, offset, flags)
}

@c(preadv2)
public func preadv2(
  _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32, _ offset: Int,
  _ flags: Int32
) -> Int {
  unsafe preadv64v2(descriptor, vectors, count, offset, flags)
}

@c(pwritev64v2)
public func pwritev64v2(
  _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32, _ offset: Int,
  _ flags: Int32
) -> Int {
  if Hot.isRemote(descriptor) {
    if flags == 0 {
      return unsafe offset == -1
        ? writev(descriptor, vectors, count) : pwritev64(descriptor, vectors, count, offset)
    }
    Ownership.giveBack(descriptor)
  }
  return unsafe real().pointee.pwritev64v2(descriptor, vectors, count, offset, flags)
}

@c(pwritev2)
public func pwritev2(
  _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32, _ offset: Int,
  _ flags: Int32
) -> Int {
  unsafe pwritev64v2(descriptor, vectors, count, offset, flags)
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

// What programs built with _FORTIFY_SOURCE call: the same, once the buffer is large enough.

/// Ends the program, as libc does, if it would write beyond its buffer.
func demand(_ count: Int, fits room: Int) {
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
