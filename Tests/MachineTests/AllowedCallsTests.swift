// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import LinuxSystem
import Machine
import Testing

/// The list of calls that a monitor may make, by running its program.
@Suite struct AllowedCallsTests {
  private static let process: Int32 = 4711

  private func filter() throws -> FilterInterpreter {
    FilterInterpreter(program: try SystemCallFilter.monitor(process: Self.process).assembled())
  }

  @Test func onlyTheseCallsAreEverAllowed() throws {
    let filter = try filter()
    // With arguments that pass each call's tests.
    let probes: [[UInt64]] = [
      [], [0, UInt64(CLINUX_KVM_RUN)], [0, 0, 3, 0x22], [UInt64(Self.process)], [0, 0, 4],
    ]
    let allowed = try (-10..<1000 as Range<Int32>).filter { number in
      try probes.contains {
        try filter.run(DescribedCall(number: number, arguments: $0)).verdict
          == FilterInterpreter.allow
      }
    }
    let expected = [
      __NR_read, __NR_write, __NR_close, __NR_poll, __NR_mmap, __NR_mprotect, __NR_munmap,
      __NR_brk, __NR_rt_sigprocmask, __NR_rt_sigreturn, __NR_ioctl, __NR_pread64, __NR_pwrite64,
      __NR_sched_yield, __NR_mremap, __NR_madvise, __NR_getpid, __NR_sendto, __NR_recvfrom,
      __NR_sendmsg, __NR_recvmsg, __NR_exit, __NR_gettid, __NR_futex, __NR_restart_syscall,
      __NR_clock_gettime, __NR_clock_nanosleep, __NR_exit_group, __NR_epoll_wait, __NR_epoll_ctl,
      __NR_tgkill, __NR_timerfd_settime, __NR_eventfd2, __NR_getrandom,
    ]
    #expect(allowed == expected.sorted())
  }

  @Test func onlyTheRequestsOfARunningMachineAreAllowed() throws {
    let filter = try filter()
    for request in [
      CLINUX_KVM_RUN, CLINUX_KVM_IRQ_LINE, CLINUX_KVM_IRQFD, CLINUX_KVM_IOEVENTFD,
      CLINUX_KVM_SET_GSI_ROUTING, CLINUX_KVM_SET_USER_MEMORY_REGION, CLINUX_KVM_GET_REGS,
      CLINUX_KVM_GET_SREGS, CLINUX_VFIO_DEVICE_GET_IRQ_INFO, CLINUX_VFIO_DEVICE_SET_IRQS,
    ] {
      #expect(try filter.allows(__NR_ioctl, 7, UInt64(request)), "\(String(request, radix: 16))")
    }
    for request in [
      CLINUX_KVM_CREATE_VM, CLINUX_KVM_CREATE_VCPU, CLINUX_KVM_SET_MSRS, CLINUX_KVM_SET_REGS,
      CLINUX_VFIO_IOMMU_MAP_DMA, CLINUX_VFIO_GROUP_GET_DEVICE_FD, CLINUX_VFIO_DEVICE_RESET,
      0x5401 /* TCGETS */, 0x5412, /* TIOCSTI */
    ] {
      #expect(try !filter.allows(__NR_ioctl, 7, UInt64(request)), "\(String(request, radix: 16))")
    }
  }

  @Test func memoryIsNeverCodeNorAFile() throws {
    let filter = try filter()
    let (anonymous, shared) = (UInt64(MAP_ANONYMOUS | MAP_PRIVATE), UInt64(MAP_SHARED))
    for protection in 0..<16 as Range<UInt64> {
      let isData = protection < 4
      #expect(try filter.allows(__NR_mmap, 0, 4096, protection, anonymous) == isData)
      #expect(try filter.allows(__NR_mprotect, 0, 4096, protection) == isData)
    }
    #expect(try !filter.allows(__NR_mmap, 0, 4096, 3, shared, 5))
    #expect(try !filter.allows(__NR_pkey_mprotect, 0, 4096, 3))
    #expect(try filter.allows(__NR_mremap, 0, 4096, 8192, 1))
    #expect(try !filter.allows(__NR_mremap, 0, 4096, 8192, 3), "to a place of its choice")
  }

  @Test func signalsGoToOwnThreadsOnly() throws {
    let filter = try filter()
    #expect(try filter.allows(__NR_tgkill, UInt64(Self.process), 5, 10))
    #expect(try !filter.allows(__NR_tgkill, 1, 5, 10))
    #expect(try !filter.allows(__NR_kill, UInt64(Self.process), 10))
  }

  @Test func theGuestsCallComesFirst() throws {
    let filter = try filter()
    let run = DescribedCall(number: __NR_ioctl, arguments: [9, UInt64(CLINUX_KVM_RUN), 0])
    #expect(try filter.run(run).steps == 7)
    print("the monitor's filter has \(filter.program.count) instructions")
    #expect(filter.program.count < 150)
  }
}

/// The kernel's answer, in a process of its own.
@Suite(.enabled(if: BuiltProgram.isThere("vosfilterprobe"), "the probe is not built"))
struct FilterProbeTests {
  private func probe(_ action: String) throws -> PidDescriptor.Exit? {
    let output = try OwnedDescriptor.open("/dev/null", flags: O_WRONLY)
    return try BuiltProgram("vosfilterprobe", [action], errors: output.rawValue).wait()
  }

  @Test(arguments: ["nothing", "allocate", "eventfd", "report-error"])
  func whatAMonitorNeedsIsLetThrough(_ action: String) throws {
    #expect(try probe(action) == .code(0))
  }

  @Test(arguments: [
    "open", "socket", "fork", "clone3", "execve", "ptrace", "seccomp", "kill", "create-vm",
    "terminal", "map-code", "map-file", "make-code", "x32", "other-thread",
  ])
  func whatItDoesNotNeedIsItsEnd(_ action: String) throws {
    #expect(try probe(action) == .signal(SIGSYS))
  }

  @Test func theOldTableIsNoWayOut() throws {
    // A kernel without 32-bit calls has no such gate at all.
    let end = try probe("32-bit")
    #expect(end == .signal(SIGSYS) || end == .signal(SIGSEGV))
  }

  @Test func aCrashIsStillACrash() throws {
    #expect(try probe("abort") == .signal(SIGABRT))
    let end = try probe("trap")
    #expect(end == .signal(SIGILL) || end == .signal(SIGTRAP))
  }
}
