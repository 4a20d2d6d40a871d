// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LinuxSystem
internal import Synchronization

/// Where the CPUs' threads wait, started but not at work, while the process gives up its rights: no
/// thread needs to be started later, and none runs a guest before.
final class StartingGate: Sendable {
  private let isOpen = Mutex(false)
  private let arrived = Atomic(0)

  /// Calls `start`, which starts `count` threads; waits until all are at the gate; calls `confine`;
  /// and lets them go. If anything fails they are sent away instead.
  func hold(
    _ count: Int, start: () throws(SystemCallError) -> Void,
    confine: () throws(SystemCallError) -> Void
  ) throws(SystemCallError) {
    try isOpen.withLock { isOpen throws(SystemCallError) in
      try start()
      while arrived.load(ordering: .acquiring) < count { sched_yield() }
      try confine()
      isOpen = true
    }
  }

  /// Waits at the gate; false if the thread is sent away.
  func pass() -> Bool {
    arrived.add(1, ordering: .releasing)
    return isOpen.withLock { $0 }
  }
}
