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
    static let state = 0
    static let generation = 4
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
  private var heartbeatWord: UnsafeMutablePointer<UInt64> {
    // SAFETY: within the page, 8-byte aligned.
    unsafe (base + Field.heartbeat).assumingMemoryBound(to: UInt64.self)
  }

  /// The side's state; what is no known state counts as broken.
  public var state: SideState {
    // SAFETY: a word of the page.
    SideState(rawValue: unsafe vos_load_acquire32(word(Field.state))) ?? .broken
  }

  /// The life that the side believes it is in.
  public var generation: UInt32 {
    // SAFETY: a word of the page.
    unsafe vos_load_acquire32(word(Field.generation))
  }

  /// Counts while the side lives.
  public var heartbeat: UInt64 {
    // SAFETY: a word of the page.
    unsafe vos_load_acquire64(heartbeatWord)
  }

  /// The ABI version that the side speaks.
  public var version: UInt32 {
    // SAFETY: a word of the page.
    unsafe vos_load_acquire32(word(Field.version))
  }

  /// The owner announces itself; the state goes last.
  public func announce(_ state: SideState, generation: UInt32) {
    // SAFETY: words of the owner's page.
    unsafe vos_store_release32(word(Field.version), VOS_ABI_VERSION)
    unsafe vos_store_release32(word(Field.generation), generation)
    unsafe vos_store_release32(word(Field.state), state.rawValue)
  }

  /// The owner shows that it lives; call it from one thread.
  public func beat() {
    // SAFETY: the owner is the only writer.
    unsafe vos_store_release64(heartbeatWord, vos_load_acquire64(heartbeatWord) &+ 1)
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
