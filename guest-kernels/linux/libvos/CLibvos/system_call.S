/* SPDX-License-Identifier: Apache-2.0
 *
 * libvos_system_call(number, six arguments), part of thunks.S and of vos-load's gate.S.
 */
/* Without libc, whose pages may just be being written. Minus a Linux errno is an error. */
	.text
	.globl libvos_system_call
	.hidden libvos_system_call
	.type libvos_system_call, @function
libvos_system_call:
	endbr64
	mov %rdi, %rax
	mov %rsi, %rdi
	mov %rdx, %rsi
	mov %rcx, %rdx
	mov %r8, %r10
	mov %r9, %r8
	mov 8(%rsp), %r9
	syscall
	ret
	.size libvos_system_call, . - libvos_system_call
