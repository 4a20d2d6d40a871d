// SPDX-License-Identifier: Apache-2.0

internal import CMN
internal import CVosABI

/// Waiting for descriptors: one kernel thread sleeps in epoll for all parked threads.
///
/// A descriptor has a counter that every event changes, and the events that somebody waits for. A
/// wake-up too many does no harm: who wakes asks the descriptor again.
enum Poller {
  static let readable: UInt32 = 1  // EPOLLIN, POLLIN
  static let writable: UInt32 = 4

  private static let callEpollControl = 233
  private static let callEpollWait = 232
  private static let callControl = 72  // fcntl
  private static let callSocketOption = 55  // getsockopt
  private static let callPoll = 7
  private static let add = 1
  private static let modify = 3
  private static let oneShot: UInt32 = 1 << 30
  private static let noEntry = 2
  private static let exists = 17
  private static let closeOnExec: Int32 = 0o2000000

  enum Outcome {
    case ready, timedOut
    /// Not a descriptor that can be waited for here.
    case impossible
  }

  // SAFETY (all below): static tables, indexed by descriptors that were checked against their
  // length; structures on the stack for the kernel to read or write within the call.

  static func covers(_ descriptor: Int32) -> Bool {
    UInt32(bitPattern: descriptor) < UInt32(MN_DESCRIPTORS)
  }

  /// Parks until one of the events may be set. 0: no deadline.
  static func wait(_ descriptor: Int32, _ events: UInt32, until deadline: UInt64 = 0) -> Outcome {
    guard covers(descriptor), let epoll = made() else { return .impossible }
    let counter = unsafe mn_event_count(descriptor)
    let seen = unsafe vos_load_acquire32(counter)
    guard arm(epoll, descriptor, events) else { return .impossible }
    switch unsafe Parking.wait(on: counter, while: seen, until: deadline, cancellable: true) {
    case .timedOut: return .timedOut
    case .cancelled: pthread_testcancel()
    default: break
    }
    return .ready
  }

  private static func arm(_ epoll: Int32, _ descriptor: Int32, _ events: UInt32) -> Bool {
    let word = unsafe mn_wanted_events(descriptor)
    var wanted = unsafe mn_or32(word, events) | events
    while true {
      var result = control(epoll, modify, descriptor, wanted)
      if result == -noEntry { result = control(epoll, add, descriptor, wanted) }
      if result == -exists { result = control(epoll, modify, descriptor, wanted) }
      guard result == 0 else { return false }
      // Another thread may have asked for more meanwhile, and been overtaken.
      let now = unsafe vos_load_acquire32(word) | events
      if now & ~wanted == 0 { return true }
      wanted = now
    }
  }

  private static func control(
    _ epoll: Int32, _ operation: Int, _ descriptor: Int32, _ events: UInt32
  ) -> Int {
    var event = mn_event(events: events | oneShot, data: UInt64(UInt32(bitPattern: descriptor)))
    return unsafe withUnsafeMutablePointer(to: &event) { place in
      mn_syscall(
        callEpollControl, Int(epoll), operation, Int(descriptor), Int(bitPattern: place), 0, 0)
    }
  }

  /// The epoll descriptor, made with its kernel thread on first need.
  private static func made() -> Int32? {
    let word = unsafe mn_poller_word(mn_all())
    let busy = UInt32.max
    while true {
      let known = unsafe vos_load_acquire32(word)
      if known != 0, known != busy { return Int32(bitPattern: known &- 1) }
      if known == 0, unsafe vos_compare_exchange32(word, 0, busy) != 0 { break }
      Kernel.yield()
    }
    let descriptor = Descriptors.raised(epoll_create1(closeOnExec))
    guard descriptor >= 0 else {
      unsafe vos_store_release32(word, 0)
      return nil
    }
    unsafe vos_store_release32(word, UInt32(bitPattern: descriptor) &+ 1)
    _ = unsafe Runtime.startBlocked(MN_POLL.rawValue, nil)
    return descriptor
  }

  static func run() -> Never {
    var events = InlineArray<64, mn_event>(repeating: mn_event())
    while true {
      let epoll = unsafe Int(vos_load_acquire32(mn_poller_word(mn_all()))) &- 1
      let count = unsafe withUnsafeMutableBytes(of: &events) { place in
        mn_syscall(callEpollWait, epoll, Int(bitPattern: place.baseAddress), 64, -1, 0, 0)
      }
      guard count > 0 else {
        if count != -Int(Linux.interrupted) { Kernel.pause(Clock.millisecond) }
        continue
      }
      for index in 0..<count { tell(Int32(truncatingIfNeeded: events[index].data)) }
    }
  }

  private static func tell(_ descriptor: Int32) {
    let counter = unsafe mn_event_count(descriptor)
    unsafe vos_store_release32(mn_wanted_events(descriptor), 0)
    _ = unsafe mn_add32(counter, 1)
    unsafe Parking.wake(counter, count: Int.max)
  }

  /// How the program wants calls on a descriptor to wait.
  enum Waiting {
    case forEver
    /// O_NONBLOCK.
    case never
    /// SO_RCVTIMEO or SO_SNDTIMEO.
    case limited
  }

  static func waiting(_ descriptor: Int32, _ events: UInt32) -> Waiting {
    let getFlags = 3
    let nonBlocking = 0o4000
    let flags = mn_syscall(callControl, Int(descriptor), getFlags, 0, 0, 0, 0)
    guard flags >= 0, flags & nonBlocking == 0 else { return .never }
    // On a remote socket the question costs more than the answer: it is kept until it may change.
    let known = covers(descriptor) ? unsafe mn_is_unlimited(descriptor) : nil
    let bit: UInt8 = events == writable ? 2 : 1
    if let known = unsafe known, unsafe known.pointee & bit != 0 { return .forEver }
    let socketLevel = 1
    let option = events == writable ? 21 : 20  // SO_SNDTIMEO, SO_RCVTIMEO
    var limit = mn_time()
    var length: UInt32 = 16
    let result = unsafe withUnsafeMutablePointer(to: &limit) { limit in
      unsafe withUnsafeMutablePointer(to: &length) { length in
        mn_syscall(
          callSocketOption, Int(descriptor), socketLevel, option, Int(bitPattern: limit),
          Int(bitPattern: length), 0)
      }
    }
    guard result != 0 || limit.seconds == 0 && limit.nanoseconds == 0 else { return .limited }
    if let known = unsafe known { unsafe known.pointee |= bit }
    return .forEver
  }

  static func waitsForEver(_ descriptor: Int32, _ events: UInt32) -> Bool {
    if case .forEver = waiting(descriptor, events) { return true }
    return false
  }

  /// Whether one of the events is set now.
  static func isSet(_ descriptor: Int32, _ events: UInt32) -> Bool {
    var one = mn_poll(
      descriptor: descriptor, events: Int16(truncatingIfNeeded: events), found: 0)
    return unsafe withUnsafeMutablePointer(to: &one) { place in
      mn_syscall(callPoll, Int(bitPattern: place), 1, 0, 0, 0, 0) != 0
    }
  }
}

/// What kind of thing a descriptor is, as far as waiting goes. A guess that is kept: a wrong one
/// costs a system call or a kernel thread's sleep.
enum Descriptors {
  enum Kind: UInt8 {
    case unknown, socket, pollable, other
  }

  private static let callStatus = 5  // fstat
  private static let duplicateCloseOnExec = 1030
  /// Programs that pick descriptor numbers pick low ones.
  private static let lowestOwn = 950

  // SAFETY (all below): as for Poller.

  static func kind(_ descriptor: Int32) -> Kind {
    guard Poller.covers(descriptor) else { return .other }
    let place = unsafe mn_descriptor_kind(descriptor)
    if let known = unsafe Kind(rawValue: vos_load_acquire8(place)), known != .unknown {
      return known
    }
    var status = InlineArray<18, UInt64>(repeating: 0)
    let result = unsafe withUnsafeMutableBytes(of: &status) { bytes in
      mn_syscall(
        callStatus, Int(descriptor), Int(bitPattern: bytes.baseAddress), 0, 0, 0, 0)
    }
    guard result == 0 else { return .other }
    let format = UInt32(truncatingIfNeeded: status[3]) & 0o170000
    let kind: Kind =
      switch format {
      case 0o140000: .socket
      case 0o010000, 0o020000: .pollable  // pipes, character devices
      default: .other
      }
    unsafe vos_store_release8(place, kind.rawValue)
    return kind
  }

  static func forget(_ descriptor: Int32) {
    guard Poller.covers(descriptor) else { return }
    unsafe vos_store_release8(mn_descriptor_kind(descriptor), 0)
    unsafe vos_store_release8(mn_is_unlimited(descriptor), 0)
  }

  /// Moves a descriptor of ours to a high number.
  static func raised(_ descriptor: Int32) -> Int32 {
    guard descriptor >= 0 else { return descriptor }
    let moved = mn_syscall(72, Int(descriptor), duplicateCloseOnExec, lowestOwn, 0, 0, 0)
    guard moved >= 0 else { return descriptor }
    let close = 3
    _ = mn_syscall(close, Int(descriptor), 0, 0, 0, 0, 0)
    return Int32(truncatingIfNeeded: moved)
  }
}

@c(mn_poll_descriptors)
public func pollDescriptors(_ unused: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  Poller.run()
}

/// libvos: a receive on a remote socket found nothing.
@c(mn_await_ready)
public func awaitReady(_ descriptor: Int32, _ events: Int32) -> Int32 {
  let events = UInt32(bitPattern: events)
  guard Thread.current.canSwitch, Poller.waitsForEver(descriptor, events),
    case .ready = Poller.wait(descriptor, events)
  else { return 0 }
  return 1
}
