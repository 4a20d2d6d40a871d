// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import LaunchPlan
import LinuxSystem
import Machine

// One domain's monitor. It opens nothing: descriptor 3 is the launch socket, whose first message is
// the launch plan with every descriptor the domain needs.

/// Exit status for a plan or a set-up that fails.
let setUpFailure: Int32 = 1
/// The launch socket.
let launchDescriptor: Int32 = 3

/// Receives the plan, sets the domain up, drops all rights and runs it.
func runDomain(_ socket: consuming MessageSocket) -> Int32 {
  var log = Log(domain: "?")
  let machine: Machine
  do {
    guard let message = try socket.receive() else {
      log.note("the launch socket was closed before a plan came")
      return setUpFailure
    }
    let plan = try LaunchPlan(
      decoding: message.bytes, descriptorCount: message.descriptors.count)
    log = Log(domain: plan.domain)
    machine = try Machine(plan, message.descriptors, log: log)
    try dropRights()
  } catch {
    log.note("\(error)")
    // Best effort: standard error has it too.
    try? socket.send(Array("failed \(error)".utf8))
    return setUpFailure
  }
  do {
    let mode = filterMode()
    if mode != .on { log.note("\(filterVariable)=\(mode): system calls are not limited") }
    let outcome = try machine.run(supervisor: socket) { () throws(SystemCallError) in
      try confineSystemCalls(mode)
    }
    if case .failed(let reason) = outcome { log.note(reason) }
    if case .reset(let reason) = outcome { log.note("reset: \(reason)") }
    return outcome.exitCode
  } catch {
    log.note("\(error)")
    return setUpFailure
  }
}

// The domain outlives its supervisor, and with it whoever read standard error.
signal(SIGPIPE, SIG_IGN)
leaveCrashesToTheKernel()
// The threads take little memory; a heap for each would cost pages, and calls to look for processors.
clinux_use_one_heap()
closeInheritedDescriptors(from: launchDescriptor + 1)
exit(runDomain(MessageSocket(owning: OwnedDescriptor(owning: launchDescriptor))))
