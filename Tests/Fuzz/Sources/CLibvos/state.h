/* SPDX-License-Identifier: Apache-2.0
 *
 * What memory.c and kernel.c know of the process in which libvos is fuzzed.
 */
#ifndef LIBVOS_FUZZ_STATE_H
#define LIBVOS_FUZZ_STATE_H

#include <stdbool.h>

#include "cfuzz.h"
#include "libvos_fuzz.h"

struct channel {
	uint8_t *slice;
	struct vos_side_page *page;
	struct vos_superblock *superblock;
	struct libvos_fuzz_shape shape;
	uint32_t piece_bytes;
	uint64_t owned;  /* slots that libvos has given out */
	uint64_t posted; /* of these, with a call */
	uint64_t answered;
	uint64_t damaged; /* when it was answered, the line was not what libvos had posted */
	uint64_t touched; /* since it was taken, or then, the service wrote to the line */
	uint64_t unsure;  /* what was posted is not what libvos wrote */
	struct vos_slot lines[64]; /* as posted */
	uint32_t words[64];
};
extern struct channel fuzz_channels[LIBVOS_FUZZ_CHANNELS];
extern struct libvos_fuzz_input fuzz_input;
extern bool fuzz_is_running;

#define FUZZ_SLICE_BYTES 24576

/* The call that the program has made. */
struct call {
	int descriptor;
	const struct libvos_vector *vectors;
	size_t count;
	bool writes;
	bool ordered;
	size_t given;
	int64_t offset; /* where in the file it began; below 0: not known */
	bool moves;	/* the descriptor's own */
	uint64_t owned[LIBVOS_FUZZ_CHANNELS];
	bool harmed;
	uint32_t waits;
};
extern struct call fuzz_call;

/* The service writes; libvos waits for it. */
void fuzz_wait(void);
void fuzz_let_act(void);
/* Whether these bytes are the program's, as far as it lent them. */
bool fuzz_is_lent(const void *start, size_t bytes);
/* Where the call's byte `done` belongs; null behind the end. */
uint8_t *fuzz_place(size_t done);
static inline uint32_t fuzz_choose(uint32_t bound) { return fuzz_input.choose(bound); }

/* kernel.c */
void fuzz_kernel_begin(void);
void fuzz_kernel_finish(void);

#endif /* LIBVOS_FUZZ_STATE_H */
