/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CMODULE_H
#define CMODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Has the kernel module read the superblock of `bytes` bytes at `region`, and touches the ends of
 * all that it takes for parts of the channel. 1 if it takes the region, else 0.
 */
int fuzz_module_reads(void *region, uint64_t bytes);

/*
 * The module's client side of one channel, without sockets. `act` is called whenever something else
 * may happen: it lets the service write, and returns false when there is nothing left to happen.
 * The region is a channel's, already formatted.
 */
void fuzz_module_start(void *region, uint64_t bytes, bool (*act)(void));
/* All processes and calls are over. Ends the run if something was lost. */
void fuzz_module_stop(void);
void fuzz_module_interrupt(void);
/* Runs work that is queued; the watch among it, as time passes. */
void fuzz_module_work(void);
/*
 * One call of the module's own, from the caller's point of view: up to `capacity` bytes of reply.
 * Its result; ends the run if it is none that a caller may see.
 */
int64_t fuzz_module_call(uint16_t call, const uint8_t *data, uint32_t length, uint32_t capacity);
/* A call that needs more room than a slot has, or that is held while others come. */
bool fuzz_module_hold(uint32_t room);
void fuzz_module_let_go(void);
/* Process 0 or 1 takes a slice, or gives it back. */
void fuzz_module_process(unsigned process);

#endif /* CMODULE_H */
