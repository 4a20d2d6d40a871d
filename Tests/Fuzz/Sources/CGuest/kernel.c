/* SPDX-License-Identifier: Apache-2.0
 *
 * A kernel that is none: it has vosguest's services run in a fuzzer without doing anything, and it
 * holds them to what a real one cannot check. Each buffer must be memory that the call may touch,
 * each path must stay where it belongs, each descriptor must be open. Results come from the input;
 * they are such as a real kernel may give, for the kernel is trusted. While it is "in the kernel"
 * the client changes the call's window.
 */
#define _GNU_SOURCE 1
#include "cguest.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cfuzz.h"

/* Numbers that no real descriptor of this process has, and no real process. */
#define FIRST_FD (1 << 20)
#define FD_COUNT 4096
#define FIRST_PID 0x3fff0000

static bool is_open[FD_COUNT];
static int next_fd;
static const uint8_t *answer_bytes;
static size_t answers_left;
static uint8_t *window_start;
static size_t window_bytes;
static uint32_t rights;
static long (*fuse_take)(void *room, size_t bytes);
static long (*fuse_give)(const void *reply, size_t bytes);
static long fuse_fd;
static bool fuse_is_mounted;

void fuzz_kernel_start(const uint8_t *answers, size_t bytes)
{
	answer_bytes = answers;
	answers_left = bytes;
	memset(is_open, 0, sizeof(is_open));
	next_fd = 0;
	window_bytes = 0;
	fuse_take = NULL;
}

void fuzz_kernel_window(void *window, size_t bytes)
{
	window_start = window;
	window_bytes = bytes;
}

static uint8_t answer(void)
{
	if (!answers_left)
		return 0;
	answers_left--;
	return *answer_bytes++;
}

/* An errno now and then. */
static long trouble(void)
{
	static const int errnos[] = { EINTR, EAGAIN, EPERM, ENOENT, EIO, ENOMEM, EINVAL, ENOSPC };
	uint8_t what = answer();

	/* EINTR, for ever, is no kernel's answer: callers ask again. */
	return what >= 0xf0 && answers_left ? -errnos[what & 7] : 0;
}

static void client_writes(void)
{
	if (window_bytes && answers_left && answer() >= 0xc0) {
		size_t at = (answer() | answer() << 8) % window_bytes;

		window_start[at] = answer();
	}
}

static long new_fd(void)
{
	int i;

	for (i = 0; i < FD_COUNT; i++) {
		int fd = (next_fd + i) % FD_COUNT;

		if (is_open[fd])
			continue;
		is_open[fd] = true;
		next_fd = fd + 1;
		return FIRST_FD + fd;
	}
	return -EMFILE;
}

int fuzz_kernel_fuse(long (*take)(void *room, size_t bytes),
		     long (*give)(const void *reply, size_t bytes))
{
	fuse_take = take;
	fuse_give = give;
	fuse_fd = new_fd();
	fuse_is_mounted = true;
	return fuse_fd;
}

static bool is_fuse(long fd) { return fuse_take && fd == fuse_fd; }

static bool fd_is_open(long fd)
{
	return fd >= FIRST_FD && fd < FIRST_FD + FD_COUNT && is_open[fd - FIRST_FD];
}

static void expect_fd(long fd)
{
	if (!fd_is_open(fd))
		fuzz_fail("a system call on a descriptor that is not open");
}

/* What the kernel reads, and what it writes. */
static void reads(long start, long bytes, const char *what)
{
	if (bytes < 0)
		fuzz_fail("a length below zero");
	fuzz_expect_allowed((void *)start, bytes, what);
}

static void writes(long start, long bytes, const char *what)
{
	reads(start, bytes, what);
	for (long i = 0; i < bytes && i < 64; i++)
		((uint8_t *)start)[i] = answer();
}

static const char *string(long start)
{
	const char *text = (const char *)start;
	size_t i = 0;

	do
		fuzz_expect_allowed(text + i, 1, "a string without an end");
	while (text[i++]);
	return text;
}

/* One component that leads nowhere else; or, on AT_FDCWD, a descriptor of ours by /proc. */
static void expect_path(long directory, long start, bool may_be_empty)
{
	static const char proc[] = "/proc/self/fd/";
	const char *path = string(start);

	if ((int)directory == AT_FDCWD) {
		if (!strcmp(path, "/export") || (fuse_take && !strncmp(path, "/proc/", 6)))
			return;
		if (strncmp(path, proc, sizeof(proc) - 1))
			fuzz_fail("a path that leads out of the export");
		expect_fd(atol(path + sizeof(proc) - 1));
		return;
	}
	expect_fd(directory);
	if (may_be_empty && !*path)
		return;
	if (!*path || strchr(path, '/') || !strcmp(path, ".") || !strcmp(path, "..") ||
	    strlen(path) > 255)
		fuzz_fail("a name that is not one component");
}

/* A count that a read or write may come back with. */
static long some(long bytes)
{
	switch (answer() & 3) {
	case 0: return bytes;
	case 1: return bytes / 2;
	case 2: return 0;
	default: return bytes ? answer() % (bytes + 1) : 0;
	}
}

/* A structure whose true length the kernel tells, and of which it writes what there is room for. */
static long sized(long start, long length)
{
	socklen_t *room = (socklen_t *)length;
	long result = trouble();

	reads(length, sizeof(*room), "a length");
	writes(start, *room, "an address or option");
	if (!result)
		*room = answer() & 1 ? *room : answer();
	return result;
}

static long message(struct msghdr *message, bool receives)
{
	long result = trouble();
	size_t i;

	reads((long)message, sizeof(*message), "a message");
	reads((long)message->msg_iov, message->msg_iovlen * sizeof(struct iovec), "a vector");
	reads((long)message->msg_name, message->msg_namelen, "a message's name");
	reads((long)message->msg_control, message->msg_controllen, "a message's control data");
	for (i = 0; i < message->msg_iovlen; i++)
		reads((long)message->msg_iov[i].iov_base, message->msg_iov[i].iov_len,
		      "a message's payload");
	if (result || !receives)
		return result ? result : some(message->msg_iov[0].iov_len);
	writes((long)message->msg_name, message->msg_namelen, "a message's name");
	writes((long)message->msg_control, message->msg_controllen, "a message's control data");
	writes((long)message->msg_iov[0].iov_base, message->msg_iov[0].iov_len, "a message's payload");
	message->msg_namelen = answer();
	message->msg_controllen = some(message->msg_controllen);
	message->msg_flags = answer();
	/* MSG_TRUNC: more than there was room for. */
	return some(message->msg_iov[0].iov_len) + (answer() == 1 ? 70000 : 0);
}

static long directory(long start, long bytes)
{
	long result = trouble(), at = 0;

	writes(start, bytes, "entries of a directory");
	while (!result) {
		int name = answer() % 20;
		int length = (19 + name + 1 + 7) & ~7;
		struct guest_dirent *entry = (void *)(start + at);

		if (!name || at + length > bytes)
			return at;
		memset(entry, 'a' + name, length);
		entry->ino = answer();
		entry->offset = at + 1;
		entry->record_length = length;
		entry->type = answer();
		((char *)entry)[19 + name] = 0;
		at += length;
	}
	return result;
}

static long ioctl_of(long request, long argument)
{
	static const long of_interface[] = { 0x8910, 0x8913, 0x8915, 0x8917, 0x8919, 0x891b,
					     0x891d, 0x8921, 0x8927, 0x8933, 0x8970, 0x8942 };
	size_t i;

	switch (request) {
	case 0x541b: case 0x5411: case 0x894b: case 0x8905:
		writes(argument, sizeof(int), "an ioctl's integer");
		return trouble();
	/* Flags of a file: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR. */
	case 0x80086601:
		writes(argument, sizeof(int), "a file's flags");
		return trouble();
	case 0x40086602:
		reads(argument, sizeof(int), "a file's flags");
		return trouble();
	case 0x801c581f:
		writes(argument, 28, "a file's flags");
		return trouble();
	case 0x8907:
		writes(argument, sizeof(struct timespec), "an ioctl's time");
		return trouble();
	case 0x8912: {
		struct ifconf *list = (void *)argument;

		reads(argument, sizeof(*list), "an ioctl's list");
		writes((long)list->ifc_buf, list->ifc_len, "a list of interfaces");
		list->ifc_len = some(list->ifc_len);
		return trouble();
	}
	default:
		for (i = 0; i < sizeof(of_interface) / sizeof(of_interface[0]); i++)
			if (of_interface[i] == request) {
				writes(argument, sizeof(struct ifreq), "an interface's request");
				return trouble();
			}
		fuzz_fail("an ioctl that must not be asked");
	}
}

static void expect_option(long level, long option)
{
	static const int levels[] = { 0, 1, 6, 17, 41, 58, 255, 136, SOL_PACKET, SOL_NETLINK };
	bool is_known = false;
	size_t i;

	for (i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		is_known |= levels[i] == level;
	/* Filters, programs and what else holds a pointer or a descriptor. */
	if (!is_known || (level == SOL_SOCKET && option >= SO_ATTACH_BPF &&
			  option <= SO_ATTACH_REUSEPORT_EBPF) ||
	    (level == SOL_PACKET && (option == PACKET_RX_RING || option == PACKET_TX_RING ||
				     option == PACKET_FANOUT_DATA)) ||
	    ((level == 0 || level == 41) && (option == 64 || option == 65)))
		fuzz_fail("a socket option that must not be reached");
}

/* Packet sockets are for who may use them anyhow; netlink only asks, with no rights. */
static void expect_family(long family, long type, long protocol)
{
	bool is_netlink = family == AF_NETLINK && (protocol == 0 || protocol == 4) && !rights;

	if ((family != AF_INET && family != AF_INET6 && family != AF_PACKET && !is_netlink) ||
	    !(type & SOCK_NONBLOCK) || !(type & SOCK_CLOEXEC))
		fuzz_fail("a socket that must not be made");
}

static long set_option(long level, long option, long value, long bytes)
{
	const struct sock_fprog *program = (void *)value;

	expect_option(level, option);
	reads(value, bytes, "an option");
	if (level == SOL_SOCKET && option == SO_ATTACH_FILTER) {
		if (bytes != sizeof(*program))
			fuzz_fail("a filter that is none");
		reads((long)program->filter, program->len * sizeof(*program->filter), "a filter");
	}
	return trouble();
}

static long on_sockets(long number, long a, long b, long c, long d, long e)
{
	switch (number) {
	case SYS_socket:
		expect_family(a, b, c);
		return trouble() ?: new_fd();
	case SYS_accept4:
		expect_fd(a);
		return sized(b, c) ?: new_fd();
	case SYS_getsockname:
	case SYS_getpeername:
		expect_fd(a);
		return sized(b, c);
	case SYS_getsockopt:
		expect_fd(a);
		if (b == SOL_SOCKET && c == SO_GET_FILTER)
			fuzz_fail("a filter that is asked for");
		expect_option(b, c);
		return sized(d, e);
	case SYS_setsockopt:
		expect_fd(a);
		return set_option(b, c, d, e);
	case SYS_bind:
	case SYS_connect:
		expect_fd(a);
		reads(b, c, "an address");
		return trouble();
	case SYS_listen:
	case SYS_shutdown:
		expect_fd(a);
		return trouble();
	case SYS_sendto:
	case SYS_recvfrom:
		expect_fd(a);
		if (!(d & MSG_DONTWAIT))
			fuzz_fail("a call on a socket that may wait");
		if (number == SYS_sendto)
			reads(b, c, "data to send");
		else
			writes(b, c, "room to receive");
		return trouble() ?: some(c) + (answer() == 1 ? 70000 : 0);
	case SYS_sendmsg:
	case SYS_recvmsg:
		expect_fd(a);
		if (!(c & MSG_DONTWAIT))
			fuzz_fail("a call on a socket that may wait");
		return message((void *)b, number == SYS_recvmsg);
	default:
		/* A new one belongs here; until then it does nothing, and nothing of it is checked. */
		fprintf(stderr, "fuzz kernel: there is no system call %ld\n", number);
		return -ENOSYS;
	}
}

static long on_files(long number, long a, long b, long c, long d, long e)
{
	switch (number) {
	case SYS_openat:
		expect_path(a, b, false);
		return trouble() ?: new_fd();
	case SYS_read:
	case SYS_pread64:
		expect_fd(a);
		if (is_fuse(a)) {
			reads(b, c, "room for a request");
			return fuse_is_mounted ? fuse_take((void *)b, c) : -ENODEV;
		}
		writes(b, c, "room to read");
		return trouble() ?: some(c);
	case SYS_umount2:
		string(a);
		fuse_is_mounted = false;
		return 0;
	case SYS_write:
	case SYS_pwrite64:
		expect_fd(a);
		reads(b, c, "data to write");
		if (is_fuse(a))
			return fuse_give((const void *)b, c);
		return trouble() ?: some(c);
	case SYS_pwritev2: {
		const struct iovec *one = (void *)b;

		expect_fd(a);
		reads(b, c * (long)sizeof(*one), "a vector");
		reads((long)one->iov_base, one->iov_len, "data to write");
		return trouble() ?: some(one->iov_len);
	}
	case SYS_getdents64:
		expect_fd(a);
		return directory(b, c);
	case SYS_readlinkat:
		expect_path(a, b, true);
		writes(c, d, "room for a link");
		return trouble() ?: some(d);
	case SYS_symlinkat:
		string(a);
		expect_path(b, c, false);
		return trouble();
	case SYS_mknodat:
	case SYS_mkdirat:
	case SYS_unlinkat:
		expect_path(a, b, false);
		return trouble();
	case SYS_renameat2:
	case SYS_linkat:
		expect_path(a, b, false);
		expect_path(c, d, false);
		return trouble();
	case SYS_fchmodat:
		expect_path(a, b, false);
		return trouble();
	case SYS_fchownat:
		expect_path(a, b, true);
		return trouble();
	case SYS_utimensat:
		expect_path(a, b, true);
		reads(c, 2 * sizeof(struct timespec), "times");
		return trouble();
	case SYS_truncate:
		expect_path(AT_FDCWD, a, false);
		return trouble();
	case SYS_setxattr:
		expect_path(AT_FDCWD, a, false);
		string(b);
		reads(c, d, "an attribute");
		return trouble();
	case SYS_getxattr:
		expect_path(AT_FDCWD, a, false);
		string(b);
		writes(c, d, "room for an attribute");
		return trouble() ?: (d ? some(d) : answer());
	case SYS_listxattr:
		expect_path(AT_FDCWD, a, false);
		writes(b, c, "room for attributes");
		return trouble() ?: (c ? some(c) : answer());
	case SYS_removexattr:
		expect_path(AT_FDCWD, a, false);
		string(b);
		return trouble();
	case SYS_fstat:
		expect_fd(a);
		writes(b, sizeof(struct stat), "a status");
		return trouble();
	case SYS_fstatfs:
		expect_fd(a);
		reads(b, sizeof(struct statfs), "a status");
		return trouble();
	case SYS_fcntl:
		expect_fd(a);
		if (b != F_DUPFD_CLOEXEC)
			fuzz_fail("fcntl but to duplicate");
		return trouble() ?: new_fd();
	case SYS_close:
		return close(a);
	case SYS_lseek:
		expect_fd(a);
		return trouble() ?: (b >= 0 ? b : -EINVAL);
	case SYS_ftruncate:
	case SYS_fsync:
	case SYS_fdatasync:
	case SYS_syncfs:
	case SYS_fallocate:
		expect_fd(a);
		return trouble();
	case SYS_copy_file_range:
		expect_fd(a);
		expect_fd(c);
		reads(b, 8, "an offset");
		reads(d, 8, "an offset");
		return trouble() ?: some(e);
	default: return on_sockets(number, a, b, c, d, e);
	}
}

long guest_call(long number, long a, long b, long c, long d, long e, long f)
{
	(void)f;
	client_writes();
	switch (number) {
	case SYS_getrandom:
		writes(a, b, "room for random bytes");
		return b;
	case SYS_epoll_create1: return new_fd();
	case SYS_epoll_ctl:
		expect_fd(a);
		expect_fd(c);
		reads(d, sizeof(struct epoll_event), "an event");
		return trouble();
	case SYS_epoll_wait:
		expect_fd(a);
		if (d)
			fuzz_fail("a call that waits for events");
		return 0;
	case SYS_poll: {
		struct pollfd *one = (void *)a;

		reads(a, sizeof(*one), "a question");
		expect_fd(one->fd);
		one->revents = answer();
		return trouble() ?: one->revents != 0;
	}
	case SYS_ioctl:
		expect_fd(a);
		return ioctl_of(b, c);
	case SYS_kill:
		if (a > -FIRST_PID || a < -(FIRST_PID + FD_COUNT) || b < 1 || b > 64)
			fuzz_fail("a signal to somebody else");
		return trouble();
	default: return on_files(number, a, b, c, d, e);
	}
}

/* What Swift calls by its libc name. */
int close(int fd)
{
	if (fd < FIRST_FD)
		return syscall(SYS_close, fd);
	expect_fd(fd);
	is_open[fd - FIRST_FD] = false;
	return 0;
}

/* Nobody waits for time to pass. */
int usleep(useconds_t microseconds)
{
	(void)microseconds;
	return 0;
}

int fstat(int fd, struct stat *status)
{
	if (fd < FIRST_FD)
		return syscall(SYS_fstat, fd, status);
	expect_fd(fd);
	memset(status, 0, sizeof(*status));
	status->st_ino = answer() >= 0xe0;
	return 0;
}

int kill(pid_t pid, int signal)
{
	if (pid > -FIRST_PID)
		return syscall(SYS_kill, pid, signal);
	return 0;
}

int guest_act(uint32_t uid, uint32_t gid, uint32_t kept)
{
	(void)uid, (void)gid, (void)kept;
	return trouble();
}

uint32_t guest_maker_rights(void)
{
	return 0;
}

int guest_mask_modes(uint32_t mask)
{
	return mask & ~0777u ? -EINVAL : 0;
}

int guest_keep_rights(uint32_t all, uint32_t kept)
{
	if (kept & ~all)
		fuzz_fail("a right that nobody may have");
	rights = kept;
	return 0;
}

/* Handles of 8 bytes: node numbers are handles, as on ext4. */
int guest_is_mount_root(int fd)
{
	expect_fd(fd);
	return answer() & 1;
}

int guest_handle_of(int fd, uint64_t *handle, int *type)
{
	expect_fd(fd);
	*handle = 1 + answer() % 8;
	*type = 1;
	return trouble();
}

int guest_open_handle(int mount, uint64_t handle, int type, int flags)
{
	expect_fd(mount);
	if (type != 1 || !(flags & O_PATH))
		fuzz_fail("a handle opened as it must not be");
	return handle <= 64 ? (int)(trouble() ?: new_fd()) : -ESTALE;
}

int guest_attributes(int fd, struct fuse_attr *attributes)
{
	static const uint32_t modes[] = { S_IFREG | 0644, S_IFDIR | 0755, S_IFREG | 06755,
					  S_IFLNK | 0777, S_IFIFO | 0600, S_IFCHR | 0600 };

	expect_fd(fd);
	memset(attributes, 0, sizeof(*attributes));
	attributes->mode = modes[answer() % 6];
	attributes->mtimensec = 999999000u + answer();
	return trouble();
}

int guest_statx(int fd, uint32_t mask, struct guest_statx *out)
{
	expect_fd(fd);
	memset(out, 0, sizeof(*out));
	out->mask = mask & answer();
	out->mode = S_IFREG | 0644;
	return trouble();
}

int guest_spawn(char *const arguments[], char *const environment[], uint32_t uid, uint32_t gid,
		struct guest_child *child)
{
	static int processes;
	long result = trouble();

	(void)uid, (void)gid;
	for (; *arguments; arguments++)
		string((long)*arguments);
	for (; *environment; environment++)
		string((long)*environment);
	if (result)
		return result;
	child->input = new_fd();
	child->output = new_fd();
	child->errors = new_fd();
	child->pidfd = new_fd();
	child->pid = FIRST_PID + processes++ % FD_COUNT;
	return 0;
}

int guest_wait_status(int pidfd, int *status)
{
	expect_fd(pidfd);
	*status = answer() << 8;
	return answer() & 1 ? -EAGAIN : 0;
}

/* What no call of a client leads to. */
#define UNREACHED(...) { fuzz_fail("a function that a call must not reach"); }

int guest_drop_groups(void) UNREACHED()
int guest_start(const char *path, char *const arguments[], char *const environment[], int terminal)
	UNREACHED((void)path, (void)arguments, (void)environment, (void)terminal)
int guest_link_up(const char *name) UNREACHED((void)name)
int guest_set_address(const char *name, uint32_t address, int prefix)
	UNREACHED((void)name, (void)address, (void)prefix)
int guest_add_default_route(uint32_t gateway) UNREACHED((void)gateway)
