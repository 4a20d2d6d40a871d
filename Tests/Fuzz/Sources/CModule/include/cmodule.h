/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CMODULE_H
#define CMODULE_H

#include <stdint.h>

/*
 * Has the kernel module read the superblock of `bytes` bytes at `region`, and touches the ends of
 * all that it takes for parts of the channel. 1 if it takes the region, else 0.
 */
int fuzz_module_reads(void *region, uint64_t bytes);

#endif /* CMODULE_H */
