// SPDX-License-Identifier: Apache-2.0

internal import CLibvos

// Functions that the C library keeps for itself: `fclose` ends with the last one. Reached only where
// Rewriting has turned their entries here.
// SAFETY (all below): a caller's pointers are passed on as it gave them.

@c(__read_nocancel)
public func readInside(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int
) -> Int {
  if let moved = unsafe Hot.read(descriptor, into: buffer, count) { return moved }
  return unsafe real().pointee.__read_nocancel(descriptor, buffer, count)
}

@c(__write_nocancel)
public func writeInside(_ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int) -> Int {
  if let moved = unsafe Hot.write(descriptor, from: buffer, count) { return moved }
  return unsafe real().pointee.__write_nocancel(descriptor, buffer, count)
}

@c(__close_nocancel)
public func closeInside(_ descriptor: Int32) -> Int32 {
  if Process.deviceIndex(of: descriptor) != nil { return Int32(Hot.failed(Linux.badDescriptor)) }
  Ownership.forget(descriptor)
  return unsafe real().pointee.__close_nocancel(descriptor)
}
