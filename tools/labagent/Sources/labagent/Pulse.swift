// SPDX-License-Identifier: Apache-2.0
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

  /// Beats until the lab host ends. The first processor runs no guest, so its timer is not lost.
  static func beat() throws(SystemError) -> Never {
    let processors = sysconf(Int32(_SC_NPROCESSORS_ONLN))
    while true {
      for processor in 1..<max(processors, 1) { try move(to: processor) }
      try move(to: 0)
      usleep(microseconds)
    }
  }

  /// sched_setaffinity(2), which the C library's headers show to GNU sources only.
  private typealias SetAffinity = @convention(c) (pid_t, Int, UnsafeRawPointer) -> Int32

  private static let setAffinity: SetAffinity? = {
    // SAFETY: null is RTLD_DEFAULT; a function of that name has this type.
    unsafe dlsym(nil, "sched_setaffinity").map { unsafe unsafeBitCast($0, to: SetAffinity.self) }
  }()

  private static func move(to processor: Int) throws(SystemError) {
    guard let setAffinity = unsafe setAffinity else {
      throw SystemError("sched_setaffinity", ENOSYS)
    }
    var mask: UInt64 = 1 << UInt64(processor)
    // SAFETY: the kernel reads 8 bytes, a local.
    guard unsafe setAffinity(0, MemoryLayout<UInt64>.size, &mask) == 0 else {
      throw SystemError("sched_setaffinity")
    }
  }
}
