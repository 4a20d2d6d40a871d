// SPDX-License-Identifier: Apache-2.0

/// What no guest can do to itself, seen in what its kernel said last.
enum GuestFault {
  /// An interrupt that was taken twice, the second time before the first instruction of its handler,
  /// or one that came before a system call's first instruction: with interrupts off, and the user's
  /// `%gs` still in place, so that the kernel does not survive it.
  ///
  /// QEMU 7.2 leaves a vector that VMRUN injected in `exception_index` (helper_vmrun, case
  /// SVM_EVTINJ_TYPE_INTR); a processor that is told to leave its loop at that moment takes it again
  /// (cpu_handle_exception). No processor does that, and KVM injects nothing while interrupts are off.
  static let interruptedTwice = "the emulator gave a guest an interrupt twice"

  /// What is wrong with the emulator, by the text of a panic; `nil` for panics that have other causes.
  static func inPanic(_ text: String) -> String? {
    let lines = text.split(whereSeparator: \.isNewline)
    for (index, line) in lines.enumerated() where isAtEntry(line) {
      let flags = lines[index...].prefix(registerLines).compactMap(flags(in:)).first
      if let flags, flags & interruptsOn == 0 { return interruptedTwice }
    }
    return nil
  }

  /// Whether it names the first instruction of where interrupts and system calls enter the kernel
  /// (arch/x86/entry/entry_64.S).
  private static func isAtEntry(_ line: Substring) -> Bool {
    line.contains(
      /RIP: 0010:(asm_sysvec_\w+\+0x0|irq_entries_start\+0x[0-9a-f]+|entry_SYSCALL_64\+0x0)\//)
  }

  /// The flags stand two lines below.
  private static let registerLines = 3
  private static let interruptsOn: UInt32 = 1 << 9

  private static func flags(in line: Substring) -> UInt32? {
    line.firstMatch(of: /EFLAGS: ([0-9a-f]{8})/).flatMap { UInt32($0.1, radix: 16) }
  }
}
