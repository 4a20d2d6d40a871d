// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: `channel FOLDER`, the host's part of one channel for two QEMU guests. It
 * speaks QEMU's ivshmem protocol (docs/specs/ivshmem-spec of QEMU) on
 * FOLDER/client.sock and FOLDER/service.sock, makes the region, and says in its
 * superblock who lives.
 */
#define _GNU_SOURCE
#include <err.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vos_abi.h"

enum {
	REGION_BYTES = 32 << 20,
	SLICES = 16, /* one is the kernel's */
	SLOTS = 32,
	EVENTS = 256,
	TABLE_OFFSET = 0x3000,
	RING_OFFSET = 0x4000,
	SLICES_OFFSET = 0x10000,
	STRIDE = 1 << 20,
	SLOTS_OFFSET = 4096,
	ARENA_OFFSET = 8192,
	PEERS = 2, /* client and service; the host is a third */
};

static const char *const names[PEERS] = { "client", "service" };
static struct vos_superblock *block;
static int memory;
static int bells[PEERS + 1];
static int entrances[PEERS];
static int guests[PEERS] = { -1, -1 };

static void make_region(void)
{
	struct vos_superblock first = {
		.magic = VOS_MAGIC, .abi_version = VOS_ABI_VERSION, .channel = 1,
		.region_bytes = REGION_BYTES, .carries = VOS_CARRIES_SOCKETS,
		.slice_count = SLICES, .slice_table_offset = TABLE_OFFSET,
		.event_ring_offset = RING_OFFSET, .event_count = EVENTS,
		.slot_count = SLOTS, .slices_offset = SLICES_OFFSET,
		.slice_stride = STRIDE, .slots_offset = SLOTS_OFFSET,
		.arena_offset = ARENA_OFFSET, .arena_bytes = STRIDE - ARENA_OFFSET,
		.name = "network",
	};

	memory = memfd_create("region", MFD_CLOEXEC);
	if (memory < 0 || ftruncate(memory, REGION_BYTES))
		err(1, "no region");
	block = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (block == MAP_FAILED)
		err(1, "no mapping of the region");
	*block = first;
}

static void live(int peer, uint32_t life)
{
	uint32_t *generation = peer == VOS_PEER_CLIENT ? &block->client_generation :
							 &block->service_generation;
	uint32_t *word = peer == VOS_PEER_CLIENT ? &block->client_life :
						   &block->service_life;

	if (life == VOS_LIFE_ALIVE)
		__atomic_add_fetch(generation, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(word, life, __ATOMIC_SEQ_CST);
}

/* A message of the protocol: a number, and with it perhaps a descriptor. */
static void tell(int guest, int64_t number, int descriptor)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec part = { &number, sizeof(number) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	memcpy(CMSG_DATA(&control.head), &descriptor, sizeof(descriptor));
	if (descriptor >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	if (sendmsg(guest, &message, MSG_NOSIGNAL) != sizeof(number))
		warn("a guest was not told");
}

static void join(int peer)
{
	int guest = accept(entrances[peer], NULL, NULL), other = 1 - peer;

	if (guest < 0 || guests[peer] >= 0) {
		warnx("%s: no room for another guest", names[peer]);
		close(guest);
		return;
	}
	tell(guest, 0, -1); /* the protocol's version */
	tell(guest, peer, -1);
	tell(guest, -1, memory);
	if (guests[other] >= 0)
		tell(guest, other, bells[other]);
	tell(guest, VOS_PEER_HOST, bells[VOS_PEER_HOST]);
	tell(guest, peer, bells[peer]);
	if (guests[other] >= 0)
		tell(guests[other], peer, bells[peer]);
	guests[peer] = guest;
	live(peer, VOS_LIFE_ALIVE);
}

static void leave(int peer)
{
	int other = 1 - peer;

	close(guests[peer]);
	guests[peer] = -1;
	live(peer, VOS_LIFE_FAILED);
	if (guests[other] >= 0)
		tell(guests[other], peer, -1);
	eventfd_write(bells[other], 1);
}

static void open_entrance(const char *folder, int peer)
{
	struct sockaddr_un name = { AF_UNIX };
	size_t length = snprintf(name.sun_path, sizeof(name.sun_path), "%s/%s.sock",
				 folder, names[peer]);

	entrances[peer] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (length >= sizeof(name.sun_path) || entrances[peer] < 0 ||
	    bind(entrances[peer], (struct sockaddr *)&name, sizeof(name)) ||
	    listen(entrances[peer], 1))
		err(1, "%s/%s.sock", folder, names[peer]);
}

/* Sleeps until a guest comes or goes. */
static void serve(void)
{
	struct pollfd look[2 * PEERS];
	char word[8];

	for (int peer = 0; peer < PEERS; peer++) {
		look[peer] = (struct pollfd){ entrances[peer], POLLIN, 0 };
		look[PEERS + peer] = (struct pollfd){ guests[peer], POLLIN, 0 };
	}
	if (poll(look, 2 * PEERS, -1) < 0)
		err(1, "poll");
	for (int peer = 0; peer < PEERS; peer++) {
		if (look[PEERS + peer].revents && read(guests[peer], word, sizeof(word)) <= 0)
			leave(peer);
		if (look[peer].revents)
			join(peer);
	}
}

int main(int count, char **words)
{
	if (count != 2)
		errx(1, "usage: channel FOLDER");
	make_region();
	for (int i = 0; i <= PEERS; i++)
		if ((bells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0)
			err(1, "eventfd");
	for (int peer = 0; peer < PEERS; peer++)
		open_entrance(words[1], peer);
	puts("ready");
	fflush(stdout);
	for (;;)
		serve();
}
