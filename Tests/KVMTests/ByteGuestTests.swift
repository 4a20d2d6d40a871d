// SPDX-License-Identifier: Apache-2.0
import CLinux
import KVM
import LinuxSystem
import Testing

/// Byte-array guests on /dev/kvm, one instruction a line.
@Suite(.enabled(if: kvmIsHere, "/dev/kvm cannot be opened"), .serialized)
struct ByteGuestTests {
  @Test func portWritesAndReadsExit() throws {
    let guest = try Guest()
    guest.load(
      [
        0xBA, 0xF8, 0x03,  // mov dx, 0x3f8
        0xB0, 0x41,  // mov al, 'A'
        0xEE,  // out dx, al
        0xED,  // in ax, dx
        0xA3, 0x00, 0x20,  // mov [0x2000], ax
        0xF4,  // hlt
      ], at: 0x1000)
    let cpu = try guest.makeCPU()
    guard case .port(let write) = cpu.run() else { Issue.record("no port write"); return }
    #expect(write.isWrite && write.port == 0x3F8 && write.width == 1 && write.count == 1)
    #expect(cpu.portValue(write, item: 0) == 0x41)
    guard case .port(let read) = cpu.run() else { Issue.record("no port read"); return }
    #expect(!read.isWrite && read.width == 2)
    cpu.setPortValue(read, item: 0, to: 0xBEEF)
    let end = cpu.run()
    #expect(end == .halted)
    #expect(guest.byte(0x2000) == 0xEF && guest.byte(0x2001) == 0xBE)
    // Items that do not exist are not reached.
    #expect(cpu.portValue(write, item: 1 << 40) == 0)
    cpu.setPortValue(read, item: .max, to: 1)
  }

  @Test func stringPortWritesComeWhole() throws {
    let guest = try Guest()
    guest.load(
      [
        0xFC,  // cld
        0xBA, 0xE9, 0x00,  // mov dx, 0xe9
        0xBE, 0x00, 0x20,  // mov si, 0x2000
        0xB9, 0x05, 0x00,  // mov cx, 5
        0xF3, 0x6E,  // rep outsb
        0xF4,  // hlt
      ], at: 0x1000)
    guest.load(Array("hello".utf8), at: 0x2000)
    let cpu = try guest.makeCPU()
    var text: [UInt8] = []
    while case .port(let access) = cpu.run() {
      for item in 0..<access.count {
        text.append(UInt8(truncatingIfNeeded: cpu.portValue(access, item: item)))
      }
    }
    #expect(text == Array("hello".utf8))
  }

  @Test func unbackedMemoryExits() throws {
    let guest = try Guest()
    guest.load(
      [
        0xB8, 0x00, 0xF0,  // mov ax, 0xf000
        0x8E, 0xD8,  // mov ds, ax
        0xA0, 0x34, 0x12,  // mov al, [0x1234]
        0x40,  // inc ax
        0xA2, 0x36, 0x12,  // mov [0x1236], al
        0xF4,  // hlt
      ], at: 0x1000)
    // RAM ends where the guest looks.
    try guest.vm.removeMemorySlot(0)
    try guest.vm.set(
      .init(number: 0, guestAddress: 0, byteCount: 0xF0000), hostAddress: guest.ram.baseAddress)
    let cpu = try guest.makeCPU()
    guard case .memory(let read) = cpu.run() else { Issue.record("no read"); return }
    #expect(!read.isWrite && read.address == 0xF1234 && read.width == 1)
    cpu.setMemoryValue(0x41)
    guard case .memory(let write) = cpu.run() else { Issue.record("no write"); return }
    #expect(write.isWrite && write.address == 0xF1236 && write.width == 1 && write.value == 0x42)
    let end = cpu.run()
    #expect(end == .halted)
  }

  @Test func readOnlyMemoryReadsDirectlyAndExitsOnWrites() throws {
    let guest = try Guest()
    let page = try SharedMapping(
      OwnedDescriptor.sharedMemory(name: "page", byteCount: 4096), byteCount: 4096)
    let value: [UInt8] = [0x5A]
    _ = page.copy(value.span, to: 0)
    try guest.vm.set(
      .init(number: 1, guestAddress: 0x10_0000, byteCount: 4096, isReadOnly: true),
      hostAddress: page.baseAddress)
    guest.load(
      [
        0xB8, 0xFF, 0xFF,  // mov ax, 0xffff
        0x8E, 0xD8,  // mov ds, ax
        0xA0, 0x10, 0x00,  // mov al, [0x0010] = 0x100000
        0x04, 0x01,  // add al, 1
        0xA2, 0x10, 0x00,  // mov [0x0010], al
        0xF4,  // hlt
      ], at: 0x1000)
    let cpu = try guest.makeCPU()
    guard case .memory(let write) = cpu.run() else { Issue.record("no write"); return }
    #expect(write.isWrite && write.address == 0x10_0000 && write.value == 0x5B)
    let kept = page.copy(from: 0, count: 1)
    #expect(kept == [0x5A])
    let end = cpu.run()
    #expect(end == .halted)
  }

  @Test func tripleFaultIsAShutdown() throws {
    let guest = try Guest()
    guest.load(
      [
        0x0F, 0x01, 0x1E, 0x00, 0x30,  // lidt [0x3000]: six zero bytes
        0x66, 0x0F, 0x20, 0xC0,  // mov eax, cr0
        0x0C, 0x01,  // or al, 1
        0x66, 0x0F, 0x22, 0xC0,  // mov cr0, eax
        0x0F, 0x0B,  // ud2
      ], at: 0x1000)
    let cpu = try guest.makeCPU()
    let end = cpu.run()
    #expect(end == .shutdown)
  }

  @Test func exitRequestsEndARun() throws {
    let guest = try Guest()
    guest.load([0xEB, 0xFE], at: 0x1000)  // jmp $
    let cpu = try guest.makeCPU()
    cpu.requestExit()
    let end = cpu.run()
    #expect(end == .interrupted)
    cpu.clearExitRequest()
  }

  @Test func interruptsByMessageReachAHandler() throws {
    let guest = try Guest(irqchip: true)
    var routing = InterruptRouting()
    let gsi = try routing.allocate()
    #expect(gsi == 24 && routing.count == 24)
    routing[gsi] = .init(address: 0xFEE0_0000, data: 0x40)
    #expect(routing.count == 25)
    try guest.vm.set(routing)
    let event = try EventDescriptor()
    try guest.vm.attach(event.descriptor, gsi: gsi)
    // The interrupt vector table's entry 0x40 leads to 0x2000.
    guest.load([0x00, 0x20, 0x00, 0x00], at: 0x40 * 4)
    guest.load(
      [
        0xB0, 0x07,  // mov al, 7
        0xE6, 0x10,  // out 0x10, al
        0xCF,  // iret
      ], at: 0x2000)
    guest.load(
      [
        0xFB,  // sti
        0xE6, 0x11,  // out 0x11, al: ready
        0xF4,  // hlt, until an interrupt comes
        0xE6, 0x12,  // out 0x12, al: handled
        0xEB, 0xFE,  // jmp $
      ], at: 0x1000)
    let cpu = try guest.makeCPU()
    // The local APIC must be enabled by software to take interrupts (spurious vector register).
    try cpu.enableLocalAPIC()
    guard case .port(let ready) = cpu.run(), ready.port == 0x11 else {
      Issue.record("not ready")
      return
    }
    event.ring()
    guard case .port(let inHandler) = cpu.run(), inHandler.port == 0x10 else {
      Issue.record("the handler did not run")
      return
    }
    #expect(cpu.portValue(inHandler, item: 0) == 7)
    // A route that is taken away keeps the ring in the eventfd.
    try guest.vm.detach(event.descriptor, gsi: gsi)
    event.ring()
    #expect(event.take() == 1)
  }

  @Test func doorbellsRingWithoutAnExit() throws {
    let guest = try Guest(irqchip: true)
    let event = try EventDescriptor()
    try guest.vm.attach(
      event.descriptor, doorbell: .init(place: .memory(0x10_000C), width: 4, value: 0x1_0002))
    guest.load(
      [
        0xB8, 0xFF, 0xFF,  // mov ax, 0xffff
        0x8E, 0xD8,  // mov ds, ax
        0x66, 0xC7, 0x06, 0x1C, 0x00, 0x02, 0x00, 0x01, 0x00,  // mov dword [0x1c], 0x10002
        0x66, 0xC7, 0x06, 0x1C, 0x00, 0x03, 0x00, 0x01, 0x00,  // mov dword [0x1c], 0x10003
        0xE6, 0x10,  // out 0x10, al
      ], at: 0x1000)
    let cpu = try guest.makeCPU()
    let before = try cpu.statistics().value("mmio_exits") ?? 0
    guard case .memory(let write) = cpu.run() else { Issue.record("no write"); return }
    // Only the value that nobody matches exits.
    #expect(write.address == 0x10_000C && write.value == 0x1_0003)
    #expect(event.take() == 1)
    guard case .port = cpu.run() else { Issue.record("not at the end"); return }
    #expect(event.take() == 0)
    let after = try cpu.statistics().value("mmio_exits") ?? 0
    #expect(after - before <= 2)
  }

  @Test func statisticsDescribeThemselves() throws {
    let guest = try Guest()
    guest.load([0xE6, 0x10, 0xE6, 0x10, 0xF4], at: 0x1000)
    let cpu = try guest.makeCPU()
    let statistics = try cpu.statistics()
    #expect(statistics.names.contains("exits") && statistics.names.contains("io_exits"))
    let before = try statistics.value("exits") ?? 0
    while cpu.run() != .halted {}
    #expect(try statistics.value("exits") ?? 0 > before)
    #expect(try statistics.value("no such value") == nil)
    #expect(try !guest.vm.statistics().names.isEmpty)
  }

  @Test func registersAndMSRsAreKept() throws {
    let guest = try Guest(irqchip: true)
    let cpu = try guest.makeCPU()
    try cpu.set(ModelSpecificRegister.afterFirmware)
    #expect(try cpu.modelSpecificRegister(0x2FF) == 0x806)
    try cpu.resetFloatingPoint()
    try cpu.resetLocalInterrupts()
    #expect(throws: KVMError.self) {
      try cpu.set([ModelSpecificRegister(0x2FF, 0x806), ModelSpecificRegister(0xDEAD_BEEF, 1)])
    }
    #expect(throws: KVMError.self) { try cpu.modelSpecificRegister(0xDEAD_BEEF) }
  }

  @Test func failuresNameTheCall() throws {
    let guest = try Guest()
    #expect(throws: KVMError.self) { try guest.vm.removeMemorySlot(40_000) }
    let nobody = try OwnedDescriptor.open("/dev/null", flags: 2)
    do {
      _ = try KVMSystem(owning: nobody)
      Issue.record("accepted /dev/null")
    } catch {
      #expect("\(error)".contains("ask /dev/kvm for its version"))
    }
  }
}

extension VirtualCPU {
  /// Sets the software enable bit of the spurious interrupt vector register.
  func enableLocalAPIC() throws(KVMError) {
    var apic = try localAPIC()
    withUnsafeMutableBytes(of: &apic) {
      $0.storeBytes(of: UInt32(0x1FF), toByteOffset: 0xF0, as: UInt32.self)
    }
    try set(apic)
  }
}
