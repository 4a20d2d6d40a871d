/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
 *
 * The few atomic accesses that shared memory needs, for Swift on the host, in
 * Linux guests and in micro guests. The kernel module has the kernel's own.
 */
#ifndef VOS_ATOMIC_H
#define VOS_ATOMIC_H
#ifndef __KERNEL__
#include <stdint.h>

static inline uint32_t vos_load_acquire32(const volatile uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint64_t vos_load_acquire64(const volatile uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void vos_store_release32(volatile uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline void vos_store_release64(volatile uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline uint32_t vos_exchange32(volatile uint32_t *word, uint32_t value)
{
	return __atomic_exchange_n(word, value, __ATOMIC_ACQ_REL);
}

/* 1 if `word` held `expected` and now holds `desired`. */
static inline int vos_compare_exchange32(volatile uint32_t *word, uint32_t expected,
					 uint32_t desired)
{
	return __atomic_compare_exchange_n(word, &expected, desired, 0, __ATOMIC_SEQ_CST,
					   __ATOMIC_ACQUIRE);
}

static inline uint8_t vos_load_acquire8(const volatile uint8_t *byte)
{
	return __atomic_load_n(byte, __ATOMIC_ACQUIRE);
}

static inline void vos_store_release8(volatile uint8_t *byte, uint8_t value)
{
	__atomic_store_n(byte, value, __ATOMIC_RELEASE);
}

static inline uint64_t vos_fetch_or64(volatile uint64_t *word, uint64_t bits)
{
	return __atomic_fetch_or(word, bits, __ATOMIC_ACQ_REL);
}

static inline uint64_t vos_fetch_and64(volatile uint64_t *word, uint64_t bits)
{
	return __atomic_fetch_and(word, bits, __ATOMIC_ACQ_REL);
}

static inline uint64_t vos_fetch_add64(volatile uint64_t *word, uint64_t value)
{
	return __atomic_fetch_add(word, value, __ATOMIC_RELAXED);
}

/* Store, then load, in this order, seen by the other side: the wake protocol. */
static inline void vos_full_fence(void)
{
#if defined(__x86_64__)
	/* As a full fence a locked instruction is cheaper than mfence (Linux' smp_mb). */
	__asm__ volatile("lock addl $0,-4(%%rsp)" : : : "memory", "cc");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Asks for the cache line of `address`, to write to it. */
static inline void vos_prefetch_write(const volatile void *address)
{
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0" : : "m"(*(const volatile char *)address));
#else
	__builtin_prefetch((const void *)address, 1);
#endif
}

static inline void vos_pause(void)
{
	__builtin_ia32_pause();
}

#endif
#endif /* VOS_ATOMIC_H */
