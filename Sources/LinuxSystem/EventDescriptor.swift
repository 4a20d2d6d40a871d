// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// An eventfd: a counter that the kernel or another process rings.
public struct EventDescriptor: ~Copyable, Sendable {
  /// The descriptor, for `ioeventfd`, `irqfd`, `epoll` and for passing on.
  public let descriptor: OwnedDescriptor

  /// A new eventfd, non-blocking and close-on-exec.
  public init() throws(SystemCallError) {
    let number = try retrying("create eventfd") { eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) }
    descriptor = OwnedDescriptor(owning: number)
  }

  /// Takes an eventfd that somebody passed.
  public init(owning descriptor: consuming OwnedDescriptor) {
    self.descriptor = descriptor
  }

  /// Adds one to the counter. A counter at its limit stays there: the ring is pending anyway.
  public func ring() {
    // SAFETY: the call reads eight bytes of a local of that size.
    var one: UInt64 = 1
    _ = unsafe write(descriptor.rawValue, &one, 8)
  }

  /// Takes the counter, which becomes zero; 0 if nobody rang.
  public func take() -> UInt64 {
    var count: UInt64 = 0
    // SAFETY: the call writes eight bytes to a local of that size.
    let taken = unsafe read(descriptor.rawValue, &count, 8)
    return taken == 8 ? count : 0
  }
}
