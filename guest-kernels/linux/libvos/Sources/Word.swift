// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// What libvos knows of one descriptor, in 64 bits, so that every change is one compare-and-swap:
/// bits 0–2 kind, 3 stream, 4 known to block, 5 socket, 6–15 turn (counts uses of the number),
/// 16–63 the file offset, owned here while the kind is `file`.
struct Word {
  enum Kind: UInt64 {
    /// Local, or not known: the real call.
    case none
    /// Remote, but the kernel path owns it for good.
    case kernel
    /// Remote by the look of it; nothing was asked yet, the kernel path still owns all of it.
    case socketCandidate, fileCandidate
    /// A thread is attaching a file; whoever needs the offset waits.
    case attaching
    /// Attached; the service owns all of a socket's state.
    case socket
    /// Attached and private to this process; the offset is in this word.
    case file
    /// A thread is handing the offset to the kernel; whoever needs it waits.
    case handing
  }

  static let offsetLimit = Int(1) << 48

  var raw: UInt64

  init(raw: UInt64) { self.raw = raw }

  init(_ kind: Kind, stream: Bool = false, blocking: Bool = false, turn: UInt64, offset: Int = 0) {
    raw =
      kind.rawValue | (stream ? 8 : 0) | (blocking ? 16 : 0)
      | (kind == .socketCandidate ? 32 : 0) | (turn & 0x3ff) << 6
      | UInt64(truncatingIfNeeded: offset) << 16
  }

  var kind: Kind { Kind(rawValue: raw & 7) ?? .none }
  var isStream: Bool { raw & 8 != 0 }
  /// A hint: nobody changed O_NONBLOCK that we know of. Decides how long to spin, nothing else.
  var isBlocking: Bool { raw & 16 != 0 }
  var turn: UInt64 { raw >> 6 & 0x3ff }
  var isSocket: Bool { raw & 32 != 0 && kind != .none }
  /// Opened under a remote mount.
  var isFile: Bool { raw & 32 == 0 && kind != .none }
  /// What channel carries it: VOS_CARRIES_SOCKETS or VOS_CARRIES_FILES.
  var carrier: UInt32 { raw & 32 != 0 ? VOS_CARRIES_SOCKETS : VOS_CARRIES_FILES }
  var offset: Int { Int(truncatingIfNeeded: raw >> 16) }

  func with(_ kind: Kind) -> Word { Word(raw: raw & ~7 | kind.rawValue) }

  func with(offset: Int) -> Word {
    Word(raw: raw & 0xffff | UInt64(truncatingIfNeeded: offset) << 16)
  }

  func with(blocking: Bool) -> Word { Word(raw: raw & ~16 | (blocking ? 16 : 0)) }
}

/// The entry of one descriptor number within the table.
@safe
struct Entry {
  let pointer: UnsafeMutablePointer<libvos_entry>

  /// Nil for a number the table has no room for.
  @inline(__always)
  init?(_ descriptor: Int32) {
    guard UInt32(bitPattern: descriptor) < UInt32(LIBVOS_DESCRIPTORS) else { return nil }
    // SAFETY: the index was just checked against the static table's length.
    unsafe pointer = unsafe libvos_entry_at(descriptor)
  }

  private var word: UnsafeMutablePointer<UInt64> {
    // SAFETY: `word` is the entry's first field.
    unsafe UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: UInt64.self)
  }

  // SAFETY (all below): the entry is static storage; its fields are 64-bit and aligned.
  @inline(__always)
  func load() -> Word { unsafe Word(raw: vos_load_acquire64(word)) }

  /// True if the word was `old` and now is `new`.
  func exchange(_ old: Word, _ new: Word) -> Bool {
    unsafe libvos_compare_exchange64(word, old.raw, new.raw) != 0
  }

  func store(_ new: Word) { unsafe vos_store_release64(word, new.raw) }

  /// Meaningful if `load()` gives the same turn before and after.
  var object: UInt64 { unsafe pointer.pointee.object }
  var generation: UInt64 { unsafe pointer.pointee.generation }

  /// When the file was last seen to have no watchers; several threads may find that out at once.
  var watchCount: UInt32 {
    get { unsafe vos_load_acquire32(watchPointer) }
    nonmutating set { unsafe vos_store_release32(watchPointer, newValue) }
  }

  private var watchPointer: UnsafeMutablePointer<UInt32> {
    unsafe libvos_entry_watch_count(pointer)
  }

  /// Before the word that makes them valid is stored.
  func set(object: UInt64, generation: UInt64) {
    unsafe pointer.pointee.object = object
    unsafe pointer.pointee.generation = generation
  }
}
