/* SPDX-License-Identifier: Apache-2.0
 *
 * What cannot be written in Swift: the PVH entry, the first page tables, the
 * interrupt stubs and the way into ring 3 and back.
 */
#define CODE_SELECTOR 0x08
#define DATA_SELECTOR 0x10
#define USER_DATA_SELECTOR 0x23
#define USER_CODE_SELECTOR 0x2b
#define STACK_BYTES 32768
/* Interrupts.firstVector */
#define COUNTED_VECTOR 0x40

/* Xen's ELF note 18: the physical address of the 32-bit entry. */
	.section .note.pvh, "a", @note
	.align 4
	.long 4, 4, 18
	.asciz "Xen"
	.long _start

	.section .text.start, "ax", @progbits
	.code32
	.globl _start
_start:
	cld
	cli
	movl %ebx, %edi
	movl $micro_boot_stack_end, %esp
	movl $micro_page_root, %eax
	movl %eax, %cr3
	movl %cr4, %eax
	orl $0x20, %eax			/* PAE */
	movl %eax, %cr4
	movl $0xc0000080, %ecx		/* EFER */
	rdmsr
	orl $0x100, %eax		/* LME */
	wrmsr
	movl %cr0, %eax
	orl $0x80000001, %eax		/* PG, PE */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $CODE_SELECTOR, $start64

	.code64
start64:
	movl $DATA_SELECTOR, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movq $micro_boot_stack_end, %rsp
	movl %edi, %edi
	movq %rdi, micro_start_info(%rip)
	call micro_prepare
	xorl %edi, %edi
	xorl %esi, %esi
	call main
	call micro_end_of_main
1:	hlt
	jmp 1b

/* int64_t micro_enter_user(entry, context, stack): runs entry(context) in ring
 * 3 with interrupts on; returns what it or a fault hands to micro_leave_user. */
	.globl micro_enter_user
micro_enter_user:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushfq
	movq %rsp, micro_saved_stack(%rip)
	movl $USER_DATA_SELECTOR, %eax
	movl %eax, %ds
	movl %eax, %es
	subq $8, %rdx			/* as if the entry had been called */
	movq $user_returned, (%rdx)
	pushq $USER_DATA_SELECTOR
	pushq %rdx
	pushq $0x202			/* IF */
	pushq $USER_CODE_SELECTOR
	pushq %rdi
	movq %rsi, %rdi
	iretq

/* void micro_leave_user(value): ends micro_enter_user; called in ring 0. */
	.globl micro_leave_user
micro_leave_user:
	movq %rdi, %rax
	movl $DATA_SELECTOR, %ecx
	movl %ecx, %ds
	movl %ecx, %es
	movq micro_saved_stack(%rip), %rsp
	popfq
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.text
/* Where a ring-3 entry returns to: call 0, leave, with its result. */
user_returned:
	movq %rax, %rsi
	xorl %edi, %edi
	call micro_call
	ud2

/* int64_t micro_call(number, argument): asks ring 0, from ring 3, by an invalid
 * opcode: the one trap that every monitor delivers, also those that run ring 3
 * natively but emulate ring 0, where int and syscall were seen to go astray. */
	.globl micro_call, micro_call_trap
micro_call:
micro_call_trap:
	ud2
	ret

/* Interrupt stubs: all registers as struct micro_frame, then Swift. */
	.macro STUB vector
stub_\vector:
	.if \vector == COUNTED_VECTOR
	/* Counted at once: where ring 0 is emulated, all that follows is slow. */
	pushq %rax
	movq micro_interrupt_counter(%rip), %rax
	lock incq (%rax)
	popq %rax
	.endif
	.if !(\vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21)
	pushq $0
	.endif
	pushq $\vector
	jmp stub_common
	.endm

	.altmacro
	.macro STUB_NUMBER number
	STUB \number
	.endm
	.macro STUB_ENTRY number
	.quad stub_\number
	.endm

	.set vector, 0
	.rept 256
	STUB_NUMBER %vector
	.set vector, vector + 1
	.endr

stub_common:
	cld
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rbx
	pushq %rbp
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, %rdi
	movq %rsp, %rbp
	andq $-16, %rsp
	call micro_interrupt
	movq %rbp, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rbp
	popq %rbx
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

	.section .rodata
	.align 8
	.globl micro_stubs
micro_stubs:
	.set vector, 0
	.rept 256
	STUB_ENTRY %vector
	.set vector, vector + 1
	.endr

	.section .privileged, "aw", @progbits
	.align 4096
	.globl micro_page_root
micro_page_root:
	.quad pointers + 7
	.fill 511, 8, 0
pointers:
	.quad directories + 7, directories + 0x1007, directories + 0x2007, directories + 0x3007
	.fill 508, 8, 0
directories:				/* 4 GiB onto themselves, ring 0 only */
	.set frame, 0
	.rept 2048
	.quad frame + 0x83
	.set frame, frame + 0x200000
	.endr

	.align 16
	.globl micro_gdt
micro_gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* 0x08 code, ring 0 */
	.quad 0x00cf93000000ffff	/* 0x10 data, ring 0 */
	.quad 0
	.quad 0x00cff3000000ffff	/* 0x20 data, ring 3 */
	.quad 0x00affb000000ffff	/* 0x28 code, ring 3 */
	.quad 0, 0			/* 0x30 task state, filled in by Swift */
gdt_pointer:
	.word . - micro_gdt - 1
	.quad micro_gdt

	.section .privileged_bss, "aw", @nobits
	.align 4096
	.globl micro_page_pool, micro_page_pool_end
micro_page_pool:
	.skip 64 * 4096
micro_page_pool_end:
	.globl micro_idt, micro_task_state
micro_idt:
	.skip 4096
micro_task_state:
	.skip 128
	.globl micro_boot_stack_end, micro_interrupt_stack_end, micro_fault_stack_end
	.align 16
	.skip STACK_BYTES
micro_boot_stack_end:
	.skip STACK_BYTES
micro_interrupt_stack_end:
	.skip STACK_BYTES
micro_fault_stack_end:
	.globl micro_start_info
micro_start_info:
	.skip 8
micro_saved_stack:
	.skip 8

	.data
	.globl micro_interrupt_counter
	.align 8
micro_interrupt_counter:
	.quad uncounted
uncounted:
	.quad 0

	.section .bss
	.globl micro_user_stack_end
	.align 16
	.skip STACK_BYTES * 2
micro_user_stack_end:

	.section .note.GNU-stack, "", @progbits
