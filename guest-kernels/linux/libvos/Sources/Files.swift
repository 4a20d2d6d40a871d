// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// Hot calls on attached files. The offset is in the entry's word; a call that the service does
/// not answer is made as pread or pwrite at the same offset, so it never depends on who owns it.
enum Files {
  /// read: take what is at the offset, then move the offset if nobody else did; else read again.
  static func read(_ descriptor: Int32, _ entry: Entry, _ start: Cursor) -> Int? {
    while true {
      let word = Ownership.settled(entry)
      guard word.kind == .file else { return Hot.fallback(VOS_CARRIES_FILES) }
      let (moved, lost) = read(descriptor, entry, at: word.offset, start)
      let next = word.offset &+ max(moved, 0)
      if next < Word.offsetLimit, !entry.exchange(word, word.with(offset: next)) { continue }
      if lost { Ownership.lose(descriptor) }
      return moved
    }
  }

  /// write: claim the range first, so that two threads never write the same place.
  static func write(_ descriptor: Int32, _ entry: Entry, _ cursor: Cursor) -> Int? {
    while true {
      let word = Ownership.settled(entry)
      guard word.kind == .file else { return Hot.fallback(VOS_CARRIES_FILES) }
      let claimed = word.with(offset: word.offset &+ cursor.total)
      guard word.offset &+ cursor.total < Word.offsetLimit else {
        Ownership.giveBack(descriptor)
        return Hot.fallback(VOS_CARRIES_FILES)
      }
      guard entry.exchange(word, claimed) else { continue }
      let (moved, lost) = write(descriptor, entry, at: word.offset, cursor)
      if moved < cursor.total {
        // A full disk: what was not written is not claimed either.
        _ = entry.exchange(claimed, word.with(offset: word.offset &+ max(moved, 0)))
      }
      if lost { Ownership.lose(descriptor) }
      return moved
    }
  }

  static func pread(
    _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int, at offset: Int
  ) -> Int? {
    // SAFETY: the program's own vector, or one of ours that outlives the call.
    guard let cursor = unsafe Cursor(vectors, count), let entry = owned(descriptor, at: offset)
    else { return nil }
    let (moved, lost) = read(descriptor, entry, at: offset, cursor)
    if lost { Ownership.lose(descriptor) }
    return moved
  }

  static func pwrite(
    _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int, at offset: Int
  ) -> Int? {
    // SAFETY: as above.
    guard let cursor = unsafe Cursor(vectors, count), let entry = owned(descriptor, at: offset)
    else { return nil }
    let (moved, lost) = write(descriptor, entry, at: offset, cursor)
    if lost { Ownership.lose(descriptor) }
    return moved
  }

  /// The same with one buffer.
  static func pread(
    _ descriptor: Int32, into buffer: UnsafeMutableRawPointer?, _ count: Int, at offset: Int
  ) -> Int? {
    // SAFETY: the program's buffer, as it gave it; the vector lives as long as the call.
    var vector = unsafe libvos_vector(base: buffer, length: count)
    return unsafe pread(descriptor, &vector, 1, at: offset)
  }

  static func pwrite(
    _ descriptor: Int32, from buffer: UnsafeRawPointer?, _ count: Int, at offset: Int
  ) -> Int? {
    // SAFETY: as above; a write only reads the buffer.
    var vector = unsafe libvos_vector(
      base: UnsafeMutableRawPointer(mutating: buffer), length: count)
    return unsafe pwrite(descriptor, &vector, 1, at: offset)
  }

  /// The entry, if it is an attached file's and the offset one that its word could hold.
  private static func owned(_ descriptor: Int32, at offset: Int) -> Entry? {
    guard let entry = Entry(descriptor), offset >= 0, offset < Word.offsetLimit else { return nil }
    switch Ownership.current(descriptor, entry).kind {
    case .file: return entry
    case .kernel: _ = Hot.fallback(VOS_CARRIES_FILES)
    default: break
    }
    return nil
  }

  /// A call without data on a file that is attached already. False: make the real call, also after an
  /// error, which it finds again; all of them may be made twice.
  static func control(
    _ descriptor: Int32, _ call: UInt32, _ argument: Int = 0, _ second: Int = 0, _ third: Int = 0
  ) -> Bool {
    guard let entry = Entry(descriptor), Ownership.settled(entry).kind == .file,
      let channel = channel(descriptor, entry)
    else { return false }
    let request = Request(
      call: call, object: entry.object, argument: UInt64(truncatingIfNeeded: argument),
      more: (UInt64(truncatingIfNeeded: second), UInt64(truncatingIfNeeded: third)), length: 0,
      capacity: 0)
    guard channel.isDone(request) else {
      channel.countFallback()
      return false
    }
    channel.countFast()
    return true
  }

  private static let set: Int32 = 0
  private static let current: Int32 = 1

  static func seek(_ descriptor: Int32, _ offset: Int, _ whence: Int32) -> Int? {
    guard let entry = Entry(descriptor) else { return nil }
    while true {
      let word = Ownership.current(descriptor, entry)
      guard word.kind == .file else { return nil }
      var target = offset
      if whence == current {
        let (sum, overflow) = word.offset.addingReportingOverflow(offset)
        target = overflow ? Word.offsetLimit : sum
      } else if whence != set {
        // The end, data and holes: the kernel path knows them; its own offset is not in use.
        target = unsafe real().pointee.lseek64(descriptor, offset, whence)
        if target < 0 { return target }
      }
      if target < 0 { return Hot.failed(Linux.invalidArgument) }
      guard target < Word.offsetLimit else {
        Ownership.giveBack(descriptor)
        return nil
      }
      if target == word.offset || entry.exchange(word, word.with(offset: target)) { return target }
    }
  }

  /// The service that gave the object, if it still lives and nobody watches the file.
  private static func channel(_ descriptor: Int32, _ entry: Entry) -> Channel? {
    guard let channel = Process.knownChannel(carrying: VOS_CARRIES_FILES), channel.isAlive,
      channel.generation == entry.generation,
      !channel.isWatched(descriptor, entry, known: true)
    else { return nil }
    return channel
  }

  private static func read(
    _ descriptor: Int32, _ entry: Entry, at offset: Int, _ start: Cursor
  ) -> (moved: Int, lost: Bool) {
    var cursor = start
    var progress = Channel.Progress()
    if let channel = channel(descriptor, entry) {
      progress = channel.readFile(entry.object, at: offset, &cursor)
      if case .end = progress.stop {
        channel.countFast()
        return (progress.bytes, false)
      }
      channel.countFallback()
    }
    let moved = unsafe finish(progress.bytes, &cursor) { run, done in
      unsafe real().pointee.pread64(descriptor, run.baseAddress, run.count, offset &+ done)
    }
    return (moved, isLost(descriptor, entry, progress))
  }

  private static func write(
    _ descriptor: Int32, _ entry: Entry, at offset: Int, _ start: Cursor
  ) -> (moved: Int, lost: Bool) {
    var cursor = start
    var progress = Channel.Progress()
    if let channel = channel(descriptor, entry) {
      progress = channel.send(entry.object, at: offset, 0, &cursor)
      if case .end = progress.stop {
        channel.countFast()
        return (progress.bytes, false)
      }
      channel.countFallback()
    }
    // The cursor ran ahead of what was answered: begin again, past the bytes that are written.
    cursor = start
    cursor.skip(progress.bytes)
    let moved = unsafe finish(progress.bytes, &cursor) { run, done in
      unsafe real().pointee.pwrite64(descriptor, run.baseAddress, run.count, offset &+ done)
    }
    return (moved, isLost(descriptor, entry, progress))
  }

  /// Whether the service refused or is gone, or somebody watches: later calls go straight to the
  /// kernel path.
  private static func isLost(
    _ descriptor: Int32, _ entry: Entry, _ progress: Channel.Progress
  ) -> Bool {
    switch progress.stop {
    case .error(Linux.badDescriptor): return true
    case .unavailable: return channel(descriptor, entry) == nil
    default: return false
    }
  }

  /// The rest of a transfer by the kernel path; an error counts only if nothing was moved.
  private static func finish(
    _ done: Int, _ cursor: inout Cursor,
    _ call: (UnsafeMutableRawBufferPointer, Int) -> Int
  ) -> Int {
    var moved = done
    while let run = unsafe cursor.next(Linux.transferLimit) {
      let result = unsafe call(run, moved)
      if result < 0 { return moved > 0 ? moved : result }
      moved = moved &+ result
      if result < run.count { break }
    }
    return moved
  }
}
