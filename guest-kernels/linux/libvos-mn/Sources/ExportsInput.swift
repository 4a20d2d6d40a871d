// SPDX-License-Identifier: Apache-2.0

public import CMN
internal import CVosABI

// Calls that wait for a descriptor: a thread parks until there is something, where the program's
// call would sleep in the kernel. All that is not covered sleeps there; then the watcher makes
// another kernel thread active.
// SAFETY (all below): a program's pointers are passed on as it gave them.

private let doNotWait: Int32 = 0x40
private let waitForAll: Int32 = 0x100
private let errorQueue: Int32 = 0x2000

/// Repeats a call that does not wait until it need not; nil: the real call must be made.
private func repeated(
  _ descriptor: Int32, _ events: UInt32, _ call: () -> Int
) -> Int? {
  guard Thread.current.canSwitch else { return nil }
  pthread_testcancel()
  while true {
    let result = call()
    guard result < 0, errorNumber == Linux.again else { return result }
    switch Poller.waiting(descriptor, events) {
    case .never: return result
    case .limited: return nil
    case .forEver: break
    }
    let outcome = Poller.wait(descriptor, events)
    if case .impossible = outcome { return nil }
  }
}

/// Parks until there is something to read; after that the real call is made in any case.
private func awaitInput(_ descriptor: Int32) {
  guard Thread.current.canSwitch, !Poller.isSet(descriptor, Poller.readable),
    Poller.waitsForEver(descriptor, Poller.readable)
  else { return }
  pthread_testcancel()
  // Of many that wait, one finds it: the others wait again.
  while case .ready = Poller.wait(descriptor, Poller.readable),
    !Poller.isSet(descriptor, Poller.readable)
  {}
}

/// libvos asks us where a receive on a remote socket would wait: it is left to it.
@c(recv)
public func recv(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ flags: Int32
) -> Int {
  let plain = flags & (doNotWait | waitForAll | errorQueue) == 0 && mn_is_remote(descriptor) == 0
  let moved =
    plain
    ? repeated(descriptor, Poller.readable) {
      unsafe real().pointee.recv(descriptor, buffer, count, flags | doNotWait)
    } : nil
  return unsafe moved ?? real().pointee.recv(descriptor, buffer, count, flags)
}

@c(recvfrom)
public func recvfrom(
  _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int, _ flags: Int32,
  _ address: UnsafeMutableRawPointer?, _ length: UnsafeMutableRawPointer?
) -> Int {
  let plain = flags & (doNotWait | waitForAll | errorQueue) == 0
  let moved =
    plain
    ? repeated(descriptor, Poller.readable) {
      unsafe real().pointee.recvfrom(
        descriptor, buffer, count, flags | doNotWait, address, length)
    } : nil
  return unsafe moved
    ?? real().pointee.recvfrom(descriptor, buffer, count, flags, address, length)
}

@c(recvmsg)
public func recvmsg(
  _ descriptor: Int32, _ message: UnsafeMutableRawPointer?, _ flags: Int32
) -> Int {
  let plain = flags & (doNotWait | waitForAll | errorQueue) == 0
  let moved =
    plain
    ? repeated(descriptor, Poller.readable) {
      unsafe real().pointee.recvmsg(descriptor, message, flags | doNotWait)
    } : nil
  return unsafe moved ?? real().pointee.recvmsg(descriptor, message, flags)
}

@c(read)
public func read(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
  if Thread.current.isUser, count > 0, mn_is_remote(descriptor) == 0 {
    switch Descriptors.kind(descriptor) {
    case .socket:
      if let moved = repeated(
        descriptor, Poller.readable,
        { unsafe real().pointee.recv(descriptor, buffer, count, doNotWait) }),
        !isMistaken(moved, descriptor)
      {
        return moved
      }
    case .pollable: awaitInput(descriptor)
    default: break
    }
  }
  return unsafe real().pointee.read(descriptor, buffer, count)
}

/// The number is a socket no more.
private func isMistaken(_ result: Int, _ descriptor: Int32) -> Bool {
  let notSocket: Int32 = 88
  guard result < 0, errorNumber == notSocket else { return false }
  Descriptors.forget(descriptor)
  return true
}

/// A stream takes all of it, in as many pieces as it likes.
private func sendAll(
  _ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int, _ flags: Int32
) -> Int? {
  guard Thread.current.canSwitch, let buffer = unsafe buffer, count > 0 else { return nil }
  var done = 0
  while done < count {
    let moved = repeated(descriptor, Poller.writable) {
      unsafe real().pointee.send(descriptor, buffer + done, count &- done, flags | doNotWait)
    }
    guard let moved else { return done > 0 ? done : nil }
    guard moved >= 0 else { return done > 0 ? done : moved }
    done = done &+ moved
  }
  return done
}

@c(send)
public func send(
  _ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int, _ flags: Int32
) -> Int {
  if flags & doNotWait == 0, let moved = unsafe sendAll(descriptor, buffer, count, flags) {
    return moved
  }
  return unsafe real().pointee.send(descriptor, buffer, count, flags)
}

@c(write)
public func write(_ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int) -> Int {
  if Thread.current.isUser, case .socket = Descriptors.kind(descriptor),
    let moved = unsafe sendAll(descriptor, buffer, count, 0),
    !isMistaken(moved, descriptor)
  {
    return moved
  }
  return unsafe real().pointee.write(descriptor, buffer, count)
}

@c(accept)
public func accept(
  _ listener: Int32, _ address: UnsafeMutableRawPointer?, _ length: UnsafeMutableRawPointer?
) -> Int32 {
  awaitInput(listener)
  return unsafe real().pointee.accept(listener, address, length)
}

@c(accept4)
public func accept4(
  _ listener: Int32, _ address: UnsafeMutableRawPointer?, _ length: UnsafeMutableRawPointer?,
  _ flags: Int32
) -> Int32 {
  awaitInput(listener)
  return unsafe real().pointee.accept4(listener, address, length, flags)
}

/// Of one descriptor, as programs wait with a time limit; of several: in the kernel.
@c(poll)
public func poll(
  _ list: UnsafeMutablePointer<mn_poll>?, _ count: UInt64, _ milliseconds: Int32
) -> Int32 {
  guard milliseconds != 0, count == 1, Thread.current.canSwitch, let list = unsafe list else {
    return unsafe real().pointee.poll(list, count, milliseconds)
  }
  let deadline =
    milliseconds < 0 ? 0 : Clock.now &+ UInt64(milliseconds) &* Clock.millisecond
  pthread_testcancel()
  while true {
    let found = unsafe real().pointee.poll(list, count, 0)
    guard found == 0 else { return found }
    let events = unsafe UInt32(UInt16(bitPattern: list.pointee.events))
    switch unsafe Poller.wait(list.pointee.descriptor, events, until: deadline) {
    case .ready: continue
    case .timedOut: return 0
    case .impossible: return unsafe real().pointee.poll(list, count, milliseconds)
    }
  }
}

@c(mn_hook_second)
public func hookSecond(_ original: Int32, _ copy: Int32) {
  _ = unsafe real()
  Descriptors.forget(copy)
}

@c(mn_hook_all)
public func hookAll() {
  _ = unsafe real()
  mn_forget_descriptors()
}

@c(mn_hook_close)
public func hookClose(_ descriptor: Int32) {
  _ = unsafe real()
  Descriptors.forget(descriptor)
}
