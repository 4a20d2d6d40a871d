/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fuzzers need of the sanitizers, and of the kernel that is none.
 */
#ifndef CFUZZ_H
#define CFUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Runs libFuzzer with the program's arguments; its exit code. */
int fuzz_run(int argc, char **argv, int (*one)(const uint8_t *bytes, size_t count));

/* From here on an access to these bytes ends the run, by whomever. */
void fuzz_forbid(const void *start, size_t bytes);
void fuzz_allow(const void *start, size_t bytes);
/* Ends the run if any of these bytes may not be touched. */
void fuzz_expect_allowed(const void *start, size_t bytes, const char *what);
/* Ends the run: something happened that must not. */
void fuzz_fail(const char *what) __attribute__((noreturn));

/*
 * The stand-in for the kernel answers from these bytes, then with zeros. It changes the window, as
 * a hostile client may while a call is executed.
 */
void fuzz_kernel_start(const uint8_t *answers, size_t bytes);
void fuzz_kernel_window(void *window, size_t bytes);

/*
 * A descriptor of /dev/fuse for the forwarder. `take` fills the room with a request and returns its
 * length or minus an errno; `give` is told of what is written. After an unmount there is nothing more.
 */
int fuzz_kernel_fuse(long (*take)(void *room, size_t bytes),
		     long (*give)(const void *reply, size_t bytes));

#endif /* CFUZZ_H */
