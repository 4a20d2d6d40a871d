/* SPDX-License-Identifier: Apache-2.0
 *
 * The switch between user-level threads. What a called function must keep is on
 * the old thread's stack, the rest the caller has saved (System V ABI, 3.2.3).
 */
	.text

/* void mn_switch(struct mn_thread *from, struct mn_thread *to) */
	.globl mn_switch
	.hidden mn_switch
	.type mn_switch, @function
	.p2align 4
mn_switch:
	.cfi_startproc
	push %rbp
	.cfi_adjust_cfa_offset 8
	push %rbx
	.cfi_adjust_cfa_offset 8
	push %r12
	.cfi_adjust_cfa_offset 8
	push %r13
	.cfi_adjust_cfa_offset 8
	push %r14
	.cfi_adjust_cfa_offset 8
	push %r15
	.cfi_adjust_cfa_offset 8
	sub $8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr (%rsp)
	fnstcw 4(%rsp)
	mov %rsp, (%rdi)
	mov (%rsi), %rsp
	/* The thread pointer, which is where thread-local storage is. */
	cmpl $0, mn_fsgsbase(%rip)
	je 2f
	mov 8(%rsi), %rax
	wrfsbase %rax
1:	ldmxcsr (%rsp)
	fldcw 4(%rsp)
	add $8, %rsp
	.cfi_adjust_cfa_offset -8
	pop %r15
	.cfi_adjust_cfa_offset -8
	pop %r14
	.cfi_adjust_cfa_offset -8
	pop %r13
	.cfi_adjust_cfa_offset -8
	pop %r12
	.cfi_adjust_cfa_offset -8
	pop %rbx
	.cfi_adjust_cfa_offset -8
	pop %rbp
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_adjust_cfa_offset 56
2:	mov 8(%rsi), %rsi
	mov $0x1002, %edi /* ARCH_SET_FS */
	mov $158, %eax    /* arch_prctl */
	syscall
	jmp 1b
	.cfi_endproc
	.size mn_switch, . - mn_switch

/* Where a new thread's first switch goes; r12 is its record. Unwinding ends here. */
	.globl mn_entry
	.hidden mn_entry
	.type mn_entry, @function
	.p2align 4
mn_entry:
	.cfi_startproc
	.cfi_undefined %rip
	xor %ebp, %ebp
	mov %r12, %rdi
	call mn_thread_main
	ud2
	.cfi_endproc
	.size mn_entry, . - mn_entry

/* The end of the first thread, which libc would end as a kernel thread (Births.swift). */
	.globl mn_first_end
	.hidden mn_first_end
	.type mn_first_end, @function
	.p2align 4
mn_first_end:
	.cfi_startproc
	.cfi_undefined %rip
	and $-16, %rsp
	call mn_first_ended
	ud2
	.cfi_endproc
	.size mn_first_end, . - mn_first_end

/*
 * The child of vfork runs in its parent's memory, in the parent thread's name: until it is gone no
 * switch must happen in it. Nothing stays on the stack, which the child overwrites.
 */
	.globl vfork
	.type vfork, @function
	.p2align 4
vfork:
	.cfi_startproc
	sub $8, %rsp
	.cfi_adjust_cfa_offset 8
	call mn_hook_vfork
	add $8, %rsp
	.cfi_adjust_cfa_offset -8
	pop %rdi
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rdi
	mov $58, %eax
	syscall
	push %rdi
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rip, 0
	test %rax, %rax
	je 1f
	push %rax
	.cfi_adjust_cfa_offset 8
	call mn_hook_vforked
	pop %rax
	.cfi_adjust_cfa_offset -8
	cmp $-4095, %rax
	jae 2f
1:	ret
2:	neg %eax
	push %rax
	.cfi_adjust_cfa_offset 8
	call __errno_location@PLT
	pop %rcx
	.cfi_adjust_cfa_offset -8
	mov %ecx, (%rax)
	mov $-1, %eax
	ret
	.cfi_endproc
	.size vfork, . - vfork

/*
 * Functions of at most five arguments that only need a word with us before they
 * run: their registers are kept, the stack is as it was, so nothing of ours is on it when they
 * unwind or jump.
 *
 *	THUNK name, hook	call hook with name's own arguments, then name
 */
	.macro THUNK name, hook
	.section .rodata.mn_thunks, "a", @progbits
.Lname_\name:
	.asciz "\name"
	.section mn_table, "aw", @progbits
	.quad .Lname_\name
.Lnext_\name:
	.quad 0
	.text
	.globl \name
	.type \name, @function
	.p2align 4
\name:
	.cfi_startproc
	push %rdi
	.cfi_adjust_cfa_offset 8
	push %rsi
	.cfi_adjust_cfa_offset 8
	push %rdx
	.cfi_adjust_cfa_offset 8
	push %rcx
	.cfi_adjust_cfa_offset 8
	push %r8
	.cfi_adjust_cfa_offset 8
	call \hook
	pop %r8
	.cfi_adjust_cfa_offset -8
	pop %rcx
	.cfi_adjust_cfa_offset -8
	pop %rdx
	.cfi_adjust_cfa_offset -8
	pop %rsi
	.cfi_adjust_cfa_offset -8
	pop %rdi
	.cfi_adjust_cfa_offset -8
	jmp *.Lnext_\name(%rip)
	.cfi_endproc
	.size \name, . - \name
	.endm

	.section mn_table, "aw", @progbits
	.globl mn_thunks
	.hidden mn_thunks
mn_thunks:
THUNK pthread_exit, mn_hook_exit
THUNK longjmp, mn_hook_jump
THUNK _longjmp, mn_hook_jump
THUNK siglongjmp, mn_hook_jump
THUNK __longjmp_chk, mn_hook_jump
THUNK close, mn_hook_close
THUNK setsockopt, mn_hook_close
THUNK dup2, mn_hook_second
THUNK dup3, mn_hook_second
THUNK close_range, mn_hook_all
THUNK closefrom, mn_hook_all
	.section mn_table, "aw", @progbits
	.globl mn_thunks_end
	.hidden mn_thunks_end
mn_thunks_end:

	.section .data.rel.ro.mn_routines, "aw", @progbits
	.globl mn_routines
	.hidden mn_routines
mn_routines:
	.quad mn_entry, mn_first_end, mn_carrier_main, mn_watch, mn_ring, mn_poll_descriptors
	.quad mn_call_handler, mn_receive
	.section .note.GNU-stack, "", @progbits
