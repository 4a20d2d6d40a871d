// SPDX-License-Identifier: Apache-2.0
import Glibc
import LaunchPlan
import LinuxSystem
import Machine
import Testing

/// Whole domains on /dev/kvm, booted as PVH kernels of a few bytes.
@Suite(.enabled(if: kvmIsHere, "/dev/kvm cannot be opened"), .serialized)
struct DomainTests {
  @Test func aGuestPrintsAndPowersOff() throws {
    let domain = try Domain(
      guest { code in
        for byte in Array("hello\n".utf8) { code.out(0x3F8, byte) }
        code.powerOff()
      })
    #expect(try domain.run() == .powerOff)
    #expect(domain.printed() == "hello\n")
    #expect(try domain.nextReport() == "running")
    #expect(try domain.nextReport() == "guest-poweroff")
    #expect(Outcome.powerOff.exitCode == 0)
  }

  @Test func aResetIsReported() throws {
    let domain = try Domain(
      guest {
        $0.out(0x602, 1); $0.halt()
      })
    #expect(try domain.run() == .reset(reason: "asked for by the guest"))
    _ = try domain.nextReport()
    #expect(try domain.nextReport() == "guest-reset")
  }

  @Test func aPanicIsReported() throws {
    let domain = try Domain(
      guest {
        $0.out(0x505, 1); $0.halt()
      })
    #expect(try domain.run() == .panic)
    #expect(Outcome.panic.exitCode == 3)
  }

  @Test func aTripleFaultIsAResetWithRegisters() throws {
    let domain = try Domain(
      guest { code in
        code.raw(0x0F, 0x01, 0x1D, 0x00, 0x00, 0x20, 0x00)  // lidt [0x200000]: limit 0
        code.raw(0x0F, 0x0B)  // ud2
      })
    guard case .reset(let reason) = try domain.run() else {
      Issue.record("no reset")
      return
    }
    #expect(reason.contains("triple fault") && reason.contains("rip=0x"))
    #expect(Outcome.reset(reason: "").exitCode == 2)
  }

  @Test func theSupervisorStopsAGuestThatSpins() throws {
    let domain = try Domain(guest { $0.raw(0xEB, 0xFE) })
    domain.start()
    #expect(try domain.nextReport() == "running")
    try domain.supervisor.send(Array("no such command".utf8))
    try domain.supervisor.send(Array("stop".utf8))
    #expect(try domain.wait() == .stopped)
  }

  @Test func theSupervisorIsToldOfExits() throws {
    let domain = try Domain(guest { $0.raw(0xEB, 0xFE) }, cpus: 2)
    domain.start()
    _ = try domain.nextReport()
    try domain.supervisor.send(Array("statistics".utf8))
    let report = try #require(try domain.nextReport())
    #expect(report.hasPrefix("statistics cpu0.exits=") && report.contains(" cpu1.exits="))
    try domain.supervisor.send(Array("stop".utf8))
    #expect(try domain.wait() == .stopped)
  }

  @Test func aDomainOutlivesItsSupervisor() throws {
    let domain = try Domain(
      guest { code in
        code.wait(0x20_0000, for: 1)
        code.powerOff()
      })
    domain.start()
    _ = try domain.nextReport()
    domain.dropSupervisor()
    let one: [UInt8] = [1, 0, 0, 0]
    _ = domain.memory.copy(one.span, to: 0x20_0000)
    #expect(try domain.wait() == .powerOff)
  }

  @Test func theSupervisorStopsAGuestThatSleeps() throws {
    let domain = try Domain(
      guest {
        $0.raw(0xFA); $0.halt()
      })
    domain.start()
    _ = try domain.nextReport()
    try domain.supervisor.send(Array("stop".utf8))
    #expect(try domain.wait() == .stopped)
  }

  @Test func consoleInputReachesTheGuest() throws {
    let domain = try Domain(
      guest { code in
        // Three times: wait for data, and send it back.
        for _ in 0..<3 {
          code.raw(0x66, 0xBA, 0xFD, 0x03)  // mov dx, 0x3fd
          code.raw(0xEC, 0xA8, 0x01, 0x74, 0xFB)  // in al, dx; test al, 1; jz back
          code.raw(0x66, 0xBA, 0xF8, 0x03, 0xEC, 0xEE)  // mov dx, 0x3f8; in al, dx; out dx, al
        }
        code.powerOff()
      })
    domain.start()
    try domain.console.write(all: Array("a".utf8))
    try domain.console.write(all: Array("bc".utf8))
    #expect(try domain.wait() == .powerOff)
    #expect(domain.printed() == "abc")
  }

  @Test func aConsoleThatNobodyReadsDoesNotStopTheGuest() throws {
    let domain = try Domain(
      guest { code in
        code.raw(0xB9, 0x00, 0x00, 0x01, 0x00)  // mov ecx, 65536
        code.raw(0x66, 0xBA, 0xF8, 0x03)  // mov dx, 0x3f8
        code.raw(0xB0, 0x78)  // mov al, 'x'
        code.raw(0xBE, 0x00, 0x00, 0x10, 0x00)  // mov esi, 0x100000
        code.raw(0xFC, 0xF3, 0x6E)  // cld; rep outsb
        code.powerOff()
      })
    #expect(try domain.run() == .powerOff)
    let text = domain.printed()
    #expect(!text.isEmpty && text.utf8.count < 65536)
  }

  @Test func otherCPUsAreStartedBySIPI() throws {
    let apic: UInt32 = 0xFEE0_0000
    let domain = try Domain(
      guest { code in
        // Real-mode code for the second CPU at 0x8000: mov word [0x9000], 0x1234; hlt; jmp back.
        code.store(0x8000, 0x9000_06C7)
        code.store(0x8004, 0xEBF4_1234)
        code.store(0x8008, 0x0000_00FD)
        code.store(apic + 0x310, 1 << 24)
        code.store(apic + 0x300, 0x4500)  // INIT
        code.store(apic + 0x310, 1 << 24)
        code.store(apic + 0x300, 0x4608)  // SIPI to 0x8000
        code.wait(0x9000, for: 0x1234)
        code.powerOff()
      }, cpus: 2)
    #expect(try domain.run() == .powerOff)
    #expect(domain.word(0x9000) == 0x1234)
  }

  @Test func aJumpToTheFirmwareResets() throws {
    let apic: UInt32 = 0xFEE0_0000
    let domain = try Domain(
      guest { code in
        // The second CPU starts in real mode at 0xff000: jmp 0xffff:0.
        code.store(0xF_F000, 0xFF00_00EA)
        code.store(0xF_F004, 0x0000_00FF)
        code.store(apic + 0x310, 1 << 24)
        code.store(apic + 0x300, 0x4500)  // INIT
        code.store(apic + 0x300, 0x46FF)  // SIPI to 0xff000
        code.halt()
      }, cpus: 2)
    #expect(try domain.run() == .reset(reason: "asked for by the guest"))
  }

  @Test func configurationSpaceIsThereBothWays() throws {
    let domain = try Domain(
      guest { code in
        code.readConfiguration(slot: 0, offset: 0, to: 0x20_0000)
        code.copy(0xE000_0000, to: 0x20_0004)
        code.readConfiguration(slot: 9, offset: 0, to: 0x20_0008)
        code.powerOff()
      })
    #expect(try domain.run() == .powerOff)
    #expect(domain.word(0x20_0000) == 0x0008_1B36)
    #expect(domain.word(0x20_0004) == 0x0008_1B36)
    #expect(domain.word(0x20_0008) == 0xFFFF_FFFF)
  }

  @Test func aHostileGuestDoesNotTrapTheMonitor() throws {
    // A linear congruential generator chooses ports and addresses; power-off's port is left out.
    let domain = try Domain(
      guest { code in
        code.raw(0xBE, 0x39, 0x30, 0x00, 0x00)  // mov esi, 12345
        code.raw(0xB9, 0x00, 0x10, 0x00, 0x00)  // mov ecx, 4096
        let loop = code.bytes.count
        code.raw(0x69, 0xF6, 0x6D, 0x4E, 0xC6, 0x41)  // imul esi, esi, 1103515245
        code.raw(0x81, 0xC6, 0x39, 0x30, 0x00, 0x00)  // add esi, 12345
        code.raw(0x89, 0xF2, 0xC1, 0xEA, 0x10)  // mov edx, esi; shr edx, 16
        code.raw(0x89, 0xF0)  // mov eax, esi
        // The platform's own ports would end the test: skip 0x505 and 0x600 to 0x60f.
        code.raw(0x66, 0x81, 0xFA, 0x05, 0x05, 0x74, 0x0F)  // cmp dx, 0x505; je skip
        code.raw(0x89, 0xD3, 0x83, 0xE3, 0xF0)  // mov ebx, edx; and ebx, ~15
        code.raw(0x66, 0x81, 0xFB, 0x00, 0x06, 0x74, 0x03)  // cmp bx, 0x600; je skip
        code.raw(0xEF, 0xEC, 0xED)  // out dx, eax; in al, dx; in eax, dx
        // skip: the PCI windows, ECAM and the void.
        code.raw(0x89, 0xF3)  // mov ebx, esi
        code.raw(0x81, 0xCB, 0x00, 0x00, 0x00, 0xC0)  // or ebx, 0xc0000000
        code.raw(0x81, 0xE3, 0xFF, 0xFF, 0xFF, 0xEF)  // and ebx, 0xefffffff
        code.raw(0x89, 0x03, 0x8B, 0x03)  // mov [ebx], eax; mov eax, [ebx]
        code.raw(0x49)  // dec ecx
        let distance = loop - (code.bytes.count + 6)
        code.raw(0x0F, 0x85)  // jnz loop
        withUnsafeBytes(of: Int32(distance).littleEndian) { code.bytes += Array($0) }
        code.powerOff()
      }, adjust: addChannel)
    #expect(try domain.run() == .powerOff)
  }

  @Test func aSecondOutcomeIsNotTaken() throws {
    let domain = try Domain(
      guest {
        $0.out(0x505, 1); $0.out(0x600, 0x34); $0.halt()
      })
    #expect(try domain.run() == .panic)
  }
}
