// SPDX-License-Identifier: Apache-2.0
import CLinux
import Foundation
import KVM
import LinuxSystem
import Testing

/// Whether the tests may run here; on an ordinary machine without KVM they are skipped.
let kvmIsHere: Bool = {
  if let descriptor = try? OwnedDescriptor.open("/dev/kvm", flags: 2) {
    _ = consume descriptor
    return true
  }
  if ProcessInfo.processInfo.environment["REQUIRE_KVM"] == "1" { return true }
  print("skipped: /dev/kvm cannot be opened; REQUIRE_KVM=1 makes this a failure")
  return false
}()

/// A machine of one or more CPUs with a little RAM at address 0, that runs bytes in real mode.
final class Guest {
  static let ramByteCount = 1 << 20
  let system: KVMSystem
  let vm: VirtualMachine
  let ram: SharedMapping

  init(irqchip: Bool = false) throws {
    system = try KVMSystem.open()
    vm = try system.createVirtualMachine()
    if irqchip { try vm.createInterruptControllers() }
    let memory = try OwnedDescriptor.sharedMemory(name: "guest", byteCount: Self.ramByteCount)
    ram = try SharedMapping(memory, byteCount: Self.ramByteCount)
    try vm.set(
      .init(number: 0, guestAddress: 0, byteCount: UInt64(Self.ramByteCount)),
      hostAddress: ram.baseAddress)
  }

  func load(_ code: [UInt8], at address: Int) {
    let isLoaded = ram.copy(code.span, to: address)
    #expect(isLoaded)
  }

  func byte(_ address: Int) -> UInt8 { ram.copy(from: address, count: 1)?.first ?? 0 }

  /// A CPU in real mode that starts at `address`, with its stack below it.
  func makeCPU(_ identifier: UInt32 = 0, at address: UInt64 = 0x1000) throws -> VirtualCPU {
    let cpu = try vm.createCPU(identifier)
    var cpuid = try system.supportedCPUID()
    cpuid.adapt(
      identifier: identifier, count: 2, hasTSCDeadlineTimer: system.hasTSCDeadlineTimer)
    try cpu.set(cpuid)
    if identifier == 0 { try start(cpu, at: address) }
    return cpu
  }

  func start(_ cpu: borrowing VirtualCPU, at address: UInt64) throws {
    var system = try cpu.systemRegisters()
    system.cs.base = 0
    system.cs.selector = 0
    try cpu.set(system)
    var registers = try cpu.registers()
    registers.rip = address
    registers.rsp = 0x1000
    registers.rflags = 2
    try cpu.set(registers)
  }
}
