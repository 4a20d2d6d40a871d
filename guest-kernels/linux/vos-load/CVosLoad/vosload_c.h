/* SPDX-License-Identifier: Apache-2.0
 *
 * What vos-load's Swift cannot spell: the kernel's structures, static tables, and what gate.S
 * shares with it.
 */
#ifndef VOSLOAD_C_H
#define VOSLOAD_C_H

#include <stddef.h>
#include <stdint.h>

/* Elf64_Shdr (System V ABI, AMD64 supplement); CLibvos has the other structures. */
struct vosload_section {
	uint32_t name;
	uint32_t type;
	uint64_t flags;
	uint64_t address;
	uint64_t offset;
	uint64_t bytes;
	uint32_t link;
	uint32_t information;
	uint64_t alignment;
	uint64_t entry_bytes;
};

/* A system-call instruction of the program. */
struct vosload_site {
	uint64_t call;        /* its address, as the file has it */
	uint64_t constant_at; /* of the instruction that gave it `number` */
	int32_t number;       /* -1: not known */
	uint8_t before[3];    /* bytes of the instructions before it, the nearest first; 0: not to be moved */
	/* How it is turned: bytes of whole instructions that are moved from before it and from behind
	 * it; if any from behind, the call, too. None: left alone. */
	uint8_t ahead;
	uint8_t behind;
};

/* What the gate saved of a call; the order is gate.S's. */
struct vosload_call {
	int64_t number; /* in: of the call; out: its result */
	int64_t first, second, third, fourth, fifth, sixth;
};

/* How the gate treats a system call, by its number. */
#define VOSLOAD_CALLS 512
#define VOSLOAD_PASS 0    /* nothing to do with descriptors of ours */
#define VOSLOAD_FIRST 1   /* looked at if the first argument is a descriptor with an entry */
#define VOSLOAD_ALWAYS 2
#define VOSLOAD_FIFTH 3
#define VOSLOAD_KIND 3
#define VOSLOAD_MUST 0x80 /* must be seen wherever the program may make it */

#ifdef VOSLOAD_SWIFT
extern const uint8_t vosload_calls[VOSLOAD_CALLS];
extern uint32_t vosload_pooled;
extern uint64_t vosload_stacks, vosload_stacks_half, vosload_stacks_end;
#define VOSLOAD_PATH 4096
extern char vosload_program[VOSLOAD_PATH];
long libvos_system_call(long number, long a, long b, long c, long d, long e, long f);
extern const char vosload_gate_address[] __asm__("vosload_gate");

static inline uint8_t vosload_kind(long number)
{
	return number >= 0 && number < VOSLOAD_CALLS ? vosload_calls[number] : VOSLOAD_PASS;
}
static inline uint64_t vosload_gate_place(void) { return (uint64_t)vosload_gate_address; }
static inline char *_Nonnull vosload_program_path(void) { return vosload_program; }
/* Stacks for Go: `stride` bytes each, the first word of each says whether it is in use. */
static inline void vosload_use_stacks(uint64_t start, uint64_t stride, uint64_t count)
{
	vosload_stacks = start;
	vosload_stacks_half = start + stride * (count / 2);
	vosload_stacks_end = start + stride * count;
	vosload_pooled = 1;
}
static inline void vosload_free_stack(uint64_t place)
{
	*(volatile uint32_t *)place = 0;
}
static inline uint64_t vosload_first_stack(void) { return vosload_stacks; }
static inline uint64_t vosload_last_stack(void) { return vosload_stacks_end; }
#endif

#endif /* VOSLOAD_C_H */
