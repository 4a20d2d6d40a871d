// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: a process tries to see the slice of another, by all ways that a descriptor,
 * a mapping or a process can be reached; and what the killed held is free at once.
 */
#define _GNU_SOURCE
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "slices.h"

static const char secret[] = "nobody else's";

/* Reads the owner's memory at @address: by /proc, by a system call, by ptrace. */
static int looks_from_outside(pid_t owner, void *address)
{
	char path[40], bytes[sizeof(secret)] = "";
	struct iovec here = { bytes, sizeof(bytes) }, there = { address, sizeof(bytes) };
	int file, seen = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", owner);
	file = open(path, O_RDWR);
	seen |= file < 0; /* root may open it: only the pages are refused */
	seen |= (pread(file, bytes, sizeof(bytes), (off_t)address) >= 0) << 1;
	seen |= (pwrite(file, "x", 1, (off_t)address) >= 0) << 2;
	seen |= (process_vm_readv(owner, &here, 1, &there, 1, 0) >= 0) << 3;
	seen |= (process_vm_writev(owner, &here, 1, &there, 1, 0) >= 0) << 4;
	seen |= (ptrace(PTRACE_ATTACH, owner, 0, 0) != 0) << 5;
	waitpid(owner, NULL, 0);
	errno = 0;
	seen |= (ptrace(PTRACE_PEEKDATA, owner, address, 0) != -1 || !errno) << 6;
	ptrace(PTRACE_DETACH, owner, 0, 0);
	close(file);
	return seen | !memcmp(bytes, secret, sizeof(secret)) << 7;
}

/* With a descriptor that another took a slice by: bits of what succeeds. */
static int uses_descriptor(int device, const struct slice *slice)
{
	struct vos_ioc_wait wait = { 0, 0, 0, 0 };
	struct vos_ioc_info info;
	int done = 0;

	done |= maps(device, slice->info.map_bytes, PROT_READ, 0);
	done |= maps(device, 4096, PROT_READ, 0) << 1;
	done |= (ioctl(device, VOS_IOC_DOORBELL, VOS_PEER_SERVICE) >= 0) << 2;
	done |= (ioctl(device, VOS_IOC_WAIT, &wait) >= 0 || errno != EPERM) << 3;
	done |= (ioctl(device, VOS_IOC_TAKE_SLICE, &info) >= 0) << 4;
	return done;
}

/* At the offset of each slice, and around: of a descriptor with and without one. */
static int maps_offsets(int device, const struct slice *slice)
{
	int done = 0;

	for (int64_t i = -2; i < 40; i++) {
		off_t offset = i * (int64_t)slice->info.map_bytes;

		done += offset && maps(device, 4096, PROT_READ, offset);
		done += maps(device, 4096, PROT_READ, 0x10000 + offset);
		done += maps(device, slice->info.map_bytes, PROT_READ | PROT_WRITE,
			     0x10000 + offset);
	}
	return done;
}

static void in_a_child(struct slice *slice, int way)
{
	int fresh, status;
	pid_t child = fork();

	if (!child) {
		fresh = open("/dev/vos/network", O_RDWR);
		if (uses_descriptor(slice->device, slice))
			_exit(1);
		if (maps_offsets(fresh, slice) || maps_offsets(slice->device, slice))
			_exit(2);
		if (uses_descriptor(receive_descriptor(way), slice))
			_exit(3);
		signal(SIGSEGV, SIG_DFL);
		_exit(((volatile unsigned char *)slice->map)[0] ? 4 : 5);
	}
	status = wait_for(child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "%x", status);
}

/* A descriptor of its own, by way of the inherited one. */
static void by_name(struct slice *slice)
{
	char path[40];
	pid_t child;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", slice->device);
	child = fork();
	if (!child) {
		int again = open(path, O_RDWR);

		_exit(again < 0 ? 1 : maps(again, 4096, PROT_READ, 0) ? 2 :
		      maps_offsets(again, slice) ? 3 : 0);
	}
	CHECK(wait_for(child) == 0);
}

void secrets(void)
{
	struct slice slice = {};
	int way[2], seen;
	pid_t child;
	char *place;

	take(&slice);
	place = (char *)slice.map + slice.info.arena_offset;
	memcpy(place, secret, sizeof(secret));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, way));
	CHECK(send_descriptor(way[0], slice.device) == 1);
	in_a_child(&slice, way[1]);
	by_name(&slice);
	CHECK(maps_offsets(slice.device, &slice) == 0);
	CHECK(mremap(slice.map, slice.info.map_bytes, slice.info.map_bytes * 2,
		     MREMAP_MAYMOVE) == MAP_FAILED);
	CHECK(madvise(slice.map, slice.info.map_bytes, MADV_DOFORK) < 0);
	child = fork();
	if (!child)
		_exit(looks_from_outside(getppid(), place));
	seen = wait_for(child);
	CHECK(seen == 0, "%x", seen);
	CHECK(!memcmp(place, secret, sizeof(secret)));
	munmap(slice.map, slice.info.map_bytes);
	close(slice.device);
	close(way[0]);
	close(way[1]);
}

enum { HELD = 24, FIRST_PORT = 7600 };

/* Of all kinds, and a call under way, and a slice with one attached. */
static void hold_much(int ready)
{
	struct slice slice = {};
	int pair[2];

	for (int i = 0; i < HELD; i++)
		i % 2 ? listener(FIRST_PORT + i) : datagram(FIRST_PORT + i);
	stream_pair(FIRST_PORT + HELD, pair);
	slice.device = open("/dev/vos/network", O_RDWR);
	if (ioctl(slice.device, VOS_IOC_TAKE_SLICE, &slice.info) ||
	    ioctl(pair[0], VOS_IOC_ATTACH, slice.info.slice) < 0)
		_exit(1);
	write(ready, &slice.info.slice, sizeof(slice.info.slice));
	read(pair[1], pair, 1);
	_exit(2);
}

static bool takes_port(int port)
{
	struct sockaddr_in address = at(port);
	int s = socket(AF_INET, port % 2 ? SOCK_STREAM : SOCK_DGRAM, 0);
	bool taken = !bind(s, ADDRESS(address)) && (port % 2 == 0 || !listen(s, 1));

	close(s);
	return taken;
}

/* All that a killed process held is free within a second, its slice too. */
void freed(void)
{
	uint32_t slice = 0;
	struct slice mine = {};
	int ready[2], status, held = 0;
	pid_t child;

	CHECK(!pipe(ready));
	child = fork();
	if (!child)
		hold_much(ready[1]);
	CHECK(read(ready[0], &slice, sizeof(slice)) == sizeof(slice));
	CHECK(!takes_port(FIRST_PORT) && !takes_port(FIRST_PORT + 1));
	nap(50);
	kill(child, SIGKILL);
	nap(1000);
	for (int i = 0; i < HELD; i++)
		held += !takes_port(FIRST_PORT + i);
	CHECK(held == 0, "%d still held", held);
	mine.device = open("/dev/vos/network", O_RDWR);
	CHECK(!ioctl(mine.device, VOS_IOC_TAKE_SLICE, &mine.info) && mine.info.slice == slice);
	close(mine.device);
	waitpid(child, &status, 0);
	CHECK(WIFSIGNALED(status));
	close(ready[0]);
	close(ready[1]);
}
