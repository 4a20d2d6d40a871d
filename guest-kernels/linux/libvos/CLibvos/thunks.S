/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions that libvos does not replace: it only puts its own state in order
 * first, then the real function runs as if called directly. Every argument
 * register is kept, the stack is left as it was: so one thunk serves variadic
 * functions (execl, dprintf) too, which Swift could not forward.
 *
 *	THUNK name, hook	call hook with name's own first six arguments
 */
	.macro THUNK name, hook
	.section .rodata.libvos, "a", @progbits
.Lname_\name:
	.asciz "\name"
	.section libvos_table, "aw", @progbits
	.quad .Lname_\name
.Lnext_\name:
	.quad 0
	.text
	.globl \name
	.type \name, @function
	.p2align 4
\name:
	endbr64
	lea \hook(%rip), %r11
	call libvos_thunk_body
	jmp *.Lnext_\name(%rip)
	.size \name, . - \name
	.endm

	.text
	.type libvos_thunk_body, @function
libvos_thunk_body:
	/* Entered two returns deep: rsp is 16-byte aligned here. */
	push %rdi
	push %rsi
	push %rdx
	push %rcx
	push %r8
	push %r9
	push %rax
	sub $136, %rsp
	movups %xmm0, (%rsp)
	movups %xmm1, 16(%rsp)
	movups %xmm2, 32(%rsp)
	movups %xmm3, 48(%rsp)
	movups %xmm4, 64(%rsp)
	movups %xmm5, 80(%rsp)
	movups %xmm6, 96(%rsp)
	movups %xmm7, 112(%rsp)
	call *%r11
	movups (%rsp), %xmm0
	movups 16(%rsp), %xmm1
	movups 32(%rsp), %xmm2
	movups 48(%rsp), %xmm3
	movups 64(%rsp), %xmm4
	movups 80(%rsp), %xmm5
	movups 96(%rsp), %xmm6
	movups 112(%rsp), %xmm7
	add $136, %rsp
	pop %rax
	pop %r9
	pop %r8
	pop %rcx
	pop %rdx
	pop %rsi
	pop %rdi
	ret
	.size libvos_thunk_body, . - libvos_thunk_body

#include "system_call.S"

	.section libvos_table, "aw", @progbits
	.globl libvos_thunks
	.hidden libvos_thunks
libvos_thunks:

/* The process's descriptors get a second owner, or its memory is replaced. */
THUNK daemon, libvos_hook_all
THUNK forkpty, libvos_hook_all
THUNK clone, libvos_hook_all
THUNK unshare, libvos_hook_unshare
THUNK posix_spawn, libvos_hook_all
THUNK posix_spawnp, libvos_hook_all
THUNK popen, libvos_hook_all
THUNK system, libvos_hook_all
THUNK execve, libvos_hook_all
THUNK execv, libvos_hook_all
THUNK execvp, libvos_hook_all
THUNK execvpe, libvos_hook_all
THUNK execl, libvos_hook_all
THUNK execlp, libvos_hook_all
THUNK execle, libvos_hook_all
THUNK fexecve, libvos_hook_all
THUNK execveat, libvos_hook_all

/* The kernel's file offset, its size limit or its pages of the file are about to matter. */
THUNK setrlimit, libvos_hook_limit
THUNK setrlimit64, libvos_hook_limit
THUNK prlimit, libvos_hook_all
THUNK prlimit64, libvos_hook_all
/* Streams, which call the C library's own functions. */
THUNK fdopen, libvos_hook_stream
THUNK fdopendir, libvos_hook_first
THUNK dprintf, libvos_hook_stream
THUNK vdprintf, libvos_hook_stream
THUNK __dprintf_chk, libvos_hook_stream
THUNK __vdprintf_chk, libvos_hook_stream
THUNK lockf, libvos_hook_first
THUNK lockf64, libvos_hook_first
THUNK sendfile, libvos_hook_first_second
THUNK sendfile64, libvos_hook_first_second
THUNK copy_file_range, libvos_hook_first_third
THUNK splice, libvos_hook_first_third
THUNK mmap, libvos_hook_fifth
THUNK mmap64, libvos_hook_fifth

/* The meaning of a relative path changes. */
THUNK chdir, libvos_hook_directory
THUNK fchdir, libvos_hook_directory

/* System calls by number. */
THUNK syscall, libvos_hook_syscall

	.section libvos_table, "aw", @progbits
	.globl libvos_thunks_end
	.hidden libvos_thunks_end
libvos_thunks_end:
	.section .note.GNU-stack, "", @progbits
