/* SPDX-License-Identifier: GPL-2.0-only */
#include "cmodule.h"

#include "cfuzz.h"
#include "vos.h"

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
	for (dev.role = VOS_PEER_CLIENT; dev.role <= VOS_PEER_SERVICE; dev.role++) {
		vos_side_init(&dev);
		vos_peer_changed(&dev);
		vos_peer_broken(&dev, "a test", 0);
	}
	expect(&dev, g->event_ring_offset, g->event_count * sizeof(struct vos_event), "the ring");
	visit_slice(&dev, 0);
	visit_slice(&dev, g->slice_count - 1);
	return 1;
}
