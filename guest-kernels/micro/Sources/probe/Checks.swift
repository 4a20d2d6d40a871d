// SPDX-License-Identifier: Apache-2.0
import CMicro
import CVosABI
import Channel
import MicroRuntime

func checkStartInfo() {
  guard let info = StartInfo() else { return report("start-info", "no magic") }
  let usable = info.memoryMap.filter { $0.type == 1 }.reduce(0) { $0 + $1.byteCount }
  report("start-info", usable > 0 ? nil : "no usable memory in the map")
  Console.line("INFO command-line \(info.commandLine)")
  Console.line("INFO usable-kib \(usable >> 10)")
  guard let tree = info.module("dtb") else { return Console.line("INFO no-device-tree") }
  let magic = Memory.load(UInt32.self, at: tree.address).byteSwapped
  let byteCount = Memory.load(UInt32.self, at: tree.address + 4).byteSwapped
  let isWhole = magic == 0xD00D_FEED && UInt64(byteCount) <= tree.byteCount
  report("device-tree", isWhole ? nil : "magic \(hex(UInt64(magic))), \(byteCount) bytes")
}

func checkTables() {
  guard let info = StartInfo(), let fadt = ACPI.table("FACP", rsdp: info.rsdp),
    let madt = ACPI.table("APIC", rsdp: info.rsdp)
  else { return report("acpi", "no FADT or MADT") }
  report("acpi", ACPI.sumIsZero(fadt) && ACPI.sumIsZero(madt) ? nil : "wrong checksum")
}

/// Writes and reads back patterns in RAM that the image does not use: 1 MiB from its end on.
func checkMemory() {
  let start = (micro_address_of_end() + 0xFFFFF) & ~0xFFFFF
  for pattern: UInt64 in [0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA] {
    for offset in stride(from: 0 as UInt64, to: 1 << 20, by: 512) {
      Memory.store(pattern ^ offset, at: start + offset)
    }
    for offset in stride(from: 0 as UInt64, to: 1 << 20, by: 512) {
      let value = Memory.load(UInt64.self, at: start + offset)
      if value != pattern ^ offset {
        return report("memory", "\(hex(value)) at \(hex(start + offset))")
      }
    }
  }
  report("memory", nil)
}

/// Sends itself an interrupt by way of the local APIC's command register.
func checkInterrupts() {
  let vector = Interrupts.firstVector + 1
  // SAFETY: never freed; the handler and the loop below use it atomically.
  let arrived = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
  unsafe arrived.initialize(to: 0)
  Interrupts.handle(vector) { _ = unsafe vos_fetch_add64(arrived, 1) }
  LocalAPIC.enableInterrupts()
  let toSelf: UInt32 = 1 << 18
  micro_write32(0xFEE0_0300, toSelf | UInt32(vector))
  for _ in 0..<100_000 where unsafe vos_load_acquire64(arrived) == 0 {}
  let count = unsafe vos_load_acquire64(arrived)
  report("self-interrupt", count == 1 ? nil : "\(count) arrived")
}

func checkUserMode() {
  // SAFETY: entries that take no context.
  let echoed = unsafe UserMode.run { _ in Int64(bitPattern: UserMode.echo(41)) }
  report("ring-3-call", echoed == 42 ? nil : "result \(echoed)")
  let halted = unsafe UserMode.run { _ in
    micro_halt()
    return 0
  }
  report("ring-3-no-halt", UserFault.vector(of: halted) == 13 ? nil : "result \(halted)")
  let trespassed = unsafe UserMode.run { _ in
    Memory.store(0 as UInt64, at: micro_address_of_idt())
    return 0
  }
  report("ring-3-no-idt", UserFault.vector(of: trespassed) == 14 ? nil : "result \(trespassed)")
}

func checkPCI() {
  let devices = PCIDevice.all()
  for device in devices {
    Console.line("INFO pci \(device.slot) \(hex(UInt64(device.identity)))")
  }
  report("pci", devices.contains { $0.slot == 0 } ? nil : "no host bridge")
  guard let info = StartInfo(), let mcfg = ACPI.table("MCFG", rsdp: info.rsdp) else {
    return Console.line("INFO no-ecam")
  }
  let ecam = Memory.load(UInt64.self, at: mcfg + 44)
  for device in devices {
    let direct = micro_read32(ecam + UInt64(device.slot) << 15)
    if direct != device.identity {
      return report("ecam", "slot \(device.slot) reads \(hex(UInt64(direct)))")
    }
  }
  report("ecam", nil)
}

func checkIvshmem() {
  guard PCIDevice.all().contains(where: { $0.identity == Ivshmem.identity }) else {
    return Console.line("INFO no-ivshmem")
  }
  guard let device = Ivshmem.first() else { return report("ivshmem-bars", "no BAR 0 or 2") }
  report("ivshmem-bars", nil)
  report(
    "ivshmem-revision", device.device.revision == 1 ? nil : "revision \(device.device.revision)")
  let isZero = micro_read32(device.registers.lowerBound) == 0
  report("ivshmem-registers", isZero ? nil : "interrupt mask is not 0")
  Console.line("INFO ivshmem-peer \(device.peer)")
  Console.line("INFO ivshmem-region \(hex(UInt64(device.region.count)))")
  // The last word belongs to both sides on a channel and to nobody elsewhere.
  let last = device.region.upperBound - 8
  let before = Memory.load(UInt64.self, at: last)
  Memory.store(~before, at: last)
  let after = Memory.load(UInt64.self, at: last)
  Memory.store(before, at: last)
  report("ivshmem-memory", after == ~before ? nil : "\(hex(after)) after \(hex(~before))")
  if let channel = try? device.channel() {
    Console.line("INFO channel \(channel.geometry.channel)")
    report("channel", nil)
  } else {
    Console.line("INFO no-channel")
  }
}
