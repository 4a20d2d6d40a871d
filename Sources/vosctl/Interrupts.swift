// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import LinuxSystem

/// ^C and SIGTERM as a descriptor, so that a wait can answer them in order.
final class Interrupts {
  private let event: EventDescriptor

  /// Call it while the program has one thread.
  init() throws(SystemCallError) {
    event = try EventDescriptor()
    let descriptor = event.descriptor.rawValue
    var set = sigset_t()
    // SAFETY: the calls write a local of the type they expect.
    unsafe sigemptyset(&set)
    for number in [SIGINT, SIGTERM, SIGHUP] { unsafe sigaddset(&set, number) }
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    let caught = set
    // The program exits while this object lives, so the thread's descriptor stays open.
    Thread.detachNewThread {
      var set = caught
      var number: Int32 = 0
      var one: UInt64 = 1
      // SAFETY: locals of the types that the calls expect; eight bytes are written.
      while unsafe sigwait(&set, &number) == 0 { _ = unsafe write(descriptor, &one, 8) }
    }
  }

  var descriptor: Int32 { event.descriptor.rawValue }

  /// Whether one came since the last look.
  func take() -> Bool { event.take() > 0 }
}

/// Waits until one of `descriptors` has something to read or is at its end.
///
/// - Returns: whether each has; all false after `timeoutMilliseconds`.
func waitForAny(_ descriptors: [Int32], timeoutMilliseconds: Int32 = -1) -> [Bool] {
  var entries = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
  // SAFETY: the call reads and writes as many entries as the array has.
  let count = unsafe poll(&entries, nfds_t(entries.count), timeoutMilliseconds)
  return entries.map { count > 0 && $0.revents != 0 }
}
