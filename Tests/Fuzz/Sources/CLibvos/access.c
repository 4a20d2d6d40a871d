/* SPDX-License-Identifier: Apache-2.0
 *
 * What AddressSanitizer has libvos's Swift call in place of its own checks (Package.swift): before
 * each access the services act if it is memory that they share. So what libvos reads twice may
 * differ.
 */
#include "state.h"

#undef __builtin_memcpy

static void check(uintptr_t start, size_t bytes)
{
	fuzz_expect_allowed((const void *)start, bytes, "libvos touches what is not its own");
	libvos_fuzz_step((const void *)start);
}

#define ACCESS(kind, bytes)                                                                        \
	void libvos_fuzz_##kind##bytes(uintptr_t start);                                           \
	void libvos_fuzz_##kind##bytes(uintptr_t start) { check(start, bytes); }
#define ACCESSES(kind)                                                                             \
	ACCESS(kind, 1) ACCESS(kind, 2) ACCESS(kind, 4) ACCESS(kind, 8) ACCESS(kind, 16)           \
	void libvos_fuzz_##kind##N(uintptr_t start, size_t bytes);                                 \
	void libvos_fuzz_##kind##N(uintptr_t start, size_t bytes) { check(start, bytes); }
ACCESSES(load)
ACCESSES(store)

void *libvos_fuzz_memmove(void *to, const void *from, size_t bytes);
void *libvos_fuzz_memmove(void *to, const void *from, size_t bytes)
{
	check((uintptr_t)to, bytes);
	check((uintptr_t)from, bytes);
	return __builtin_memmove(to, from, bytes);
}

void *libvos_fuzz_memcpy(void *to, const void *from, size_t bytes);
void *libvos_fuzz_memcpy(void *to, const void *from, size_t bytes)
{
	return libvos_fuzz_memmove(to, from, bytes);
}

void *libvos_fuzz_memset(void *start, int value, size_t bytes);
void *libvos_fuzz_memset(void *start, int value, size_t bytes)
{
	check((uintptr_t)start, bytes);
	return __builtin_memset(start, value, bytes);
}
