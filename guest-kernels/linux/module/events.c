// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: doorbells. For the service each is counted; for the client each means
 * that the event ring, or the peer's life, may have changed.
 */
#include "vos.h"

/* Events handled in the interrupt itself; the rest is a worker's. */
#define VOS_EVENTS_PER_INTERRUPT 32
#define VOS_EVENTS_PER_WORK 1024

static void vos_slice_wake(struct vos_slice *slice)
{
	atomic_inc(&slice->completions);
	wake_up_all(&slice->waiters);
}

static void vos_event_completion(struct vos_device *dev,
				 const struct vos_event *event)
{
	if (event->slice >= dev->geometry.slice_count ||
	    event->value >= dev->geometry.slot_count) {
		vos_peer_broken(dev, "completion of slice", event->slice);
		return;
	}
	if (event->slice) {
		vos_slice_wake(&dev->slices[event->slice]);
		return;
	}
	wake_up_all(&dev->slots[event->value].waiters);
	if (READ_ONCE(dev->slots[event->value].abandoned))
		queue_work(vos_workqueue, &dev->reclaim);
}

static void vos_event_handle(struct vos_device *dev,
			     const struct vos_event *event)
{
	switch (event->type) {
	case VOS_EVENT_COMPLETION:
		vos_event_completion(dev, event);
		break;
	case VOS_EVENT_READY:
		/* An unknown cookie is a socket closed meanwhile. */
		vos_sock_ready(dev, event->cookie, event->value);
		break;
	default:
		vos_peer_broken(dev, "event type", event->type);
	}
}

/* event_lock held. Takes up to @budget events; false when there are more. */
static bool vos_events_take(struct vos_device *dev, u32 budget)
{
	struct vos_event *ring = dev->region + dev->geometry.event_ring_offset;
	u32 mask = dev->geometry.event_count - 1;
	u32 end = smp_load_acquire(&vos_service_page(dev)->event_index);

	if (READ_ONCE(dev->broken))
		dev->event_next = end; /* nothing it says counts */
	if (end - dev->event_next > dev->geometry.event_count) {
		/* A service that started anew, or one that lies: catch up. */
		dev->event_next = end;
		queue_work(vos_workqueue, &dev->wake_all);
	}
	for (; dev->event_next != end && budget; budget--) {
		struct vos_event event;

		memcpy(&event, &ring[dev->event_next & mask], sizeof(event));
		barrier(); /* the copy is what is looked at from here on */
		dev->event_next++;
		vos_event_handle(dev, &event);
	}
	smp_store_release(&vos_client_page(dev)->event_index, dev->event_next);
	return dev->event_next == end;
}

static void vos_events_drain(struct vos_device *dev, u32 budget)
{
	unsigned long flags;
	u32 overflow;
	bool all;

	spin_lock_irqsave(&dev->event_lock, flags);
	if (READ_ONCE(dev->left)) {
		spin_unlock_irqrestore(&dev->event_lock, flags);
		return;
	}
	all = vos_events_take(dev, budget);
	overflow = READ_ONCE(vos_service_page(dev)->event_overflow);
	if (overflow != dev->overflow_seen) {
		dev->overflow_seen = overflow;
		queue_work(vos_workqueue, &dev->wake_all);
	}
	spin_unlock_irqrestore(&dev->event_lock, flags);
	if (!all)
		queue_work(vos_workqueue, &dev->drain);
}

irqreturn_t vos_interrupt(int irq, void *data)
{
	struct vos_device *dev = data;

	atomic64_inc(&dev->interrupts);
	if (dev->role == VOS_PEER_SERVICE) {
		atomic_inc(&dev->doorbells_pending);
		wake_up_interruptible(&dev->doorbell_waiters);
		return IRQ_HANDLED;
	}
	vos_events_drain(dev, VOS_EVENTS_PER_INTERRUPT);
	if (vos_peer_changed(dev))
		vos_watch_now(dev);
	return IRQ_HANDLED;
}

/*
 * The watch's. What stands in the ring at two looks, no doorbell told of: should a
 * host lose one, nobody would look before the next event, and who waits for this one
 * might wait for ever.
 */
void vos_events_look(struct vos_device *dev)
{
	u32 end = smp_load_acquire(&vos_service_page(dev)->event_index);
	u32 next = READ_ONCE(dev->event_next);
	bool late = dev->event_late && next == dev->event_late_at;

	dev->event_late = end != next;
	dev->event_late_at = next;
	if (!late || !dev->event_late || READ_ONCE(dev->broken))
		return;
	pr_notice_ratelimited("vos: %s: events without a doorbell\n",
			      dev->geometry.name);
	vos_events_drain(dev, VOS_EVENTS_PER_WORK);
}

static void vos_drain_work(struct work_struct *work)
{
	struct vos_device *dev = container_of(work, struct vos_device, drain);

	if (!READ_ONCE(dev->gone))
		vos_events_drain(dev, VOS_EVENTS_PER_WORK);
}

/* Whoever sleeps looks again by itself: an event too many does no harm. */
void vos_wake_everyone(struct vos_device *dev)
{
	u32 i;

	wake_up_all(&dev->doorbell_waiters);
	wake_up_all(&dev->slot_waiters);
	for (i = 0; i < VOS_SLOTS_MAX; i++)
		wake_up_all(&dev->slots[i].waiters);
	if (dev->slices && dev->role == VOS_PEER_CLIENT)
		for (i = 1; i < dev->geometry.slice_count; i++)
			vos_slice_wake(&dev->slices[i]);
	vos_sock_wake_all(dev);
}

static void vos_wake_all_work(struct work_struct *work)
{
	struct vos_device *dev = container_of(work, struct vos_device, wake_all);

	queue_work(vos_workqueue, &dev->reclaim);
	vos_wake_everyone(dev);
}

void vos_events_init(struct vos_device *dev)
{
	spin_lock_init(&dev->event_lock);
	INIT_WORK(&dev->drain, vos_drain_work);
	INIT_WORK(&dev->wake_all, vos_wake_all_work);
}
