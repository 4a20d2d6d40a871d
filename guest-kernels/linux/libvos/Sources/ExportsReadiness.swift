// SPDX-License-Identifier: Apache-2.0

public import CLibvos
internal import CVosABI

// Which sockets have data: asked of the service, where the answer is yes. What waits, and what is
// local, is the kernel path's.

/// A look at a few remote sockets.
enum Readiness {
  /// More are cheaper to ask in one trap.
  static let most = 4
  // poll's bits (include/uapi/asm-generic/poll.h).
  private static let toRead: Int16 = 0x001 | 0x002 | 0x040 | 0x080 | 0x2000
  private static let trouble: Int64 = 0x008 | 0x010 | 0x020
  private static let highest: Int64 = 0x3fff

  /// How many are ready, their answers filled in; nil if the real call must say.
  static func ask(
    _ list: UnsafeMutablePointer<libvos_interest>?, _ count: UInt, _ milliseconds: Int32
  ) -> Int32? {
    // SAFETY (all below): the program promised `count` entries.
    guard let list = unsafe list, (1...UInt(most)).contains(count),
      let channel = unsafe channel(list, Int(count))
    else { return nil }
    var wait = Wait(channel, .readiness)
    // Where it was in vain lately, it is not tried.
    guard wait.next() != .sleep else {
      wait.leave()
      return nil
    }
    while true {
      guard let ready = unsafe look(channel, list, Int(count)) else { return nil }
      if ready > 0 {
        wait.end()
        channel.countFast()
        return ready
      }
      if wait.isOver(milliseconds) {
        wait.leave()
        return nil
      }
      guard Sockets.pauses(&wait) else { return nil }
    }
  }

  /// The same for sets of descriptors, of which only the first may have any; it then has the ready
  /// ones.
  static func ask(
    _ limit: Int32, _ read: UnsafeMutablePointer<UInt64>?, _ write: UnsafePointer<UInt64>?,
    _ other: UnsafePointer<UInt64>?, _ milliseconds: Int32
  ) -> Int32? {
    // SAFETY: a set has as many bits as `limit`, in words of 64.
    guard let read = unsafe read, (1...setLimit).contains(limit) else { return nil }
    let words = Int(limit &+ 63) / 64
    var list = InlineArray<4, libvos_interest>(
      repeating: libvos_interest(descriptor: -1, events: 0x001, found: 0))
    var count = 0
    for index in 0..<words {
      guard unsafe (write?[index] ?? 0) | (other?[index] ?? 0) == 0 else { return nil }
      var bits = unsafe read[index]
      while bits != 0 {
        let descriptor = Int32(index &* 64 &+ bits.trailingZeroBitCount)
        guard count < most, descriptor < limit else { return nil }
        list[count].descriptor = descriptor
        count = count &+ 1
        bits = bits & (bits &- 1)
      }
    }
    var span = list.mutableSpan
    let ready = unsafe span.withUnsafeMutableBufferPointer {
      unsafe ask($0.baseAddress, UInt(count), milliseconds)
    }
    guard let ready else { return nil }
    for index in 0..<count where list[index].found == 0 {
      let descriptor = Int(list[index].descriptor)
      unsafe read[descriptor / 64] &= ~(1 << UInt64(descriptor % 64))
    }
    return ready
  }

  /// FD_SETSIZE.
  private static let setLimit: Int32 = 1024

  /// The channel of them all, if all are attached sockets of a living service, asked for data only:
  /// the kernel has its part in whether a connection stands.
  private static func channel(
    _ list: UnsafeMutablePointer<libvos_interest>, _ count: Int
  ) -> Channel? {
    guard let channel = Process.knownChannel(carrying: VOS_CARRIES_SOCKETS), channel.isAlive else {
      return nil
    }
    for index in 0..<count {
      let (descriptor, events) = unsafe (list[index].descriptor, list[index].events)
      guard events & toRead != 0, events & ~toRead == 0, let entry = Entry(descriptor),
        entry.load().kind == .socket, entry.generation == channel.generation
      else { return nil }
    }
    return channel
  }

  /// One look at each, all on their way together; nil if one cannot be told by the service alone.
  private static func look(
    _ channel: Channel, _ list: UnsafeMutablePointer<libvos_interest>, _ count: Int
  ) -> Int32? {
    var tickets = InlineArray<4, Ticket>(repeating: Ticket())
    var results = InlineArray<4, Int64>(repeating: -1)
    for index in 0..<count {
      let (descriptor, events) = unsafe (list[index].descriptor, list[index].events)
      guard let entry = Entry(descriptor), let slot = channel.allocate() else { break }
      let request = Request(
        call: UInt32(VOS_CALL_POLL), object: entry.object,
        argument: UInt64(UInt16(bitPattern: events)), length: 0, capacity: 0)
      tickets[index] = channel.submit(request, in: slot)
    }
    for index in 0..<count where tickets[index].slot >= 0 {
      guard case .done(let result) = channel.finish(tickets[index]) else { continue }
      channel.release(tickets[index].slot)
      results[index] = result
    }
    var ready: Int32 = 0
    for index in 0..<count {
      guard (0...highest).contains(results[index]), results[index] & trouble == 0 else {
        return nil
      }
      if unsafe Int16(results[index]) & list[index].events != 0 { ready = ready &+ 1 }
    }
    guard ready > 0 else { return 0 }
    for index in 0..<count {
      unsafe list[index].found = Int16(results[index]) & list[index].events
    }
    return ready
  }
}

@c(poll)
public func poll(
  _ list: UnsafeMutablePointer<libvos_interest>?, _ count: UInt, _ milliseconds: Int32
) -> Int32 {
  if let ready = unsafe Readiness.ask(list, count, milliseconds) { return ready }
  return unsafe real().pointee.poll(list, count, milliseconds)
}

@c(ppoll)
public func ppoll(
  _ list: UnsafeMutablePointer<libvos_interest>?, _ count: UInt,
  _ time: UnsafePointer<libvos_time>?, _ signals: UnsafeRawPointer?
) -> Int32 {
  // With another signal mask only the kernel can wait.
  let milliseconds: Int32 = unsafe time == nil ? -1 : 0
  if unsafe signals == nil, let ready = unsafe Readiness.ask(list, count, milliseconds) {
    return ready
  }
  return unsafe real().pointee.ppoll(list, count, time, signals)
}

/// Milliseconds of a time of seconds and microseconds; -1 for none, 0 for one that is odd.
func milliseconds(_ time: UnsafePointer<libvos_time>?) -> Int32 {
  guard let time = unsafe time?.pointee else { return -1 }
  guard (0...1000).contains(time.seconds), (0..<1_000_000).contains(time.nanoseconds) else {
    return 0
  }
  return Int32(time.seconds &* 1000 &+ time.nanoseconds / 1000)
}

@c(select)
public func select(
  _ limit: Int32, _ read: UnsafeMutablePointer<UInt64>?, _ write: UnsafeMutablePointer<UInt64>?,
  _ other: UnsafeMutablePointer<UInt64>?, _ time: UnsafeMutableRawPointer?
) -> Int32 {
  let longest = unsafe milliseconds(
    UnsafePointer(time?.assumingMemoryBound(to: libvos_time.self)))
  if let ready = unsafe Readiness.ask(limit, read, write, other, longest) { return ready }
  return unsafe real().pointee.select(limit, read, write, other, time)
}

@c(pselect)
public func pselect(
  _ limit: Int32, _ read: UnsafeMutablePointer<UInt64>?, _ write: UnsafeMutablePointer<UInt64>?,
  _ other: UnsafeMutablePointer<UInt64>?, _ time: UnsafePointer<libvos_time>?,
  _ signals: UnsafeRawPointer?
) -> Int32 {
  let longest: Int32 = unsafe time == nil ? -1 : 0
  if unsafe signals == nil,
    let ready = unsafe Readiness.ask(limit, read, write, other, longest)
  {
    return ready
  }
  return unsafe real().pointee.pselect(limit, read, write, other, time, signals)
}

/// What programs built with _FORTIFY_SOURCE call.
@c(__poll_chk)
public func pollChecked(
  _ list: UnsafeMutablePointer<libvos_interest>?, _ count: UInt, _ milliseconds: Int32,
  _ room: Int
) -> Int32 {
  demand(Int(min(count, 1 << 32)) &* MemoryLayout<libvos_interest>.size, fits: room)
  return unsafe poll(list, count, milliseconds)
}

@c(__ppoll_chk)
public func ppollChecked(
  _ list: UnsafeMutablePointer<libvos_interest>?, _ count: UInt,
  _ time: UnsafePointer<libvos_time>?, _ signals: UnsafeRawPointer?, _ room: Int
) -> Int32 {
  demand(Int(min(count, 1 << 32)) &* MemoryLayout<libvos_interest>.size, fits: room)
  return unsafe ppoll(list, count, time, signals)
}
