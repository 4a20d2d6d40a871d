/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Stands in for the kernel's headers, as far as the module's region.c, slices.c, calls.c and events.c
 * need them. One thread runs: locks are nothing, and whoever waits lets the fuzzer act (module.c).
 */
#ifndef FUZZ_LINUX_KERNEL_H
#define FUZZ_LINUX_KERNEL_H

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;
typedef uint64_t phys_addr_t;
typedef int64_t ktime_t;
typedef int irqreturn_t;
typedef int gfp_t;

#define __iomem
#define IRQ_HANDLED 1
#define GFP_KERNEL 0
#define HZ 250
#define PAGE_SIZE 4096ul
#define U64_MAX UINT64_MAX
#define MAX_ERRNO 4095
#define ERESTARTSYS 512

#define READ_ONCE(word) (*(volatile typeof(word) *)&(word))
#define WRITE_ONCE(word, value) (*(volatile typeof(word) *)&(word) = (value))
#define smp_load_acquire(word) READ_ONCE(*(word))
#define smp_store_release(word, value) WRITE_ONCE(*(word), value)
#define smp_mb() __sync_synchronize()
#define barrier() __asm__ volatile("" ::: "memory")
#define cpu_relax() ((void)0)
#define xchg(word, value) __sync_lock_test_and_set(word, value)
#define cmpxchg(word, old, new) __sync_val_compare_and_swap(word, old, new)
#define BUILD_BUG_ON(condition) _Static_assert(!(condition), #condition)

#define container_of(pointer, type, member) \
	((type *)((char *)(pointer) - offsetof(type, member)))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define min_t(type, a, b) min((type)(a), (type)(b))
#define max_t(type, a, b) ((type)(a) > (type)(b) ? (type)(a) : (type)(b))
#define round_down(value, by) ((value) & ~((typeof(value))(by) - 1))
#define DIV_ROUND_UP(value, by) (((value) + (by) - 1) / (by))
#define lower_32_bits(value) ((u32)(value))
#define upper_32_bits(value) ((u32)((u64)(value) >> 32))
#define static_assert _Static_assert
#define IS_ALIGNED(value, bytes) (((value) & ((bytes) - 1)) == 0)
#define PAGE_ALIGNED(value) IS_ALIGNED(value, PAGE_SIZE)
#define div_u64(value, by) ((value) / (by))
#define is_power_of_2(value) ((value) && !((value) & ((value) - 1)))

#define pci_err(...) ((void)0)
#define dev_info_ratelimited(...) ((void)0)
#define pr_warn_ratelimited(...) ((void)0)
#define pr_notice_ratelimited(...) ((void)0)

typedef struct { int counter; } atomic_t;
typedef struct { s64 counter; } atomic64_t;
#define atomic_read(word) READ_ONCE((word)->counter)
#define atomic_inc(word) ((void)(word)->counter++)
#define atomic64_inc(word) ((void)(word)->counter++)
#define atomic64_inc_return(word) (++(word)->counter)

struct kref { int count; };
struct list_head { struct list_head *next, *prev; };
struct miscdevice { int unused; };
struct xarray { int unused; };
struct device { int unused; };
struct pci_dev { struct device dev; };
struct mutex { bool held; };
typedef struct { bool held; } spinlock_t;
typedef struct { int unused; } wait_queue_head_t;

/* A lock that is taken twice would hold the kernel for ever. */
void fuzz_lock(bool *held);
void fuzz_unlock(bool *held);
#define mutex_lock(lock) fuzz_lock(&(lock)->held)
#define mutex_unlock(lock) fuzz_unlock(&(lock)->held)
#define spin_lock_init(lock) ((lock)->held = false)
#define spin_lock_irq(lock) fuzz_lock(&(lock)->held)
#define spin_unlock_irq(lock) fuzz_unlock(&(lock)->held)
#define spin_lock_irqsave(lock, flags) ((flags) = 0, fuzz_lock(&(lock)->held))
#define spin_unlock_irqrestore(lock, flags) ((void)(flags), fuzz_unlock(&(lock)->held))

/* Work runs when the fuzzer says so, never where it is queued. */
struct work_struct {
	void (*run)(struct work_struct *work);
	bool queued;
};
struct delayed_work { struct work_struct work; };
struct workqueue_struct;
#define to_delayed_work(pointer) container_of(pointer, struct delayed_work, work)
#define INIT_WORK(work, function) ((work)->run = (function), (work)->queued = false)
#define INIT_DELAYED_WORK(delayed, function) INIT_WORK(&(delayed)->work, function)
void fuzz_queue(struct work_struct *work);
#define queue_work(queue, work) fuzz_queue(work)
#define queue_delayed_work(queue, delayed, when) fuzz_queue(&(delayed)->work)
#define mod_delayed_work(queue, delayed, when) fuzz_queue(&(delayed)->work)
#define cancel_delayed_work_sync(delayed) ((void)(delayed))
#define cancel_work_sync(work) ((void)(work))

/* Whoever waits: the service acts, interrupts come, time passes; a caller may be killed. */
bool fuzz_wait_once(void);
bool fuzz_is_killed(void);
#define FUZZ_LOOKS 8
/* Whether it came to hold. It is asked once a look, for asking may take what is asked for. */
#define FUZZ_WAIT(condition) ({ \
	int fuzz_left = FUZZ_LOOKS; \
	bool fuzz_holds; \
	while (!(fuzz_holds = (condition)) && fuzz_left && fuzz_wait_once()) \
		fuzz_left--; \
	fuzz_holds; \
})
#define init_waitqueue_head(queue) ((void)(queue))
#define wake_up_all(queue) ((void)(queue))
#define wake_up_nr(queue, count) ((void)(queue), (void)(count))
#define wake_up_interruptible(queue) ((void)(queue))
#define wait_event_killable_timeout(queue, condition, timeout) \
	(FUZZ_WAIT(condition) ? 1 : fuzz_is_killed() ? -ERESTARTSYS : 0)
/* Without end in the kernel; here its caller is killed at last. */
#define wait_event_killable_exclusive(queue, condition) \
	(FUZZ_WAIT(condition) ? 0 : -ERESTARTSYS)

#define NSEC_PER_USEC 1000L
#define NSEC_PER_SEC 1000000000L
static inline ktime_t ktime_get(void) { return 0; }
static inline ktime_t ktime_add_ns(ktime_t time, u64 ns) { return time + (ktime_t)ns; }
static inline ktime_t ktime_sub(ktime_t a, ktime_t b) { return a - b; }
static inline s64 ktime_to_ns(ktime_t time) { return time; }
static inline bool ktime_before(ktime_t a, ktime_t b) { return a < b; }
static inline bool need_resched(void) { return !fuzz_wait_once(); }

#define kmalloc(bytes, flags) malloc(bytes)
#define kfree(pointer) free(pointer)
#define kvcalloc(count, bytes, flags) calloc(count, bytes)
#define kvfree(pointer) free(pointer)

/* Two processes take slices. */
struct pid { int number; };
struct task_struct { struct pid *pid; };
struct user_namespace { int unused; };
extern struct task_struct *current;
extern struct user_namespace init_user_ns;
#define task_tgid(task) ((task)->pid)
#define task_tgid_nr(task) ((u32)(task)->pid->number)
#define get_pid(pid) (pid)
#define put_pid(pid) ((void)(pid))
#define current_uid() 1000u
#define current_gid() 1000u
#define from_kuid_munged(space, id) ((void)(space), (id))
#define from_kgid_munged(space, id) ((void)(space), (id))

#endif /* FUZZ_LINUX_KERNEL_H */
