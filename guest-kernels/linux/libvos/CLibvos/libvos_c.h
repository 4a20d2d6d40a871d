/* SPDX-License-Identifier: Apache-2.0
 *
 * What libvos's Swift cannot spell: the shape of libc's functions, static
 * storage, and 64-bit compare-and-swap. Declarations and one-line accessors
 * only; libc's own headers stay out, because libvos defines their functions.
 */
#ifndef LIBVOS_C_H
#define LIBVOS_C_H

#include <stddef.h>
#include <stdint.h>

#include "elf.h"
#include "vos_abi.h"
#include "vos_atomic.h"

/* Linux's struct iovec, msghdr, cmsghdr, flock, epoll_event and rlimit on x86-64. */
struct libvos_vector {
	void *base;
	size_t length;
};
struct libvos_message {
	void *name;
	uint32_t name_length;
	struct libvos_vector *vectors;
	size_t vector_count;
	void *control;
	size_t control_length;
	int32_t flags;
};
struct libvos_many_messages {
	struct libvos_message message;
	uint32_t length;
};
struct libvos_interest { /* pollfd */
	int32_t descriptor;
	int16_t events;
	int16_t found;
};
struct libvos_status { /* struct stat: what is looked at */
	uint64_t device;
	uint64_t number;
	uint64_t links;
	uint32_t mode;
	uint32_t owner;
	uint64_t group;
	uint64_t special;
	uint64_t size;
	uint64_t rest[11];
};
struct libvos_control {
	size_t length; /* with this header */
	int32_t level;
	int32_t type;
};
struct libvos_lock {
	int16_t type;
	int16_t whence;
};
struct libvos_epoll_event {
	uint32_t events;
	uint64_t data;
} __attribute__((packed));
struct libvos_limit {
	uint64_t soft;
	uint64_t hard;
};
struct libvos_time {
	int64_t seconds;
	int64_t nanoseconds;
};
struct libvos_signals {
	uint64_t bits[16]; /* sizeof(sigset_t) */
};
/* struct linux_dirent64, up to its name. */
struct libvos_directory_entry {
	uint64_t inode;
	int64_t offset;
	uint16_t record_bytes;
	uint8_t type;
};

/*
 * The functions that libvos defines and also calls: the next definition after
 * its own, as dlsym(RTLD_NEXT) gives it. Variadic ones (open, fcntl, ioctl,
 * syscall) are spelt with all their arguments: on x86-64 System V, integer
 * arguments of a variadic call travel in the same registers.
 */
#define LIBVOS_NEXT(X)                                                        \
	X(long, read, (int, void *, size_t))                                  \
	X(long, write, (int, const void *, size_t))                           \
	X(long, readv, (int, const struct libvos_vector *, int))              \
	X(long, writev, (int, const struct libvos_vector *, int))             \
	X(long, pread64, (int, void *, size_t, long))                         \
	X(long, pwrite64, (int, const void *, size_t, long))                  \
	X(long, lseek64, (int, long, int))                                    \
	X(long, recv, (int, void *, size_t, int))                             \
	X(long, send, (int, const void *, size_t, int))                       \
	X(long, recvfrom, (int, void *, size_t, int, void *, void *))         \
	X(long, sendto, (int, const void *, size_t, int, const void *, unsigned)) \
	X(long, recvmsg, (int, struct libvos_message *, int))                 \
	X(long, sendmsg, (int, const struct libvos_message *, int))           \
	X(int, recvmmsg, (int, struct libvos_many_messages *, unsigned, int, void *)) \
	X(int, sendmmsg, (int, struct libvos_many_messages *, unsigned, int))  \
	X(long, preadv64, (int, const struct libvos_vector *, int, long))     \
	X(long, pwritev64, (int, const struct libvos_vector *, int, long))    \
	X(long, preadv64v2, (int, const struct libvos_vector *, int, long, int)) \
	X(long, pwritev64v2, (int, const struct libvos_vector *, int, long, int)) \
	X(int, poll, (struct libvos_interest *, unsigned long, int))          \
	X(int, ppoll, (struct libvos_interest *, unsigned long, const struct libvos_time *, const void *)) \
	X(int, select, (int, uint64_t *, uint64_t *, uint64_t *, void *))      \
	X(int, pselect, (int, uint64_t *, uint64_t *, uint64_t *, const struct libvos_time *, const void *)) \
	X(int, fsync, (int))                                                  \
	X(int, fdatasync, (int))                                              \
	X(int, ftruncate64, (int, long))                                      \
	X(int, fallocate64, (int, int, long, long))                           \
	X(void, sync, (void))                                                 \
	X(int, syncfs, (int))                                                 \
	X(int, socket, (int, int, int))                                       \
	X(int, accept, (int, void *, void *))                                 \
	X(int, accept4, (int, void *, void *, int))                           \
	X(int, open64, (const char *, int, unsigned))                         \
	X(int, openat64, (int, const char *, int, unsigned))                  \
	X(int, close, (int))                                                  \
	X(int, close_range, (unsigned, unsigned, int))                        \
	X(int, dup, (int))                                                    \
	X(int, dup2, (int, int))                                              \
	X(int, dup3, (int, int, int))                                         \
	X(int, fcntl64, (int, int, unsigned long))                            \
	X(int, ioctl, (int, unsigned long, unsigned long))                    \
	X(int, fork, (void))                                                  \
	X(int, _Fork, (void))                                                 \
	X(int, epoll_ctl, (int, int, int, void *))                            \
	X(long, syscall, (long, long, long, long, long, long, long))          \
	X(void *, mmap64, (void *, size_t, int, int, int, long))              \
	X(void, __chk_fail, (void))                                           \
	X(long, __read_nocancel, (int, void *, size_t))                       \
	X(long, __write_nocancel, (int, const void *, size_t))                \
	X(int, __close_nocancel, (int))

struct libvos_next {
#define LIBVOS_FIELD(result, name, arguments) result(*_Nonnull name) arguments;
	LIBVOS_NEXT(LIBVOS_FIELD)
#undef LIBVOS_FIELD
};
extern struct libvos_next libvos_next;
extern const char *const libvos_next_names[];

/* thunks.S: functions that only need a word with libvos before they run. */
struct libvos_thunk {
	const char *name;
	void *next;
};
extern struct libvos_thunk libvos_thunks[], libvos_thunks_end[];

/*
 * Functions of the C library that it calls itself, by addresses that no preloaded
 * library is asked for: Rewrite.swift has their entries jump to ours.
 */
struct libvos_detour {
	const char *_Nonnull name;
	void *_Nonnull ours;
	void *_Nullable *_Nonnull next; /* where the way to the function itself is kept */
};
extern const struct libvos_detour libvos_detours[];
extern const size_t libvos_detour_count;

/* Dl_info. */
struct libvos_dl_info {
	const char *file;
	void *base;
	const char *name;
	void *address;
};
int dladdr(const void *address, struct libvos_dl_info *info);
/* How a call of ours fails: -1 and errno, or minus the errno where it stands for a system call. */
long libvos_failed(long error);
/* thunks.S: a system call by an instruction of our own. */
long libvos_system_call(long number, long a, long b, long c, long d, long e, long f);

/* libc, called directly: nothing here is defined by libvos. */
void *dlsym(void *handle, const char *name);
int *_Nonnull __errno_location(void);
int getpid(void);
int sched_yield(void);
int fstat(int descriptor, struct libvos_status *status);
int munmap(void *address, size_t length);
int madvise(void *address, size_t length, int advice);
int sigprocmask(int how, const struct libvos_signals *set, struct libvos_signals *old);
int clock_gettime(int clock, struct libvos_time *time);
int sched_getaffinity(int pid, size_t bytes, struct libvos_signals *mask);
int getrlimit(int resource, struct libvos_limit *limit);
long getdents64(int fd, void *buffer, size_t length);

/*
 * The waiting place, for a second library (user-level threads) to take over.
 *
 * libvos.so exports `vos_set_waiter`. A library that may run without libvos declares
 * it weak. Set once, before the first thread; NULL takes it back. The structure must
 * live as long as the process; a forked child keeps it.
 *
 * `park` is called in place of spinning, yielding and sleeping, on the thread that
 * posted the call, which is not yet answered. It returns
 *   1  when the word at `state` may have changed: libvos looks, and calls again if not;
 *   0  if this thread cannot be parked (no user-level thread, in a signal handler):
 *      libvos waits as it does alone.
 * The call is pending while (*state & ~VOS_SLOT_WAITER) == submitted; any other value,
 * also a senseless one, ends the wait (the memory is the peer's too). Who wants to sleep
 * in the kernel for it first exchanges *state from `submitted` to `submitted |
 * VOS_SLOT_WAITER`, then VOS_IOC_WAIT on `device` with `slot` and that word (vos_abi.h).
 * A service that dies never answers: `park` returns 1 at least every half second, and
 * libvos looks at the service's life. `device` may be moved (dup) between two calls.
 *
 * `ready`, may be NULL: a receive on the remote socket `descriptor` found nothing, and
 * the program seems to want to wait. It returns 1 when poll's `events` may be set (libvos
 * asks the service again), 0 to have libvos make the real, blocking call. O_NONBLOCK and
 * SO_RCVTIMEO may have been set without libvos knowing: who waits has asked fcntl and
 * getsockopt before.
 *
 * `full` and `freed` (version 2; may be NULL): a call found all slots in use; its thread holds
 * none of them. `full` returns 1 when the bitmap at `busy` is not `seen` any more, 0, half a
 * second later at the latest, to have libvos make the real call. `freed` is called when a slot
 * of that bitmap was released, of which one thread that waits may be told.
 *
 * While any is called libvos holds no lock, no other thread waits for this one, and
 * libvos uses no thread-local storage but errno, whose place it asks for anew afterwards.
 */
#define VOS_WAITER_VERSION 2
struct vos_pending {
	const uint32_t *state;
	uint32_t submitted;
	uint32_t slot;
	int32_t device;
	uint32_t carries; /* VOS_CARRIES_* of the channel */
};
struct vos_waiter {
	uint32_t version; /* VOS_WAITER_VERSION; 1: the structure ends before `full` */
	int (*park)(const struct vos_pending *);
	int (*ready)(int descriptor, int events);
	int (*full)(const uint64_t *busy, uint64_t seen);
	void (*freed)(const uint64_t *busy);
};
/* 0, or -1 if libvos speaks another version. */
int vos_set_waiter(const struct vos_waiter *waiter);
/* 1 if `ready` is asked where a receive on the descriptor would wait. */
int vos_is_remote(int descriptor);

/* One word of state and the service's number of one descriptor; Word.swift has the layout. */
struct libvos_entry {
	uint64_t word;
	uint64_t object;
	uint64_t generation; /* of the service that gave the object */
	uint32_t watch_count; /* the slice's, when the kernel last said that nobody watches */
	uint32_t reserved;
};

#define LIBVOS_WAIT_KINDS 8

/* This process's slice of one channel. */
struct libvos_channel {
	uint8_t *_Nonnull base;
	const struct vos_superblock *_Nonnull superblock;
	const struct vos_side_page *_Nonnull service;
	uint64_t busy; /* a bit per slot */
	uint32_t slice;
	uint32_t slot_count;
	uint32_t slots_offset;
	uint32_t arena_offset;
	uint32_t piece_bytes; /* of the arena, per slot */
	uint32_t carries;
	uint32_t broken; /* 1 + the service's generation that broke the protocol; 0: none has */
	uint32_t sequences[64]; /* last one of each slot, out of the service's reach */
	uint64_t waits[LIBVOS_WAIT_KINDS]; /* WaitHistory, by Waiting.swift's kinds */
};

#define LIBVOS_DESCRIPTORS 8192
#define LIBVOS_CHANNELS 4
#define LIBVOS_PAGE 4096

/*
 * All that is true of this process only. The pages are MADV_WIPEONFORK: a child,
 * however it was made, starts with every descriptor on the kernel path.
 */
struct libvos_process {
	uint32_t prepared; /* Process.swift: Stage */
	uint32_t taking; /* 1: a thread is looking for channels */
	uint32_t sought; /* VOS_CARRIES_* that were looked for */
	int32_t pid;
	uint32_t highest; /* descriptors at or above it have no entry */
	uint32_t channel_count;
	struct libvos_channel channels[LIBVOS_CHANNELS];
};
/* Whole pages, so that nothing else is wiped with them. */
union libvos_pages {
	struct {
		struct libvos_process process;
		struct libvos_entry entries[LIBVOS_DESCRIPTORS];
	};
	uint8_t bytes[(sizeof(struct libvos_process) +
		       LIBVOS_DESCRIPTORS * sizeof(struct libvos_entry) + LIBVOS_PAGE - 1) /
		      LIBVOS_PAGE * LIBVOS_PAGE];
} __attribute__((aligned(LIBVOS_PAGE)));
extern union libvos_pages libvos_pages;

#define LIBVOS_MOUNT_BYTES 1024
/* What a child keeps. */
struct libvos_settings {
	uint32_t resolved;
	uint32_t off;          /* VOS_FAST=0: kinds that are never made fast */
	uint32_t debug;        /* VOS_DEBUG=1 */
	/* VOS_SPIN, VOS_YIELD: nanoseconds + 1; 0: not said */
	uint32_t spin_said;
	uint32_t yield_said;
	uint64_t tick_rate; /* of the time-stamp counter, in a microsecond */
	/* Limits in its ticks; all 0 until they are measured. */
	uint64_t spin_ticks;
	uint64_t yield_ticks;
	uint64_t sleep_ticks;
	uint32_t rewrite;      /* VOS_REWRITE=1: Rewriting.State */
	uint32_t directory;    /* Paths.swift: what is known of the working directory */
	int32_t devices[LIBVOS_CHANNELS]; /* descriptor + 1 */
	const struct vos_waiter *waiter;
	char mounts[LIBVOS_MOUNT_BYTES];  /* NUL-terminated one after another; an empty one ends */
};
extern struct libvos_settings libvos_settings;

static inline uint64_t *_Nonnull libvos_waiter_word(void)
{
	return (uint64_t *)&libvos_settings.waiter;
}
#pragma clang assume_nonnull begin
static inline const struct libvos_detour *libvos_detour_at(int32_t i)
{
	return &libvos_detours[i];
}
static inline int32_t libvos_detours_made(void) { return (int32_t)libvos_detour_count; }
static inline struct libvos_next *libvos_real(void) { return &libvos_next; }
static inline const char *const *libvos_names(void) { return libvos_next_names; }
static inline struct libvos_thunk *libvos_first_thunk(void) { return libvos_thunks; }
static inline long libvos_thunk_count(void) { return libvos_thunks_end - libvos_thunks; }
static inline struct libvos_process *libvos_this(void) { return &libvos_pages.process; }
static inline size_t libvos_process_bytes(void) { return sizeof(libvos_pages); }
static inline uint32_t *libvos_resolved(void) { return &libvos_settings.resolved; }
static inline struct libvos_settings *libvos_set(void) { return &libvos_settings; }
static inline char *libvos_mounts(void) { return libvos_settings.mounts; }
static inline int32_t *libvos_device(int32_t i) { return &libvos_settings.devices[i]; }
static inline struct libvos_channel *libvos_channel_at(uint32_t i)
{
	return &libvos_pages.process.channels[i];
}
static inline struct libvos_entry *libvos_entry_at(int32_t fd)
{
	return &libvos_pages.entries[fd];
}
static inline uint32_t *libvos_entry_watch_count(struct libvos_entry *e)
{
	return &e->watch_count;
}
static inline uint32_t *libvos_prepared(void) { return &libvos_pages.process.prepared; }
static inline uint32_t *libvos_taking(void) { return &libvos_pages.process.taking; }
static inline uint32_t *libvos_sought(void) { return &libvos_pages.process.sought; }
static inline uint32_t *libvos_channel_count(void) { return &libvos_pages.process.channel_count; }
static inline uint32_t *libvos_highest(void) { return &libvos_pages.process.highest; }
static inline uint64_t *libvos_busy(struct libvos_channel *c) { return &c->busy; }
static inline struct vos_slice_header *libvos_header(struct libvos_channel *c)
{
	return (struct vos_slice_header *)c->base;
}
static inline struct vos_slot *libvos_slot(struct libvos_channel *c, int32_t i)
{
	return (struct vos_slot *)(c->base + c->slots_offset) + i;
}
static inline uint8_t *libvos_piece(struct libvos_channel *c, int32_t i)
{
	return c->base + c->arena_offset + (size_t)i * c->piece_bytes;
}
static inline uint32_t *libvos_sequence(struct libvos_channel *c, int32_t i)
{
	return &c->sequences[i];
}
static inline uint32_t *libvos_broken(struct libvos_channel *c) { return &c->broken; }
static inline uint64_t *libvos_wait_history(struct libvos_channel *c, int32_t kind)
{
	return &c->waits[kind];
}
static inline uint64_t libvos_ticks(void) { return __builtin_ia32_rdtsc(); }
static inline uint32_t *libvos_slot_state(struct vos_slot *s) { return &s->state; }
static inline uint32_t *libvos_slot_limit(struct vos_slice_header *h) { return &h->slot_limit; }
static inline uint32_t *libvos_watch_count(struct vos_slice_header *h) { return &h->watch_count; }
static inline uint32_t *libvos_sleeping(struct vos_slice_header *h) { return &h->sleeping; }
static inline uint64_t *libvos_fast_calls(struct vos_slice_header *h) { return &h->fast_calls; }
static inline uint64_t *libvos_fallback_calls(struct vos_slice_header *h)
{
	return &h->fallback_calls;
}
static inline int libvos_service_alive(const struct libvos_channel *c)
{
	uint32_t state = vos_load_acquire32(&c->service->state);
	return vos_load_acquire32(&c->superblock->service_life) == VOS_LIFE_ALIVE &&
	       (state == VOS_SIDE_READY || state == VOS_SIDE_STOPPING);
}
static inline uint64_t libvos_service_generation(const struct libvos_channel *c)
{
	return vos_load_acquire32(&c->superblock->service_generation);
}
static inline int libvos_compare_exchange64(uint64_t *word, uint64_t expected, uint64_t desired)
{
	return __atomic_compare_exchange_n(word, &expected, desired, 0, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}
static inline void libvos_copy(void *_Nullable to, const void *_Nullable from, size_t bytes)
{
	if (bytes)
		__builtin_memcpy(to, from, bytes);
}

#pragma clang assume_nonnull end

#endif /* LIBVOS_C_H */
