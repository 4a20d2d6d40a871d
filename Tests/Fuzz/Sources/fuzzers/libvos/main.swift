// SPDX-License-Identifier: Apache-2.0
import CLibvosFuzz
import FuzzKit

// A process with libvos: its calls on remote sockets and files, while their services answer, lie,
// write to slots, arenas and their own pages between any two accesses, die and come back. Input:
// the shapes of the slices; how long is waited; then the program's calls, each followed by what
// happens during it.
fuzz { input in
  steps = input
  services = [Service(channel: 0), Service(channel: 1)]
  var decisions = libvos_fuzz_input(
    act: { act($0 != 0) }, choose: { UInt32(steps.below(Int($0))) })
  libvos_fuzz_start(&decisions, services.map(\.shape))
  var program = Program()
  program.run()
  libvos_fuzz_stop()
}

/// What happens during a call is taken from the same input.
nonisolated(unsafe) var steps = Input([])
nonisolated(unsafe) var services: [Service] = []

/// A service does something. How many accesses pass until one does again.
func act(_ waits: Bool) -> UInt32 {
  guard !steps.isEmpty else {
    if waits { for service in services { service.settle() } }
    return UInt32.max
  }
  let next = steps.byte()
  services[Int(next & 1)].act()
  return next < 128 ? UInt32(next >> 1) & 15 : UInt32(next)
}
