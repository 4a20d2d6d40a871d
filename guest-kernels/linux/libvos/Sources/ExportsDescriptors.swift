// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

// The calls that make, copy and end descriptors. Variadic ones are defined with all their
// arguments: in the x86-64 System V convention the integer arguments of a variadic call are in
// the registers where a fixed function expects them.
// SAFETY (all below): a program's pointers are passed on as it gave them.

/// Notes a descriptor that open gave.
func opened(
  _ descriptor: Int32, _ directory: Int32, _ path: UnsafePointer<CChar>?, _ flags: Int32
) -> Int32 {
  guard descriptor > 2, Limits.allowFiles, unsafe Paths.looksRemote(directory, path) else {
    return descriptor
  }
  // Appending, direct and synchronous files have rules at the kernel that a slot does not carry.
  let kernelOnly =
    Linux.append | Linux.direct | Linux.dataSync | Linux.directory | Linux.path
  let writes = flags & Linux.accessMode != 0
  let fast = flags & kernelOnly == 0 && !(writes && Limits.restrictFileSize)
  Ownership.mark(descriptor, fast ? .fileCandidate : .kernel)
  return descriptor
}

@c(open64)
public func open64(_ path: UnsafePointer<CChar>?, _ flags: Int32, _ mode: UInt32) -> Int32 {
  unsafe opened(real().pointee.open64(path, flags, mode), Linux.currentDirectory, path, flags)
}

@c(open)
public func open(_ path: UnsafePointer<CChar>?, _ flags: Int32, _ mode: UInt32) -> Int32 {
  unsafe open64(path, flags, mode)
}

@c(openat64)
public func openat64(
  _ directory: Int32, _ path: UnsafePointer<CChar>?, _ flags: Int32, _ mode: UInt32
) -> Int32 {
  unsafe opened(real().pointee.openat64(directory, path, flags, mode), directory, path, flags)
}

@c(openat)
public func openat(
  _ directory: Int32, _ path: UnsafePointer<CChar>?, _ flags: Int32, _ mode: UInt32
) -> Int32 {
  unsafe openat64(directory, path, flags, mode)
}

@c(creat)
public func creat(_ path: UnsafePointer<CChar>?, _ mode: UInt32) -> Int32 {
  unsafe open64(path, Linux.create | Linux.writeOnly | Linux.truncate, mode)
}

@c(creat64)
public func creat64(_ path: UnsafePointer<CChar>?, _ mode: UInt32) -> Int32 {
  unsafe creat(path, mode)
}

@c(__open_2)
public func openChecked(_ path: UnsafePointer<CChar>?, _ flags: Int32) -> Int32 {
  unsafe open64(path, flags, 0)
}

@c(__open64_2)
public func open64Checked(_ path: UnsafePointer<CChar>?, _ flags: Int32) -> Int32 {
  unsafe open64(path, flags, 0)
}

@c(__openat_2)
public func openatChecked(
  _ directory: Int32, _ path: UnsafePointer<CChar>?, _ flags: Int32
) -> Int32 {
  unsafe openat64(directory, path, flags, 0)
}

@c(__openat64_2)
public func openat64Checked(
  _ directory: Int32, _ path: UnsafePointer<CChar>?, _ flags: Int32
) -> Int32 {
  unsafe openat64(directory, path, flags, 0)
}

private let internet: Int32 = 2
private let internet6: Int32 = 10
private let streamType: Int32 = 1
private let datagramType: Int32 = 2
private let typeMask: Int32 = 0xf

@c(socket)
public func socket(_ family: Int32, _ type: Int32, _ protocolNumber: Int32) -> Int32 {
  made(unsafe real().pointee.socket(family, type, protocolNumber), family, type)
}

/// Notes a socket that was made.
func made(_ descriptor: Int32, _ family: Int32, _ type: Int32) -> Int32 {
  let kind = type & typeMask
  if descriptor > 2, family == internet || family == internet6,
    kind == streamType || kind == datagramType, Limits.allowSockets
  {
    Ownership.mark(
      descriptor, .socketCandidate, stream: kind == streamType,
      blocking: type & Linux.nonBlocking == 0)
  }
  return descriptor
}

/// Only a listening socket that is remote gives remote ones.
func accepted(_ descriptor: Int32, from listener: Int32, _ flags: Int32) -> Int32 {
  if descriptor > 2, Hot.isRemote(listener) {
    Ownership.mark(
      descriptor, .socketCandidate, stream: true, blocking: flags & Linux.nonBlocking == 0)
  }
  return descriptor
}

@c(accept)
public func accept(
  _ listener: Int32, _ address: UnsafeMutableRawPointer?, _ length: UnsafeMutableRawPointer?
) -> Int32 {
  unsafe accepted(real().pointee.accept(listener, address, length), from: listener, 0)
}

@c(accept4)
public func accept4(
  _ listener: Int32, _ address: UnsafeMutableRawPointer?, _ length: UnsafeMutableRawPointer?,
  _ flags: Int32
) -> Int32 {
  unsafe accepted(real().pointee.accept4(listener, address, length, flags), from: listener, flags)
}

@c(close)
public func close(_ descriptor: Int32) -> Int32 {
  // Programs that close every number must not take ours away; to them it is not open.
  if Process.deviceIndex(of: descriptor) != nil {
    return Int32(Hot.failed(Linux.badDescriptor))
  }
  Ownership.forget(descriptor)
  return unsafe real().pointee.close(descriptor)
}

@c(close_range)
public func closeRange(_ first: UInt32, _ last: UInt32, _ flags: Int32) -> Int32 {
  Sharing.closeRange(first, last, flags)
}

@c(closefrom)
public func closefrom(_ first: Int32) {
  _ = Sharing.closeRange(UInt32(max(first, 0)), UInt32.max, 0)
}

@c(dup)
public func dup(_ original: Int32) -> Int32 {
  Ownership.giveBack(original)
  let copy = unsafe real().pointee.dup(original)
  if copy >= 0 { Ownership.duplicate(original, as: copy) }
  return copy
}

@c(dup2)
public func dup2(_ original: Int32, _ copy: Int32) -> Int32 {
  if original == copy { return unsafe real().pointee.dup2(original, copy) }
  Process.vacate(copy)
  Ownership.giveBack(original)
  // Also if the call fails, the number may only ever be less fast than it was.
  Ownership.giveBack(copy, sockets: true)
  let result = unsafe real().pointee.dup2(original, copy)
  if result >= 0 { Sharing.replaced(copy, by: original) }
  return result
}

@c(dup3)
public func dup3(_ original: Int32, _ copy: Int32, _ flags: Int32) -> Int32 {
  if original == copy { return unsafe real().pointee.dup3(original, copy, flags) }
  Process.vacate(copy)
  Ownership.giveBack(original)
  Ownership.giveBack(copy, sockets: true)
  let result = unsafe real().pointee.dup3(original, copy, flags)
  if result >= 0 { Sharing.replaced(copy, by: original) }
  return result
}

@c(fcntl64)
public func fcntl64(_ descriptor: Int32, _ command: Int32, _ argument: UInt) -> Int32 {
  guard Hot.isRemote(descriptor) else {
    return unsafe real().pointee.fcntl64(descriptor, command, argument)
  }
  return Sharing.control(descriptor, command, argument)
}

@c(fcntl)
public func fcntl(_ descriptor: Int32, _ command: Int32, _ argument: UInt) -> Int32 {
  fcntl64(descriptor, command, argument)
}

@c(ioctl)
public func ioctl(_ descriptor: Int32, _ command: UInt, _ argument: UInt) -> Int32 {
  if Hot.isRemote(descriptor) { Sharing.beforeIoctl(descriptor, command, argument) }
  return unsafe real().pointee.ioctl(descriptor, command, argument)
}
