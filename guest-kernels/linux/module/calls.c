// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: the kernel's own calls, over slice 0. A request owns a slot and that
 * slot's part of the arena from get to put; it is answered, or its caller is
 * killed, or the service is lost. Nothing waits for anything else. One that
 * needs more room owns the slots behind its own too, which stay unused.
 */
#include <linux/err.h>
#include <linux/ktime.h>
#include <linux/sched/signal.h>

#include "vos.h"

/* A sleeper looks by itself this often, in case an event never comes. */
#define VOS_LOOK_INTERVAL HZ

/* At most so long is looked for an answer; about what a sleep and a wake-up cost. */
unsigned int vos_spin_us = 50;

/* Where looking begins again once answers have become quick. */
#define VOS_SPIN_FIRST_NS (10 * NSEC_PER_USEC)

static u32 vos_word(u32 phase, u32 sequence)
{
	return phase |
	       (sequence & VOS_SLOT_SEQUENCE_MASK) << VOS_SLOT_SEQUENCE_SHIFT;
}

static bool vos_slot_is_done(struct vos_device *dev, u32 index)
{
	u32 word = smp_load_acquire(&vos_slot(dev, 0, index)->state);

	return (word & ~VOS_SLOT_WAITER) ==
	       vos_word(VOS_SLOT_DONE, dev->slots[index].sequence);
}

bool vos_channel_serves(struct vos_device *dev)
{
	return READ_ONCE(dev->up) && !READ_ONCE(dev->stopping) &&
	       !READ_ONCE(dev->broken);
}

/* slots_lock held. */
static void vos_slot_free(struct vos_device *dev, u32 index)
{
	u32 i;

	for (i = index; i <= index + dev->slots[index].extra; i++)
		dev->slots[i].used = false;
	dev->slots[index].abandoned = false;
}

/* slots_lock held: the first of @count free slots in a row, or -EBUSY. */
static int vos_slot_find(struct vos_device *dev, u32 count)
{
	u32 free = 0, i;

	for (i = 0; i < dev->slot_limit; i++) {
		free = dev->slots[i].used ? 0 : free + 1;
		if (free == count)
			return i + 1 - count;
	}
	return -EBUSY;
}

static int vos_slot_take(struct vos_device *dev, u32 epoch, u32 count)
{
	unsigned long flags;
	int found;
	u32 i;

	spin_lock_irqsave(&dev->slots_lock, flags);
	found = vos_slot_find(dev, count);
	for (i = 0; found >= 0 && i < count; i++)
		dev->slots[found + i].used = true;
	if (found >= 0) {
		dev->slots[found].extra = count - 1;
		dev->slots[found].epoch = epoch;
	}
	spin_unlock_irqrestore(&dev->slots_lock, flags);
	return found;
}

static void *vos_slot_buffer(struct vos_device *dev, u32 index)
{
	return (void *)vos_slice_header(dev, 0) + dev->geometry.arena_offset +
	       (size_t)index * dev->buffer_bytes;
}

static int vos_request_try(struct vos_request *request, u32 epoch, u32 count)
{
	struct vos_device *dev = request->dev;
	int slot;

	if (vos_peer_changed(dev))
		vos_watch_now(dev);
	if (!vos_channel_serves(dev) || atomic_read(&dev->epoch) != epoch ||
	    vos_peer_is_other(dev))
		return -ENOTCONN;
	slot = vos_slot_take(dev, epoch, count);
	if (slot < 0)
		return slot;
	request->slot = slot;
	request->epoch = epoch;
	request->buffer = vos_slot_buffer(dev, slot);
	request->room = count * dev->buffer_bytes;
	return 0;
}

/*
 * @epoch: the life of the service that is meant. @room: bytes of buffer that are
 * wanted; there may be fewer. 0, -ENOTCONN when that life is over, -ERESTARTSYS
 * when the caller was killed.
 */
int vos_request_get_room(struct vos_request *request, struct vos_device *dev,
			 u32 epoch, size_t room)
{
	u32 count = min_t(size_t, DIV_ROUND_UP(room, dev->buffer_bytes),
			  dev->slot_limit);
	int ret, killed;

	request->dev = dev;
	request->slot = -1;
	count = max(count, 1U);
	/* One of a thousand at a time: else each slot that comes free wakes all. */
	killed = wait_event_killable_exclusive(
		dev->slot_waiters,
		(ret = vos_request_try(request, epoch, count)) != -EBUSY);
	return killed ?: ret;
}

int vos_request_get(struct vos_request *request, struct vos_device *dev,
		    u32 epoch)
{
	return vos_request_get_room(request, dev, epoch, 1);
}

void vos_request_put(struct vos_request *request)
{
	struct vos_device *dev = request->dev;
	unsigned long flags;
	int count;

	if (request->slot < 0)
		return;
	spin_lock_irqsave(&dev->slots_lock, flags);
	count = 1 + dev->slots[request->slot].extra;
	vos_slot_free(dev, request->slot);
	spin_unlock_irqrestore(&dev->slots_lock, flags);
	request->slot = -1;
	wake_up_nr(&dev->slot_waiters, count);
}

/* The caller was killed: the slot is the service's until it answers. */
static void vos_request_abandon(struct vos_request *request)
{
	struct vos_device *dev = request->dev;
	unsigned long flags;

	spin_lock_irqsave(&dev->slots_lock, flags);
	if (atomic_read(&dev->epoch) != request->epoch)
		vos_slot_free(dev, request->slot);
	else
		dev->slots[request->slot].abandoned = true;
	spin_unlock_irqrestore(&dev->slots_lock, flags);
	request->slot = -1;
	queue_work(vos_workqueue, &dev->reclaim); /* it may have been answered just now */
}

/* slots_lock held: no call is left behind for the next service. */
static void vos_slot_fill(struct vos_device *dev, u32 index,
			  const struct vos_ask *ask)
{
	struct vos_kernel_slot *mine = &dev->slots[index];
	struct vos_slot *slot = vos_slot(dev, 0, index);
	int i;

	mine->call = ask->call;
	mine->sequence = (mine->sequence + 1) & VOS_SLOT_SEQUENCE_MASK;
	WRITE_ONCE(slot->call, ask->call);
	WRITE_ONCE(slot->flags, 0);
	WRITE_ONCE(slot->object, ask->object);
	WRITE_ONCE(slot->data_offset, index * dev->buffer_bytes);
	WRITE_ONCE(slot->data_length, ask->length);
	WRITE_ONCE(slot->data_capacity, ask->capacity);
	WRITE_ONCE(slot->reserved0, 0);
	for (i = 0; i < 3; i++)
		WRITE_ONCE(slot->argument[i], ask->argument[i]);
	smp_store_release(&slot->state,
			  vos_word(VOS_SLOT_SUBMITTED, mine->sequence));
}

/* False: the service that the request is for is lost. */
static bool vos_slot_submit(struct vos_request *request,
			    const struct vos_ask *ask)
{
	struct vos_device *dev = request->dev;
	unsigned long flags;
	bool served;

	spin_lock_irqsave(&dev->slots_lock, flags);
	served = atomic_read(&dev->epoch) == request->epoch &&
		 !vos_peer_is_other(dev);
	if (served)
		vos_slot_fill(dev, request->slot, ask);
	spin_unlock_irqrestore(&dev->slots_lock, flags);
	if (!served)
		return false;
	/* The count is also for the host, which cannot ask. */
	WRITE_ONCE(vos_slice_header(dev, 0)->fast_calls,
		   atomic64_inc_return(&dev->kernel_calls));
	return true;
}

/* True if the service slept: then spinning is of no use. */
static bool vos_slot_announce(struct vos_device *dev)
{
	smp_mb(); /* our submission before its `sleeping`: one of us sees */
	if (!READ_ONCE(vos_slice_header(dev, 0)->sleeping))
		return false;
	vos_ring(dev, VOS_PEER_SERVICE);
	return true;
}

static bool vos_request_settled(struct vos_request *request)
{
	return vos_slot_is_done(request->dev, request->slot) ||
	       atomic_read(&request->dev->epoch) != request->epoch;
}

static u32 vos_spin_limit(void)
{
	return min_t(u64, (u64)READ_ONCE(vos_spin_us) * NSEC_PER_USEC, NSEC_PER_SEC);
}

/*
 * How long is learnt: an answer that came soon after the sleeper gave up makes the
 * next one look for longer, one that would not have come within the limit makes it
 * look no more. Callers overwrite what each other has learnt: one lesson is lost.
 */
static bool vos_request_spin(struct vos_request *request, ktime_t start)
{
	u32 patience = min(READ_ONCE(request->dev->spin_ns), vos_spin_limit());
	ktime_t until = ktime_add_ns(start, patience);

	do {
		if (vos_request_settled(request))
			return true;
		cpu_relax();
	} while (!need_resched() && ktime_before(ktime_get(), until));
	return false;
}

static void vos_spin_learn(struct vos_device *dev, ktime_t start)
{
	s64 waited = ktime_to_ns(ktime_sub(ktime_get(), start));
	u32 limit = vos_spin_limit();
	u32 more = max_t(u32, 2 * READ_ONCE(dev->spin_ns), VOS_SPIN_FIRST_NS);

	/* The time to be woken is in it, too. */
	if (waited > 2 * (s64)limit)
		more = 0;
	WRITE_ONCE(dev->spin_ns, min(more, limit));
}

/*
 * What only we write has changed: the slot's word, or the limit below which the
 * service looks. Nobody might ever answer.
 */
static void vos_request_check(struct vos_request *request)
{
	struct vos_device *dev = request->dev;
	u32 word = READ_ONCE(vos_slot(dev, 0, request->slot)->state);
	u32 limit = READ_ONCE(vos_slice_header(dev, 0)->slot_limit);

	if (vos_request_settled(request))
		return;
	if ((word & ~VOS_SLOT_WAITER) !=
	    vos_word(VOS_SLOT_SUBMITTED, dev->slots[request->slot].sequence))
		vos_peer_broken(dev, "slot state", word);
	else if (limit != dev->slot_limit)
		vos_peer_broken(dev, "slot limit", limit);
}

/* 0 or -ERESTARTSYS. */
static int vos_request_sleep(struct vos_request *request)
{
	struct vos_device *dev = request->dev;
	struct vos_kernel_slot *mine = &dev->slots[request->slot];
	struct vos_slot *slot = vos_slot(dev, 0, request->slot);
	u32 submitted = vos_word(VOS_SLOT_SUBMITTED, mine->sequence);
	u32 found = cmpxchg(&slot->state, submitted,
			    submitted | VOS_SLOT_WAITER);
	long ret;

	/* The service may just have been lost: then the slot was taken back. */
	if (found != submitted && !vos_request_settled(request)) {
		vos_peer_broken(dev, "slot state", found);
		return 0;
	}
	do {
		ret = wait_event_killable_timeout(mine->waiters,
						  vos_request_settled(request),
						  VOS_LOOK_INTERVAL);
		if (ret == 0)
			vos_request_check(request);
	} while (ret == 0 && READ_ONCE(dev->up) && !READ_ONCE(dev->broken));
	return ret < 0 ? ret : 0;
}

/* The reply's line, each field read once. */
static s64 vos_request_result(struct vos_request *request, u32 capacity,
			      u32 *reply_length)
{
	struct vos_slot *slot = vos_slot(request->dev, 0, request->slot);
	s64 result = READ_ONCE(slot->result);
	u32 length = READ_ONCE(slot->data_length);

	if (result < -MAX_ERRNO) {
		vos_peer_broken(request->dev, "call result", result);
		return -EIO;
	}
	/* A socket that says EIOCBQUEUED is a BUG. */
	BUILD_BUG_ON(VOS_ERRNO_LIMIT != ERESTARTSYS);
	if (result <= -VOS_ERRNO_LIMIT)
		result = -EIO;
	if (result < 0)
		length = 0;
	if (length > capacity) {
		vos_peer_broken(request->dev, "reply length", length);
		return -EIO;
	}
	*reply_length = length;
	return result;
}

/*
 * Asks, and waits for the answer: its result, or -EIO when the service was lost,
 * or -ERESTARTSYS when the caller was killed (then the slot is gone).
 */
s64 vos_request_call(struct vos_request *request, const struct vos_ask *ask,
		     u32 *reply_length)
{
	struct vos_device *dev = request->dev;
	ktime_t start = ktime_get();
	bool asleep;
	int ret;

	*reply_length = 0;
	if (!vos_slot_submit(request, ask))
		return -EIO;
	asleep = vos_slot_announce(dev);
	if (asleep || !vos_request_spin(request, start)) {
		ret = vos_request_sleep(request);
		if (ret) {
			vos_request_abandon(request);
			return ret;
		}
		/* Of a service that had to be woken first nothing is learnt. */
		if (!asleep)
			vos_spin_learn(dev, start);
	}
	if (!vos_slot_is_done(dev, request->slot))
		return -EIO;
	return vos_request_result(request, ask->capacity, reply_length);
}

/*
 * The whole of a small call: @ask->length bytes of @in go out, up to
 * @ask->capacity bytes come back to @out and @out_length says how many.
 */
s64 vos_call(struct vos_device *dev, u32 epoch, const struct vos_ask *ask,
	     const void *in, void *out, u32 *out_length)
{
	struct vos_request request;
	u32 length;
	s64 result = vos_request_get(&request, dev, epoch);

	if (result)
		return result;
	if (ask->length > request.room || ask->capacity > request.room) {
		result = -EMSGSIZE;
	} else {
		if (ask->length)
			memcpy(request.buffer, in, ask->length);
		result = vos_request_call(&request, ask, &length);
		if (result >= 0 && length)
			memcpy(out, request.buffer, length);
		if (out_length)
			*out_length = result >= 0 ? length : 0;
	}
	vos_request_put(&request);
	return result;
}

/* Lets go of an object although nobody will wait for the answer. */
static bool vos_close_detached(struct vos_device *dev, u32 epoch, u64 object)
{
	struct vos_ask ask = { .call = VOS_CALL_CLOSE, .object = object };
	struct vos_request request = { .dev = dev, .slot = -1 };

	if (vos_request_try(&request, epoch, 1))
		return false;
	if (vos_slot_submit(&request, &ask)) {
		vos_slot_announce(dev);
		vos_request_abandon(&request);
	} else {
		vos_request_put(&request);
	}
	return true;
}

struct vos_late_close {
	struct work_struct work;
	struct vos_device *dev;
	u32 epoch;
	u64 object;
};

static void vos_late_close(struct work_struct *work)
{
	struct vos_late_close *late =
		container_of(work, struct vos_late_close, work);
	struct vos_ask ask = { .call = VOS_CALL_CLOSE, .object = late->object };

	vos_call(late->dev, late->epoch, &ask, NULL, NULL, NULL);
	vos_device_put(late->dev);
	kfree(late);
}

/*
 * For a killed caller: a worker waits for a slot in its place. A service that
 * answers nothing holds it, so its queue is not the one that the watch is on.
 */
static void vos_close_late(struct vos_device *dev, u32 epoch, u64 object)
{
	struct vos_late_close *late = kmalloc(sizeof(*late), GFP_KERNEL);

	if (!late)
		return;
	INIT_WORK(&late->work, vos_late_close);
	vos_device_get(dev);
	late->dev = dev;
	late->epoch = epoch;
	late->object = object;
	queue_work(vos_close_workqueue, &late->work);
}

/* Waits for the service, so that an address is free when close() returns. */
void vos_close_object(struct vos_device *dev, u32 epoch, u64 object)
{
	struct vos_ask ask = { .call = VOS_CALL_CLOSE, .object = object };
	struct vos_request request;
	u32 length;

	if (vos_request_get(&request, dev, epoch) == 0) {
		vos_request_call(&request, &ask, &length);
		vos_request_put(&request);
	} else if (atomic_read(&dev->epoch) == epoch) {
		vos_close_late(dev, epoch, object);
	}
}

/* The object that an abandoned call made, or -1. */
static s64 vos_slot_orphan(struct vos_device *dev, u32 index)
{
	u16 call = dev->slots[index].call;

	if (call != VOS_CALL_SOCKET && call != VOS_CALL_ACCEPT4)
		return -1;
	return READ_ONCE(vos_slot(dev, 0, index)->result);
}

/* False: nothing to take back there. */
static bool vos_slot_reclaim(struct vos_device *dev, u32 index, u32 *epoch,
			     s64 *orphan)
{
	bool found;

	spin_lock_irq(&dev->slots_lock);
	found = dev->slots[index].abandoned && vos_slot_is_done(dev, index);
	if (found) {
		*epoch = dev->slots[index].epoch;
		*orphan = vos_slot_orphan(dev, index);
		vos_slot_free(dev, index);
	}
	spin_unlock_irq(&dev->slots_lock);
	return found;
}

static void vos_reclaim(struct work_struct *work)
{
	struct vos_device *dev = container_of(work, struct vos_device, reclaim);
	u32 i;

	for (i = 0; i < dev->slot_limit; i++) {
		u32 epoch;
		s64 orphan;

		if (!vos_slot_reclaim(dev, i, &epoch, &orphan))
			continue;
		if (orphan >= 0 && !vos_close_detached(dev, epoch, orphan))
			vos_close_late(dev, epoch, orphan);
		wake_up_all(&dev->slot_waiters);
	}
}

/* The service is lost: whoever waits sees the epoch; stale calls are taken back. */
void vos_calls_fail_all(struct vos_device *dev)
{
	unsigned long flags;
	u32 i;

	spin_lock_irqsave(&dev->slots_lock, flags);
	for (i = 0; i < dev->slot_limit; i++) {
		struct vos_kernel_slot *mine = &dev->slots[i];

		WRITE_ONCE(vos_slot(dev, 0, i)->state,
			   vos_word(VOS_SLOT_FREE, mine->sequence));
		if (mine->abandoned)
			vos_slot_free(dev, i);
		wake_up_all(&mine->waiters);
	}
	spin_unlock_irqrestore(&dev->slots_lock, flags);
	wake_up_all(&dev->slot_waiters);
}

void vos_calls_init(struct vos_device *dev)
{
	u32 i;

	spin_lock_init(&dev->slots_lock);
	dev->spin_ns = VOS_SPIN_FIRST_NS;
	init_waitqueue_head(&dev->slot_waiters);
	INIT_WORK(&dev->reclaim, vos_reclaim);
	for (i = 0; i < VOS_SLOTS_MAX; i++)
		init_waitqueue_head(&dev->slots[i].waiters);
}
