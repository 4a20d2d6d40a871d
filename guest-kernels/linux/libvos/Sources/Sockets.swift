// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// Hot calls on attached sockets. The service's socket never blocks. Whatever must wait, fail
/// with a signal or arm readiness is left to the kernel path, EAGAIN first of all: the real call
/// sleeps or reports it, and knows about time limits and edge-triggered epoll.
enum Sockets {
  private static let receiveFlags = Linux.messagePeek | Linux.messageDontWait
  private static let sendFlags =
    Linux.messageDontWait | Linux.messageNoSignal | Linux.messageMore
  private static let pausesPerAsk = 200

  static func receive(
    _ descriptor: Int32, _ entry: Entry, _ word: Word, _ start: Cursor, _ flags: Int32
  ) -> Int? {
    guard flags & ~receiveFlags == 0, let channel = channel(descriptor, entry, word, start.total)
    else {
      return Hot.fallback(VOS_CARRIES_SOCKETS)
    }
    let waits = word.isBlocking && flags & Linux.messageDontWait == 0
    var wait = Wait(channel, .arrival)
    while true {
      var cursor = start
      let progress = channel.receive(entry.object, flags, &cursor)
      switch progress.stop {
      case .end:
        // The end of a stream: an error that poll fetched before is the kernel path's to tell.
        if progress.bytes == 0, word.isStream { return Hot.fallback(VOS_CARRIES_SOCKETS) }
        if waits { wait.end() }
        channel.countFast()
        return progress.bytes
      case .error(Linux.again):
        if waits, pauses(&wait, descriptor) { continue }
        return Hot.fallback(VOS_CARRIES_SOCKETS)
      case .error(let error):
        return failed(error, descriptor)
      case .unavailable: return Hot.fallback(VOS_CARRIES_SOCKETS)
      }
    }
  }

  /// Nothing is there yet: true if the service is to be asked again.
  static func pauses(_ wait: inout Wait, _ descriptor: Int32) -> Bool {
    pauses(&wait) || Waiter.current?.awaitReadable(descriptor) == true
  }

  /// The same without a registered waiter.
  static func pauses(_ wait: inout Wait) -> Bool {
    switch wait.next() {
    case .spin: for _ in 0..<pausesPerAsk { vos_pause() }
    case .yield: _ = sched_yield()
    case .sleep:
      wait.leave()
      return false
    }
    return true
  }

  static func send(
    _ descriptor: Int32, _ entry: Entry, _ word: Word, _ start: Cursor, _ flags: Int32
  ) -> Int? {
    guard flags & ~sendFlags == 0, let channel = channel(descriptor, entry, word, start.total)
    else {
      return Hot.fallback(VOS_CARRIES_SOCKETS)
    }
    var cursor = start
    let progress = channel.send(entry.object, at: nil, flags, &cursor)
    guard progress.bytes > 0 else {
      switch progress.stop {
      case .error(let error) where error != Linux.again:
        return failed(error, descriptor)
      default: return Hot.fallback(VOS_CARRIES_SOCKETS)
      }
    }
    channel.countFast()
    guard progress.bytes < start.total, word.isStream else { return progress.bytes }
    return rest(descriptor, start, progress.bytes, flags)
  }

  /// Part was sent: the real call decides whether to wait for room or to stop here.
  private static func rest(
    _ descriptor: Int32, _ start: Cursor, _ sent: Int, _ flags: Int32
  ) -> Int {
    _ = Hot.fallback(VOS_CARRIES_SOCKETS)
    var cursor = start
    cursor.skip(sent)
    var done = sent
    while let run = unsafe cursor.next(Linux.transferLimit) {
      // Errors and EPIPE's signal belong to the next call: this one has moved data.
      let result = keepingErrorNumber {
        unsafe real().pointee.send(
          descriptor, run.baseAddress, run.count, flags | Linux.messageNoSignal)
      }
      guard result > 0 else { break }
      done = done &+ result
      if result < run.count { break }
    }
    return done
  }

  /// An error of the socket itself is the answer; EPIPE needs its signal, EBADF the kernel's view.
  static func failed(
    _ error: Int64, _ descriptor: Int32
  ) -> Int? {
    if error == Linux.badDescriptor { Ownership.lose(descriptor) }
    switch error {
    case Linux.badDescriptor, Linux.brokenPipe, Linux.notOffered, Linux.invalidArgument:
      return Hot.fallback(VOS_CARRIES_SOCKETS)
    default: return Hot.failed(error)
    }
  }

  /// The channel, if the socket's service still lives and a datagram of so many bytes fits a slot.
  static func channel(
    _ descriptor: Int32, _ entry: Entry, _ word: Word, _ bytes: Int
  ) -> Channel? {
    guard let channel = Process.knownChannel(carrying: VOS_CARRIES_SOCKETS) else { return nil }
    guard channel.isAlive, channel.generation == entry.generation else {
      if channel.generation != entry.generation { Ownership.lose(descriptor) }
      return nil
    }
    guard word.isStream || bytes <= channel.pieceBytes else { return nil }
    return channel
  }
}
