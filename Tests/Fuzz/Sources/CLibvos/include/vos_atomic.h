/* SPDX-License-Identifier: Apache-2.0
 *
 * The accesses of vos_atomic.h as libvos is built for its fuzzer: before each the service may write
 * to what it shares, and slots that are taken, posted and let go of are counted. Time is the
 * input's, too.
 */
#ifndef FUZZ_ATOMIC_H
#define FUZZ_ATOMIC_H

#include <stddef.h>
#include <stdint.h>

#define vos_load_acquire32 plain_load_acquire32
#define vos_load_acquire64 plain_load_acquire64
#define vos_store_release32 plain_store_release32
#define vos_compare_exchange32 plain_compare_exchange32
#define vos_fetch_or64 plain_fetch_or64
#define vos_fetch_and64 plain_fetch_and64
#define vos_full_fence plain_full_fence
#define vos_pause plain_pause
#include "plain_atomic.h"
#undef vos_load_acquire32
#undef vos_load_acquire64
#undef vos_store_release32
#undef vos_compare_exchange32
#undef vos_fetch_or64
#undef vos_fetch_and64
#undef vos_full_fence
#undef vos_pause

/* An access to `word` is next: the service acts if it is memory that both share. */
void libvos_fuzz_step(const volatile void *word);
void libvos_fuzz_posting(const volatile uint32_t *word, uint32_t value);
void libvos_fuzz_taking(const volatile uint64_t *word, uint64_t before, uint64_t bits);
void libvos_fuzz_freeing(const volatile uint64_t *word, uint64_t before, uint64_t bits);
/* A look that found nothing; time goes on. */
void libvos_fuzz_pause(void);
uint64_t libvos_fuzz_ticks(void);
/* memcpy between the program's memory and a slot's part of the arena. */
void libvos_fuzz_copy(void *to, const void *from, size_t bytes);

static inline uint32_t vos_load_acquire32(const volatile uint32_t *word)
{
	libvos_fuzz_step(word);
	return plain_load_acquire32(word);
}

static inline uint64_t vos_load_acquire64(const volatile uint64_t *word)
{
	libvos_fuzz_step(word);
	return plain_load_acquire64(word);
}

static inline void vos_store_release32(volatile uint32_t *word, uint32_t value)
{
	libvos_fuzz_posting(word, value);
	plain_store_release32(word, value);
	libvos_fuzz_step(word);
}

static inline int vos_compare_exchange32(volatile uint32_t *word, uint32_t expected,
					 uint32_t desired)
{
	libvos_fuzz_step(word);
	return plain_compare_exchange32(word, expected, desired);
}

static inline uint64_t vos_fetch_or64(volatile uint64_t *word, uint64_t bits)
{
	uint64_t before = plain_fetch_or64(word, bits);

	libvos_fuzz_taking(word, before, bits);
	return before;
}

static inline uint64_t vos_fetch_and64(volatile uint64_t *word, uint64_t bits)
{
	uint64_t before = plain_fetch_and64(word, bits);

	libvos_fuzz_freeing(word, before, ~bits);
	return before;
}

static inline void vos_full_fence(void) { plain_full_fence(); }
static inline void vos_pause(void) { libvos_fuzz_pause(); }

/* What libvos_c.h makes of these instructions. */
#define __builtin_ia32_rdtsc libvos_fuzz_ticks
#define __builtin_memcpy libvos_fuzz_copy

#endif /* FUZZ_ATOMIC_H */
