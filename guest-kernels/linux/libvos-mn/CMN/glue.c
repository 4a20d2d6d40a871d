/* SPDX-License-Identifier: Apache-2.0
 *
 * What only C can say: static and thread-local storage, a place that a jump comes
 * back to, and calls with libc's own types.
 */
#define _GNU_SOURCE
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include "mn_c.h"

struct mn_state mn_state;
struct mn_action mn_actions[65];
uint32_t mn_event_counts[MN_DESCRIPTORS];
uint32_t mn_wanted[MN_DESCRIPTORS];
uint8_t mn_kinds[MN_DESCRIPTORS];
uint8_t mn_unlimited[MN_DESCRIPTORS];
uint32_t mn_fsgsbase;
uint32_t mn_mark[MN_MARK_WORDS] __attribute__((aligned(4096)));
struct mn_next mn_next;
__thread struct mn_thread mn_this;
__thread uint32_t mn_depth;

#define MN_NAME(result, name, arguments, version) {#name, version},
const struct mn_next_name mn_next_names[] = {MN_NEXT(MN_NAME)};

_Static_assert(offsetof(struct mn_thread, stack_pointer) == 0, "switch.S");
_Static_assert(offsetof(struct mn_thread, base) == 8, "switch.S");
_Static_assert(sizeof(struct mn_descriptor) == MN_DESCRIPTOR_BYTES, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, pointer_guard) == 0x30, "tcbhead_t");
_Static_assert(offsetof(struct mn_descriptor, list) == 704, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, number) == 720, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, cleanup_buffer) == 768, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, cancellation) == 776, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, blocks) == 1296, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, user_stack) == 1554, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, result) == 1576, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, stack) == 1680, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, resolver) == 1720, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, signals) == 2288, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, texts) == 2304, "struct pthread");
_Static_assert(offsetof(struct mn_descriptor, cpu) == 2340, "struct pthread");
_Static_assert(offsetof(struct mn_mutex, kind) == 16, "pthread_mutex_t");
_Static_assert(offsetof(struct mn_condition, flags) == 36, "pthread_cond_t");
_Static_assert(offsetof(struct mn_rwlock, writer) == 24, "pthread_rwlock_t");
_Static_assert(offsetof(struct mn_rwlock, flags) == 48, "pthread_rwlock_t");

/* libc's __pthread_unwind_buf_t. */
struct unwind_buffer {
	struct {
		long registers[8];
		int mask_was_saved;
	} jump[1];
	void *library[4];
};
int __sigsetjmp(void *buffer, int save_mask) __attribute__((returns_twice));
void __pthread_register_cancel(struct unwind_buffer *);
void mn_thread_begin(void);
void mn_thread_end(void) __attribute__((noreturn));

/* The first frame of a thread: where pthread_exit and cancellation unwind to. */
__attribute__((noreturn)) void mn_thread_main(void)
{
	struct unwind_buffer buffer;

	mn_thread_begin();
	if (!__sigsetjmp(buffer.jump, 0)) {
		__pthread_register_cancel(&buffer);
		mn_this.result = mn_this.start(mn_this.argument);
	} else {
		mn_this.result = mn_descriptor_of(mn_this.base)->result;
	}
	mn_thread_end();
}

/* The program's handlers run here: a thread is never switched away from within one. */
void mn_call_handler(int signal, void *information, void *context)
{
	void (*handler)(int, void *, void *) =
		(void (*)(int, void *, void *))mn_actions[signal].handler;

	mn_this.handlers++;
	handler(signal, information, context);
	if (mn_this.handlers)
		mn_this.handlers--;
}

static int look_for_library(struct dl_phdr_info *info, size_t size, void *unused)
{
	const char *name = info->dlpi_name ? strrchr(info->dlpi_name, '/') : 0;

	if (!name || strcmp(name, "/libc.so.6") || !info->dlpi_tls_data)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_TLS)
			mn_state.libc_tls_bytes = info->dlpi_phdr[i].p_memsz;
	mn_state.libc_tls = (char *)info->dlpi_tls_data - (char *)mn_thread_pointer();
	return 1;
}

static int find_library_storage(void)
{
	char *resp = dlsym(0, "__resp");

	dl_iterate_phdr(look_for_library, 0);
	if (!resp || !mn_state.libc_tls_bytes)
		return 0;
	mn_state.resp = resp - (char *)mn_thread_pointer();
	return 1;
}

#define FSGSBASE (1 << 1) /* HWCAP2_FSGSBASE */

int mn_library_fits(void)
{
	mn_fsgsbase = (getauxval(AT_HWCAP2) & FSGSBASE) != 0;
	return !strcmp(gnu_get_libc_version(), "2.36") && &_thread_db_sizeof_pthread &&
	       _thread_db_sizeof_pthread == MN_DESCRIPTOR_BYTES && &_thread_db_pthread_list &&
	       _thread_db_pthread_list.offset == offsetof(struct mn_descriptor, list) &&
	       &_thread_db_pthread_tid &&
	       _thread_db_pthread_tid.offset == offsetof(struct mn_descriptor, number) &&
	       &_thread_db_pthread_cancelhandling &&
	       _thread_db_pthread_cancelhandling.offset ==
		       offsetof(struct mn_descriptor, cancellation) &&
	       &_thread_db_pthread_specific &&
	       _thread_db_pthread_specific.offset == offsetof(struct mn_descriptor, blocks) &&
	       &_thread_db_rtld_global__dl_stack_user && _dl_allocate_tls && _dl_deallocate_tls &&
	       _dl_get_tls_static_info && __call_tls_dtors && __ctype_init && __pthread_keys &&
	       _rtld_global && find_library_storage();
}

static struct vos_waiter waiter = {VOS_WAITER_VERSION, mn_park_call, mn_await_ready, mn_await_slot,
				   mn_slot_freed};

int mn_register_waiter(void)
{
	/* An older libvos takes the first version, without the last two. */
	for (; vos_set_waiter && waiter.version > 0; waiter.version--)
		if (vos_set_waiter(&waiter) == 0)
			return 1;
	return 0;
}
