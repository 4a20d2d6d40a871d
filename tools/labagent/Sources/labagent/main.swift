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

/// A virtual machine that never runs, for as long as this process lives; -1 without KVM.
///
/// Linux patches its scheduler when the first machine of all is made and when the last one goes
/// (preempt_notifier_key). Seen in QEMU 7.2: a processor that met the patch's int3 executed it for
/// ever, though memory had the new code; it held its run queue's lock, and all others waited.
/// With this machine there, neither happens while anything runs.
func heldMachine() -> Int32 {
  let createMachine: UInt = 0xae01  // KVM_CREATE_VM, with type 0
  // SAFETY: a literal is NUL-terminated.
  let system = unsafe open("/dev/kvm", O_RDWR | O_CLOEXEC)
  guard system >= 0 else { return -1 }
  defer { close(system) }
  let machine = ioctl(system, createMachine, 0)
  if machine >= 0 { _ = fcntl(machine, F_SETFD, FD_CLOEXEC) }
  return machine
}
