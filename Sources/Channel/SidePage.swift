// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// What a side says of itself (`VOS_SIDE_*`).
public enum SideState: UInt32, Sendable {
  case absent = 0
  case driver = 1
  case ready = 2
  case stopping = 3
  /// It saw the other side break the protocol.
  case broken = 4
}

/// One side's page: written by that side alone, read by the others.
@safe
public struct SidePage: @unchecked Sendable {
  // @unchecked: an address and nothing else; every access is atomic.

  @unsafe private let base: UnsafeMutableRawPointer

  /// Takes a mapped page.
  ///
  /// - Parameter base: page-aligned, mapped for as long as the value is used.
  @unsafe
  public init(at base: UnsafeMutableRawPointer) {
    unsafe self.base = base
  }

  private enum Field {
    /// The generation lies in the upper half of the same eight bytes.
    static let state = 0
    static let heartbeat = 8
    static let version = 16
    static let eventIndex = 64
    static let eventOverflow = 68
  }

  @unsafe
  private func word(_ offset: Int) -> UnsafeMutablePointer<UInt32> {
    // SAFETY: the offsets above lie within a page and are aligned.
    unsafe (base + offset).assumingMemoryBound(to: UInt32.self)
  }

  @unsafe
  private func longWord(_ offset: Int) -> UnsafeMutablePointer<UInt64> {
    // SAFETY: the offsets above of eight bytes lie within a page and are aligned.
    unsafe (base + offset).assumingMemoryBound(to: UInt64.self)
  }

  /// What a side says of itself, and of which life of it: one word, so neither is seen without the
  /// other. What is no known state counts as broken.
  public var standing: (state: SideState, generation: UInt32) {
    // SAFETY: a word of the page.
    let word = unsafe vos_load_acquire64(longWord(Field.state))
    let state = SideState(rawValue: UInt32(truncatingIfNeeded: word)) ?? .broken
    return (state, UInt32(word >> 32))
  }

  public var state: SideState { standing.state }

  /// The life that the side believes it is in.
  public var generation: UInt32 { standing.generation }

  /// Counts while the side lives.
  public var heartbeat: UInt64 {
    // SAFETY: a word of the page.
    unsafe vos_load_acquire64(longWord(Field.heartbeat))
  }

  /// The ABI version that the side speaks.
  public var version: UInt32 {
    // SAFETY: a word of the page.
    unsafe vos_load_acquire32(word(Field.version))
  }

  /// The owner announces itself.
  public func announce(_ state: SideState, generation: UInt32) {
    let standing = UInt64(generation) << 32 | UInt64(state.rawValue)
    // SAFETY: words of the owner's page.
    unsafe vos_store_release32(word(Field.version), VOS_ABI_VERSION)
    unsafe vos_store_release64(longWord(Field.state), standing)
  }

  /// The owner shows that it lives; call it from one thread.
  public func beat() {
    // SAFETY: the owner is the only writer.
    unsafe vos_store_release64(
      longWord(Field.heartbeat), vos_load_acquire64(longWord(Field.heartbeat)) &+ 1)
  }

  /// The event ring's free-running index of this side.
  var eventIndex: UInt32 {
    // SAFETY: a word of the page.
    get { unsafe vos_load_acquire32(word(Field.eventIndex)) }
    nonmutating set { unsafe vos_store_release32(word(Field.eventIndex), newValue) }
  }

  /// Events that the service could not write because the ring was full.
  public internal(set) var eventOverflow: UInt32 {
    // SAFETY: a word of the page.
    get { unsafe vos_load_acquire32(word(Field.eventOverflow)) }
    nonmutating set { unsafe vos_store_release32(word(Field.eventOverflow), newValue) }
  }
}
