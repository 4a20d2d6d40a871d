/* SPDX-License-Identifier: Apache-2.0
 * What Embedded Swift expects of its platform: memory blocks and a heap. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
	void *start = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
	return start;
}

void *memset(void *block, int byte, size_t count)
{
	void *start = block;
	__asm__ volatile("rep stosb" : "+D"(block), "+c"(count) : "a"(byte) : "memory");
	return start;
}

void *memmove(void *to, const void *from, size_t count)
{
	unsigned char *target = to;
	const unsigned char *source = from;
	if (target <= source || target >= source + count)
		return memcpy(to, from, count);
	while (count--)
		target[count] = source[count];
	return to;
}

int memcmp(const void *left, const void *right, size_t count)
{
	const unsigned char *a = left, *b = right;
	for (; count; count--, a++, b++)
		if (*a != *b)
			return *a - *b;
	return 0;
}

/* A heap that only grows: a micro guest runs once and is gone. */
#define HEAP_BYTES (1 << 20)
static _Alignas(64) unsigned char heap[HEAP_BYTES];
static size_t heap_used;

int posix_memalign(void **block, size_t alignment, size_t count)
{
	size_t start = (heap_used + alignment - 1) & ~(alignment - 1);
	if (count > HEAP_BYTES || start > HEAP_BYTES - count)
		return 12; /* ENOMEM */
	heap_used = start + count;
	*block = heap + start;
	return 0;
}

void free(void *block)
{
	(void)block;
}

/* Swift's stack protector: a smashed stack ends in an exception, which is reported. */
uintptr_t __stack_chk_guard = 0x00a5c35a0dff7e21;

_Noreturn void __stack_chk_fail(void)
{
	__builtin_trap();
}
