/* SPDX-License-Identifier: Apache-2.0
 *
 * For the tests only: what Swift cannot call (variadic syscall, fork) or spell
 * (control messages, arrays of a region).
 */
#ifndef CDOUBLE_H
#define CDOUBLE_H
#include <stddef.h>
#include <stdint.h>
#include "vos_abi.h"
#include "vos_atomic.h"

long cdouble_syscall(long number, long a, long b, long c, long d, long e, long f) __asm__("syscall");
int cdouble_fork(void) __asm__("fork");
int cdouble_ioctl(int fd, unsigned long command, unsigned long argument) __asm__("ioctl");
int cdouble_open(const char *path, int flags, int mode) __asm__("open");
int cdouble_fallocate(int fd, int mode, long offset, long length) __asm__("fallocate");
int cdouble_fcntl(int fd, int command, long argument) __asm__("fcntl");

int cdouble_close_range(unsigned first, unsigned last, int flags) __asm__("close_range");
struct cdouble_event {
	uint32_t events;
	uint64_t data;
} __attribute__((packed));
int cdouble_inotify_add_watch(int fd, const char *path, uint32_t events) __asm__("inotify_add_watch");
int cdouble_epoll_create1(int flags) __asm__("epoll_create1");
int cdouble_epoll_ctl(int fd, int operation, int of, struct cdouble_event *event) __asm__("epoll_ctl");
int cdouble_epoll_wait(int fd, struct cdouble_event *event, int count, int timeout) __asm__("epoll_wait");

struct cdouble_many {
	struct {
		void *name;
		uint32_t name_length;
		void *vectors;
		size_t vector_count;
		void *control;
		size_t control_length;
		int32_t flags;
	} message;
	uint32_t length;
};
int cdouble_recvmmsg(int fd, struct cdouble_many *list, unsigned count, int flags, void *timeout) __asm__("recvmmsg");
int cdouble_sendmmsg(int fd, struct cdouble_many *list, unsigned count, int flags) __asm__("sendmmsg");
long cdouble_preadv(int fd, void *vectors, int count, long offset) __asm__("preadv");
long cdouble_pwritev(int fd, void *vectors, int count, long offset) __asm__("pwritev");
long cdouble_preadv2(int fd, void *vectors, int count, long offset, int flags) __asm__("preadv2");
long cdouble_pwritev2(int fd, void *vectors, int count, long offset, int flags) __asm__("pwritev2");
int cdouble_syncfs(int fd) __asm__("syncfs");

/* What a process tells the service about a descriptor it passes. */
struct cdouble_attach {
	uint32_t channel;
	uint32_t slice;
	uint32_t file;
};

/* libvos_c.h's vos_waiter, as a second library sees it. */
struct cdouble_pending {
	const uint32_t *state;
	uint32_t submitted, slot;
	int32_t device;
	uint32_t carries;
};
struct cdouble_waiter {
	uint32_t version;
	int (*park)(const struct cdouble_pending *);
	int (*ready)(int descriptor, int events);
};

struct cdouble_message {
	struct {
		size_t length;
		int32_t level, type, fd, pad;
	} control;
	struct {
		void *base;
		size_t length;
	} vector;
	struct {
		void *name;
		uint32_t name_length;
		void *vectors;
		size_t vector_count;
		void *control;
		size_t control_length;
		int32_t flags;
	} header;
};

static inline void cdouble_prepare(struct cdouble_message *m, void *data, size_t length, int fd)
{
	m->control.length = 20;
	m->control.level = 1; /* SOL_SOCKET */
	m->control.type = 1;  /* SCM_RIGHTS */
	m->control.fd = fd;
	m->vector.base = data;
	m->vector.length = length;
	m->header.name = 0;
	m->header.name_length = 0;
	m->header.vectors = &m->vector;
	m->header.vector_count = 1;
	m->header.control = &m->control;
	m->header.control_length = sizeof(m->control);
	m->header.flags = 0;
}

static inline void *cdouble_header(struct cdouble_message *m) { return &m->header; }

static inline struct vos_slice_entry *cdouble_entry(uint8_t *region, uint32_t slice)
{
	struct vos_superblock *s = (struct vos_superblock *)region;
	return (struct vos_slice_entry *)(region + s->slice_table_offset) + slice;
}
static inline uint32_t *cdouble_entry_state(struct vos_slice_entry *e) { return &e->state; }
static inline uint8_t *cdouble_slice(uint8_t *region, uint32_t slice)
{
	struct vos_superblock *s = (struct vos_superblock *)region;
	return region + s->slices_offset + s->slice_stride * slice;
}
static inline struct vos_slot *cdouble_slot(uint8_t *region, uint32_t slice, uint32_t slot)
{
	struct vos_superblock *s = (struct vos_superblock *)region;
	return (struct vos_slot *)(cdouble_slice(region, slice) + s->slots_offset) + slot;
}
/* In a reserved word of the service's line. */
static inline uint32_t *cdouble_completions(uint8_t *region, uint32_t slice)
{
	return &((struct vos_slice_header *)cdouble_slice(region, slice))->reserved1[12];
}
static inline uint32_t *cdouble_watch_count(uint8_t *region, uint32_t slice)
{
	return &((struct vos_slice_header *)cdouble_slice(region, slice))->watch_count;
}
static inline uint8_t *cdouble_arena(uint8_t *region, uint32_t slice)
{
	struct vos_superblock *s = (struct vos_superblock *)region;
	return cdouble_slice(region, slice) + s->arena_offset;
}
#endif
