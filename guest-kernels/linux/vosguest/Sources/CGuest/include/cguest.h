/* SPDX-License-Identifier: Apache-2.0
 *
 * What Swift cannot import by itself: system calls by number (the C library has
 * no wrapper, or one that acts on all threads at once), structures with unions,
 * and what must happen between fork and exec.
 */
#ifndef CGUEST_H
#define CGUEST_H

#include <fcntl.h>
#include <linux/fuse.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <sys/wait.h>

/* A system call; minus the errno where it fails. */
long guest_call(long number, long a, long b, long c, long d, long e, long f);

/* What acts on the calling thread alone: its file-system identity. Returns 0 or minus an errno. */
int guest_become(uint32_t uid, uint32_t gid);
/*
 * Of the capabilities in the mask `all` the calling thread keeps `kept`, as far as it ever had
 * them; the others are as they were. Costs nothing when that is so already; a thread uses one
 * `all`. Returns 0 or minus an errno.
 */
int guest_keep_rights(uint32_t all, uint32_t kept);
/* Drops supplementary groups of the calling thread. */
int guest_drop_groups(void);

/* A file handle of 8 bytes, as ext2, ext3, ext4 and others give them: 0, or minus an errno. */
int guest_handle_of(int fd, uint64_t *handle, int *type);
int guest_open_handle(int mount_fd, uint64_t handle, int type, int flags);
/* 1 if `fd` is the root of a mount. */
int guest_is_mount_root(int fd);

/* statx of `fd` itself. 0 or minus an errno. */
int guest_attributes(int fd, struct fuse_attr *attributes);

struct guest_child {
	int input;  /* write end of its stdin */
	int output; /* read end of its stdout */
	int errors; /* read end of its stderr */
	int pidfd;
	int pid;
};
/* Starts a program in a session of its own; 0 or minus an errno (of exec too). */
int guest_spawn(char *const arguments[], char *const environment[], uint32_t uid, uint32_t gid,
		struct guest_child *child);
/* Starts a program with our own descriptors 0 to 2 (and `terminal` as its controlling one): its
 * pid, or minus an errno. */
int guest_start(const char *path, char *const arguments[], char *const environment[], int terminal);
/* Wait status of a child that has exited, -EAGAIN while it runs, or minus an errno. */
int guest_wait_status(int pidfd, int *status);

/* The network of this machine. All return 0 or minus an errno. Addresses in network order. */
int guest_link_up(const char *name);
int guest_set_address(const char *name, uint32_t address, int prefix);
int guest_add_default_route(uint32_t gateway);

static inline uint64_t guest_event_token(const struct epoll_event *event)
{
	return event->data.u64;
}

static inline struct epoll_event guest_event(uint32_t events, uint64_t token)
{
	struct epoll_event event = { .events = events, .data = { .u64 = token } };
	return event;
}

/* Bytes and name of an entry of getdents64's buffer. */
struct guest_dirent {
	uint64_t ino;
	uint64_t offset;
	uint16_t record_length;
	uint8_t type;
} __attribute__((packed));

#endif /* CGUEST_H */
