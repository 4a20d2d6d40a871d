/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vos: channels between domains; what the module's files share.
 *
 * Locks, outermost first: vos_device.slices_lock, vos_device.state_lock,
 * vos_device.slots_lock, vos_device.event_lock, vos_sock.arm_lock. The last
 * three are taken with interrupts off. No lock is held over a call.
 */
#ifndef VOS_H
#define VOS_H

#include <linux/atomic.h>
#include <linux/interrupt.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "vos_abi.h"

/* The superblock's shape, checked once at probe and never read again. */
struct vos_geometry {
	u64 region_bytes;
	u64 slice_table_offset;
	u64 event_ring_offset;
	u64 slices_offset;
	u64 slice_stride;
	u32 carries;
	u32 slice_count;
	u32 event_count;
	u32 slot_count;
	u32 slots_offset;
	u32 arena_offset;
	u32 arena_bytes;
	char name[64];
};

enum vos_slice_life {
	VOS_SLICE_IS_FREE,
	VOS_SLICE_IS_LIVE,
	VOS_SLICE_IS_DYING, /* its process is gone; the service still holds things */
};

struct vos_slice {
	enum vos_slice_life life;
	u32 generation;
	u32 peer_generation; /* the service's, when the slice began to die */
	struct pid *owner;
	atomic_t completions; /* counted for VOS_WAIT_ANY */
	u32 pid, uid, gid; /* as in the slice's entry */
	wait_queue_head_t waiters;
};

/* One slot of slice 0; the word and the sequence are ours, never read back. */
struct vos_kernel_slot {
	u32 sequence;
	u16 call;
	u16 extra; /* slots behind this one that lend it their buffers */
	bool used;
	bool abandoned; /* its caller was killed; the service has yet to answer */
	u32 epoch;
	wait_queue_head_t waiters;
};

#define VOS_SLOTS_MAX 64

struct vos_device {
	struct kref refs;
	struct pci_dev *pci;
	void __iomem *registers;
	void *region;
	phys_addr_t region_physical;
	u32 role; /* VOS_PEER_CLIENT or VOS_PEER_SERVICE */
	struct vos_geometry geometry;
	struct miscdevice misc;
	char node_name[80];
	char misc_name[80];
	atomic_t service_open;
	bool registered;

	/* Peer's life, as region.c sees it; written under state_lock. */
	struct mutex state_lock;
	bool up;       /* calls may be issued */
	bool stopping; /* the service takes no new calls */
	bool gone;     /* our own device is being removed */
	bool broken;   /* we saw the peer break the protocol */
	bool left;     /* the host ended our life of the channel; also under slices_lock */
	u32 generation; /* our life's, as the host counts */
	u32 said;       /* of ourselves, VOS_SIDE_* */
	u32 peer_generation;
	u32 peer_lives;
	atomic_t epoch; /* goes up each time the service is lost */
	struct delayed_work watch;

	struct mutex slices_lock;
	struct vos_slice *slices;
	u64 dead_fast_calls;
	u64 dead_fallback_calls;

	/* Slice 0. */
	spinlock_t slots_lock;
	struct vos_kernel_slot slots[VOS_SLOTS_MAX];
	u32 slot_limit; /* slots that have an arena buffer */
	u32 buffer_bytes;
	wait_queue_head_t slot_waiters;
	struct work_struct reclaim;
	u32 spin_ns; /* how long to look for an answer: learnt */

	/* Event ring. */
	spinlock_t event_lock;
	u32 event_next;
	u32 overflow_seen;
	u32 event_late_at; /* where the watch saw events wait */
	bool event_late;
	struct work_struct drain;
	struct work_struct wake_all;
	atomic_t doorbells_pending; /* service side: since the last wait */
	wait_queue_head_t doorbell_waiters;

	struct xarray sockets; /* cookie to struct vos_sock */
	u32 next_cookie;

	struct list_head notified; /* clients: notify.c tells their slices */

	atomic64_t kernel_calls;
	atomic64_t doorbells;
	atomic64_t interrupts;
};

/* Where things are. Bounds were checked against the BAR at probe. */
static inline struct vos_superblock *vos_superblock(struct vos_device *dev)
{
	return dev->region + VOS_SUPERBLOCK_OFFSET;
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
	return dev->role == VOS_PEER_CLIENT ? vos_client_page(dev) :
					      vos_service_page(dev);
}

static inline u64 vos_slice_offset(const struct vos_geometry *g, u32 slice)
{
	return g->slices_offset + slice * g->slice_stride;
}

static inline struct vos_slice_header *vos_slice_header(struct vos_device *dev,
							u32 slice)
{
	return dev->region + vos_slice_offset(&dev->geometry, slice);
}

static inline struct vos_slot *vos_slot(struct vos_device *dev, u32 slice,
					u32 slot)
{
	return (void *)vos_slice_header(dev, slice) +
	       dev->geometry.slots_offset + slot * sizeof(struct vos_slot);
}

static inline struct vos_slice_entry *vos_slice_entry(struct vos_device *dev,
						      u32 slice)
{
	return dev->region + dev->geometry.slice_table_offset +
	       slice * sizeof(struct vos_slice_entry);
}

/* main.c */
extern struct workqueue_struct *vos_workqueue; /* nothing on it waits for a service */
extern struct workqueue_struct *vos_close_workqueue;
void vos_device_get(struct vos_device *dev);
void vos_device_put(struct vos_device *dev);
void vos_ring(struct vos_device *dev, u32 peer);

/* region.c */
int vos_geometry_read(struct vos_device *dev, u64 bar_bytes);
void vos_side_init(struct vos_device *dev);
void vos_watch_init(struct vos_device *dev);
void vos_watch_now(struct vos_device *dev);
bool vos_peer_changed(struct vos_device *dev);
bool vos_peer_is_other(struct vos_device *dev);
void vos_peer_broken(struct vos_device *dev, const char *what, u64 value);
void vos_device_gone(struct vos_device *dev);

/* slices.c */
int vos_slices_init(struct vos_device *dev);
void vos_slices_free(struct vos_device *dev);
void vos_slices_renew(struct vos_device *dev);
bool vos_slices_intact(struct vos_device *dev);
int vos_slice_take(struct vos_device *dev, u32 *slice);
void vos_slice_give_back(struct vos_device *dev, u32 slice);
bool vos_slice_is_mine(struct vos_device *dev, u32 slice);
bool vos_slice_belongs(struct vos_device *dev, u32 slice);
void vos_slices_reap(struct vos_device *dev);
void vos_slices_count(struct vos_device *dev, u64 *fast, u64 *fallback);

/* chardev.c */
int vos_chardev_add(struct vos_device *dev);
void vos_chardev_remove(struct vos_device *dev);

/* calls.c */

/* A call over slice 0, from vos_request_get() to vos_request_put(). */
struct vos_request {
	struct vos_device *dev;
	int slot;     /* -1: none held */
	u32 epoch;    /* of the channel, when the slot was got */
	void *buffer; /* shared memory: read each byte once */
	u32 room;     /* bytes of buffer */
};

/* What to ask: as in struct vos_slot. */
struct vos_ask {
	u16 call;
	u64 object;
	u64 argument[3];
	u32 length;   /* bytes of request in the buffer */
	u32 capacity; /* bytes of reply that are welcome */
};

void vos_calls_init(struct vos_device *dev);
bool vos_channel_serves(struct vos_device *dev);
void vos_calls_fail_all(struct vos_device *dev);
int vos_request_get(struct vos_request *request, struct vos_device *dev,
		    u32 epoch);
int vos_request_get_room(struct vos_request *request, struct vos_device *dev,
			 u32 epoch, size_t room);
void vos_request_put(struct vos_request *request);
s64 vos_request_call(struct vos_request *request, const struct vos_ask *ask,
		     u32 *reply_length);
s64 vos_call(struct vos_device *dev, u32 epoch, const struct vos_ask *ask,
	     const void *in, void *out, u32 *out_length);
void vos_close_object(struct vos_device *dev, u32 epoch, u64 object);
extern unsigned int vos_spin_us;

/* events.c */
void vos_events_init(struct vos_device *dev);
void vos_events_look(struct vos_device *dev);
void vos_wake_everyone(struct vos_device *dev);
irqreturn_t vos_interrupt(int irq, void *data);

/* family.c */
int vos_family_init(void);
void vos_family_exit(void);
void vos_family_attach(struct vos_device *dev);
void vos_family_detach(struct vos_device *dev);
struct vos_device *vos_family_device(void);
bool vos_family_serves(void);
void *vos_find_function(const char *symbol);

/* notify.c */
void vos_notify_place(void);
void vos_notify_remove(void);
void vos_notify_add(struct vos_device *dev);
void vos_notify_drop(struct vos_device *dev);
int vos_notify_ask(unsigned int descriptor);

/* sockwait.c: called from the interrupt handler */
void vos_sock_ready(struct vos_device *dev, u64 cookie, u32 ready);
void vos_sock_wake_all(struct vos_device *dev);

#endif /* VOS_H */
