/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Stands in for the kernel module's vos.h and the kernel's headers, as far as region.c needs them
 * to read a superblock. region.c itself is the module's own file; what it does besides (locks,
 * work queues) is nothing here.
 */
#ifndef VOS_H
#define VOS_H

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../CVosABI/include/vos_abi.h"

typedef uint64_t u64;
typedef uint32_t u32;
typedef int irqreturn_t;
typedef struct { int counter; } atomic_t;
struct mutex { int unused; };
struct work_struct { int unused; };
struct delayed_work { struct work_struct work; };
struct wait_queue_head { int unused; };
struct pci_dev { int dev; };

#define HZ 250
#define PAGE_SIZE 4096ul
#define IS_ALIGNED(value, bytes) (((value) & ((bytes) - 1)) == 0)
#define PAGE_ALIGNED(value) IS_ALIGNED(value, PAGE_SIZE)
#define U64_MAX UINT64_MAX
#define VOS_SLOTS_MAX 64
#define READ_ONCE(word) (*(volatile typeof(word) *)&(word))
#define WRITE_ONCE(word, value) (*(volatile typeof(word) *)&(word) = (value))
#define smp_load_acquire(word) READ_ONCE(*(word))
#define smp_store_release(word, value) WRITE_ONCE(*(word), value)
#define container_of(pointer, type, member) \
	((type *)((char *)(pointer) - offsetof(type, member)))
#define to_delayed_work(pointer) container_of(pointer, struct delayed_work, work)
#define div_u64(value, by) ((value) / (by))
#define is_power_of_2(value) ((value) && !((value) & ((value) - 1)))
#define pci_err(...) ((void)0)
#define dev_info_ratelimited(...) ((void)0)
#define pr_warn_ratelimited(...) ((void)0)
#define INIT_DELAYED_WORK(work, function) ((void)(function))
#define queue_delayed_work(...) ((void)0)
#define mod_delayed_work(...) ((void)0)
#define cancel_delayed_work_sync(work) ((void)(work))
#define cancel_work_sync(work) ((void)(work))
#define mutex_lock(lock) ((void)(lock))
#define mutex_unlock(lock) ((void)(lock))
#define wake_up_all(queue) ((void)(queue))
#define atomic_inc(word) ((word)->counter++)
#define vos_calls_fail_all(dev) ((void)(dev))
#define vos_wake_everyone(dev) ((void)(dev))
#define vos_slices_reap(dev) ((void)(dev))

struct vos_geometry {
	u64 region_bytes, slice_table_offset, event_ring_offset, slices_offset, slice_stride;
	u32 carries, slice_count, event_count, slot_count, slots_offset, arena_offset, arena_bytes;
	char name[64];
};

struct vos_device {
	struct pci_dev *pci;
	void *region;
	u32 role;
	struct vos_geometry geometry;
	char node_name[80], misc_name[80];
	struct mutex state_lock;
	bool up, stopping, gone, broken;
	u32 peer_generation;
	atomic_t epoch;
	struct delayed_work watch;
	void *slices;
	struct wait_queue_head slot_waiters;
	struct work_struct reclaim, drain, wake_all;
	u32 event_next, overflow_seen;
};

static inline struct vos_superblock *vos_superblock(struct vos_device *dev)
{
	return dev->region;
}

static inline struct vos_side_page *vos_client_page(struct vos_device *dev)
{
	return dev->region + VOS_CLIENT_PAGE_OFFSET;
}

static inline struct vos_side_page *vos_service_page(struct vos_device *dev)
{
	return dev->region + VOS_SERVICE_PAGE_OFFSET;
}

static inline struct vos_side_page *vos_own_page(struct vos_device *dev)
{
	return dev->role == VOS_PEER_CLIENT ? vos_client_page(dev) : vos_service_page(dev);
}

int vos_geometry_read(struct vos_device *dev, u64 bar_bytes);
void vos_side_init(struct vos_device *dev);
bool vos_peer_changed(struct vos_device *dev);
void vos_peer_broken(struct vos_device *dev, const char *what, u64 value);

#endif /* VOS_H */
