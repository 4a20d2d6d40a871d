// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc

/// Bytes of a set of processors: room for 1024, as in glibc's cpu_set_t.
private let setByteCount = 128

/// The processors that this process may use, ascending.
public func usableProcessors() -> [Int] {
  var set = [UInt8](repeating: 0, count: setByteCount)
  // SAFETY: the call fills an array of the size it is told.
  guard unsafe clinux_get_processors(&set, setByteCount) == 0 else { return [] }
  return (0..<(setByteCount * 8)).filter { set[$0 / 8] >> UInt8($0 % 8) & 1 == 1 }
}

/// Keeps the calling thread, and those that it will start, on `processor`; best effort.
func pinThread(to processor: Int) {
  var set = [UInt8](repeating: 0, count: setByteCount)
  guard set.indices.contains(processor / 8) else { return }
  set[processor / 8] |= 1 << UInt8(processor % 8)
  // SAFETY: the call reads an array of the size it is told.
  _ = unsafe clinux_set_processors(&set, setByteCount)
}

/// How a measurement's threads are scheduled: before all normal ones, since two guests that wait for
/// each other get on only while both run.
enum RealTime {
  /// For the guests, which spin.
  static let guest: Int32 = 1
  /// For the host's thread, which only looks at them now and then.
  static let host: Int32 = 2
}

/// Gives the calling thread, and those that it will start, a real-time priority, if that is allowed.
func prefer(_ priority: Int32) {
  var parameters = sched_param()
  parameters.sched_priority = priority
  // SAFETY: the call reads a local of its type.
  _ = unsafe sched_setscheduler(0, SCHED_RR, &parameters)
}

/// Makes the calling thread a normal one again.
func preferNoLonger() {
  var parameters = sched_param()
  // SAFETY: the call reads a local of its type.
  _ = unsafe sched_setscheduler(0, SCHED_OTHER, &parameters)
}

/// Nanoseconds of the clock that is never set.
public func monotonicNanoseconds() -> UInt64 {
  var now = timespec()
  // SAFETY: the call fills a local of its type.
  unsafe clock_gettime(CLOCK_MONOTONIC_RAW, &now)
  return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}
