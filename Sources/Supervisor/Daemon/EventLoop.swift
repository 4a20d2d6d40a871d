// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem

/// One thread, one epoll, one handler per descriptor.
final class EventLoop {
  typealias Handler = (Epoll.Interest) -> Void

  /// A watched descriptor; stale ones are ignored.
  struct Watch: Hashable {
    fileprivate let token: UInt64
    fileprivate let descriptor: Int32
  }

  private let epoll: Epoll
  private var handlers: [UInt64: Handler] = [:]
  private var nextToken: UInt64 = 1

  init() throws(SystemCallError) {
    epoll = try Epoll()
  }

  /// Calls `handler` whenever `descriptor`, which stays its owner's, has something to tell.
  func watch(
    _ descriptor: Int32, _ interest: Epoll.Interest = .readable, handler: @escaping Handler
  ) throws(SystemCallError) -> Watch {
    let token = nextToken
    nextToken += 1
    try epoll.add(descriptor, interest: interest, token: token)
    handlers[token] = handler
    return Watch(token: token, descriptor: descriptor)
  }

  func change(_ watch: Watch, to interest: Epoll.Interest) {
    guard handlers[watch.token] != nil else { return }
    try? epoll.modify(watch.descriptor, interest: interest, token: watch.token)
  }

  /// Stops watching; call it before the descriptor is closed.
  func remove(_ watch: Watch) {
    guard handlers.removeValue(forKey: watch.token) != nil else { return }
    try? epoll.remove(watch.descriptor)
  }

  /// Waits for at most `timeout` seconds and runs the handlers that are due.
  func turn(timeout: Seconds) throws(SystemCallError) {
    let milliseconds = Int32(max(0, min(timeout * 1000, 3_600_000)).rounded(.up))
    for event in try epoll.wait(timeoutMilliseconds: milliseconds) {
      // A handler may have removed a later one of the same turn.
      handlers[event.token]?(event.interest)
    }
  }

  /// Seconds on the monotonic clock.
  static func now() -> Seconds {
    var time = timespec()
    // SAFETY: the call fills a local of the type it expects.
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}

/// Descriptors that are closed together.
final class DescriptorBag {
  private var numbers: [Int32] = []
  private var others: [AnyObject] = []

  deinit {
    for number in numbers { close(number) }
  }

  /// Takes a descriptor over; the number is good for as long as the bag lives.
  func put(_ descriptor: consuming OwnedDescriptor) -> Int32 {
    let number = descriptor.release()
    numbers.append(number)
    return number
  }

  /// Keeps another owner of descriptors for as long as itself.
  func keep(_ owner: AnyObject) { others.append(owner) }
}
