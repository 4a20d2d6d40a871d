/* SPDX-License-Identifier: Apache-2.0 */
#include "cfuzz.h"

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>

/* LLVM's libFuzzer, compiler-rt/lib/fuzzer/FuzzerInterface.h. */
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*one)(const uint8_t *bytes, size_t count));

int fuzz_run(int argc, char **argv, int (*one)(const uint8_t *bytes, size_t count))
{
	return LLVMFuzzerRunDriver(&argc, &argv, one);
}

void fuzz_forbid(const void *start, size_t bytes)
{
	__asan_poison_memory_region(start, bytes);
}

void fuzz_allow(const void *start, size_t bytes)
{
	__asan_unpoison_memory_region(start, bytes);
}

void fuzz_fail(const char *what)
{
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

void fuzz_expect_allowed(const void *start, size_t bytes, const char *what)
{
	if (bytes == 0)
		return;
	if ((uintptr_t)start < 4096 || (uintptr_t)start + bytes < (uintptr_t)start ||
	    __asan_region_is_poisoned((void *)start, bytes)) {
		fprintf(stderr, "fuzz: %s: %zu bytes at %p\n", what, bytes, start);
		abort();
	}
}
