// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import LaunchPlan
import LinuxSystem
import Testing

/// vosvmm itself with a domain, and what one can see of it from outside.
final class MonitorProgram {
  let parts: DomainParts
  let link: MessageSocket
  let program: BuiltProgram
  private let errors: OwnedDescriptor

  init(
    _ code: [UInt8], cpus: Int = 1, environment: [String] = [],
    adjust: (inout LaunchPlan, inout [Int32]) throws -> Void = { _, _ in }
  ) throws {
    let parts = try DomainParts(code, cpus: cpus, memoryBytes: 4 << 20, adjust: adjust)
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    let output = OwnedDescriptor(owning: ends[1])
    errors = OwnedDescriptor(owning: ends[0])
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    let pair = try MessageSocket.pair()
    try parts.send(over: pair.first)
    program = try BuiltProgram(
      "vosvmm", [], environment: environment, passed: pair.second.descriptor.rawValue,
      errors: output.rawValue)
    link = MessageSocket(owning: try pair.first.descriptor.duplicate())
    self.parts = parts
  }

  /// How it ended, and what it wrote to standard error.
  func wait() throws -> (PidDescriptor.Exit?, String) {
    let end = try program.process.reap(block: true)
    return (end, String(decoding: try errors.read(maximum: 60000), as: UTF8.self))
  }

  func nextReport() throws -> String? {
    guard let message = try link.receive() else { return nil }
    return String(decoding: message.bytes, as: UTF8.self)
  }

  /// The values of `field` in the state of each of its threads.
  func threads(_ field: String) throws -> [String] {
    let folder = "/proc/\(program.process.processNumber)/task"
    return try FileManager.default.contentsOfDirectory(atPath: folder).map { thread in
      let text = try String(contentsOfFile: "\(folder)/\(thread)/status", encoding: .utf8)
      let line = text.split(separator: "\n").first { $0.hasPrefix(field + ":") } ?? ""
      return line.dropFirst(field.count + 1).trimmingCharacters(in: .whitespaces)
    }
  }
}

/// The monitor with all its limits on: what guests do must not make it break them.
@Suite(
  .enabled(if: kvmIsHere, "/dev/kvm cannot be opened"),
  .enabled(if: BuiltProgram.isThere("vosvmm"), "vosvmm is not built"), .serialized)
struct MonitorProgramTests {
  private let spin: [UInt8] = [0xEB, 0xFE]

  @Test func allThreadsAreBoundBeforeTheGuestRuns() throws {
    let monitor = try MonitorProgram(spin, cpus: 3)
    #expect(try monitor.nextReport() == "running")
    // Beside the CPUs' threads and the first there may be the kernel's own for KVM.
    #expect(try monitor.threads("Seccomp").count >= 4)
    #expect(Set(try monitor.threads("Seccomp")) == ["2"])
    #expect(Set(try monitor.threads("NoNewPrivs")) == ["1"])
    #expect(Set(try monitor.threads("CapEff")) == ["0000000000000000"])
    try monitor.link.send(Array("statistics".utf8))
    #expect(try monitor.nextReport()?.hasPrefix("statistics cpu0.exits=") == true)
    // Calls that a stop interrupts are begun again.
    try monitor.program.process.send(signal: SIGSTOP)
    try monitor.program.process.send(signal: SIGCONT)
    try monitor.link.send(Array("stop".utf8))
    let (end, errors) = try monitor.wait()
    #expect(end == .code(0), "\(errors)")
  }

  @Test func itDoesWithoutTheFilterIfToldSo() throws {
    let monitor = try MonitorProgram(spin, environment: ["VOS_SYSTEM_CALL_FILTER=off"])
    #expect(try monitor.nextReport() == "running")
    #expect(Set(try monitor.threads("Seccomp")) == ["0"])
    try monitor.link.send(Array("stop".utf8))
    let (end, errors) = try monitor.wait()
    #expect(end == .code(0))
    #expect(errors.contains("VOS_SYSTEM_CALL_FILTER=off"))
  }

  @Test func anUnknownWordDoesNotSwitchItOff() throws {
    let monitor = try MonitorProgram(spin, environment: ["VOS_SYSTEM_CALL_FILTER=no"])
    #expect(try monitor.nextReport() == "running")
    #expect(Set(try monitor.threads("Seccomp")) == ["2"])
    try monitor.link.send(Array("stop".utf8))
    _ = try monitor.wait()
  }

  @Test func aBusyGuestEndsWell() throws {
    let (registers, messages) = (ChannelTests.registers, ChannelTests.messages)
    let slot = ChannelTests.slot
    let apic: UInt32 = 0xFEE0_0000
    let code = guest { code in
      for byte in Array("hello\nand no line feed".utf8) { code.out(0x3F8, byte) }
      code.out(0x70, 0)  // the clock
      code.raw(0xE4, 0x71)  // in al, 0x71
      code.out(0x3F9, 3)  // the serial port's interrupts
      ChannelTests().moveBARs(&code)
      code.store(registers + 0xC, 1 << 16)  // a doorbell
      code.store(registers + 0xC, 9 << 16)  // and none
      code.store(ChannelTests.region, 1)  // read-only: a line in the log
      code.store(apic + 0xF0, 0x1FF)
      for round in 0..<4 as Range<UInt32> {
        code.store(messages + 0x0, apic)
        code.store(messages + 0x4, 0)
        code.store(messages + 0x8, 0x40 + round)
        code.store(messages + 0xC, 0)
        code.writeConfiguration(slot: slot, offset: 0x40, 0x8000_0000)  // MSI-X on
        code.writeConfiguration(slot: slot, offset: 0x40, 0xC000_0000)  // all masked
        code.writeConfiguration(slot: slot, offset: 0x18, 0xC800_0000)  // the region moves
        code.writeConfiguration(slot: slot, offset: 0x18, ChannelTests.region)
      }
      // Another region in the same place, which gives way.
      code.writeConfiguration(slot: slot + 1, offset: 0x18, ChannelTests.region)
      code.writeConfiguration(slot: slot + 1, offset: 0x1C, 0)
      code.writeConfiguration(slot: slot + 1, offset: 0x04, 0x2)
      code.powerOff()
    }
    let monitor = try MonitorProgram(code) { plan, numbers in
      try addChannel(&plan, &numbers)
      try addChannel(&plan, &numbers)
      plan.ivshmem[1].slot += 1
    }
    let (end, errors) = try monitor.wait()
    #expect(end == .code(0), "\(errors)")
    #expect(errors.contains("read-only"))
    #expect(try monitor.nextReport() == "running")
    #expect(try monitor.nextReport() == "guest-poweroff")
    #expect(monitor.parts.printed() == "hello\nand no line feed")
  }

  @Test func manyCPUsAreStoppedAtOnce() throws {
    // Each starts the others: INIT and SIPI to all, at 0x8000, where they spin.
    let apic: UInt32 = 0xFEE0_0000
    let code = guest { code in
      code.store(0x8000, 0xFEEB)
      code.store(apic + 0x300, 0xC4500)
      code.store(apic + 0x300, 0xC4608)
      code.out(0x3F8, 0x0A)
      code.raw(0xEB, 0xFE)
    }
    let monitor = try MonitorProgram(code, cpus: 12)
    #expect(try monitor.nextReport() == "running")
    while monitor.parts.printed().isEmpty { usleep(1000) }
    try monitor.link.send(Array("stop".utf8))
    let (end, errors) = try monitor.wait()
    #expect(end == .code(0), "\(errors)")
  }

  @Test func endsOfAllKindsAreReported() throws {
    let guests: [([UInt8], PidDescriptor.Exit)] = [
      (
        guest {
          $0.out(0x602, 1); $0.halt()
        }, .code(2)
      ),
      (
        guest {
          $0.out(0x505, 1); $0.halt()
        }, .code(3)
      ),
      // lidt [0x200000], whose limit is 0; ud2
      (guest { $0.raw(0x0F, 0x01, 0x1D, 0x00, 0x00, 0x20, 0x00, 0x0F, 0x0B) }, .code(2)),
    ]
    for (code, expected) in guests {
      let (end, errors) = try MonitorProgram(code).wait()
      #expect(end == expected, "\(errors)")
    }
  }

  @Test func aConsoleIsReadAndWritten() throws {
    let monitor = try MonitorProgram(
      guest { code in
        code.raw(0x66, 0xBA, 0xFD, 0x03)  // mov dx, 0x3fd
        code.raw(0xEC, 0xA8, 0x01, 0x74, 0xFB)  // in al, dx; test al, 1; jz back
        code.raw(0x66, 0xBA, 0xF8, 0x03, 0xEC, 0xEE)  // mov dx, 0x3f8; in al, dx; out dx, al
        code.raw(0xB9, 0x00, 0x00, 0x01, 0x00)  // mov ecx, 65536
        code.raw(0xB0, 0x78)  // mov al, 'x'
        code.raw(0xBE, 0x00, 0x00, 0x10, 0x00)  // mov esi, 0x100000
        code.raw(0xFC, 0xF3, 0x6E)  // cld; rep outsb: more than anybody reads
        code.powerOff()
      })
    #expect(try monitor.nextReport() == "running")
    try monitor.parts.console.write(all: [0x61])
    let (end, errors) = try monitor.wait()
    #expect(end == .code(0), "\(errors)")
    #expect(monitor.parts.printed().hasPrefix("a"))
    #expect(errors.contains("bytes of console output dropped"))
  }
}
