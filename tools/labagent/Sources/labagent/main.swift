// SPDX-License-Identifier: Apache-2.0
import Glibc

// The program inside the lab host that `tools/dev` talks to: labagent /dev/virtio-ports/NAME. With
// --pulse it keeps the emulated processors awake instead.
guard CommandLine.arguments.count == 2 else {
  print("usage: labagent PORT | labagent --pulse")
  exit(2)
}
signal(SIGPIPE, SIG_IGN)
do {
  if CommandLine.arguments[1] == "--pulse" { try Pulse.beat() }
  var agent = Agent(path: CommandLine.arguments[1])
  try agent.serve()
} catch {
  print("labagent: \(error)")
  exit(1)
}
