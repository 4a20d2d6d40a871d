/* SPDX-License-Identifier: GPL-2.0-only */
/* vos: a process's own slice, for checks. */
#ifndef VOS_TESTS_SLICES_H
#define VOS_TESTS_SLICES_H

#include <sys/mman.h>

#include "tests.h"
#include "vos_abi.h"

struct slice {
	int device;
	struct vos_ioc_info info;
	unsigned char *map;
	uint32_t sequence;
};

void take(struct slice *slice);
/* A call by slot; @sleep: through VOS_IOC_WAIT. */
int64_t slot_call(struct slice *slice, int index, int call, uint64_t object,
		  uint32_t length, bool sleep);
/* Whether a mapping can be made; it is undone. */
bool maps(int device, size_t bytes, int protection, off_t offset);

#endif /* VOS_TESTS_SLICES_H */
