/* SPDX-License-Identifier: Apache-2.0
 *
 * What a filter of system calls is made of (Documentation/userspace-api/seccomp_filter.rst).
 *
 * Programs for the kernel's classic BPF machine and the numbers of system calls come from the
 * kernel's own headers. Constants that Swift cannot import, since they are expressions, are
 * defined here as the macro's value.
 */
#ifndef CLINUX_SECCOMP_H
#define CLINUX_SECCOMP_H

#include <asm/unistd_64.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>

/* The only architecture whose calls a filter lets through; x32 has the same, and a bit in the number. */
static const uint32_t CLINUX_AUDIT_ARCH_X86_64 = AUDIT_ARCH_X86_64;
static const uint32_t CLINUX_X32_SYSCALL_BIT = 0x40000000u; /* asm/unistd.h, __X32_SYSCALL_BIT */

/* Instructions: load a word of the call's description, mask it, compare it, give the verdict. */
static const uint16_t CLINUX_BPF_LOAD = BPF_LD | BPF_W | BPF_ABS;
static const uint16_t CLINUX_BPF_AND = BPF_ALU | BPF_AND | BPF_K;
static const uint16_t CLINUX_BPF_JUMP_IF_EQUAL = BPF_JMP | BPF_JEQ | BPF_K;
static const uint16_t CLINUX_BPF_RETURN = BPF_RET | BPF_K;
enum { CLINUX_BPF_LIMIT = BPF_MAXINSNS };

/* Where they find the call. An argument is 64 bits, its low word first. */
enum {
	CLINUX_SECCOMP_NUMBER = offsetof(struct seccomp_data, nr),
	CLINUX_SECCOMP_ARCHITECTURE = offsetof(struct seccomp_data, arch),
	CLINUX_SECCOMP_ARGUMENTS = offsetof(struct seccomp_data, args),
};
_Static_assert(sizeof(struct sock_filter) == 8, "sock_filter");
_Static_assert(sizeof(struct seccomp_data) == 64, "seccomp_data");

/* What is in a futex call's operation besides the command. */
static const uint32_t CLINUX_FUTEX_COMMAND_MASK = (uint32_t)FUTEX_CMD_MASK;

/*
 * Has every thread of the process, and what it starts, ask the program of `count` instructions
 * before each system call. The caller has given up new privileges. 0, or -1 with errno: ESRCH if a
 * thread has a filter of its own.
 */
int clinux_install_filter(const struct sock_filter *program, unsigned short count);

/* One heap for all threads instead of one each; before the second thread. */
void clinux_use_one_heap(void);

#endif /* CLINUX_SECCOMP_H */
