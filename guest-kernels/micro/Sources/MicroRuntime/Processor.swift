// SPDX-License-Identifier: Apache-2.0
import CMicro

/// Descriptor tables and the local APIC.
enum Processor {
  private static let codeSelector: UInt64 = 0x08
  private static let taskSelector: UInt16 = 0x30
  private static let interruptGate: UInt64 = 0x8E
  private static let exceptionCount = 32
  /// Stacks of the task state: 1 for interrupts and calls, 2 for exceptions.
  private static let interruptStack: UInt64 = 1
  private static let faultStack: UInt64 = 2

  static func prepare() {
    maskLegacyInterrupts()
    prepareTaskState()
    prepareGates()
  }

  private static let primary8259: UInt16 = 0x21
  private static let secondary8259: UInt16 = 0xA1

  /// Firmware may have left the timer running, on a vector that is an exception's.
  private static func maskLegacyInterrupts() {
    micro_out8(primary8259, 0xFF)
    micro_out8(secondary8259, 0xFF)
  }

  /// 64-bit task state (Intel SDM volume 3, 8.7): RSP0 at 4, IST1 at 36.
  private static func prepareTaskState() {
    let state = micro_address_of_task_state()
    Memory.store(micro_address_of_interrupt_stack_end(), at: state + 4)
    Memory.store(micro_address_of_interrupt_stack_end(), at: state + 36)
    Memory.store(micro_address_of_fault_stack_end(), at: state + 44)
    Memory.store(104 as UInt16, at: state + 102)  // no I/O permissions
    let descriptor = micro_address_of_gdt() + UInt64(taskSelector)
    let low = 103 | (state & 0xFF_FFFF) << 16 | 0x89 << 40 | (state >> 24 & 0xFF) << 56
    Memory.store(low, at: descriptor)
    Memory.store(state >> 32, at: descriptor + 8)
    micro_load_task(taskSelector)
  }

  /// One interrupt gate for each vector; ring 3 may use none.
  private static func prepareGates() {
    let table = micro_address_of_idt()
    let stubs = micro_address_of_stubs()
    for vector in 0..<256 {
      let target = Memory.load(UInt64.self, at: stubs + UInt64(vector) * 8)
      let stack = vector < exceptionCount ? faultStack : interruptStack
      let low =
        target & 0xFFFF | codeSelector << 16 | stack << 32 | interruptGate << 40
        | (target >> 16 & 0xFFFF) << 48
      Memory.store(low, at: table + UInt64(vector) * 16)
      Memory.store(target >> 32, at: table + UInt64(vector) * 16 + 8)
    }
    micro_load_idt(table, 4095)
  }
}

/// The local APIC at its architectural address.
public enum LocalAPIC {
  private static let base: UInt64 = 0xFEE0_0000
  private static let idRegister = base + 0x20
  private static let endOfInterrupt = base + 0xB0
  private static let spurious = base + 0xF0
  private static let enable: UInt32 = 1 << 8
  static let spuriousVector: UInt32 = 0xFF

  /// Lets interrupts in.
  public static func enableInterrupts() {
    micro_write32(spurious, enable | spuriousVector)
    micro_interrupts_on()
  }

  public static var id: UInt32 { micro_read32(idRegister) >> 24 }

  static func acknowledge() { micro_write32(endOfInterrupt, 0) }
}
