// SPDX-License-Identifier: Apache-2.0
import Glibc

// The program inside the lab host that `tools/dev` talks to: labagent /dev/virtio-ports/NAME.
guard CommandLine.arguments.count == 2 else {
  print("usage: labagent PORT")
  exit(2)
}
signal(SIGPIPE, SIG_IGN)
let held = heldMachine()
var agent = Agent(path: CommandLine.arguments[1])
do {
  try agent.serve()
} catch {
  print("labagent: \(error)")
  exit(1)
}

/// A virtual machine with a processor that never runs, for as long as this process lives; -1 without KVM.
///
/// Linux patches its own code when the first machine of all is made and when the last one goes
/// (preempt_notifier_key, in the scheduler), and when some processor's APIC is disabled by
/// software, as it is from its making until its guest wants it (apic_sw_disabled, in KVM). Seen in
/// QEMU 7.2, of each of the two: a processor that met the patch's int3 executed it for ever, though
/// memory had the new code, and in the end all others waited for it. With this machine there, both
/// keys are set before anything runs, and stay so.
func heldMachine() -> Int32 {
  // _IO(0xae, N) of include/uapi/linux/kvm.h
  let (createMachine, createInterruptChips, createProcessor): (UInt, UInt, UInt) = (
    0xae01, 0xae60, 0xae41
  )
  // SAFETY: a literal is NUL-terminated.
  let system = unsafe open("/dev/kvm", O_RDWR | O_CLOEXEC)
  guard system >= 0 else { return -1 }
  defer { close(system) }
  let machine = ioctl(system, createMachine, 0)
  guard machine >= 0 else { return -1 }
  _ = fcntl(machine, F_SETFD, FD_CLOEXEC)
  guard ioctl(machine, createInterruptChips, 0) == 0 else { return machine }
  let processor = ioctl(machine, createProcessor, 0)
  if processor >= 0 { _ = fcntl(processor, F_SETFD, FD_CLOEXEC) }
  return machine
}
