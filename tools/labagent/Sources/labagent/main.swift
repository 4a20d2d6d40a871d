// SPDX-License-Identifier: Apache-2.0
import Glibc

// The program inside the lab host that `tools/dev` talks to: labagent /dev/virtio-ports/NAME.
guard CommandLine.arguments.count == 2 else {
  print("usage: labagent PORT")
  exit(2)
}
signal(SIGPIPE, SIG_IGN)
var agent = Agent(path: CommandLine.arguments[1])
do {
  try agent.serve()
} catch {
  print("labagent: \(error)")
  exit(1)
}
