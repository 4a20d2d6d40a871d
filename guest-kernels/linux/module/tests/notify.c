// SPDX-License-Identifier: GPL-2.0-only
/* vos: checks of what a process is told of files that somebody watches. */
#define _GNU_SOURCE
#include <sys/inotify.h>
#include <sys/stat.h>

#include "slices.h"

#define FOLDER "/watched"
#define PLACE FOLDER "/file"

static int asked(struct slice *slice, int flags)
{
	int file = open(PLACE, flags | O_CREAT, 0600);
	int result = outcome(ioctl(slice->device, VOS_IOC_WATCHED, file));

	close(file);
	return result;
}

static uint32_t count(const struct slice *slice)
{
	return __atomic_load_n(&((struct vos_slice_header *)slice->map)->watch_count,
			       __ATOMIC_ACQUIRE);
}

/* What a watch of @place for @events means to who reads, and to who writes. */
static void watched_for(struct slice *slice, const char *place, uint32_t events, int reader,
			int writer)
{
	int notes = inotify_init1(IN_CLOEXEC);
	uint32_t before = count(slice);

	CHECK(inotify_add_watch(notes, place, events) > 0);
	CHECK(count(slice) != before);
	CHECK(asked(slice, O_RDONLY) == reader, "%s %x", place, events);
	CHECK(asked(slice, O_WRONLY) == writer, "%s %x", place, events);
	CHECK(asked(slice, O_RDWR) == (reader || writer));
	close(notes);
	nap(200); /* watches go a little later */
	CHECK(asked(slice, O_RDWR) == 0);
}

void watches(void)
{
	struct slice slice = {}, other = {};
	int notes = inotify_init1(IN_CLOEXEC), mark;

	take(&slice);
	CHECK(!mkdir(FOLDER, 0700));
	CHECK(asked(&slice, O_RDWR) == 0);
	watched_for(&slice, PLACE, IN_MODIFY, 0, 1);
	watched_for(&slice, PLACE, IN_ACCESS, 1, 0);
	watched_for(&slice, FOLDER, IN_ALL_EVENTS, 1, 1);
	watched_for(&slice, FOLDER, IN_CREATE | IN_CLOSE_WRITE, 0, 0);
	watched_for(&slice, "/", IN_ALL_EVENTS, 0, 0);

	/* A watch that changes. */
	mark = inotify_add_watch(notes, FOLDER, IN_CREATE);
	CHECK(asked(&slice, O_WRONLY) == 0);
	uint32_t before = count(&slice);
	CHECK(inotify_add_watch(notes, FOLDER, IN_MODIFY | IN_MASK_ADD) == mark);
	CHECK(count(&slice) != before && asked(&slice, O_WRONLY) == 1);
	close(notes);

	CHECK(ioctl(slice.device, VOS_IOC_WATCHED, -1) < 0 && errno == EBADF);
	CHECK(ioctl(slice.device, VOS_IOC_WATCHED, open(FOLDER, O_PATH)) < 0 && errno == EBADF);
	CHECK(ioctl(slice.device, VOS_IOC_WATCHED, slice.device) == 0);
	munmap(slice.map, slice.info.map_bytes);
	close(slice.device);
	unlink(PLACE);
	rmdir(FOLDER);
	nap(500);
	take(&other); /* whatever was counted, it has nothing to do with a new process */
	CHECK(count(&other) == 0);
	munmap(other.map, other.info.map_bytes);
	close(other.device);
}
