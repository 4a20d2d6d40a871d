// SPDX-License-Identifier: Apache-2.0
import Boot
import DeviceModel
import FuzzKit

// Kernel images as the monitor loads them: bzImage and PVH. What is loaded stays within the guest's
// memory, and the guest starts within it. Input: what goes with the kernel, then its bytes.
let ramBytes: UInt64 = 16 << 20

fuzz { input in
  let memory = Memory()
  let ram = input.byte() & 1 == 0 ? ramBytes : UInt64(1 + input.below(4096)) << 12
  let initrd = [UInt8](repeating: 1, count: input.below(64) * 256)
  let line = String(repeating: "a", count: input.below(40) * 64)
  let request = BootRequest(
    kernel: BytesImage(name: "kernel", bytes: input.takeAll()),
    initrd: BytesImage(name: "initrd", bytes: initrd), commandLine: line,
    deviceTree: [UInt8](repeating: 2, count: 64), ram: RAMLayout(byteCount: ram),
    processorCount: 2, pciWindow64: 0x10_0000_0000..<0x50_0000_0000)
  memory.limit = ram
  guard let entry = try? loadGuest(request, into: memory) else { return }
  expect(entry.rip < 1 << 32, "a guest that starts above its memory")
}

/// Remembers no bytes, only that they are within.
final class Memory: GuestMemory {
  var limit: UInt64 = 0

  func write(_ bytes: Span<UInt8>, at address: UInt64) throws(GuestMemoryError) {
    guard address <= limit, UInt64(bytes.count) <= limit - address else {
      throw GuestMemoryError(address: address, byteCount: bytes.count)
    }
  }

  func read(at address: UInt64, byteCount: Int) throws(GuestMemoryError) -> [UInt8] {
    throw GuestMemoryError(address: address, byteCount: byteCount)
  }
}
