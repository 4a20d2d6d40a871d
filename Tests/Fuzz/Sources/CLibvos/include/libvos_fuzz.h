/* SPDX-License-Identifier: Apache-2.0
 *
 * libvos's kernel that is none, its service's hand on the shared memory, and its program's memory.
 */
#ifndef LIBVOS_FUZZ_H
#define LIBVOS_FUZZ_H

#include "libvos_c.h"

/* libvos's functions, by names that are nobody else's: libvos_call_read and so on. */
#define LIBVOS_CALL(result, name, arguments) result libvos_call_##name arguments __asm__(#name);
LIBVOS_NEXT(LIBVOS_CALL)
#undef LIBVOS_CALL

#pragma clang assume_nonnull begin

/* The channels: each has a device, a slice and a service of its own. */
#define LIBVOS_FUZZ_SOCKETS 0
#define LIBVOS_FUZZ_FILES 1
#define LIBVOS_FUZZ_CHANNELS 2
#define LIBVOS_FUZZ_ARENA_BYTES 16384

/* What the service does, and the numbers that the input decides. */
struct libvos_fuzz_input {
	/*
	 * The service may write now. `waits`: libvos waits for it, and comes again until it is
	 * answered. Returns how many accesses of libvos to shared memory pass before the next.
	 */
	uint32_t (*act)(int waits);
	/* One of 0 ..< bound, of at most 65536; 0 once the input is over. */
	uint32_t (*choose)(uint32_t bound);
};

struct libvos_fuzz_shape {
	uint32_t slot_count;
	uint32_t slots_offset;
	uint32_t arena_offset;
	uint32_t arena_bytes;
};

/* A process that begins, with channels of this shape; and its end. */
void libvos_fuzz_start(const struct libvos_fuzz_input *input,
		       const struct libvos_fuzz_shape *shapes);
void libvos_fuzz_stop(void);

/* The service's end of a channel: slots that libvos posted and did not let go of. */
uint64_t libvos_fuzz_posted(int channel);
/* The line as it stands in the slice. */
struct vos_slot libvos_fuzz_line(int channel, int slot);
/* Answers with the word that libvos waits for. */
void libvos_fuzz_answer(int channel, int slot, int64_t result, uint32_t length);
/* Writes a word of the slice, of the service's page, of the superblock. */
void libvos_fuzz_poke_slice(int channel, uint32_t offset, uint32_t value);
void libvos_fuzz_poke_page(int channel, uint32_t offset, uint32_t value);
void libvos_fuzz_poke_superblock(int channel, uint32_t offset, uint32_t value);
/* What was written may cost libvos the slots in use. */
void libvos_fuzz_harmed(void);
void libvos_fuzz_pass_time(uint64_t ticks);

/* The program's memory: exactly these bytes, until all is taken back. Full of `fill`. */
void *libvos_fuzz_lend(size_t bytes, uint8_t fill);
void libvos_fuzz_take_back(void);

/*
 * A call begins: on this descriptor, with these vectors, of which the kernel may be given what
 * the call itself was given. `writes`: into them. `ordered`: from the first byte on, without gaps;
 * then its result is the count of bytes that came. `offset`: in the file; -1: the descriptor's own;
 * -2: it has none.
 */
void libvos_fuzz_begin(int descriptor, const struct libvos_vector *_Nullable vectors, size_t count,
		       int writes, int ordered, int64_t offset);
/* A call ended with this result; `most` it may be. */
void libvos_fuzz_end(long result, long most);
/* Bytes that went into the program's memory since the call began. */
size_t libvos_fuzz_given(void);
/* One that calls the waiter's functions with the input's answers. */
void libvos_fuzz_set_waiter(int on);

#pragma clang assume_nonnull end

#endif /* LIBVOS_FUZZ_H */
