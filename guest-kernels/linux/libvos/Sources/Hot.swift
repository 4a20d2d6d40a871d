// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// The hot calls. Each gives nil if the real call must be made instead.
enum Hot {
  /// The check that every intercepted call makes: one load for a local descriptor.
  @inline(__always)
  static func isRemote(_ descriptor: Int32) -> Bool {
    guard let entry = Entry(descriptor) else { return false }
    return entry.load().kind != .none
  }

  /// What read, readv, recv and recvmsg have in common.
  static func read(
    _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int, flags: Int32 = 0
  ) -> Int? {
    guard let entry = Entry(descriptor), let cursor = unsafe Cursor(vectors, count) else {
      return nil
    }
    let word = Ownership.current(descriptor, entry)
    switch word.kind {
    case .file where flags == 0: return Files.read(descriptor, entry, cursor)
    case .socket: return Sockets.receive(descriptor, entry, word, cursor, flags)
    case .kernel: return fallback(word.carrier)
    default: return nil
    }
  }

  /// What write, writev, send and sendmsg have in common.
  static func write(
    _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int, flags: Int32 = 0
  ) -> Int? {
    guard let entry = Entry(descriptor), let cursor = unsafe Cursor(vectors, count) else {
      return nil
    }
    let word = Ownership.current(descriptor, entry)
    switch word.kind {
    case .file where flags == 0: return Files.write(descriptor, entry, cursor)
    case .socket: return Sockets.send(descriptor, entry, word, cursor, flags)
    case .kernel: return fallback(word.carrier)
    default: return nil
    }
  }

  /// Counts a call on something remote that takes the kernel path.
  static func fallback(_ carrier: UInt32) -> Int? {
    Process.knownChannel(carrying: carrier)?.countFallback()
    return nil
  }

  /// Minus a Linux errno, as libc returns it.
  static func failed(_ error: Int64) -> Int {
    errorNumber = Int32(truncatingIfNeeded: 0 &- error)
    return -1
  }
}
