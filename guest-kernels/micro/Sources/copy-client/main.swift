// SPDX-License-Identifier: Apache-2.0
// Reads a file of copy-service from ring 3, in blocks as the host orders, and tells how long it took.
import CMicro
import CVosABI
import Channel
import MicroRuntime

private func run() -> String? {
  guard let device = Ivshmem.first() else { return "no ivshmem device" }
  guard let channel = try? device.channel() else { return "no channel" }
  guard channel.geometry.slotCount >= 16,
    channel.geometry.arenaBytes >= CopyPage.dataOffset + RemoteFile.arenaBytes
  else { return "the slice is too small" }
  guard let buffer = unsafe Memory.reserve(CopyPage.maximumBlockBytes) else {
    return "too little memory"
  }
  // SAFETY: never freed, in memory that ring 3 may touch; ring 3 is its only user.
  let orders = UnsafeMutablePointer<Orders>.allocate(capacity: 1)
  unsafe orders.initialize(to: Orders(channel, device, buffer))
  let result = unsafe UserMode.run(
    { unsafe $0!.assumingMemoryBound(to: Orders.self).pointee.run() }, orders)
  if let vector = UserFault.vector(of: result) { return "ring 3 stopped by exception \(vector)" }
  return Orders.Failure(rawValue: result)?.text
}

report("copy-client", run())
