/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The kernel around the module's own files, and what the fuzzers ask of them.
 */
#include "cmodule.h"

#include "cfuzz.h"
#include "vos.h"

static struct pid pids[] = { { 100 }, { 101 } };
static struct task_struct tasks[] = { { &pids[0] }, { &pids[1] } };
struct task_struct *current = &tasks[0];
struct user_namespace init_user_ns;
struct workqueue_struct *vos_workqueue, *vos_close_workqueue;

static bool (*act)(void);
static bool killed;
static bool nothing_left;

#define WORKS_MAX 64
static struct work_struct *works[WORKS_MAX];
static unsigned work_count;

void fuzz_lock(bool *held)
{
	if (*held)
		fuzz_fail("the kernel module takes a lock that it holds");
	*held = true;
}

void fuzz_unlock(bool *held)
{
	if (!*held)
		fuzz_fail("the kernel module lets go of a lock that it does not hold");
	*held = false;
}

void fuzz_queue(struct work_struct *work)
{
	if (work->queued)
		return;
	if (work_count == WORKS_MAX)
		fuzz_fail("work of the kernel module grows without bound");
	work->queued = true;
	works[work_count++] = work;
}

/* One round: what queues itself again, as the watch does, waits for the next. */
void fuzz_module_work(void)
{
	struct work_struct *round[WORKS_MAX];
	unsigned count = work_count, i;

	memcpy(round, works, sizeof(round));
	work_count = 0;
	for (i = 0; i < count; i++)
		round[i]->queued = false;
	for (i = 0; i < count; i++)
		round[i]->run(round[i]);
}

bool fuzz_wait_once(void)
{
	nothing_left = !act || !act();
	return !nothing_left;
}

/* When nothing is left to happen, whoever still waits is killed. */
bool fuzz_is_killed(void) { return nothing_left || killed; }

void vos_device_get(struct vos_device *dev) { dev->refs.count++; }
void vos_device_put(struct vos_device *dev) { dev->refs.count--; }
void vos_ring(struct vos_device *dev, u32 peer)
{
	if (peer > VOS_PEER_HOST)
		fuzz_fail("a doorbell of nobody");
	dev->doorbells.counter++;
}
void vos_sock_ready(struct vos_device *dev, u64 cookie, u32 readiness)
{
	(void)dev, (void)cookie, (void)readiness;
}
void vos_sock_wake_all(struct vos_device *dev) { (void)dev; }

static void expect(struct vos_device *dev, u64 offset, u64 bytes, const char *what)
{
	fuzz_expect_allowed(dev->region + offset, bytes, what);
}

static void visit_slice(struct vos_device *dev, u32 slice)
{
	const struct vos_geometry *g = &dev->geometry;
	u64 start = g->slices_offset + slice * g->slice_stride;

	expect(dev, g->slice_table_offset + slice * sizeof(struct vos_slice_entry),
	       sizeof(struct vos_slice_entry), "an entry of the slice table");
	expect(dev, start, sizeof(struct vos_slice_header), "a slice's header");
	expect(dev, start + g->slots_offset, g->slot_count * sizeof(struct vos_slot), "slots");
	expect(dev, start + g->arena_offset, g->arena_bytes, "an arena");
}

int fuzz_module_reads(void *region, uint64_t bytes)
{
	struct pci_dev pci = { 0 };
	struct vos_device dev = { .pci = &pci, .region = region };
	const struct vos_geometry *g = &dev.geometry;

	/* main.c takes no smaller region. */
	if (bytes < VOS_SERVICE_PAGE_OFFSET + VOS_PAGE_BYTES || vos_geometry_read(&dev, bytes))
		return 0;
	work_count = 0;
	for (dev.role = VOS_PEER_CLIENT; dev.role <= VOS_PEER_SERVICE; dev.role++) {
		vos_side_init(&dev);
		vos_peer_changed(&dev);
		vos_peer_broken(&dev, "a test", 0);
	}
	work_count = 0;
	expect(&dev, g->event_ring_offset, g->event_count * sizeof(struct vos_event), "the ring");
	visit_slice(&dev, 0);
	visit_slice(&dev, g->slice_count - 1);
	return 1;
}

/* The one device, and requests that are held. */
static struct pci_dev the_pci;
static struct vos_device *the_device;
#define HELD_MAX 4
static struct vos_request held[HELD_MAX];
static unsigned held_count;
static u32 taken[2];

void fuzz_module_start(void *region, uint64_t bytes, bool (*acts)(void))
{
	struct vos_device *dev = calloc(1, sizeof(*dev));

	act = NULL;
	work_count = held_count = 0;
	taken[0] = taken[1] = 0;
	dev->pci = &the_pci;
	dev->region = region;
	dev->role = VOS_PEER_CLIENT;
	vos_calls_init(dev);
	vos_events_init(dev);
	vos_watch_init(dev);
	if (vos_geometry_read(dev, bytes) || vos_slices_init(dev))
		fuzz_fail("the module refuses a channel that is one");
	vos_side_init(dev);
	vos_watch_now(dev);
	the_device = dev;
	fuzz_module_work();
	act = acts;
}

void fuzz_module_interrupt(void) { vos_interrupt(0, the_device); }

int64_t fuzz_module_call(uint16_t call, const uint8_t *data, uint32_t length, uint32_t capacity)
{
	struct vos_ask ask = { .call = call, .length = length, .capacity = capacity };
	u32 got = 0;
	u8 *out = malloc(capacity ? capacity : 1);
	s64 result = vos_call(the_device, atomic_read(&the_device->epoch), &ask, data, out, &got);

	if (got > capacity)
		fuzz_fail("a reply is longer than its room");
	if (result <= -VOS_ERRNO_LIMIT && result != -ERESTARTSYS)
		fuzz_fail("a caller sees an errno that is a kernel's own");
	free(out);
	return result;
}

bool fuzz_module_hold(uint32_t room)
{
	struct vos_request *request = &held[held_count];
	unsigned i;

	if (held_count == HELD_MAX ||
	    vos_request_get_room(request, the_device, atomic_read(&the_device->epoch), room))
		return false;
	/* The room is the request's alone. */
	expect(the_device, (u8 *)request->buffer - (u8 *)the_device->region, request->room, "room");
	for (i = 0; i < held_count; i++)
		if (request->buffer < held[i].buffer + held[i].room &&
		    held[i].buffer < request->buffer + request->room)
			fuzz_fail("two requests share their room");
	memset(request->buffer, 0xa5, request->room);
	held_count++;
	return true;
}

void fuzz_module_let_go(void)
{
	if (held_count)
		vos_request_put(&held[--held_count]);
}

void fuzz_module_process(unsigned process)
{
	u32 slice;

	current = &tasks[process & 1];
	if (taken[process & 1]) {
		vos_slice_give_back(the_device, taken[process & 1]);
		taken[process & 1] = 0;
	} else if (!vos_slice_take(the_device, &slice)) {
		if (!slice || slice >= the_device->geometry.slice_count)
			fuzz_fail("a slice that does not exist, or the kernel's");
		if (slice == taken[!(process & 1)])
			fuzz_fail("two processes get one slice");
		taken[process & 1] = slice;
	}
	current = &tasks[0];
}

void fuzz_module_stop(void)
{
	struct vos_device *dev = the_device;
	u32 i;

	act = NULL;
	while (held_count)
		fuzz_module_let_go();
	for (i = 0; i < 2; i++)
		if (taken[i])
			fuzz_module_process(i);
	for (i = 0; i < 4; i++)
		fuzz_module_work();
	for (i = 0; i < dev->slot_limit; i++)
		if (dev->slots[i].used && !dev->slots[i].abandoned &&
		    (i == 0 || !dev->slots[i - 1].used))
			fuzz_fail("a slot was lost");
	vos_device_gone(dev);
	if (dev->refs.count)
		fuzz_fail("the device is held by nobody");
	vos_slices_free(dev);
	free(dev);
	the_device = NULL;
}
