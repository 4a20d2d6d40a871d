/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of a process in which libvos is fuzzed: slices, which the service writes to as well,
 * and what the program lends for a call. A slot's line and its part of the arena may be touched
 * while the slot is given out, and a copy must end where its call's bytes belong.
 */
#include "state.h"

#undef __builtin_memcpy

#define UNCHECKED __attribute__((no_sanitize("address")))
#define GAP 4096
#define CHANNEL_BYTES (GAP + FUZZ_SLICE_BYTES + GAP + VOS_PAGE_BYTES + GAP + VOS_PAGE_BYTES + GAP)
#define LENT_BYTES (1 << 17)
/* More than any call waits for an answer, and for all that keeps it waiting. */
#define MOST_WAITS (1 << 18)

struct channel fuzz_channels[LIBVOS_FUZZ_CHANNELS];
struct libvos_fuzz_input fuzz_input;
struct call fuzz_call;
bool fuzz_is_running;

static uint8_t shared[LIBVOS_FUZZ_CHANNELS][CHANNEL_BYTES] __attribute__((aligned(4096)));
static uint8_t lent[LENT_BYTES] __attribute__((aligned(4096)));
static size_t lent_bytes;
static uint64_t ticks;
static uint32_t gap;
static bool is_acting;

static bool is_within(const volatile void *start, size_t bytes, const void *area, size_t area_bytes)
{
	uintptr_t at = (uintptr_t)start - (uintptr_t)area;

	return at <= area_bytes && bytes <= area_bytes - at;
}

/* The service. */

void fuzz_let_act(void)
{
	if (!fuzz_is_running || is_acting)
		return;
	if (gap) {
		gap--;
		return;
	}
	is_acting = true;
	gap = fuzz_input.act(0);
	is_acting = false;
}

void fuzz_wait(void)
{
	if (!fuzz_is_running || is_acting)
		return;
	if (++fuzz_call.waits > MOST_WAITS)
		fuzz_fail("libvos waits for ever");
	is_acting = true;
	gap = fuzz_input.act(1);
	is_acting = false;
}

void libvos_fuzz_step(const volatile void *word)
{
	if (is_within(word, 4, shared, sizeof(shared)))
		fuzz_let_act();
}

void libvos_fuzz_pause(void)
{
	ticks += 40;
	/* When the input is over, nothing else would end a wait that looks only. */
	if (gap == UINT32_MAX)
		fuzz_wait();
	else
		fuzz_let_act();
}

uint64_t libvos_fuzz_ticks(void) { return ticks += 10; }
void libvos_fuzz_pass_time(uint64_t more) { ticks += more; }
void libvos_fuzz_harmed(void) { fuzz_call.harmed = true; }
uint64_t libvos_fuzz_posted(int channel) { return fuzz_channels[channel].posted; }

static struct vos_slot *line(struct channel *c, uint32_t slot)
{
	return (struct vos_slot *)(c->slice + c->shape.slots_offset) + slot;
}

static uint8_t *piece(struct channel *c, uint32_t slot)
{
	return c->slice + c->shape.arena_offset + slot * c->piece_bytes;
}

/* Whether the word is the one with which libvos takes the answer. */
static bool is_answer(struct channel *c, uint32_t slot, uint32_t word)
{
	return (word & ~VOS_SLOT_WAITER) == ((c->words[slot] & ~VOS_SLOT_PHASE_MASK) | VOS_SLOT_DONE);
}

UNCHECKED static void poke(void *area, uint32_t bytes, uint32_t offset, uint32_t value)
{
	if (offset <= bytes - 4)
		*(volatile uint32_t *)((uint8_t *)area + (offset & ~3u)) = value;
}

void libvos_fuzz_poke_slice(int channel, uint32_t offset, uint32_t value)
{
	struct channel *c = &fuzz_channels[channel];
	uint32_t slot = (offset - c->shape.slots_offset) / sizeof(struct vos_slot);

	poke(c->slice, FUZZ_SLICE_BYTES, offset, value);
	if (slot >= c->shape.slot_count)
		return;
	c->touched |= 1ull << slot;
	if ((offset & 60) == 0 && is_answer(c, slot, value))
		c->answered |= 1ull << slot;
}

void libvos_fuzz_poke_page(int channel, uint32_t offset, uint32_t value)
{
	poke(fuzz_channels[channel].page, VOS_PAGE_BYTES, offset, value);
}

void libvos_fuzz_poke_superblock(int channel, uint32_t offset, uint32_t value)
{
	poke(fuzz_channels[channel].superblock, VOS_PAGE_BYTES, offset, value);
}

UNCHECKED struct vos_slot libvos_fuzz_line(int channel, int slot)
{
	return *(volatile struct vos_slot *)line(&fuzz_channels[channel], (uint32_t)slot);
}

/* All that the service must leave as it is. */
UNCHECKED static bool is_same_call(const struct vos_slot *a, const struct vos_slot *b)
{
	return a->call == b->call && a->flags == b->flags && a->object == b->object &&
	       a->data_offset == b->data_offset && a->data_capacity == b->data_capacity &&
	       a->argument[0] == b->argument[0] && a->argument[1] == b->argument[1] &&
	       a->argument[2] == b->argument[2];
}

UNCHECKED void libvos_fuzz_answer(int channel, int slot, int64_t result, uint32_t length)
{
	struct channel *c = &fuzz_channels[channel];
	volatile struct vos_slot *l = line(c, (uint32_t)slot);
	uint64_t bit = 1ull << slot;

	/* None that a program may see: the channel counts as broken. */
	if (result <= -VOS_ERRNO_LIMIT)
		fuzz_call.harmed = true;
	l->result = result;
	l->data_length = length;
	l->state = (c->words[slot] & ~VOS_SLOT_PHASE_MASK) | VOS_SLOT_DONE;
	/* libvos may have taken an earlier answer already. */
	if (c->answered & bit) {
		c->touched |= bit;
		return;
	}
	c->answered |= bit;
	c->touched &= ~bit;
	/* A lost call is let go of, whatever its line says. */
	bool is_believed = result == VOS_RESULT_LOST || c->unsure & bit ||
			   is_same_call((const void *)l, &c->lines[slot]);
	c->damaged = (c->damaged & ~bit) | (is_believed ? 0 : bit);
}

/* Slots. */

/* Whose bitmap it is; null: none. */
static struct channel *with_bitmap(const volatile uint64_t *word)
{
	for (uint32_t i = 0; i < libvos_pages.process.channel_count; i++) {
		struct libvos_channel *one = libvos_channel_at(i);

		for (int j = 0; j < LIBVOS_FUZZ_CHANNELS; j++)
			if (word == &one->busy && one->base == fuzz_channels[j].slice)
				return &fuzz_channels[j];
	}
	return NULL;
}

void libvos_fuzz_taking(const volatile uint64_t *word, uint64_t before, uint64_t bits)
{
	struct channel *c = with_bitmap(word);
	uint64_t taken = bits & ~before;

	if (!c || !taken)
		return;
	if (taken & (taken - 1) || taken & c->owned)
		fuzz_fail("a slot is given out twice");
	uint32_t slot = (uint32_t)__builtin_ctzll(taken);
	if (slot >= c->shape.slot_count)
		fuzz_fail("a slot is given out that does not exist");
	c->owned |= taken;
	c->touched &= ~taken;
	fuzz_allow(line(c, slot), sizeof(struct vos_slot));
	fuzz_allow(piece(c, slot), c->piece_bytes);
	fuzz_let_act();
}

void libvos_fuzz_freeing(const volatile uint64_t *word, uint64_t before, uint64_t bits)
{
	struct channel *c = with_bitmap(word);

	if (!c)
		return;
	if (!bits || bits & (bits - 1) || !(bits & before) || !(bits & c->owned))
		fuzz_fail("a slot is let go of that is not given out");
	uint32_t slot = (uint32_t)__builtin_ctzll(bits);
	if (c->posted & ~c->answered & bits)
		fuzz_fail("a slot is let go of whose call nobody has answered");
	if (c->posted & c->damaged & ~c->touched & bits)
		fuzz_fail("an answer is taken to a call that was changed");
	c->owned &= ~bits;
	c->posted &= ~bits;
	fuzz_forbid(line(c, slot), sizeof(struct vos_slot));
	fuzz_forbid(piece(c, slot), c->piece_bytes);
}

/* Its own part of the arena, and no more. */
static void expect_fits(struct channel *c, uint32_t slot)
{
	const struct vos_slot *l = line(c, slot);

	if (l->data_offset != slot * c->piece_bytes || l->data_length > c->piece_bytes ||
	    l->data_capacity > c->piece_bytes || l->flags)
		fuzz_fail("a call is posted with data that is not the slot's");
}

void libvos_fuzz_posting(const volatile uint32_t *word, uint32_t value)
{
	for (int i = 0; i < LIBVOS_FUZZ_CHANNELS; i++) {
		struct channel *c = &fuzz_channels[i];
		size_t bytes = c->shape.slot_count * sizeof(struct vos_slot);

		if (!is_within(word, 4, c->slice + c->shape.slots_offset, bytes))
			continue;
		uint32_t slot = (uint32_t)((struct vos_slot *)word - line(c, 0));
		if (word != &line(c, slot)->state || !(c->owned >> slot & 1))
			fuzz_fail("a call is posted in a slot that is not given out");
		if (c->posted >> slot & 1)
			fuzz_fail("a call is posted in a slot that has one");
		if ((value & 7) != VOS_SLOT_SUBMITTED || value == c->words[slot])
			fuzz_fail("a call is posted with a word that it must not have");
		uint64_t bit = 1ull << slot;
		/* What the service wrote to while libvos did is nobody's word. */
		if (!(c->touched & bit))
			expect_fits(c, slot);
		c->words[slot] = value;
		c->posted |= bit;
		c->answered &= ~bit;
		c->damaged &= ~bit;
		c->unsure = (c->unsure & ~bit) | (c->touched & bit);
		c->lines[slot] = *line(c, slot);
	}
}

/* The program's memory. */

bool fuzz_is_lent(const void *start, size_t bytes)
{
	return is_within(start, bytes, lent, lent_bytes);
}

void *libvos_fuzz_lend(size_t bytes, uint8_t fill)
{
	uint8_t *start = lent + lent_bytes + 16;

	/* To the byte: what follows stays forbidden, and 16 bytes more. */
	lent_bytes += (bytes + 31) & ~(size_t)15;
	if (lent_bytes + 16 > LENT_BYTES)
		fuzz_fail("the program has no memory left");
	fuzz_allow(start, bytes);
	for (size_t i = 0; i < bytes; i++)
		start[i] = fill;
	return start;
}

void libvos_fuzz_take_back(void)
{
	lent_bytes = 0;
	fuzz_forbid(lent, LENT_BYTES);
}

uint8_t *fuzz_place(size_t done)
{
	for (size_t i = 0; i < fuzz_call.count; i++) {
		if (done < fuzz_call.vectors[i].length)
			return (uint8_t *)fuzz_call.vectors[i].base + done;
		done -= fuzz_call.vectors[i].length;
	}
	return NULL;
}

static void expect_given_out(struct channel *c, const void *start, size_t bytes)
{
	for (uint32_t slot = 0; slot < c->shape.slot_count; slot++)
		if (c->owned >> slot & 1 && is_within(start, bytes, piece(c, slot), c->piece_bytes))
			return;
	fuzz_fail("a copy is not within the arena of a slot that is given out");
}

void libvos_fuzz_copy(void *to, const void *from, size_t bytes)
{
	fuzz_expect_allowed(to, bytes, "a copy writes to what is not its own");
	fuzz_expect_allowed(from, bytes, "a copy reads what is not its own");
	for (int i = 0; i < LIBVOS_FUZZ_CHANNELS; i++) {
		struct channel *c = &fuzz_channels[i];

		if (is_within(from, 0, c->slice, FUZZ_SLICE_BYTES)) {
			expect_given_out(c, from, bytes);
			if (!fuzz_call.writes || !fuzz_is_lent(to, bytes))
				fuzz_fail("what the service sent goes to none of the call's buffers");
			if (fuzz_call.ordered && to != fuzz_place(fuzz_call.given))
				fuzz_fail("what the service sent goes to a wrong place");
			fuzz_call.given += bytes;
		}
		if (is_within(to, 0, c->slice, FUZZ_SLICE_BYTES)) {
			expect_given_out(c, to, bytes);
			if (!fuzz_is_lent(from, bytes))
				fuzz_fail("the service gets what the program did not give");
		}
	}
	for (size_t i = 0; i < bytes; i++)
		((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
	fuzz_let_act();
}

/* A process, and its calls. */

static void make(int index, const struct libvos_fuzz_shape *shape)
{
	struct channel *c = &fuzz_channels[index];
	uint8_t *start = shared[index];

	fuzz_allow(start, CHANNEL_BYTES);
	__builtin_memset(start, 0, CHANNEL_BYTES);
	*c = (struct channel){
		.slice = start + GAP,
		.page = (void *)(start + GAP + FUZZ_SLICE_BYTES + GAP),
		.superblock = (void *)(start + GAP + FUZZ_SLICE_BYTES + GAP + VOS_PAGE_BYTES + GAP),
		.shape = *shape,
		.piece_bytes = shape->arena_bytes / shape->slot_count & ~63u,
	};
	c->page->state = VOS_SIDE_READY;
	c->superblock->service_life = VOS_LIFE_ALIVE;
	c->superblock->service_generation = 1;
	fuzz_forbid(start, CHANNEL_BYTES);
	fuzz_allow(c->slice, sizeof(struct vos_slice_header));
	fuzz_allow(c->page, sizeof(*c->page));
	fuzz_allow(c->superblock, sizeof(*c->superblock));
}

void libvos_fuzz_start(const struct libvos_fuzz_input *input,
		       const struct libvos_fuzz_shape *shapes)
{
	fuzz_input = *input;
	gap = 0;
	ticks = 0;
	fuzz_call = (struct call){ .descriptor = -1 };
	libvos_fuzz_take_back();
	for (int i = 0; i < LIBVOS_FUZZ_CHANNELS; i++)
		make(i, &shapes[i]);
	fuzz_kernel_begin();
	fuzz_is_running = true;
}

void libvos_fuzz_stop(void)
{
	fuzz_is_running = false;
	fuzz_kernel_finish();
}

/* Where a file's entry is: Word.swift. -1: it has none. */
static int64_t file_offset(int descriptor)
{
	uint64_t word = descriptor < 0 || descriptor >= LIBVOS_DESCRIPTORS ?
				0 : libvos_entry_at(descriptor)->word;

	return (word & 7) == 3 ? 0 : (word & 7) == 6 ? (int64_t)(word >> 16) : -1;
}

void libvos_fuzz_begin(int descriptor, const struct libvos_vector *vectors, size_t count,
		       int writes, int ordered, int64_t offset)
{
	fuzz_call = (struct call){
		.descriptor = descriptor, .vectors = vectors, .count = count, .writes = writes,
		.ordered = ordered, .moves = offset == -1,
		.offset = offset == -1 ? file_offset(descriptor) : offset,
	};
	for (int i = 0; i < LIBVOS_FUZZ_CHANNELS; i++)
		fuzz_call.owned[i] = fuzz_channels[i].owned;
	*__errno_location() = 0;
}

size_t libvos_fuzz_given(void) { return fuzz_call.given; }

void libvos_fuzz_end(long result, long most)
{
	int error = *__errno_location();

	if (result > most || result < -1)
		fuzz_fail("a result is more than was asked for, or none at all");
	if (result == -1 && (error <= 0 || error >= VOS_ERRNO_LIMIT))
		fuzz_fail("an errno that programs do not know");
	if (fuzz_call.ordered && fuzz_call.writes &&
	    fuzz_call.given != (size_t)(result < 0 ? 0 : result))
		fuzz_fail("a result does not count what came");
	if (fuzz_call.moves && fuzz_call.offset >= 0 && file_offset(fuzz_call.descriptor) >= 0 &&
	    file_offset(fuzz_call.descriptor) != fuzz_call.offset + (result < 0 ? 0 : result))
		fuzz_fail("a file's offset does not count what was moved");
	for (int i = 0; i < LIBVOS_FUZZ_CHANNELS; i++)
		if (fuzz_channels[i].owned & ~fuzz_call.owned[i] && !fuzz_call.harmed)
			fuzz_fail("a slot is lost");
	fuzz_call = (struct call){ .descriptor = -1 };
}
