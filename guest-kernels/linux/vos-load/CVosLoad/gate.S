/* SPDX-License-Identifier: Apache-2.0
 *
 * vos-load's entry, and the gate through which the program's system calls come. No thread-local
 * storage: %fs is the program's.
 */
#define VOSLOAD_STACK 0x10000

	.text
	.globl vosload_entry
	.hidden vosload_entry
	.type vosload_entry, @function
/* From the kernel: the stack holds arguments, environment and auxiliary vector. */
vosload_entry:
	xor %ebp, %ebp
	mov %rsp, %rdi
	lea _DYNAMIC(%rip), %rsi
	lea __ehdr_start(%rip), %rdx
	call vosload_start
	/* To the program as the kernel would have: rdx is no function for atexit. */
	mov %rdx, %rsp
	xor %edx, %edx
	jmp *%rax
	.size vosload_entry, . - vosload_entry

/*
 * In place of a system call: registers as there, rcx the place to go on (which the call would
 * overwrite as it does r11). There the call itself is made; 8 bytes further it is done, rax its
 * result. All other registers are as they were then. Nothing is put on the program's stack unless
 * the call is one of ours; and nothing on a goroutine's, which may have no room.
 */
	.globl vosload_gate
	.hidden vosload_gate
	.type vosload_gate, @function
	.p2align 6
vosload_gate:
	cmp $512, %rax
	jae .Lpass
	lea vosload_calls(%rip), %r11
	movzbl (%r11, %rax), %r11d
	and $3, %r11d
	jz .Lpass
	cmp $2, %r11d
	je .Lours
	mov %r8d, %r11d
	ja .Ldescriptor
	mov %edi, %r11d
.Ldescriptor:
	cmp $VOSLOAD_DESCRIPTORS, %r11d
	jae .Lpass
	/* Its entry's word: its kind is 0 for what is local. */
	imul $VOSLOAD_ENTRY_BYTES, %r11, %r11
	add vosload_entries(%rip), %r11
	testb $7, (%r11)
	jnz .Lours
.Lpass:
	jmp *%rcx

.Lours:
	cmpl $0, vosload_pooled(%rip)
	jne .Lclaim
	/* Below what the program may have there without moving rsp. */
	mov %rsp, %r11
	lea -128(%rsp), %rsp
	and $-16, %rsp
	push %r11
	push $0
.Lsave:
	push %rcx
	push %r9
	push %r8
	push %r10
	push %rdx
	push %rsi
	push %rdi
	push %rax
	/* No code of ours knows wider registers, so their upper halves stay. */
	sub $256, %rsp
	.irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movups %xmm\number, 16 * \number(%rsp)
	.endr
	lea 256(%rsp), %rdi
	cld
	call vosload_answer
	test %eax, %eax
	.irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movups 16 * \number(%rsp), %xmm\number
	.endr
	lea 256(%rsp), %rsp
	pop %rax
	pop %rdi
	pop %rsi
	pop %rdx
	pop %r10
	pop %r8
	pop %r9
	pop %rcx
	jz .Lreturn
	lea 8(%rcx), %rcx
.Lreturn:
	pop %r11
	pop %rsp
	test %r11, %r11
	jz .Lgo
	movl $0, (%r11)
.Lgo:
	jmp *%rcx

/* A stack of our own. What only makes descriptors may keep half of them busy for long, no more. */
.Lclaim:
	lea vosload_calls(%rip), %r11
	testb $0x80, (%r11, %rax)
	mov vosload_stacks(%rip), %r11
	jz .Lclaim_few
.Lclaim_next:
	lock btsl $0, (%r11)
	jnc .Lclaimed
	lea VOSLOAD_STACK(%r11), %r11
	cmp vosload_stacks_end(%rip), %r11
	jb .Lclaim_next
	/* Others are about to give theirs back. */
	pause
	mov vosload_stacks(%rip), %r11
	jmp .Lclaim_next
.Lclaim_few:
	lock btsl $0, (%r11)
	jnc .Lclaimed
	lea VOSLOAD_STACK(%r11), %r11
	cmp vosload_stacks_half(%rip), %r11
	jb .Lclaim_few
	jmp *%rcx
.Lclaimed:
	mov %rsp, VOSLOAD_STACK - 8(%r11)
	lea VOSLOAD_STACK - 8(%r11), %rsp
	push %r11
	jmp .Lsave
	.size vosload_gate, . - vosload_gate

#include "../../libvos/CLibvos/system_call.S"

/* What the compiler calls. */
	.macro FUNCTION name
	.globl \name
	.hidden \name
	.type \name, @function
\name:
	.endm
FUNCTION memcpy
	mov %rdi, %rax
	mov %rdx, %rcx
	rep movsb
	ret
FUNCTION memmove
	mov %rdi, %rax
	mov %rdi, %r8
	sub %rsi, %r8
	mov %rdx, %rcx
	cmp %rdx, %r8
	jb 1f
	rep movsb
	ret
1:	lea -1(%rdi, %rdx), %rdi
	lea -1(%rsi, %rdx), %rsi
	std
	rep movsb
	cld
	ret
FUNCTION memset
	mov %rdi, %r8
	mov %esi, %eax
	mov %rdx, %rcx
	rep stosb
	mov %r8, %rax
	ret

	.section .data.rel.ro, "aw", @progbits
	.p2align 3
vosload_entries:
	.quad libvos_pages + VOSLOAD_ENTRIES
	/* libvos's functions that only need a word before they run: none here. */
	.globl libvos_thunks, libvos_thunks_end
	.hidden libvos_thunks, libvos_thunks_end
libvos_thunks:
libvos_thunks_end:
	.quad 0
	.section .note.GNU-stack, "", @progbits
