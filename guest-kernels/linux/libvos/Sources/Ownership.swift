// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// Who owns a descriptor's state, and every change of it. docs/fast-path.md has the rules.
///
/// No lock: a change is one exchange of the entry's word. The two moments in which others must
/// wait (`attaching`, `handing`) are entered with signals held back, so that no handler can wait
/// for the thread it interrupted; they last one or two system calls.
enum Ownership {
  /// A new remote-looking descriptor; nothing is asked until its first hot call.
  static func mark(
    _ descriptor: Int32, _ kind: Word.Kind, stream: Bool = false, blocking: Bool = false
  ) {
    // 0, 1 and 2 belong to stdio and to every child: they stay on the kernel path.
    guard descriptor > 2, let entry = Entry(descriptor),
      keepingErrorNumber({ Process.prepare() && Process.isOwner })
    else { return }
    Process.raiseHighest(above: descriptor)
    let turn = entry.load().turn &+ 1
    entry.store(Word(kind, stream: stream, blocking: blocking, turn: turn))
  }

  /// The number means something else from now on, or nothing.
  static func forget(_ descriptor: Int32) {
    guard let entry = Entry(descriptor) else { return }
    let word = entry.load()
    guard word.kind != .none else { return }
    guard Process.isOwner else {
      // In a child of vfork: the parent still has the descriptor.
      return giveBack(descriptor, sockets: true)
    }
    _ = settled(entry)
    entry.store(Word(.none, turn: word.turn &+ 1))
  }

  /// The word, once no other thread is in the middle of changing owners.
  static func settled(_ entry: Entry) -> Word {
    while true {
      let word = entry.load()
      guard word.kind == .attaching || word.kind == .handing else { return word }
      _ = sched_yield()
    }
  }

  /// The word of a descriptor that is about to be used: a candidate is attached first.
  @inline(__always)
  static func current(_ descriptor: Int32, _ entry: Entry) -> Word {
    let word = settled(entry)
    switch word.kind {
    case .fileCandidate: return keepingErrorNumber { attachFile(descriptor, entry, word) }
    case .socketCandidate: return keepingErrorNumber { attachSocket(descriptor, entry, word) }
    default: return word
    }
  }

  private static func attachFile(_ descriptor: Int32, _ entry: Entry, _ word: Word) -> Word {
    withoutSignals {
      guard entry.exchange(word, word.with(.attaching)) else { return settled(entry) }
      var next = Word(.none, turn: word.turn)
      if let channel = Process.isOwner ? Process.channel(carrying: VOS_CARRIES_FILES) : nil,
        !channel.isWatched(descriptor, entry), attach(descriptor, entry, channel)
      {
        next = word.with(.file).with(offset: 0)
      }
      entry.store(next)
      return next
    }
  }

  private static func attachSocket(_ descriptor: Int32, _ entry: Entry, _ word: Word) -> Word {
    guard Process.isOwner else { return word.with(.kernel) }
    var next = Word(.none, turn: word.turn)
    if let channel = Process.channel(carrying: VOS_CARRIES_SOCKETS),
      attach(descriptor, entry, channel)
    {
      next = word.with(.socket)
    }
    return entry.exchange(word, next) ? next : settled(entry)
  }

  /// Asks the kernel: only it knows whether the descriptor is remote, and which object it is.
  private static func attach(_ descriptor: Int32, _ entry: Entry, _ channel: Channel) -> Bool {
    let generation = channel.generation
    guard channel.isAlive else { return false }
    let object = unsafe real().pointee.ioctl(descriptor, UInt(VOS_IOC_ATTACH), UInt(channel.slice))
    guard object >= 0 else { return false }
    entry.set(object: UInt64(UInt32(bitPattern: object)), generation: generation)
    return true
  }

  /// The kernel path owns the descriptor from now on: it gets the file offset. A socket has no
  /// state here, so it is left alone unless `sockets`.
  static func giveBack(_ descriptor: Int32, sockets: Bool = false) {
    guard let entry = Entry(descriptor) else { return }
    while true {
      let word = settled(entry)
      switch word.kind {
      case .fileCandidate:
        if entry.exchange(word, word.with(.kernel)) { return }
      case .file:
        if giveBackFile(descriptor, entry, word) { return }
      case .socket, .socketCandidate:
        if !sockets || entry.exchange(word, word.with(.kernel)) { return }
      default: return
      }
    }
  }

  private static func giveBackFile(_ descriptor: Int32, _ entry: Entry, _ word: Word) -> Bool {
    keepingErrorNumber {
      withoutSignals {
        guard entry.exchange(word, word.with(.handing)) else { return false }
        // The kernel last heard of the file's size before the fast writes; asking for the end
        // makes it ask. An appending write would otherwise go to the old end.
        let end: Int32 = 2
        _ = unsafe real().pointee.lseek64(descriptor, 0, end)
        _ = unsafe real().pointee.lseek64(descriptor, word.offset, 0)
        _ = unsafe real().pointee.ioctl(descriptor, UInt(VOS_IOC_DETACH), 0)
        entry.store(word.with(.kernel))
        return true
      }
    }
  }

  /// Every file: a second owner of the descriptors is about to exist, or these pages to go.
  static func giveBackAll() {
    guard Process.isPrepared else { return }
    let end = Process.highest
    guard end > 3 else { return }
    for descriptor in 3..<end { giveBack(descriptor) }
  }

  /// The service does not know the object (any more): the kernel path says what that means.
  static func lose(_ descriptor: Int32) { giveBack(descriptor, sockets: true) }

  /// `copy` is a duplicate of `original`: sockets share nothing here, files go back.
  static func duplicate(_ original: Int32, as copy: Int32) {
    guard let from = Entry(original) else { return }
    let word = settled(from)
    switch word.kind {
    case .socket, .socketCandidate:
      mark(copy, .socketCandidate, stream: word.isStream)
      _ = from.exchange(word, word.with(blocking: false))
    case .kernel: mark(copy, .kernel)
    default: break
    }
  }
}
