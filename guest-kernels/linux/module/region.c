// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: the region's shape, and who is alive on its other end.
 */
#include <linux/ctype.h>
#include <linux/log2.h>

#include "vos.h"

/* Bounds of ours: a superblock beyond them is taken for garbage. */
#define VOS_SLICES_MAX 4096
#define VOS_EVENTS_MAX 65536

/* How often the peer's life is looked at when no doorbell tells. */
#define VOS_WATCH_INTERVAL (HZ / 10)

struct vos_extent {
	u64 start;
	u64 bytes;
};

static bool vos_extent_inside(struct vos_extent e, u64 limit)
{
	return e.start >= VOS_SERVICE_PAGE_OFFSET + VOS_PAGE_BYTES &&
	       e.start <= limit && e.bytes <= limit - e.start;
}

static bool vos_extents_meet(struct vos_extent a, struct vos_extent b)
{
	return a.start < b.start + b.bytes && b.start < a.start + a.bytes;
}

static bool vos_name_valid(const char *name, size_t bytes)
{
	size_t length = strnlen(name, bytes);
	size_t i;

	if (length == 0 || length == bytes || name[0] == '.')
		return false;
	for (i = 0; i < length; i++)
		if (!isalnum(name[i]) && !strchr("-_.", name[i]))
			return false;
	return true;
}

static const char *vos_slice_shape_fault(const struct vos_superblock *s)
{
	u64 slots_end = (u64)s->slots_offset +
			(u64)s->slot_count * sizeof(struct vos_slot);

	if (!s->slot_count || s->slot_count > VOS_SLOTS_MAX)
		return "slot count";
	if (!IS_ALIGNED(s->slots_offset, sizeof(struct vos_slot)) ||
	    s->slots_offset < sizeof(struct vos_slice_header))
		return "slots offset";
	if (!PAGE_ALIGNED(s->arena_offset) || s->arena_offset < slots_end)
		return "arena offset";
	if (s->arena_bytes < PAGE_SIZE ||
	    (u64)s->arena_offset + s->arena_bytes > s->slice_stride)
		return "arena size";
	return NULL;
}

/* The counts are bounded before they are multiplied: nothing can overflow. */
static const char *vos_shape_fault(const struct vos_superblock *s, u64 bar_bytes)
{
	struct vos_extent table, ring, slices;

	if (s->magic != VOS_MAGIC)
		return "magic";
	if (s->abi_version != VOS_ABI_VERSION)
		return "ABI version";
	if (s->region_bytes > bar_bytes)
		return "region size";
	if (!s->slice_count || s->slice_count > VOS_SLICES_MAX)
		return "slice count";
	if (!is_power_of_2(s->event_count) || s->event_count > VOS_EVENTS_MAX)
		return "event count";
	if (!PAGE_ALIGNED(s->slices_offset) || !PAGE_ALIGNED(s->slice_stride) ||
	    !s->slice_stride || s->slice_stride > bar_bytes)
		return "slice stride";
	if (!IS_ALIGNED(s->slice_table_offset, sizeof(struct vos_slice_entry)) ||
	    !IS_ALIGNED(s->event_ring_offset, sizeof(struct vos_event)))
		return "table alignment";
	table.start = s->slice_table_offset;
	table.bytes = (u64)s->slice_count * sizeof(struct vos_slice_entry);
	ring.start = s->event_ring_offset;
	ring.bytes = (u64)s->event_count * sizeof(struct vos_event);
	slices.start = s->slices_offset;
	if (s->slice_stride > div_u64(U64_MAX, s->slice_count))
		return "slice stride";
	slices.bytes = s->slice_count * s->slice_stride;
	if (!vos_extent_inside(table, s->region_bytes) ||
	    !vos_extent_inside(ring, s->region_bytes) ||
	    !vos_extent_inside(slices, s->region_bytes))
		return "layout outside the region";
	if (vos_extents_meet(table, ring) || vos_extents_meet(ring, slices) ||
	    vos_extents_meet(table, slices))
		return "layout overlaps";
	if (!vos_name_valid(s->name, sizeof(s->name)))
		return "name";
	return vos_slice_shape_fault(s);
}

int vos_geometry_read(struct vos_device *dev, u64 bar_bytes)
{
	struct vos_geometry *g = &dev->geometry;
	struct vos_superblock copy;
	const char *fault;

	memcpy(&copy, vos_superblock(dev), sizeof(copy));
	fault = vos_shape_fault(&copy, bar_bytes);
	if (fault) {
		pci_err(dev->pci, "no valid vos superblock: %s\n", fault);
		return -ENODEV;
	}
	g->region_bytes = copy.region_bytes;
	g->slice_table_offset = copy.slice_table_offset;
	g->event_ring_offset = copy.event_ring_offset;
	g->slices_offset = copy.slices_offset;
	g->slice_stride = copy.slice_stride;
	g->carries = copy.carries;
	g->slice_count = copy.slice_count;
	g->event_count = copy.event_count;
	g->slot_count = copy.slot_count;
	g->slots_offset = copy.slots_offset;
	g->arena_offset = copy.arena_offset;
	g->arena_bytes = copy.arena_bytes;
	memcpy(g->name, copy.name, sizeof(g->name));
	snprintf(dev->misc_name, sizeof(dev->misc_name), "vos-%s", g->name);
	snprintf(dev->node_name, sizeof(dev->node_name), "vos/%s", g->name);
	return 0;
}

static u64 *vos_standing(struct vos_side_page *page)
{
	static_assert(offsetof(struct vos_side_page, state) == 0 &&
			      offsetof(struct vos_side_page, generation) == 4,
		      "one word");
	return (u64 *)page;
}

/* One store: ABSENT, left over in the page, must not be seen with a new life. */
static void vos_side_announce(struct vos_device *dev, u32 generation, u32 state)
{
	WRITE_ONCE(dev->said, state);
	smp_store_release(vos_standing(vos_own_page(dev)),
			  (u64)generation << 32 | state);
}

static void vos_side_state(struct vos_device *dev, u32 state)
{
	WRITE_ONCE(dev->said, state);
	smp_store_release(&vos_own_page(dev)->state, state);
}

/* Says who we are; a daemon or libvos says more later. */
void vos_side_init(struct vos_device *dev)
{
	struct vos_superblock *block = vos_superblock(dev);
	struct vos_side_page *page = vos_own_page(dev);
	bool client = dev->role == VOS_PEER_CLIENT;

	dev->generation = READ_ONCE(*(client ? &block->client_generation :
					       &block->service_generation));
	WRITE_ONCE(page->abi_version, VOS_ABI_VERSION);
	vos_side_announce(dev, dev->generation, VOS_SIDE_DRIVER);
	if (client) {
		/* Start at the ring's end: what is in it was for our last life. */
		dev->event_next =
			READ_ONCE(vos_service_page(dev)->event_index);
		WRITE_ONCE(page->event_index, dev->event_next);
		dev->overflow_seen =
			READ_ONCE(vos_service_page(dev)->event_overflow);
	}
}

struct vos_peer_view {
	u32 generation;
	u32 lives;
	u32 state;
	bool serving;
	bool stopping;
	bool broken; /* it says that we broke the protocol, or what nobody says */
};

/* Each word is read once; together they may be torn, and the watch looks again. */
static struct vos_peer_view vos_peer_look(struct vos_device *dev)
{
	struct vos_side_page *page = vos_service_page(dev);
	struct vos_superblock *block = vos_superblock(dev);
	struct vos_peer_view view;
	bool alive = READ_ONCE(block->service_life) == VOS_LIFE_ALIVE;
	u64 standing = smp_load_acquire(vos_standing(page));

	view.state = lower_32_bits(standing);
	view.generation = READ_ONCE(block->service_generation);
	view.lives = READ_ONCE(page->lives);
	/* A page left behind by an earlier life says READY too. */
	alive = alive && upper_32_bits(standing) == view.generation;
	view.stopping = alive && view.state == VOS_SIDE_STOPPING;
	view.serving = alive && (view.state == VOS_SIDE_READY || view.stopping);
	view.broken = alive && view.state >= VOS_SIDE_BROKEN;
	return view;
}

/* The host has ended our life of the channel: both sides let go of it. */
static bool vos_life_failed(struct vos_device *dev)
{
	return READ_ONCE(vos_superblock(dev)->client_life) == VOS_LIFE_FAILED;
}

/* Cheap, any context: is there something for the watch to do? */
bool vos_peer_changed(struct vos_device *dev)
{
	struct vos_peer_view view = vos_peer_look(dev);

	if (READ_ONCE(dev->left))
		return READ_ONCE(vos_superblock(dev)->client_life) ==
		       VOS_LIFE_ALIVE;
	if (vos_life_failed(dev) ||
	    (view.broken && !READ_ONCE(dev->broken)))
		return true;
	if (READ_ONCE(dev->up) != (view.serving && !READ_ONCE(dev->broken)))
		return true;
	return view.generation != READ_ONCE(dev->peer_generation) ||
	       view.lives != READ_ONCE(dev->peer_lives) ||
	       view.stopping != READ_ONCE(dev->stopping);
}

/*
 * Any context: the service that we took up is no more, whether or not the watch
 * knows. Another may serve by now, to whom our objects are somebody else's.
 */
bool vos_peer_is_other(struct vos_device *dev)
{
	return READ_ONCE(vos_superblock(dev)->service_generation) !=
		       READ_ONCE(dev->peer_generation) ||
	       READ_ONCE(vos_service_page(dev)->lives) !=
		       READ_ONCE(dev->peer_lives);
}

static void vos_peer_lost(struct vos_device *dev)
{
	WRITE_ONCE(dev->up, false);
	atomic_inc(&dev->epoch);
	vos_calls_fail_all(dev);
	vos_wake_everyone(dev);
	dev_info_ratelimited(&dev->pci->dev, "channel %s: service is gone\n",
			     dev->geometry.name);
}

static void vos_peer_found(struct vos_device *dev, struct vos_peer_view view)
{
	WRITE_ONCE(dev->peer_generation, view.generation);
	WRITE_ONCE(dev->peer_lives, view.lives);
	WRITE_ONCE(dev->broken, false);
	WRITE_ONCE(dev->up, true);
	vos_side_state(dev, VOS_SIDE_READY);
	wake_up_all(&dev->slot_waiters);
	dev_info_ratelimited(&dev->pci->dev,
			     "channel %s: service generation %u is ready\n",
			     dev->geometry.name, view.generation);
}

static void vos_peer_update(struct vos_device *dev)
{
	struct vos_peer_view view = vos_peer_look(dev);
	bool other = view.generation != dev->peer_generation ||
		     view.lives != dev->peer_lives;

	WRITE_ONCE(dev->stopping, view.stopping);
	if (view.broken && !dev->broken)
		vos_peer_broken(dev, "page state", view.state);
	if (dev->up && (!view.serving || other || dev->broken))
		vos_peer_lost(dev);
	/* One that broke the protocol is not heard again in this life. */
	if (!dev->up && view.serving && !view.stopping &&
	    (!dev->broken || other))
		vos_peer_found(dev, view);
}

/*
 * Says that we hold nothing of the channel any more, in whatever life the host
 * counts now; again and again, for the host may make the page blank meanwhile.
 */
static void vos_life_leave(struct vos_device *dev)
{
	struct vos_side_page *page = vos_client_page(dev);
	u32 generation = READ_ONCE(vos_superblock(dev)->client_generation);
	bool told = READ_ONCE(*vos_standing(page)) == (u64)generation << 32;

	vos_side_announce(dev, generation, VOS_SIDE_ABSENT);
	if (!told)
		vos_ring(dev, VOS_PEER_HOST);
}

/* slices_lock and state_lock held. Everybody who waits is told. */
static void vos_life_end(struct vos_device *dev)
{
	pr_notice_ratelimited("vos: %s: this life of the channel is over\n",
			      dev->geometry.name);
	if (dev->up)
		vos_peer_lost(dev);
	WRITE_ONCE(dev->left, true);
}

/* slices_lock and state_lock held. The region is all zero but the superblock. */
static void vos_life_begin(struct vos_device *dev)
{
	unsigned long flags;

	vos_slices_renew(dev);
	spin_lock_irqsave(&dev->event_lock, flags);
	vos_side_init(dev);
	WRITE_ONCE(dev->broken, false);
	WRITE_ONCE(dev->left, false);
	spin_unlock_irqrestore(&dev->event_lock, flags);
	pr_notice_ratelimited("vos: %s: the channel was made new\n",
			      dev->geometry.name);
	vos_ring(dev, VOS_PEER_SERVICE);
}

/*
 * slices_lock held. Words that only we write: with others in their place nobody
 * would serve us, or believe us, and nobody would say why.
 */
static void vos_life_check(struct vos_device *dev)
{
	struct vos_side_page *page = vos_client_page(dev);

	if (dev->broken)
		return;
	if (READ_ONCE(page->state) != READ_ONCE(dev->said) ||
	    READ_ONCE(page->generation) != dev->generation)
		vos_peer_broken(dev, "our own page", READ_ONCE(page->state));
	else if (!vos_slices_intact(dev))
		vos_peer_broken(dev, "our own slice table", 0);
}

/* Life before generation: the host writes them in the other order. */
static void vos_life_update(struct vos_device *dev)
{
	struct vos_superblock *block = vos_superblock(dev);
	u32 life = smp_load_acquire(&block->client_life);

	if (!dev->left && life == VOS_LIFE_FAILED)
		vos_life_end(dev);
	if (!dev->left) {
		vos_life_check(dev);
		return;
	}
	if (life == VOS_LIFE_ALIVE &&
	    READ_ONCE(block->client_generation) != dev->generation)
		vos_life_begin(dev);
	else
		vos_life_leave(dev);
}

static void vos_watch(struct work_struct *work)
{
	struct vos_device *dev = container_of(to_delayed_work(work),
					      struct vos_device, watch);
	struct vos_side_page *page = vos_client_page(dev);

	mutex_lock(&dev->slices_lock);
	mutex_lock(&dev->state_lock);
	if (!dev->gone)
		vos_life_update(dev);
	mutex_unlock(&dev->slices_lock);
	if (!dev->gone) {
		if (!dev->left) {
			vos_peer_update(dev);
			if (dev->role == VOS_PEER_CLIENT)
				vos_events_look(dev);
			WRITE_ONCE(page->heartbeat,
				   READ_ONCE(page->heartbeat) + 1);
		}
		queue_delayed_work(vos_workqueue, &dev->watch, VOS_WATCH_INTERVAL);
	}
	mutex_unlock(&dev->state_lock);
	vos_slices_reap(dev);
}

void vos_watch_init(struct vos_device *dev)
{
	INIT_DELAYED_WORK(&dev->watch, vos_watch);
}

/* Any context. */
void vos_watch_now(struct vos_device *dev)
{
	if (!READ_ONCE(dev->gone))
		mod_delayed_work(vos_workqueue, &dev->watch, 0);
}

/*
 * Any context: the peer wrote what it must not; trust it no more in this life.
 * The host, which is told, ends it and makes the channel new.
 */
void vos_peer_broken(struct vos_device *dev, const char *what, u64 value)
{
	if (READ_ONCE(dev->left) || xchg(&dev->broken, true))
		return;
	pr_warn_ratelimited("vos: %s: service broke the protocol: %s 0x%llx\n",
			    dev->geometry.name, what, value);
	WRITE_ONCE(vos_client_page(dev)->generation, dev->generation);
	vos_side_state(dev, VOS_SIDE_BROKEN);
	vos_ring(dev, VOS_PEER_SERVICE);
	vos_ring(dev, VOS_PEER_HOST);
	vos_watch_now(dev);
}

/* Our own end goes away: nobody may wait for anything from here on. */
void vos_device_gone(struct vos_device *dev)
{
	mutex_lock(&dev->state_lock);
	WRITE_ONCE(dev->gone, true);
	WRITE_ONCE(dev->up, false);
	atomic_inc(&dev->epoch);
	mutex_unlock(&dev->state_lock);
	cancel_delayed_work_sync(&dev->watch);
	vos_calls_fail_all(dev);
	vos_wake_everyone(dev);
	cancel_work_sync(&dev->drain);
	cancel_work_sync(&dev->wake_all);
	cancel_work_sync(&dev->reclaim);
	if (dev->slices)
		vos_side_state(dev, VOS_SIDE_ABSENT);
}
