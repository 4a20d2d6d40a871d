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

/* The processor's time-stamp counter. */
static inline uint64_t guest_ticks(void) { return __builtin_ia32_rdtsc(); }

/* A system call; minus the errno where it fails. */
long guest_call(long number, long a, long b, long c, long d, long e, long f);

/*
 * The calling thread's identity towards file systems, until it is called again: owner and group of
 * what it makes, whose quota and whose share of the disk it uses. Of the capabilities below 32 it
 * keeps `rights`, and no others, in effect; root keeps all that it ever had. Costs nothing when all
 * that is so already. Returns 0 or minus an errno.
 */
int guest_act(uint32_t uid, uint32_t gid, uint32_t rights);
/* The rights of who makes a file where somebody else has checked permission. */
uint32_t guest_maker_rights(void);
/* What the calling thread alone takes away from the mode of what it makes (umask). */
int guest_mask_modes(uint32_t mask);
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

/* stat of `fd` itself. 0 or minus an errno. */
int guest_attributes(int fd, struct fuse_attr *attributes);

/* FUSE_STATX, of protocol 7.39 (include/uapi/linux/fuse.h of Linux 6.6), by names of our own: the
 * C library's headers may be older, or newer. */
enum { GUEST_FUSE_STATX = 52 };
struct guest_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags;
	uint32_t sx_mask;
};
struct guest_time {
	int64_t seconds;
	uint32_t nanoseconds;
	int32_t reserved;
};
struct guest_statx {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare;
	uint64_t ino, size, blocks, attributes_mask;
	struct guest_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare2[14];
};
struct guest_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec, flags;
	uint64_t spare[2];
	struct guest_statx stat;
};
/* statx of `fd` itself. 0 or minus an errno. */
int guest_statx(int fd, uint32_t mask, struct guest_statx *out);

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
