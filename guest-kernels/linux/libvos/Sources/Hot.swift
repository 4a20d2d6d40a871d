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

  /// Where a hot call goes.
  private enum Target {
    case file(Entry, Cursor)
    case socket(Entry, Word, Cursor)
    case elsewhere
  }

  @inline(__always)
  private static func target(
    _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int, _ flags: Int32?
  ) -> Target {
    // SAFETY: the program's own vector, or one of `read` or `write` below that outlives the call.
    guard let entry = Entry(descriptor), let cursor = unsafe Cursor(vectors, count) else {
      return .elsewhere
    }
    let word = Ownership.current(descriptor, entry)
    switch word.kind {
    case .file where flags == nil: return .file(entry, cursor)
    case .socket: return .socket(entry, word, cursor)
    case .kernel: _ = fallback(word.carrier)
    default: break
    }
    return .elsewhere
  }

  /// What read, readv, recv and recvmsg have in common; flags, be they 0, are for sockets only.
  static func read(
    _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int, flags: Int32? = nil
  ) -> Int? {
    // SAFETY: passed on for `target` to judge.
    switch unsafe target(descriptor, vectors, count, flags) {
    case .file(let entry, let cursor): Files.read(descriptor, entry, cursor)
    case .socket(let entry, let word, let cursor):
      Sockets.receive(descriptor, entry, word, cursor, flags ?? 0)
    case .elsewhere: nil
    }
  }

  /// What write, writev, send and sendmsg have in common, likewise.
  static func write(
    _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int, flags: Int32? = nil
  ) -> Int? {
    // SAFETY: passed on for `target` to judge.
    switch unsafe target(descriptor, vectors, count, flags) {
    case .file(let entry, let cursor): Files.write(descriptor, entry, cursor)
    case .socket(let entry, let word, let cursor):
      Sockets.send(descriptor, entry, word, cursor, flags ?? 0)
    case .elsewhere: nil
    }
  }

  /// The same with one buffer; nil at once for a local descriptor.
  @inline(__always)
  static func read(
    _ descriptor: Int32, into buffer: UnsafeMutableRawPointer?, _ count: Int, flags: Int32? = nil
  ) -> Int? {
    guard isRemote(descriptor) else { return nil }
    // SAFETY: the program's buffer, as it gave it; the vector lives as long as the call.
    var vector = unsafe libvos_vector(base: buffer, length: count)
    return unsafe read(descriptor, &vector, 1, flags: flags)
  }

  @inline(__always)
  static func write(
    _ descriptor: Int32, from buffer: UnsafeRawPointer?, _ count: Int, flags: Int32? = nil
  ) -> Int? {
    guard isRemote(descriptor) else { return nil }
    // SAFETY: as above; a call that writes to a file or socket only reads the buffer.
    var vector = unsafe libvos_vector(
      base: UnsafeMutableRawPointer(mutating: buffer), length: count)
    return unsafe write(descriptor, &vector, 1, flags: flags)
  }

  /// Counts a call on something remote that takes the kernel path.
  static func fallback(_ carrier: UInt32) -> Int? {
    Process.knownChannel(carrying: carrier)?.countFallback()
    return nil
  }

  /// Minus a Linux errno, as the caller expects it: -1 and errno from a library, itself from what
  /// stands in a system call's place.
  static func failed(_ error: Int64) -> Int { libvos_failed(Int(error)) }
}
