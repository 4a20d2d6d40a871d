// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc

/// Visits every processor but the first, again and again, so that none stays deaf.
///
/// In QEMU 7.2 a #VMEXIT clears a bit of the processor's `interrupt_request` without a lock
/// (do_vmexit, target/i386/tcg/sysemu/svm_helper.c), and so may undo that another thread has just
/// set one: an interrupt that its APIC holds then waits for the next one to that processor. With no
/// tick on an idle processor that may be never. A thread that moves there is such a next one.
enum Pulse {
  /// The longest that a lost interrupt waits.
  private static let microseconds: UInt32 = 100_000

  /// Room for 64 processors.
  private static let setBytes = 8

  /// Beats until the lab host ends. The first processor runs no guest, so its timer is not lost.
  static func beat() throws(SystemError) -> Never {
    let processors = sysconf(Int32(_SC_NPROCESSORS_ONLN))
    while true {
      for processor in 1..<max(processors, 1) { try move(to: processor) }
      try move(to: 0)
      usleep(microseconds)
    }
  }

  private static func move(to processor: Int) throws(SystemError) {
    var set = [UInt8](repeating: 0, count: setBytes)
    set[processor / 8] = 1 << (processor % 8)
    // SAFETY: the kernel reads `count` bytes of an array that outlives the call.
    guard unsafe clinux_set_processors(set, set.count) == 0 else {
      throw SystemError("sched_setaffinity")
    }
  }
}
