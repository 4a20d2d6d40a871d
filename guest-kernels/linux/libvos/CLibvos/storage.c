/* SPDX-License-Identifier: Apache-2.0
 *
 * Static storage, all zero at start: Swift has no uninitialised globals of this
 * size. No code.
 */
#include "libvos_c.h"

union libvos_pages libvos_pages;
struct libvos_settings libvos_settings;
struct libvos_next libvos_next;

#define LIBVOS_NAME(result, name, arguments) #name,
const char *const libvos_next_names[] = {LIBVOS_NEXT(LIBVOS_NAME)};

/* Our functions have libc's names; here only their addresses matter. */
#define LIBVOS_DETOURS(X)                                                     \
	X(read) X(write) X(readv) X(writev) X(pread64) X(pwrite64) X(lseek64)  \
	X(recv) X(send) X(recvfrom) X(sendto) X(recvmsg) X(sendmsg)            \
	X(socket) X(accept) X(accept4) X(open64) X(openat64) X(close)          \
	X(dup) X(dup2) X(dup3) X(fcntl64) X(__read_nocancel)                   \
	X(__write_nocancel) X(__close_nocancel)
#define LIBVOS_OURS(function)                                                 \
	extern const char libvos_ours_##function[] __asm__(#function);
LIBVOS_DETOURS(LIBVOS_OURS)
#define LIBVOS_DETOUR(function)                                               \
	{#function, (void *)libvos_ours_##function,                            \
	 (void **)((char *)&libvos_next + offsetof(struct libvos_next, function))},
const struct libvos_detour libvos_detours[] = {LIBVOS_DETOURS(LIBVOS_DETOUR)};
const size_t libvos_detour_count = sizeof(libvos_detours) / sizeof(*libvos_detours);
