// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import LabKit

@Suite struct GuestFaultTests {
  private func panic(_ place: String, flags: String) -> String {
    """
    domain primary | [   76.8]  asm_common_interrupt+0x22/0x40
    domain primary | [   76.8] RIP: 0010:\(place)
    domain primary | [   76.8] Code: 66 90 6a 20 e9 a9 0b 00 00 cc <6a> 25
    domain primary | [   76.8] RSP: 0000:fffffe0000002fd8 EFLAGS: \(flags)
    domain primary | [   76.8] RAX: 00007f7548cdaa60 RBX: 00007ffebe7bfbc0 RCX: 0000000000000000
    domain primary | [   76.8] RIP: 0033:0x7f7547dd8853
    domain primary | [   76.8] RSP: 002b:00007ffebe7bfbc0 EFLAGS: 00000246
    """
  }

  @Test func anInterruptBeforeAHandlersFirstInstructionIsTheEmulators() {
    for place in [
      "asm_sysvec_apic_timer_interrupt+0x0/0x20", "irq_entries_start+0x28/0x660",
      "entry_SYSCALL_64+0x0/0x29",
    ] {
      #expect(GuestFault.inPanic(panic(place, flags: "00000046")) == GuestFault.interruptedTwice)
    }
  }

  @Test func otherPanicsAreTheGuests() {
    for place in [
      "asm_sysvec_apic_timer_interrupt+0x16/0x20", "entry_SYSCALL_64+0x1b/0x29",
      "vos_sock_recvmsg+0x0/0x400", "asm_exc_page_fault+0x0/0x30",
    ] {
      #expect(GuestFault.inPanic(panic(place, flags: "00000046")) == nil)
    }
    // Where interrupts were on, one may come.
    let on = panic("asm_sysvec_apic_timer_interrupt+0x0/0x20", flags: "00000246")
    #expect(GuestFault.inPanic(on) == nil)
    #expect(GuestFault.inPanic("Kernel panic - not syncing: sysrq triggered crash") == nil)
  }
}
