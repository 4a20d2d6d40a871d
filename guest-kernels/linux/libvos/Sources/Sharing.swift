// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// What the rest of the system is about to share, copy or look at.
enum Sharing {
  private static let unshareDescriptors: Int32 = 2  // CLOSE_RANGE_UNSHARE
  private static let markCloseOnExec: Int32 = 4  // CLOSE_RANGE_CLOEXEC
  private static let socketLevel: Int32 = 1
  private static let rights: Int32 = 1

  /// Descriptors that a message carries to another process get a second owner.
  static func giveBackPassed(in message: UnsafePointer<libvos_message>) {
    guard let control = unsafe message.pointee.control, Process.isPrepared else { return }
    let headerBytes = MemoryLayout<libvos_control>.size
    let end = unsafe Int(truncatingIfNeeded: message.pointee.control_length)
    var at = 0
    while at >= 0, at &+ headerBytes <= end {
      // SAFETY: the program promised `control_length` bytes at `control`.
      let header = unsafe (control + at).loadUnaligned(as: libvos_control.self)
      let length = Int(truncatingIfNeeded: header.length)
      guard length >= headerBytes, length <= end &- at else { return }
      if header.level == socketLevel, header.type == rights {
        var place = at &+ headerBytes
        while place &+ 4 <= at &+ length {
          giveBack(passed: unsafe (control + place).loadUnaligned(as: Int32.self))
          place = place &+ 4
        }
      }
      at = at &+ ((length &+ 7) & ~7)
    }
  }

  private static func giveBack(passed descriptor: Int32) {
    Ownership.giveBack(descriptor)
    noteShared(descriptor)
  }

  /// Somebody else may now change O_NONBLOCK.
  static func noteShared(_ descriptor: Int32) {
    guard let entry = Entry(descriptor) else { return }
    let word = entry.load()
    if word.isBlocking { _ = entry.exchange(word, word.with(blocking: false)) }
  }

  /// `copy` now is what `original` is.
  static func replaced(_ copy: Int32, by original: Int32) {
    Ownership.forget(copy)
    Ownership.duplicate(original, as: copy)
  }

  /// close_range without our own descriptors.
  static func closeRange(_ first: UInt32, _ last: UInt32, _ flags: Int32) -> Int32 {
    if flags & unshareDescriptors != 0 {
      Ownership.giveBackAll()
      Process.turnOff()
    }
    guard flags & markCloseOnExec == 0, first <= last else {
      return unsafe real().pointee.close_range(first, last, flags)
    }
    let end = UInt32(bitPattern: Process.highest)
    if first < end {
      for descriptor in first...min(last, end) { Ownership.forget(Int32(bitPattern: descriptor)) }
    }
    return closeAround(first, last, flags)
  }

  private static func closeAround(_ first: UInt32, _ last: UInt32, _ flags: Int32) -> Int32 {
    var start = first
    while start <= last {
      let own = nextOwn(start, last)
      if let own, own == start {
        if start == UInt32.max { return 0 }
        start = start &+ 1
        continue
      }
      let stop = own.map { $0 &- 1 } ?? last
      let result = unsafe real().pointee.close_range(start, stop, flags)
      guard result == 0, let own, own < last else { return result }
      start = own &+ 1
    }
    return 0
  }

  private static func nextOwn(_ first: UInt32, _ last: UInt32) -> UInt32? {
    var lowest: UInt32?
    for index in 0..<LIBVOS_CHANNELS {
      let held = unsafe libvos_device(index).pointee
      guard held > 0 else { continue }
      let number = UInt32(bitPattern: held &- 1)
      if number >= first, number <= last, number < lowest ?? UInt32.max { lowest = number }
    }
    return lowest
  }

  private static let duplicateCommand: Int32 = 0
  private static let duplicateCloseOnExec: Int32 = 1030
  private static let setFlags: Int32 = 4
  private static let lockCommands: ClosedRange<Int32> = 5...7
  private static let openFileLockCommands: ClosedRange<Int32> = 36...38
  private static let fromCurrent: Int16 = 1

  /// fcntl on something remote.
  static func control(_ descriptor: Int32, _ command: Int32, _ argument: UInt) -> Int32 {
    switch command {
    case duplicateCommand, duplicateCloseOnExec:
      Ownership.giveBack(descriptor)
      let copy = unsafe real().pointee.fcntl64(descriptor, command, argument)
      if copy >= 0 { Ownership.duplicate(descriptor, as: copy) }
      return copy
    case setFlags:
      let flags = Int32(truncatingIfNeeded: argument)
      if flags & (Linux.append | Linux.direct) != 0 { Ownership.giveBack(descriptor) }
      noteBlocking(descriptor, flags & Linux.nonBlocking == 0)
    case lockCommands, openFileLockCommands:
      // SAFETY: these commands take a struct flock, whose second field says where from.
      let lock = unsafe UnsafePointer<libvos_lock>(bitPattern: argument)
      if unsafe lock?.pointee.whence == fromCurrent { Ownership.giveBack(descriptor) }
    default: break
    }
    return unsafe real().pointee.fcntl64(descriptor, command, argument)
  }

  private static func noteBlocking(_ descriptor: Int32, _ blocking: Bool) {
    guard let entry = Entry(descriptor) else { return }
    let word = entry.load()
    guard word.kind == .socket || word.kind == .socketCandidate else { return }
    _ = entry.exchange(word, word.with(blocking: blocking))
  }

  private static let setNonBlocking: UInt = 0x5421  // FIONBIO

  /// An ioctl may look at the file offset (FIONREAD does).
  static func beforeIoctl(_ descriptor: Int32, _ command: UInt, _ argument: UInt) {
    Ownership.giveBack(descriptor)
    // SAFETY: FIONBIO's argument is the address of an int.
    if command == setNonBlocking, let value = unsafe UnsafePointer<Int32>(bitPattern: argument) {
      noteBlocking(descriptor, unsafe value.pointee == 0)
    }
  }
}

/// Rules of the process that keep descriptors off the fast path.
enum Limits {
  private static let fileSize: Int32 = 1  // RLIMIT_FSIZE

  /// A size limit is enforced by the kernel path (EFBIG, SIGXFSZ).
  static var restrictFileSize: Bool {
    var limit = libvos_limit()
    // SAFETY: the structure is Linux's rlimit on x86-64.
    return unsafe getrlimit(fileSize, &limit) != 0 || limit.soft != UInt64.max
  }

  static var allowSockets: Bool {
    unsafe libvos_set().pointee.off & VOS_CARRIES_SOCKETS == 0
  }

  static var allowFiles: Bool {
    unsafe libvos_set().pointee.off & VOS_CARRIES_FILES == 0
  }
}
