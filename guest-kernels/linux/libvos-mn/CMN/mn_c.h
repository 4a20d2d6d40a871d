/* SPDX-License-Identifier: Apache-2.0
 *
 * What libvos-mn's Swift cannot spell: the shape of libc's functions and of its
 * thread descriptor, thread-local and static storage, atomics on fields.
 * Declarations and one-line accessors only; libc's own headers stay out, because
 * libvos-mn defines their functions.
 */
#ifndef MN_C_H
#define MN_C_H

#include <stddef.h>
#include <stdint.h>
#include "vos_abi.h"
#include "vos_atomic.h"

/* Linux's struct timespec, stack_t; libc's sigaction on x86-64. */
struct mn_time {
	int64_t seconds;
	int64_t nanoseconds;
};
struct mn_signal_stack {
	void *base;
	int32_t flags;
	size_t bytes;
};
struct mn_action {
	void *handler;
	uint64_t mask[16];
	int32_t flags;
	void *restorer;
};
struct mn_event {
	uint32_t events;
	uint64_t data;
} __attribute__((packed));
struct mn_poll {
	int32_t descriptor;
	int16_t events;
	int16_t found;
};

/*
 * The objects of pthread.h as they lie in memory on x86-64, in glibc 2.36's own
 * meaning where libc's functions look at them too (init, destroy, getvalue).
 */
struct mn_mutex {
	uint32_t word; /* 0 free, 1 locked, 2 locked and waited for */
	uint32_t count;
	uint32_t owner; /* the owner's number in the thread descriptor */
	uint32_t users;
	uint32_t kind;
};
struct mn_condition {
	uint32_t unused0[9];
	uint32_t flags; /* glibc's: bit 0 process-shared, bit 1 CLOCK_MONOTONIC */
	uint32_t unused1[2];
};
struct mn_rwlock {
	uint32_t state; /* readers, MN_WRITER, MN_WAITED */
	uint32_t unused0[5];
	uint32_t writer; /* number of the thread that holds it to write */
	int32_t shared;
	uint32_t unused1[4];
	uint32_t flags; /* glibc's: 2: writers first */
};
#define MN_WAITED 0x40000000u
#define MN_WRITER 0x80000000u
struct mn_semaphore {
	uintptr_t value; /* and, from bit 32 on, how many wait */
	int32_t shared;
};
struct mn_barrier {
	uint32_t arrived;
	uint32_t round;
	uint32_t count;
	int32_t shared;
};

/*
 * The functions that libvos-mn defines and also calls: the next definition after
 * its own. A version is given where libc keeps an older one of the same name.
 */
#define MN_NEXT(X)                                                                      \
	X(int, pthread_create, (uint64_t *, const void *, void *, void *), 0)           \
	X(int, pthread_join, (uint64_t, void **), 0)                                    \
	X(int, pthread_tryjoin_np, (uint64_t, void **), 0)                              \
	X(int, pthread_timedjoin_np, (uint64_t, void **, const struct mn_time *), 0)    \
	X(int, pthread_clockjoin_np, (uint64_t, void **, int, const struct mn_time *), 0) \
	X(int, pthread_detach, (uint64_t), 0)                                           \
	X(int, pthread_cancel, (uint64_t), 0)                                           \
	X(int, pthread_kill, (uint64_t, int), 0)                                        \
	X(int, pthread_sigqueue, (uint64_t, int, void *), 0)                            \
	X(int, pthread_getattr_np, (uint64_t, void *), 0)                               \
	X(int, pthread_setname_np, (uint64_t, const char *), 0)                         \
	X(int, pthread_getname_np, (uint64_t, char *, size_t), 0)                       \
	X(int, pthread_setaffinity_np, (uint64_t, size_t, const void *), 0)             \
	X(int, pthread_getaffinity_np, (uint64_t, size_t, void *), 0)                   \
	X(int, pthread_setschedparam, (uint64_t, int, const int *), 0)                  \
	X(int, pthread_getschedparam, (uint64_t, int *, int *), 0)                      \
	X(int, pthread_setschedprio, (uint64_t, int), 0)                                \
	X(int, pthread_getcpuclockid, (uint64_t, int *), 0)                             \
	X(int, pthread_mutexattr_setprotocol, (void *, int), 0)                         \
	X(int, pthread_mutexattr_setrobust, (void *, int), 0)                           \
	X(int, pthread_mutex_init, (struct mn_mutex *, const void *), 0)                \
	X(int, pthread_mutex_lock, (struct mn_mutex *), 0)                              \
	X(int, pthread_mutex_trylock, (struct mn_mutex *), 0)                           \
	X(int, pthread_mutex_timedlock, (struct mn_mutex *, const struct mn_time *), 0) \
	X(int, pthread_mutex_clocklock, (struct mn_mutex *, int, const struct mn_time *), 0) \
	X(int, pthread_mutex_unlock, (struct mn_mutex *), 0)                            \
	X(int, pthread_cond_wait, (struct mn_condition *, struct mn_mutex *), "GLIBC_2.3.2") \
	X(int, pthread_cond_timedwait,                                                  \
	  (struct mn_condition *, struct mn_mutex *, const struct mn_time *), "GLIBC_2.3.2") \
	X(int, pthread_cond_clockwait,                                                  \
	  (struct mn_condition *, struct mn_mutex *, int, const struct mn_time *), 0)   \
	X(int, pthread_cond_signal, (struct mn_condition *), "GLIBC_2.3.2")             \
	X(int, pthread_cond_broadcast, (struct mn_condition *), "GLIBC_2.3.2")          \
	X(int, pthread_rwlock_rdlock, (struct mn_rwlock *), 0)                          \
	X(int, pthread_rwlock_tryrdlock, (struct mn_rwlock *), 0)                       \
	X(int, pthread_rwlock_clockrdlock, (struct mn_rwlock *, int, const struct mn_time *), 0) \
	X(int, pthread_rwlock_wrlock, (struct mn_rwlock *), 0)                          \
	X(int, pthread_rwlock_trywrlock, (struct mn_rwlock *), 0)                       \
	X(int, pthread_rwlock_clockwrlock, (struct mn_rwlock *, int, const struct mn_time *), 0) \
	X(int, pthread_rwlock_unlock, (struct mn_rwlock *), 0)                          \
	X(int, pthread_barrier_wait, (struct mn_barrier *), 0)                          \
	X(int, sem_wait, (struct mn_semaphore *), 0)                                    \
	X(int, sem_clockwait, (struct mn_semaphore *, int, const struct mn_time *), 0)  \
	X(int, sem_post, (struct mn_semaphore *), 0)                                    \
	X(int, sched_yield, (void), 0)                                                  \
	X(int, clock_nanosleep, (int, int, const struct mn_time *, struct mn_time *), 0) \
	X(int, gettid, (void), 0)                                                       \
	X(int, sigprocmask, (int, const uint64_t *, uint64_t *), 0)                     \
	X(int, pthread_sigmask, (int, const uint64_t *, uint64_t *), 0)                 \
	X(int, sigaction, (int, const struct mn_action *, struct mn_action *), 0)       \
	X(int, sigaltstack, (const struct mn_signal_stack *, struct mn_signal_stack *), 0) \
	X(int, fork, (void), 0)                                                         \
	X(int, _Fork, (void), 0)                                                        \
	X(int, daemon, (int, int), 0)                                                   \
	X(int, forkpty, (int *, char *, const void *, const void *), 0)                 \
	X(int, setuid, (unsigned), 0)                                                   \
	X(int, setgid, (unsigned), 0)                                                   \
	X(int, seteuid, (unsigned), 0)                                                  \
	X(int, setegid, (unsigned), 0)                                                  \
	X(int, setreuid, (unsigned, unsigned), 0)                                       \
	X(int, setregid, (unsigned, unsigned), 0)                                       \
	X(int, setresuid, (unsigned, unsigned, unsigned), 0)                            \
	X(int, setresgid, (unsigned, unsigned, unsigned), 0)                            \
	X(int, setgroups, (size_t, const unsigned *), 0)                                \
	X(int, initgroups, (const char *, unsigned), 0)                                 \
	X(long, read, (int, void *, size_t), 0)                                         \
	X(long, write, (int, const void *, size_t), 0)                                  \
	X(long, recv, (int, void *, size_t, int), 0)                                    \
	X(long, send, (int, const void *, size_t, int), 0)                              \
	X(long, recvfrom, (int, void *, size_t, int, void *, void *), 0)                \
	X(long, recvmsg, (int, void *, int), 0)                                         \
	X(int, accept, (int, void *, void *), 0)                                        \
	X(int, accept4, (int, void *, void *, int), 0)                                  \
	X(int, poll, (struct mn_poll *, uint64_t, int), 0)

struct mn_next {
#define MN_FIELD(result, name, arguments, version) result(*_Nonnull name) arguments;
	MN_NEXT(MN_FIELD)
#undef MN_FIELD
};
struct mn_next_name {
	const char *name;
	const char *version;
};
extern struct mn_next mn_next;
extern const struct mn_next_name mn_next_names[];

/*
 * libc and ld.so, called directly: nothing here is defined by libvos-mn. Weak: what
 * a C library of another version lacks is found out by `mn_library_fits`.
 */
#pragma clang assume_nonnull begin
#define MN_WEAK __attribute__((weak))
void *_Nullable dlsym(void *_Nullable handle, const char *name);
void *_Nullable dlvsym(void *_Nullable handle, const char *name, const char *version);
char *_Nullable dlerror(void);
const char *gnu_get_libc_version(void);
int *__errno_location(void);
int clock_gettime(int clock, struct mn_time *time);
void *_Nullable mmap(void *_Nullable hint, size_t bytes, int protection, int flags, int fd, long offset);
int munmap(void *address, size_t bytes);
int mprotect(void *address, size_t bytes, int protection);
int madvise(void *address, size_t bytes, int advice);
void free(void *_Nullable);
void exit(int) __attribute__((noreturn));
void *_Nullable uselocale(void *_Nullable);
int __res_nclose(void *);
void pthread_testcancel(void);
int pthread_attr_init(void *);
int pthread_attr_destroy(void *);
int pthread_attr_getstack(const void *, void *_Nullable *_Nonnull, size_t *);
int pthread_attr_setstack(void *, void *, size_t);
int pthread_attr_getguardsize(const void *, size_t *);
int pthread_attr_setguardsize(void *, size_t);
int pthread_attr_getdetachstate(const void *, int *);
int pthread_attr_setdetachstate(void *, int);
int pthread_attr_getinheritsched(const void *, int *);
int pthread_attr_getschedpolicy(const void *, int *);
int pthread_attr_setstacksize(void *, size_t);
int pthread_getattr_default_np(void *);
int getpid(void);
int ioctl(int descriptor, unsigned long command, unsigned long argument);
int sched_getaffinity(int pid, size_t bytes, void *set);
int epoll_create1(int flags);
MN_WEAK void *_Nullable _dl_allocate_tls(void *_Nullable);
MN_WEAK void _dl_deallocate_tls(void *_Nullable, _Bool);
MN_WEAK void _dl_get_tls_static_info(size_t *, size_t *);
MN_WEAK void __call_tls_dtors(void);
MN_WEAK void __ctype_init(void);
#pragma clang assume_nonnull end

struct mn_key {
	uintptr_t sequence; /* odd: in use */
	void (*_Nullable destructor)(void *_Nullable);
};
#define MN_KEYS 1024
#define MN_KEYS_PER_BLOCK 32
extern MN_WEAK struct mn_key __pthread_keys[];
extern MN_WEAK char _rtld_global[];
/* nptl_db's descriptions of libc's structures: size in bits, count, offset. */
struct mn_described {
	uint32_t bits;
	uint32_t count;
	uint32_t offset;
};
extern MN_WEAK const uint32_t _thread_db_sizeof_pthread;
extern MN_WEAK const struct mn_described _thread_db_pthread_list, _thread_db_pthread_tid,
	_thread_db_pthread_cancelhandling, _thread_db_pthread_specific,
	_thread_db_rtld_global__dl_stack_user;

/* libvos, if it is there too; guest-kernels/linux/libvos/CLibvos/libvos_c.h has the contract. */
#define VOS_WAITER_VERSION 2
struct vos_pending {
	const uint32_t *_Nonnull state;
	uint32_t submitted;
	uint32_t slot;
	int32_t device;
	uint32_t carries;
};
struct vos_waiter {
	uint32_t version;
	int (*_Nullable park)(const struct vos_pending *_Nonnull);
	int (*_Nullable ready)(int descriptor, int events);
	int (*_Nullable full)(const uintptr_t *_Nonnull busy, uintptr_t seen);
	void (*_Nullable freed)(const uintptr_t *_Nonnull busy);
};
MN_WEAK int vos_set_waiter(const struct vos_waiter *_Nullable waiter);
MN_WEAK int vos_is_remote(int descriptor);
static inline int mn_is_remote(int descriptor)
{
	return vos_is_remote && vos_is_remote(descriptor);
}

/*
 * glibc 2.36's struct pthread on x86-64, as far as a thread needs it filled. The
 * offsets that nptl_db describes are compared with it at the start, the rest with
 * what libc's own pthread_create wrote for our first kernel thread.
 */
#define MN_DESCRIPTOR_BYTES 2368
struct mn_descriptor {
	void *tcb; /* tcbhead_t */
	void *dtv;
	void *own;
	int32_t multiple_threads;
	int32_t gscope;
	uintptr_t sysinfo;
	uintptr_t stack_guard;
	uintptr_t pointer_guard;
	uint8_t header_rest[704 - 56];
	struct mn_list {
		struct mn_list *_Nullable next;
		struct mn_list *_Nullable previous;
	} list;
	uint32_t number; /* tid */
	uint32_t hole0;
	void *robust_previous;
	void *robust_list;
	long robust_offset;
	void *robust_pending;
	void *cleanup;
	void *cleanup_buffer; /* cleanup_jmp_buf */
	uint32_t cancellation; /* cancelhandling */
	uint32_t flags;
	struct mn_specific {
		uintptr_t sequence;
		void *_Nullable data;
	} first_block[MN_KEYS_PER_BLOCK];
	struct mn_specific *_Nullable blocks[MN_KEYS / MN_KEYS_PER_BLOCK];
	uint8_t specific_used;
	uint8_t report_events;
	uint8_t user_stack;
	uint8_t stopped_start;
	int32_t setup_failed;
	int32_t lock;
	uint32_t setxid_futex;
	void *joiner; /* itself: detached */
	void *_Nullable result;
	int32_t priority;
	int32_t policy;
	void *start;
	void *argument;
	uint8_t events[40];
	uint8_t exception[32];
	void *_Nullable stack;
	size_t stack_bytes;
	size_t guard_bytes;
	size_t reported_guard_bytes;
	void *ceilings;
	uint8_t resolver[568];
	uint64_t signals;
	uint8_t c11;
	uint8_t exiting;
	uint8_t hole1[2];
	int32_t exit_lock;
	void *_Nullable texts[2]; /* of strsignal and strerror_l */
	uint8_t hole2[16];
	uint32_t cpu_start; /* rseq area */
	uint32_t cpu;
	uint8_t rseq_rest[24];
};
/* Offset of the stack lists' lock from the list of user stacks, in ld.so's data. */
#define MN_STACK_LOCK_OFFSET 48
#define MN_CANCELED 8u /* CANCELED_BITMASK */
#define MN_CANCEL_DISABLED 1u
#define MN_EXITING 16u
#define MN_RSEQ_FAILED 0xfffffffeu /* RSEQ_CPU_ID_REGISTRATION_FAILED */

/* What a thread is to us. */
#define MN_FOREIGN 0u /* a kernel thread of its own: it waits in the kernel */
#define MN_USER 1u    /* a user-level thread */
#define MN_IDLE 2u    /* what a kernel thread runs when there is nothing to do */

/* Why a wait ended. */
#define MN_WAITING 0u
#define MN_WOKEN 1u
#define MN_TIMED_OUT 2u
#define MN_CANCELLED 3u

#define MN_NAME_BYTES 16

/*
 * One thread; it lies in the thread's own thread-local storage, so every thread
 * there is has one, all zero (MN_FOREIGN) unless we made the thread.
 */
struct mn_thread {
	void *_Nullable stack_pointer; /* switch.S: 0 */
	void *_Nullable base;          /* switch.S: 8, the thread pointer */
	struct mn_thread *_Nullable next; /* in the ready queue or a bucket */
	struct mn_thread *_Nullable previous;
	struct mn_carrier *_Nullable carrier; /* while it runs */
	uintptr_t key; /* what it waits for, 0: nothing in a bucket */
	uint64_t deadline;
	uint32_t heap; /* place among the timers + 1 */
	uint32_t kind;
	uint32_t outcome;
	uint32_t word; /* MN_FOREIGN waits in the kernel for it to become 1 */
	uint32_t finished;
	uint32_t detached;
	uint32_t joined; /* somebody waits to join it */
	uint32_t alive;  /* from creation to the end of a join */
	uint32_t cancellable; /* may be woken to be cancelled */
	uint32_t parked;      /* waits switched away, not in the kernel */
	uint32_t first;       /* the program's first thread */
	uint32_t handlers;    /* signal handlers it is in */
	void *_Nullable (*_Nullable start)(void *_Nullable);
	void *_Nullable argument;
	void *_Nullable result;
	uint64_t signals; /* blocked */
	struct mn_signal_stack signal_stack;
	void *_Nullable stack;
	size_t stack_bytes;
	size_t guard_bytes;
	uint32_t owns_stack;
	char name[MN_NAME_BYTES];
	struct mn_thread *_Nullable next_free;
};

/* One kernel thread. */
struct mn_carrier {
	struct mn_thread *_Nullable idle;
	struct mn_thread *_Nullable current;
	uint64_t switches;
	uint64_t seen;      /* of `switches`, by the watcher */
	uint32_t computed;  /* ticks without a switch, by the watcher */
	uint64_t signals;   /* blocked in the kernel now */
	struct mn_signal_stack signal_stack;
	uint32_t sleeping;  /* 1: sleeps until it is 0 */
	uint32_t stuck;     /* in the kernel, or computing, for a whole tick */
	uint32_t spare;     /* sleeps until it is needed */
	int32_t tid;
};
#define MN_CARRIERS 1024

/* A call over a slot that a thread is parked for. */
struct mn_call {
	struct mn_thread *_Nullable thread;
	const uint32_t *_Nullable state;
	uint32_t submitted;
};
#define MN_CHANNELS 2
#define MN_SLOTS 64
struct mn_channel {
	uint64_t mask;
	int32_t device;
	uint32_t bell;  /* 1: its bell thread exists */
	uint32_t armed; /* what the bell thread sleeps on: 1: ring */
	struct mn_call calls[MN_SLOTS];
};

#define MN_BUCKETS 1024
#define MN_DEFERRED 64
struct mn_state {
	uint32_t lock; /* 0 free, 1 held, 2 held and waited for */
	uint32_t started; /* 0 no thread yet, 1 running, 2 refused */
	uint32_t starting;
	uint32_t resolved;
	uint32_t parallel; /* kernel threads that may run at once */
	uint32_t limit;    /* kernel threads in all */
	uint32_t carriers; /* in the table */
	uint32_t active;   /* neither spare nor stuck */
	uint32_t sleeping;
	uint32_t spinning;
	uint32_t ready;    /* length of the queue */
	uint32_t spawning;
	uint32_t alive;    /* user threads that have not ended */
	uint32_t next_number;
	uint32_t watcher; /* 1: sleeps for good, wake it */
	uint32_t watching; /* 1: the watcher exists */
	uint32_t poller;  /* epoll descriptor + 1 */
	uint32_t spin;       /* most pauses before a kernel thread sleeps */
	uint32_t spin_now;   /* follows how often that helps */
	uint32_t spins;
	uint32_t alone;      /* 1: one processor for all */
	uint32_t debug;
	uint32_t pending_calls;
	uint32_t slot_waiters; /* threads that wait for a slot */
	uint32_t receiving;       /* 1: the receiver of signals exists */
	uint32_t receiver_wanted; /* version of what it is to block */
	uint32_t receiver_done;   /* version of what it blocks */
	uint64_t receiver_blocks;
	int32_t blockers[64]; /* threads that block a signal */
	struct mn_thread *_Nullable first;
	struct mn_thread *_Nullable last;
	struct mn_thread *_Nullable free_threads;
	void *_Nullable free_stacks;
	void *_Nullable doomed_stacks;
	uint32_t free_stack_count;
	uint32_t created;
	size_t default_stack;
	size_t default_guard;
	struct mn_thread *_Nullable *_Nullable heap;
	uint32_t heap_count;
	uint32_t heap_room;
	intptr_t libc_tls; /* offset of libc's thread-local storage from the thread pointer */
	size_t libc_tls_bytes;
	intptr_t resp; /* likewise of __resp */
	uint64_t total_switches;
	uintptr_t deferred[MN_DEFERRED];
	struct mn_channel channels[MN_CHANNELS];
	struct mn_thread *_Nullable buckets[MN_BUCKETS];
	struct mn_carrier table[MN_CARRIERS];
};
extern struct mn_state mn_state;
extern struct mn_action mn_actions[65];
extern uint32_t mn_fsgsbase;

/*
 * A page that a forked child finds empty (MADV_WIPEONFORK), so that it knows that this
 * state is its parent's. The child of vfork, whose state it is, does not.
 */
#define MN_MARK_WORDS 1024
extern uint32_t mn_mark[MN_MARK_WORDS];
#define MN_DESCRIPTORS 65536
extern uint32_t mn_event_counts[MN_DESCRIPTORS];
extern uint32_t mn_wanted[MN_DESCRIPTORS];
extern uint8_t mn_kinds[MN_DESCRIPTORS];
extern uint8_t mn_unlimited[MN_DESCRIPTORS];

#define MN_TLS __attribute__((tls_model("initial-exec"), visibility("hidden")))
extern __thread struct mn_thread mn_this MN_TLS;
/* How deep this thread is in the scheduler: its own lock is held, or about to be. */
extern __thread uint32_t mn_depth MN_TLS;

#pragma clang assume_nonnull begin
/* switch.S: saves the caller in `from`, goes on where `to` was saved. */
void mn_switch(struct mn_thread *from, struct mn_thread *to);
int mn_park_call(const struct vos_pending *call);
int mn_await_ready(int descriptor, int events);
int mn_await_slot(const uintptr_t *busy, uintptr_t seen);
void mn_slot_freed(const uintptr_t *busy);
/* switch.S: addresses of what other code calls; in the order of the enumeration. */
enum mn_routine {
	MN_ENTRY,
	MN_FIRST_END,
	MN_CARRIER_MAIN,
	MN_WATCH,
	MN_RING,
	MN_POLL,
	MN_CALL_HANDLER,
	MN_RECEIVE,
};
extern void *_Nonnull const mn_routines[];
static inline void *mn_routine(uint32_t i) { return mn_routines[i]; }
struct mn_thunk {
	const char *name;
	void *_Nullable next;
};
extern struct mn_thunk mn_thunks[], mn_thunks_end[];
static inline struct mn_thunk *mn_first_thunk(void) { return mn_thunks; }
static inline long mn_thunk_count(void) { return mn_thunks_end - mn_thunks; }

static inline struct mn_next *mn_real(void) { return &mn_next; }
static inline struct mn_state *mn_all(void) { return &mn_state; }
static inline struct mn_thread *mn_self(void) { return &mn_this; }
static inline struct mn_carrier *mn_carrier_at(uint32_t i) { return &mn_state.table[i]; }
static inline struct mn_channel *mn_channel_at(uint32_t i) { return &mn_state.channels[i]; }
static inline struct mn_call *mn_call_at(struct mn_channel *c, uint32_t i) { return &c->calls[i]; }
static inline struct mn_thread *_Nullable *_Nonnull mn_bucket_at(uint32_t i)
{
	return &mn_state.buckets[i];
}
static inline struct mn_action *mn_action_of(int32_t signal) { return &mn_actions[signal]; }
static inline uintptr_t *mn_deferred_at(uint32_t i) { return &mn_state.deferred[i]; }
static inline void *mn_thread_pointer(void)
{
	void *base;
	__asm__("mov %%fs:16, %0" : "=r"(base));
	return base;
}
static inline struct mn_descriptor *mn_descriptor_of(void *base)
{
	return (struct mn_descriptor *)base;
}
/* Any thread's record lies at the same distance from its thread pointer. */
static inline struct mn_thread *mn_thread_of(void *base)
{
	return (struct mn_thread *)((char *)base + ((char *)&mn_this - (char *)mn_thread_pointer()));
}
static inline uint32_t *mn_depth_of(void *base)
{
	return (uint32_t *)((char *)base + ((char *)&mn_depth - (char *)mn_thread_pointer()));
}

#define MN_WORD(name, type, container, field)                                                  \
	static inline type *name(struct container *c) { return &c->field; }
MN_WORD(mn_lock_word, uint32_t, mn_state, lock)
MN_WORD(mn_started_word, uint32_t, mn_state, started)
MN_WORD(mn_starting_word, uint32_t, mn_state, starting)
MN_WORD(mn_resolved_word, uint32_t, mn_state, resolved)
MN_WORD(mn_ready_word, uint32_t, mn_state, ready)
MN_WORD(mn_sleeping_word, uint32_t, mn_state, sleeping)
MN_WORD(mn_spinning_word, uint32_t, mn_state, spinning)
MN_WORD(mn_watcher_word, uint32_t, mn_state, watcher)
MN_WORD(mn_pending_word, uint32_t, mn_state, pending_calls)
MN_WORD(mn_watching_word, uint32_t, mn_state, watching)
MN_WORD(mn_receiver_wanted, uint32_t, mn_state, receiver_wanted)
MN_WORD(mn_receiver_done, uint32_t, mn_state, receiver_done)
static inline int32_t *mn_blockers(uint32_t i) { return &mn_state.blockers[i]; }
MN_WORD(mn_slot_waiters, uint32_t, mn_state, slot_waiters)
MN_WORD(mn_alive_word, uint32_t, mn_state, alive)
MN_WORD(mn_thread_word, uint32_t, mn_thread, word)
MN_WORD(mn_finished_word, uint32_t, mn_thread, finished)
MN_WORD(mn_carrier_sleeping, uint32_t, mn_carrier, sleeping)
MN_WORD(mn_channel_armed, uint32_t, mn_channel, armed)
MN_WORD(mn_channel_mask, uint64_t, mn_channel, mask)
MN_WORD(mn_mutex_word, uint32_t, mn_mutex, word)
MN_WORD(mn_rwlock_state, uint32_t, mn_rwlock, state)
MN_WORD(mn_cancellation_word, uint32_t, mn_descriptor, cancellation)
MN_WORD(mn_descriptor_list, struct mn_list, mn_descriptor, list)
MN_WORD(mn_robust_list, void *, mn_descriptor, robust_list)

static inline void mn_reset_channel(uint32_t i)
{
	__builtin_memset(&mn_state.channels[i], 0, sizeof(mn_state.channels[i]));
}
static inline uint32_t *mn_next_number(void) { return &mn_state.next_number; }
static inline void *mn_resolver(struct mn_descriptor *d) { return d->resolver; }
static inline void mn_first_block(struct mn_descriptor *d) { d->blocks[0] = d->first_block; }
static inline struct mn_specific *_Nullable *_Nonnull mn_block_at(struct mn_descriptor *d, long i)
{
	return &d->blocks[i];
}
static inline void *_Nullable *_Nonnull mn_text_at(struct mn_descriptor *d, long i)
{
	return &d->texts[i];
}
/* libc's list of threads on user stacks, and the lock of its lists. */
static inline struct mn_list *mn_stack_list(void)
{
	return (struct mn_list *)(_rtld_global + _thread_db_rtld_global__dl_stack_user.offset);
}
static inline uint32_t *mn_stack_lock(void)
{
	return (uint32_t *)((char *)mn_stack_list() + MN_STACK_LOCK_OFFSET);
}

static inline uint32_t mn_add32(uint32_t *word, uint32_t value)
{
	return __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);
}
MN_WORD(mn_semaphore_word, uintptr_t, mn_semaphore, value)
MN_WORD(mn_barrier_round, uint32_t, mn_barrier, round)
static inline uint32_t *mn_semaphore_value(struct mn_semaphore *s) { return (uint32_t *)&s->value; }
static inline uint32_t *mn_marked(void) { return mn_mark; }
MN_WORD(mn_poller_word, uint32_t, mn_state, poller)
static inline uint32_t *mn_event_count(int32_t fd) { return &mn_event_counts[fd]; }
static inline uint32_t *mn_wanted_events(int32_t fd) { return &mn_wanted[fd]; }
static inline uint8_t *mn_is_unlimited(int32_t fd) { return &mn_unlimited[fd]; }
static inline void mn_forget_descriptors(void)
{
	__builtin_memset(mn_kinds, 0, sizeof(mn_kinds));
	__builtin_memset(mn_unlimited, 0, sizeof(mn_unlimited));
}
static inline uint8_t *mn_descriptor_kind(int32_t fd) { return &mn_kinds[fd]; }
static inline char *mn_name(struct mn_thread *t) { return t->name; }
static inline void *_Nullable mn_load_pointer(struct mn_thread *_Nullable *_Nonnull place)
{
	return __atomic_load_n(place, __ATOMIC_ACQUIRE);
}
static inline uintptr_t mn_add64(uintptr_t *word, uintptr_t value)
{
	return __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);
}
static inline uintptr_t mn_load64(const uintptr_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline uint32_t mn_or32(uint32_t *word, uint32_t bits)
{
	return __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
}
static inline uint64_t mn_exchange64(uintptr_t *word, uint64_t value)
{
	return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}
static inline int mn_compare_exchange64(uintptr_t *word, uintptr_t expected, uintptr_t desired)
{
	return __atomic_compare_exchange_n(word, &expected, desired, 0, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}

/* Only a signal handler of the same kernel thread looks at it meanwhile. */
static inline void mn_depth_up(void)
{
	mn_depth++;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}
static inline void mn_depth_down(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	mn_depth--;
}
static inline uint32_t mn_depth_now(void) { return mn_depth; }

/* Minus an errno on failure; errno itself is left alone. */
static inline long mn_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static inline const struct mn_next_name *mn_names(void) { return mn_next_names; }
static inline struct mn_key *_Nonnull mn_key_at(long i) { return &__pthread_keys[i]; }

/* glue.c: whether this C library is the one whose structures are spelt above. */
int mn_library_fits(void);
/* Whether libvos is there and takes our waiter. */
int mn_register_waiter(void);
#pragma clang assume_nonnull end

#endif /* MN_C_H */
