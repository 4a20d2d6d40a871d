// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// What this process holds: made ready on first need, gone in a forked child.
///
/// The static page range behind it is MADV_WIPEONFORK. A child, made by whatever means, finds
/// stage `none` and no entry, so it takes the kernel path until it opens things of its own.
enum Process {
  private static let none: UInt32 = 0
  private static let busy: UInt32 = 1
  private static let ready: UInt32 = 2
  private static let off: UInt32 = 3
  private static let adviseWipeOnFork: Int32 = 18

  // SAFETY (all below): static storage; words that threads share are read and written atomically.

  /// Whether entries may be written. Never waits: a thread that finds another at it gets false.
  static func prepare() -> Bool {
    let stage = unsafe libvos_prepared()
    switch unsafe vos_load_acquire32(stage) {
    case ready: return true
    case none: break
    default: return false
    }
    // WIPEONFORK first: a fork by another thread in between must not copy a half-made table.
    let advised = keepingErrorNumber {
      unsafe madvise(libvos_this(), libvos_process_bytes(), adviseWipeOnFork) == 0
    }
    guard unsafe vos_compare_exchange32(stage, none, busy) != 0 else { return false }
    unsafe libvos_this().pointee.pid = getpid()
    forgetDevices()
    unsafe vos_store_release32(stage, advised ? ready : off)
    return advised
  }

  static var isPrepared: Bool { unsafe vos_load_acquire32(libvos_prepared()) == ready }

  /// False in a child of vfork, which runs in its parent's memory: it may hand things back but
  /// must not change what the numbers mean.
  static var isOwner: Bool { unsafe libvos_this().pointee.pid == getpid() }

  /// For good: threads no longer share one descriptor table.
  static func turnOff() { unsafe vos_store_release32(libvos_prepared(), off) }

  /// Descriptors at or above it have no entry.
  static var highest: Int32 { unsafe Int32(bitPattern: vos_load_acquire32(libvos_highest())) }

  static func raiseHighest(above descriptor: Int32) {
    let word = unsafe libvos_highest()
    while true {
      let now = unsafe vos_load_acquire32(word)
      guard now <= UInt32(bitPattern: descriptor) else { return }
      let next = UInt32(bitPattern: descriptor) &+ 1
      if unsafe vos_compare_exchange32(word, now, next) != 0 { return }
    }
  }

  /// The channel for one kind of remote thing, its slice taken on first need; nil if there is
  /// none.
  static func channel(carrying kind: UInt32) -> Channel? {
    if let known = knownChannel(carrying: kind) { return known }
    if unsafe vos_load_acquire32(libvos_sought()) & kind != 0 { return nil }
    return keepingErrorNumber { withoutSignals { soughtChannel(carrying: kind) } }
  }

  /// Looks for it; one thread at a time, the others wait. Signals are held back.
  private static func soughtChannel(carrying kind: UInt32) -> Channel? {
    let lock = unsafe libvos_taking()
    while unsafe vos_compare_exchange32(lock, 0, 1) == 0 { _ = sched_yield() }
    let sought = unsafe vos_load_acquire32(libvos_sought())
    if sought & kind == 0 {
      Devices.take(carrying: kind)
      unsafe vos_store_release32(libvos_sought(), sought | kind)
    }
    unsafe vos_store_release32(lock, 0)
    return knownChannel(carrying: kind)
  }

  /// The same, without taking anything.
  static func knownChannel(carrying kind: UInt32) -> Channel? {
    let count = unsafe vos_load_acquire32(libvos_channel_count())
    for index in 0..<min(count, UInt32(LIBVOS_CHANNELS)) {
      let channel = unsafe Channel(pointer: libvos_channel_at(index), index: Int32(index))
      if channel.carries & kind != 0 { return channel }
    }
    return nil
  }

  /// A forked child lets go of its parent's devices, or the parent's slice would outlive it.
  static func forgetDevices() {
    for index in 0..<LIBVOS_CHANNELS {
      let place = unsafe libvos_device(index)
      let held = unsafe place.pointee
      unsafe place.pointee = 0
      if held > 0 { _ = unsafe real().pointee.close(held &- 1) }
    }
  }

  /// Which of our own device descriptors a number is, if it is one.
  static func deviceIndex(of descriptor: Int32) -> Int32? {
    for index in 0..<LIBVOS_CHANNELS where unsafe libvos_device(index).pointee == descriptor &+ 1 {
      return index
    }
    return nil
  }

  /// The program wants this number for itself: ours moves out of the way.
  static func vacate(_ descriptor: Int32) {
    guard let index = deviceIndex(of: descriptor) else { return }
    let moved = Devices.raised(descriptor)
    // None is free: the program's call takes this one. From then on nothing rings, and nothing of
    // the program's is taken for ours.
    unsafe libvos_device(index).pointee = moved == descriptor ? 0 : moved &+ 1
  }
}
