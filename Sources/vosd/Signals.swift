// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc

/// Turns SIGTERM, SIGINT and SIGHUP into rings of an eventfd, and has writes to a reader that is
/// gone fail: neither a vosctl nor a log that is piped may end us while we hold devices. Call it
/// before any thread is started.
///
/// - Parameter descriptor: must stay open for as long as the process runs.
func catchSignals(ringing descriptor: Int32) {
  var set = sigset_t()
  // SAFETY: the calls write a local of the type they expect.
  unsafe sigemptyset(&set)
  for number in [SIGTERM, SIGINT, SIGHUP] { unsafe sigaddset(&set, number) }
  unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
  signal(SIGPIPE, SIG_IGN)
  let caught = set
  Thread.detachNewThread {
    var set = caught
    var number: Int32 = 0
    var one: UInt64 = 1
    // SAFETY: locals of the types that the calls expect; eight bytes are written.
    while unsafe sigwait(&set, &number) == 0 { _ = unsafe write(descriptor, &one, 8) }
  }
}
