// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
public import LinuxSystem

extension SystemCallFilter {
  /// What a monitor does once its guest runs; see ARCHITECTURE.md, "What a monitor may do".
  ///
  /// One list for all threads: they share their memory, so that who has one thread has them all.
  /// Everything is open, mapped and started by then: no call here opens a name, starts a process or
  /// a thread, or makes code.
  ///
  /// - Parameter process: the monitor's own number; signals go to its own threads only.
  public static func monitor(
    process: Int32, refusal: Refusal = .killProcess
  ) -> SystemCallFilter {
    // The virtual CPUs' call comes first, and with it KVM_RUN: the kernel remembers for each call
    // without tests that it is allowed, and does not run the program for it.
    let rules =
      [Rule(__NR_ioctl, Test(1, isOneOf: requests))] + dataCalls + waitingCalls
      + memoryCalls + threadCalls(process)
    return SystemCallFilter(rules, refusal: refusal)
  }

  /// What the monitor asks of KVM and VFIO while the guest runs.
  private static var requests: [UInt32] {
    [
      CLINUX_KVM_RUN,
      // The serial port's interrupt; the guest moves BARs, and sets up and masks messages.
      CLINUX_KVM_IRQ_LINE, CLINUX_KVM_IRQFD, CLINUX_KVM_IOEVENTFD, CLINUX_KVM_SET_GSI_ROUTING,
      CLINUX_KVM_SET_USER_MEMORY_REGION,
      // For the report of a CPU that failed.
      CLINUX_KVM_GET_REGS, CLINUX_KVM_GET_SREGS,
      // The guest chooses a device's kind of interrupt.
      CLINUX_VFIO_DEVICE_GET_IRQ_INFO, CLINUX_VFIO_DEVICE_SET_IRQS,
    ].map { UInt32(truncatingIfNeeded: $0) }
  }

  /// Eventfds, statistics, an assigned function's registers; the console's and the launch socket; the
  /// log. A message-signalled interrupt's eventfd is made when the guest first wants it.
  private static var dataCalls: [Rule] {
    [
      Rule(__NR_read), Rule(__NR_write), Rule(__NR_pread64), Rule(__NR_pwrite64),
      Rule(__NR_sendto), Rule(__NR_recvfrom), Rule(__NR_sendmsg), Rule(__NR_recvmsg),
      Rule(__NR_eventfd2), Rule(__NR_close),
    ]
  }

  /// Waiting, by epoll, clock or lock; locks of the Swift library are priority-inheriting futexes.
  private static var waitingCalls: [Rule] {
    let locks = [
      FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET, FUTEX_LOCK_PI, FUTEX_LOCK_PI2,
      FUTEX_TRYLOCK_PI, FUTEX_UNLOCK_PI,
    ].map { UInt32(bitPattern: $0) }
    return [
      Rule(__NR_futex, Test(1, mask: CLINUX_FUTEX_COMMAND_MASK, isOneOf: locks)),
      Rule(__NR_epoll_wait), Rule(__NR_epoll_ctl), Rule(__NR_poll), Rule(__NR_timerfd_settime),
      Rule(__NR_clock_gettime), Rule(__NR_clock_nanosleep), Rule(__NR_sched_yield),
      Rule(__NR_restart_syscall),
    ]
  }

  /// The heap. Memory is never executable, and never that of a file or device.
  private static var memoryCalls: [Rule] {
    let notReadOrWritten = ~UInt32(bitPattern: PROT_READ | PROT_WRITE)
    let anonymous = UInt32(bitPattern: MAP_ANONYMOUS)
    return [
      Rule(
        __NR_mmap, Test(2, mask: notReadOrWritten, isOneOf: [0]),
        Test(3, mask: anonymous, isOneOf: [anonymous])),
      Rule(__NR_mprotect, Test(2, mask: notReadOrWritten, isOneOf: [0])),
      Rule(__NR_madvise, Test(2, isOneOf: [UInt32(bitPattern: MADV_DONTNEED)])),
      Rule(__NR_mremap, Test(3, mask: ~UInt32(MREMAP_MAYMOVE), isOneOf: [0])),
      Rule(__NR_munmap), Rule(__NR_brk), Rule(__NR_getrandom),
    ]
  }

  /// Stopping the CPUs' threads, ending, and dying of a trap or of abort(3).
  private static func threadCalls(_ process: Int32) -> [Rule] {
    [
      Rule(__NR_tgkill, Test(0, isOneOf: [UInt32(bitPattern: process)])),
      Rule(__NR_getpid), Rule(__NR_gettid), Rule(__NR_rt_sigprocmask), Rule(__NR_rt_sigreturn),
      Rule(__NR_exit), Rule(__NR_exit_group),
    ]
  }
}
