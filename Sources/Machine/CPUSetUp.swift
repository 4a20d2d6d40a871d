// SPDX-License-Identifier: Apache-2.0
internal import Boot
internal import CLinux
internal import KVM

extension kvm_segment {
  fileprivate init(_ segment: Segment) {
    self.init()
    base = segment.base
    limit = segment.limit
    selector = segment.selector
    type = segment.type
    present = segment.isPresent ? 1 : 0
    dpl = segment.privilegeLevel
    db = segment.is32Bit ? 1 : 0
    s = segment.isCodeOrData ? 1 : 0
    l = segment.is64Bit ? 1 : 0
    g = segment.has4KiBGranularity ? 1 : 0
    unusable = segment.isPresent ? 0 : 1
  }
}

extension VirtualCPU {
  /// Puts the CPU in the state in which firmware would hand it on, apart from registers.
  func setUp(_ cpuid: CPUIDTable, count: Int, hasTSCDeadlineTimer: Bool) throws(KVMError) {
    var cpuid = cpuid
    cpuid.adapt(identifier: identifier, count: count, hasTSCDeadlineTimer: hasTSCDeadlineTimer)
    try set(cpuid)
    try set(ModelSpecificRegister.afterFirmware)
    try resetFloatingPoint()
    try enableExtendedState(cpuid)
    try resetLocalInterrupts()
  }

  /// Has the CPU start at `entry`.
  func enter(_ entry: EntryState) throws(KVMError) {
    var system = try systemRegisters()
    system.cs = kvm_segment(entry.code)
    let data = kvm_segment(entry.data)
    (system.ds, system.es, system.fs, system.gs, system.ss) = (data, data, data, data, data)
    system.tr = kvm_segment(entry.task)
    system.gdt.base = entry.gdt.base
    system.gdt.limit = entry.gdt.limit
    system.idt.base = 0
    system.idt.limit = 0
    system.cr0 = entry.cr0
    system.cr3 = entry.cr3
    system.cr4 = entry.cr4
    system.efer = entry.efer
    try set(system)
    var general = kvm_regs()
    general.rip = entry.rip
    general.rsi = entry.rsi
    general.rbx = entry.rbx
    general.rflags = entry.rflags
    try set(general)
  }

  /// The registers that a report of a failure needs, on one line.
  func describeRegisters() -> String {
    do throws(KVMError) {
      let general = try registers()
      let system = try systemRegisters()
      let named: [(String, UInt64)] = [
        ("rip", general.rip), ("rsp", general.rsp), ("rflags", general.rflags),
        ("rax", general.rax), ("rbx", general.rbx), ("rcx", general.rcx), ("rdx", general.rdx),
        ("rsi", general.rsi), ("rdi", general.rdi), ("rbp", general.rbp), ("r8", general.r8),
        ("r9", general.r9), ("r10", general.r10), ("r11", general.r11), ("r12", general.r12),
        ("r13", general.r13), ("r14", general.r14), ("r15", general.r15), ("cr0", system.cr0),
        ("cr2", system.cr2), ("cr3", system.cr3), ("cr4", system.cr4), ("efer", system.efer),
        ("cs", UInt64(system.cs.selector)), ("cs.base", system.cs.base),
      ]
      return named.map { "\($0.0)=0x\(String($0.1, radix: 16))" }.joined(separator: " ")
    } catch {
      return "registers unknown: \(error)"
    }
  }
}
