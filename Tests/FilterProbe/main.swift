// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import LinuxSystem
import Machine

// Binds itself as a monitor does, and then does what its argument says: for tests that see from
// outside how it ends. 0: the call was let through; 1: the arguments are wrong.

/// Makes call `number`.
func call(_ number: Int32, _ first: Int = 0, _ second: Int = 0, _ third: Int = 0) {
  _ = Gate.modern?.enter(Int(number), first, second, third)
}

func allocate() {
  // Small and large pieces, grown and freed, so that the heap asks the kernel in all its ways.
  var pieces: [[UInt8]] = []
  for size in [100, 10_000, 200_000, 5_000_000] {
    for _ in 0..<20 { pieces.append([UInt8](repeating: 1, count: size)) }
    pieces[0] += pieces[pieces.count - 1]
  }
  pieces.removeAll()
  clinux_release_free_memory()
}

/// Starts another thread, which opens a file when `go` is rung; returns when it waits for that, since
/// a thread's own beginning takes calls that are refused later.
func startOpener(_ go: Int32) {
  var thread = pthread_t()
  // SAFETY: the argument is a descriptor's number, not an address.
  unsafe pthread_create(&thread, nil, openerMain, UnsafeMutableRawPointer(bitPattern: Int(go)))
  _ = take(arrival)
}

/// Where a thread says that it has begun.
let arrival = eventfd(0, 0)

func openerMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  ring(arrival)
  _ = take(Int32(truncatingIfNeeded: Int(bitPattern: argument)))
  call(__NR_open)
  return nil
}

func ring(_ event: Int32) {
  var one: UInt64 = 1
  // SAFETY: eight bytes of a local.
  _ = unsafe write(event, &one, 8)
}

func take(_ event: Int32) -> UInt64 {
  var count: UInt64 = 0
  // SAFETY: eight bytes of a local.
  _ = unsafe read(event, &count, 8)
  return count
}

/// What is done, by name.
func act(_ name: String, _ go: Int32) {
  switch name {
  case "nothing": break
  case "allocate": allocate()
  case "eventfd": _ = try? EventDescriptor()
  case "report-error":
    do throws(SystemCallError) {
      try retrying("ask nobody") { clinux_ioctl(-1, CLINUX_KVM_IRQFD, 0) }
    } catch {
      Log(domain: "probe").note("\(error)")
    }
  case "open": _ = try? OwnedDescriptor.open("/dev/null")
  case "socket": call(__NR_socket, 1, 1)
  case "fork": call(__NR_fork)
  case "clone3": call(__NR_clone3)
  case "execve": call(__NR_execve)
  case "ptrace": call(__NR_ptrace)
  case "seccomp": call(__NR_seccomp, 1)
  case "kill": call(__NR_tgkill, 1, 1, 0)
  case "create-vm": _ = clinux_ioctl(0, CLINUX_KVM_CREATE_VM, 0)
  case "terminal": _ = clinux_ioctl(0, 0x5412 /* TIOCSTI */, 0)
  case "map-code": _ = unsafe mmap(nil, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
  case "map-file": _ = unsafe mmap(nil, 4096, PROT_READ, MAP_SHARED, go, 0)
  case "make-code": _ = unsafe mprotect(Gate.modern?.page, 4096, PROT_READ | PROT_EXEC)
  case "x32": call(Int32(bitPattern: CLINUX_X32_SYSCALL_BIT) | __NR_getpid)
  case "32-bit": _ = Gate.old?.enter(0, 0, 0, 0)
  case "other-thread":
    ring(go)
    pause(2)
  case "abort": abort()
  case "trap": fatalError("asked for")
  default: exit(1)
  }
}

/// Waits for `seconds` in a way that monitors may.
func pause(_ seconds: UInt32) { usleep(seconds * 1_000_000) }

// Made now: later the code could not be.
guard CommandLine.arguments.count == 2, Gate.modern != nil, Gate.old != nil else { exit(1) }
let go = eventfd(0, 0)
startOpener(go)
for number in [SIGILL, SIGTRAP, SIGABRT] { signal(number, SIG_DFL) }
clinux_use_one_heap()
do {
  try retrying("give up new privileges") { clinux_no_new_privileges() }
  try SystemCallFilter.monitor(process: getpid()).install()
} catch {
  print(error)
  exit(1)
}
act(CommandLine.arguments[1], go)
exit(0)
