// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: slices, one per process of the client. The table in the region is written
 * from here and never read back; the truth is dev->slices.
 */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "vos.h"

/* More than this from one process is a lie; 100 years of fast calls are less. */
#define VOS_COUNTER_MAX (1ULL << 56)

/* Everything but line 1 of the header: that one is the service's. */
static void vos_slice_zero(struct vos_device *dev, u32 slice)
{
	void *start = vos_slice_header(dev, slice);
	size_t line1 = offsetof(struct vos_slice_header, sleeping);
	size_t line2 = offsetof(struct vos_slice_header, fast_calls);

	memset(start, 0, line1);
	memset(start + line2, 0, dev->geometry.slice_stride - line2);
}

static void vos_slice_publish(struct vos_device *dev, u32 slice, u32 state)
{
	struct vos_slice_entry *entry = vos_slice_entry(dev, slice);
	struct vos_slice *s = &dev->slices[slice];

	/* In a channel that is to be made new nothing is said; then, all of it. */
	if (dev->left)
		return;
	WRITE_ONCE(entry->pid, s->pid);
	WRITE_ONCE(entry->uid, s->uid);
	WRITE_ONCE(entry->gid, s->gid);
	WRITE_ONCE(entry->generation, s->generation);
	smp_store_release(&entry->state, state);
}

/* A generation that neither side has seen, though a module before us wrote it. */
static void vos_slice_forget(struct vos_device *dev, u32 slice)
{
	struct vos_slice *s = &dev->slices[slice];

	s->generation = READ_ONCE(vos_slice_entry(dev, slice)->generation);
	init_waitqueue_head(&s->waiters);
	vos_slice_publish(dev, slice, VOS_SLICE_FREE);
}

/* Slice 0's slots go on with their sequence numbers, and are free. */
static void vos_slice0_free_slots(struct vos_device *dev)
{
	u32 i;

	for (i = 0; i < dev->geometry.slot_count; i++)
		WRITE_ONCE(vos_slot(dev, 0, i)->state, VOS_SLOT_FREE |
			   dev->slots[i].sequence << VOS_SLOT_SEQUENCE_SHIFT);
	WRITE_ONCE(vos_slice_header(dev, 0)->slot_limit, dev->slot_limit);
}

/* Slice 0 keeps its slots' sequence numbers: the service has seen them. */
static void vos_slice0_init(struct vos_device *dev)
{
	struct vos_slice *s = &dev->slices[0];
	u32 i;

	for (i = 0; i < dev->geometry.slot_count; i++)
		dev->slots[i].sequence = READ_ONCE(vos_slot(dev, 0, i)->state) >>
					 VOS_SLOT_SEQUENCE_SHIFT;
	dev->buffer_bytes = round_down(dev->geometry.arena_bytes /
				       dev->geometry.slot_count, PAGE_SIZE);
	dev->slot_limit = dev->geometry.slot_count;
	if (!dev->buffer_bytes) {
		dev->buffer_bytes = PAGE_SIZE;
		dev->slot_limit = dev->geometry.arena_bytes / PAGE_SIZE;
	}
	vos_slice0_free_slots(dev);
	s->life = VOS_SLICE_IS_LIVE;
	s->generation++;
	vos_slice_publish(dev, 0, VOS_SLICE_LIVE);
}

int vos_slices_init(struct vos_device *dev)
{
	u32 i;

	dev->slices = kvcalloc(dev->geometry.slice_count, sizeof(*dev->slices),
			       GFP_KERNEL);
	if (!dev->slices)
		return -ENOMEM;
	if (dev->role != VOS_PEER_CLIENT)
		return 0;
	for (i = 0; i < dev->geometry.slice_count; i++)
		vos_slice_forget(dev, i);
	vos_slice0_init(dev);
	return 0;
}

/*
 * slices_lock held. The region was made new: the table is written anew, with
 * generations of which nobody holds anything. Processes keep their slices; the
 * service is to look at all slots of them, for they do not say again which.
 */
void vos_slices_renew(struct vos_device *dev)
{
	u32 i;

	dev->left = false;
	vos_slice0_free_slots(dev);
	for (i = 0; i < dev->geometry.slice_count; i++) {
		struct vos_slice *s = &dev->slices[i];

		s->generation++;
		if (s->life == VOS_SLICE_IS_DYING)
			s->life = VOS_SLICE_IS_FREE;
		if (i && s->life == VOS_SLICE_IS_LIVE)
			WRITE_ONCE(vos_slice_header(dev, i)->slot_limit,
				   dev->geometry.slot_count);
		vos_slice_publish(dev, i, s->life == VOS_SLICE_IS_LIVE ?
					  VOS_SLICE_LIVE : VOS_SLICE_FREE);
	}
}

/* slices_lock held: does the table say what we have said, and nobody else may? */
bool vos_slices_intact(struct vos_device *dev)
{
	static const u32 states[] = {
		[VOS_SLICE_IS_FREE] = VOS_SLICE_FREE,
		[VOS_SLICE_IS_LIVE] = VOS_SLICE_LIVE,
		[VOS_SLICE_IS_DYING] = VOS_SLICE_DEAD,
	};
	u32 i;

	for (i = 0; i < dev->geometry.slice_count; i++) {
		struct vos_slice_entry *entry = vos_slice_entry(dev, i);
		struct vos_slice *s = &dev->slices[i];

		if (READ_ONCE(entry->state) != states[s->life] ||
		    READ_ONCE(entry->generation) != s->generation)
			return false;
	}
	return true;
}

void vos_slices_free(struct vos_device *dev)
{
	kvfree(dev->slices);
}

static bool vos_slice_released(struct vos_device *dev, u32 slice)
{
	struct vos_slice *s = &dev->slices[slice];
	u32 released =
		READ_ONCE(vos_slice_header(dev, slice)->released_generation);

	return released == s->generation ||
	       READ_ONCE(dev->peer_generation) != s->peer_generation;
}

static bool vos_slice_reap(struct vos_device *dev, u32 slice)
{
	struct vos_slice *s = &dev->slices[slice];

	if (dev->left || s->life != VOS_SLICE_IS_DYING ||
	    !vos_slice_released(dev, slice))
		return false;
	s->life = VOS_SLICE_IS_FREE;
	vos_slice_publish(dev, slice, VOS_SLICE_FREE);
	return true;
}

void vos_slices_reap(struct vos_device *dev)
{
	u32 i;

	if (dev->role != VOS_PEER_CLIENT)
		return;
	mutex_lock(&dev->slices_lock);
	for (i = 1; i < dev->geometry.slice_count; i++)
		vos_slice_reap(dev, i);
	mutex_unlock(&dev->slices_lock);
}

static void vos_slice_give_out(struct vos_device *dev, u32 slice)
{
	struct vos_slice *s = &dev->slices[slice];

	vos_slice_zero(dev, slice);
	s->life = VOS_SLICE_IS_LIVE;
	s->generation++;
	s->owner = get_pid(task_tgid(current));
	s->pid = task_tgid_nr(current);
	s->uid = from_kuid_munged(&init_user_ns, current_uid());
	s->gid = from_kgid_munged(&init_user_ns, current_gid());
	vos_slice_publish(dev, slice, VOS_SLICE_LIVE);
}

/* A free slice's number, or -EAGAIN; -EALREADY: the caller's process has one. */
static int vos_slice_find(struct vos_device *dev)
{
	int found = -EAGAIN;
	u32 i;

	if (dev->left)
		return -EAGAIN;
	for (i = dev->geometry.slice_count - 1; i >= 1; i--) {
		if (dev->slices[i].owner == task_tgid(current))
			return -EALREADY;
		vos_slice_reap(dev, i);
		if (dev->slices[i].life == VOS_SLICE_IS_FREE)
			found = i;
	}
	return found;
}

/* When it fails, the process stays on the kernel path. */
int vos_slice_take(struct vos_device *dev, u32 *slice)
{
	int found;

	mutex_lock(&dev->slices_lock);
	found = vos_slice_find(dev);
	if (found > 0) {
		vos_slice_give_out(dev, found);
		*slice = found;
	}
	mutex_unlock(&dev->slices_lock);
	return min(found, 0);
}

static void vos_slice_read_counters(struct vos_device *dev, u32 slice,
				    u64 *fast, u64 *fallback)
{
	struct vos_slice_header *header = vos_slice_header(dev, slice);
	u64 fast_calls = READ_ONCE(header->fast_calls);
	u64 fallback_calls = READ_ONCE(header->fallback_calls);

	if (fast_calls < VOS_COUNTER_MAX)
		*fast += fast_calls;
	if (fallback_calls < VOS_COUNTER_MAX)
		*fallback += fallback_calls;
}

/* The last descriptor and mapping of the slice's process are gone. */
void vos_slice_give_back(struct vos_device *dev, u32 slice)
{
	struct vos_slice *s = &dev->slices[slice];

	mutex_lock(&dev->slices_lock);
	vos_slice_read_counters(dev, slice, &dev->dead_fast_calls,
				&dev->dead_fallback_calls);
	if (!dev->left) {
		vos_slice_header(dev, 0)->dead_fast_calls = dev->dead_fast_calls;
		vos_slice_header(dev, 0)->dead_fallback_calls =
			dev->dead_fallback_calls;
	}
	put_pid(s->owner);
	s->owner = NULL;
	s->peer_generation = READ_ONCE(dev->peer_generation);
	s->life = VOS_SLICE_IS_DYING;
	vos_slice_publish(dev, slice, VOS_SLICE_DEAD);
	mutex_unlock(&dev->slices_lock);
	vos_ring(dev, VOS_PEER_SERVICE);
}

/* Does the calling process own it? */
bool vos_slice_is_mine(struct vos_device *dev, u32 slice)
{
	bool mine;

	if (!slice || slice >= dev->geometry.slice_count)
		return false;
	mutex_lock(&dev->slices_lock);
	mine = dev->slices[slice].owner == task_tgid(current);
	mutex_unlock(&dev->slices_lock);
	return mine;
}

/*
 * The same for a descriptor of its own that has taken @slice (0: none): while it is
 * open nobody gives the slice to another, so no lock is needed.
 */
bool vos_slice_belongs(struct vos_device *dev, u32 slice)
{
	return slice && READ_ONCE(dev->slices[slice].owner) == task_tgid(current);
}

void vos_slices_count(struct vos_device *dev, u64 *fast, u64 *fallback)
{
	u32 i;

	mutex_lock(&dev->slices_lock);
	*fast = dev->dead_fast_calls;
	*fallback = dev->dead_fallback_calls;
	for (i = 1; i < dev->geometry.slice_count; i++)
		if (dev->slices[i].life == VOS_SLICE_IS_LIVE)
			vos_slice_read_counters(dev, i, fast, fallback);
	mutex_unlock(&dev->slices_lock);
}
