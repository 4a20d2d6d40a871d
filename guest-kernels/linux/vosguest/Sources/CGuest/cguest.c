/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "cguest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/capability.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * The Swift run-time looks into /proc as it starts, before main, and gives up
 * without it. Process 1 must mount it itself; this is the earliest place.
 */
__attribute__((constructor(101))) static void mount_proc_first(void)
{
	if (getpid() == 1) {
		mkdir("/proc", 0555);
		mount("proc", "/proc", "proc", 0, NULL);
	}
}

long guest_call(long number, long a, long b, long c, long d, long e, long f)
{
	long result = syscall(number, a, b, c, d, e, f);

	return result == -1 ? -errno : result;
}

/* All that this thread may have in effect, or of that only the mask `kept`. */
static int set_effective(uint32_t kept_low, uint32_t kept_high)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	data[0].effective = data[0].permitted & kept_low;
	data[1].effective = data[1].permitted & kept_high;
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int guest_act(uint32_t uid, uint32_t gid, uint32_t rights)
{
	/* What a new thread has is its maker's, which it does not know. */
	static _Thread_local struct {
		uint32_t uid, gid, rights;
		int known;
	} now;
	int error;

	if (now.known && now.uid == uid && now.gid == gid && (uid == 0 || now.rights == rights))
		return 0;
	now.known = 0;
	/* CAP_SETUID and CAP_SETGID first: the last identity may have been without. */
	error = set_effective(UINT32_MAX, UINT32_MAX);
	if (error < 0)
		return error;
	syscall(SYS_setfsgid, gid);
	syscall(SYS_setfsuid, uid);
	/* These two never say that they failed; asking for -1 tells what is. */
	if ((uint32_t)syscall(SYS_setfsuid, -1) != uid || (uint32_t)syscall(SYS_setfsgid, -1) != gid)
		return -EPERM;
	error = uid ? set_effective(rights, 0) : set_effective(UINT32_MAX, UINT32_MAX);
	if (error < 0)
		return error;
	now.uid = uid;
	now.gid = gid;
	now.rights = rights;
	now.known = 1;
	return 0;
}

uint32_t guest_maker_rights(void)
{
	return 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH | 1u << CAP_MKNOD | 1u << CAP_FSETID;
}

int guest_mask_modes(uint32_t mask)
{
	static _Thread_local int is_own;

	/* Threads share theirs until one says that it wants its own. */
	if (!is_own && unshare(CLONE_FS) < 0)
		return -errno;
	is_own = 1;
	umask(mask & 0777);
	return 0;
}

int guest_keep_rights(uint32_t all, uint32_t kept)
{
	/* No thread begins with this: it is no subset of any `all`. */
	static _Thread_local uint32_t now = UINT32_MAX;
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	kept &= all;
	if (now == kept)
		return 0;
	/* The thread's own, by the bare call: the C library has no say in it. */
	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	data[0].effective = (data[0].effective & ~all) | (data[0].permitted & kept);
	if (syscall(SYS_capset, &header, data) < 0)
		return -errno;
	now = kept;
	return 0;
}

int guest_drop_groups(void)
{
	return syscall(SYS_setgroups, 0, 0) < 0 ? -errno : 0;
}

union handle {
	struct file_handle head;
	char bytes[sizeof(struct file_handle) + 8];
};

int guest_handle_of(int fd, uint64_t *value, int *type)
{
	union handle handle = { .head = { .handle_bytes = 8 } };
	int mount;

	if (name_to_handle_at(fd, "", &handle.head, &mount, AT_EMPTY_PATH) < 0)
		return -errno;
	if (handle.head.handle_bytes != 8)
		return -EOPNOTSUPP;
	memcpy(value, handle.head.f_handle, 8);
	*type = handle.head.handle_type;
	return 0;
}

int guest_open_handle(int mount_fd, uint64_t value, int type, int flags)
{
	union handle handle = { .head = { .handle_bytes = 8, .handle_type = type } };
	int fd;

	memcpy(handle.head.f_handle, &value, 8);
	fd = open_by_handle_at(mount_fd, &handle.head, flags);
	return fd < 0 ? -errno : fd;
}

int guest_is_mount_root(int fd)
{
	struct statx status;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &status) < 0)
		return 0;
	return (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

int guest_attributes(int fd, struct fuse_attr *out)
{
	struct stat status;

	if (fstatat(fd, "", &status, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	memset(out, 0, sizeof(*out));
	out->ino = status.st_ino;
	out->size = status.st_size;
	out->blocks = status.st_blocks;
	out->atime = status.st_atim.tv_sec;
	out->atimensec = status.st_atim.tv_nsec;
	out->mtime = status.st_mtim.tv_sec;
	out->mtimensec = status.st_mtim.tv_nsec;
	out->ctime = status.st_ctim.tv_sec;
	out->ctimensec = status.st_ctim.tv_nsec;
	out->mode = status.st_mode;
	out->nlink = status.st_nlink;
	out->uid = status.st_uid;
	out->gid = status.st_gid;
	/* The kernel's 32-bit form, as FUSE wants it: new_encode_dev. */
	out->rdev = (minor(status.st_rdev) & 0xff) | major(status.st_rdev) << 8 |
		    (minor(status.st_rdev) & ~0xffu) << 12;
	out->blksize = status.st_blksize;
	return 0;
}

int guest_statx(int fd, uint32_t mask, struct guest_statx *out)
{
	struct statx status;

	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, mask, &status) < 0)
		return -errno;
	memset(out, 0, sizeof(*out));
	out->mask = status.stx_mask & (STATX_BASIC_STATS | STATX_BTIME);
	out->blksize = status.stx_blksize;
	out->nlink = status.stx_nlink;
	out->uid = status.stx_uid;
	out->gid = status.stx_gid;
	out->mode = status.stx_mode;
	out->ino = status.stx_ino;
	out->size = status.stx_size;
	out->blocks = status.stx_blocks;
	out->atime = (struct guest_time){ status.stx_atime.tv_sec, status.stx_atime.tv_nsec, 0 };
	out->btime = (struct guest_time){ status.stx_btime.tv_sec, status.stx_btime.tv_nsec, 0 };
	out->ctime = (struct guest_time){ status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec, 0 };
	out->mtime = (struct guest_time){ status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec, 0 };
	out->rdev_major = status.stx_rdev_major;
	out->rdev_minor = status.stx_rdev_minor;
	return 0;
}

static void close_all(int *descriptors, int count)
{
	for (int i = 0; i < count; i++)
		if (descriptors[i] >= 0)
			close(descriptors[i]);
}

/* In the child: only calls that are safe after fork in a program with threads. */
static int child_setup(const int *pipes, uint32_t uid, uint32_t gid)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int number = 1; number < 65; number++)
		signal(number, SIG_DFL);
	setsid();
	if (dup2(pipes[0], 0) < 0 || dup2(pipes[3], 1) < 0 || dup2(pipes[5], 2) < 0)
		return errno;
	if (syscall(SYS_setgroups, 0, 0) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0 ||
	    syscall(SYS_setresuid, uid, uid, uid) < 0)
		return errno;
	return chdir("/") < 0 ? errno : 0;
}

static int has_slash(const char *path)
{
	return strchr(path, '/') != NULL;
}

/* execvpe looks at our own environment for PATH; a search of the usual places is enough. */
static int exec_search(char *const arguments[], char *const environment[])
{
	static const char *const places[] = { "/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/",
					      "/usr/bin/", "/sbin/", "/bin/" };
	char path[4096];

	if (has_slash(arguments[0])) {
		execve(arguments[0], arguments, environment);
		return errno;
	}
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (strlen(places[i]) + strlen(arguments[0]) >= sizeof(path))
			return ENAMETOOLONG;
		strcpy(path, places[i]);
		strcat(path, arguments[0]);
		execve(path, arguments, environment);
		if (errno != ENOENT)
			return errno;
	}
	return ENOENT;
}

int guest_spawn(char *const arguments[], char *const environment[], uint32_t uid, uint32_t gid,
		struct guest_child *child)
{
	/* stdin, stdout, stderr, and one that tells of a failed exec by not being closed. */
	int pipes[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };
	int error = 0;

	for (int i = 0; i < 4; i++) {
		if (pipe2(pipes + 2 * i, O_CLOEXEC) < 0) {
			error = errno;
			close_all(pipes, 8);
			return -error;
		}
	}
	pid_t pid = fork();
	if (pid < 0) {
		error = errno;
		close_all(pipes, 8);
		return -error;
	}
	if (pid == 0) {
		error = child_setup(pipes, uid, gid);
		if (!error)
			error = exec_search(arguments, environment);
		(void)!write(pipes[7], &error, sizeof(error));
		_exit(127);
	}
	close_all((int[]){ pipes[0], pipes[3], pipes[5], pipes[7] }, 4);
	if (read(pipes[6], &error, sizeof(error)) == sizeof(error)) {
		waitpid(pid, NULL, 0);
		close_all((int[]){ pipes[1], pipes[2], pipes[4], pipes[6] }, 4);
		return -error;
	}
	close(pipes[6]);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		error = errno;
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close_all((int[]){ pipes[1], pipes[2], pipes[4] }, 3);
		return -error;
	}
	fcntl(pipes[1], F_SETFL, O_NONBLOCK);
	fcntl(pipes[2], F_SETFL, O_NONBLOCK);
	fcntl(pipes[4], F_SETFL, O_NONBLOCK);
	*child = (struct guest_child){ pipes[1], pipes[2], pipes[4], pidfd, pid };
	return 0;
}

int guest_start(const char *path, char *const arguments[], char *const environment[], int terminal)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid > 0)
		return pid;
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (terminal >= 0) {
		ioctl(terminal, TIOCSCTTY, 1);
		dup2(terminal, 0);
		dup2(terminal, 1);
		dup2(terminal, 2);
	}
	execve(path, arguments, environment);
	_exit(127);
}

int guest_wait_status(int pidfd, int *status)
{
	siginfo_t information = { 0 };

	if (waitid(P_PIDFD, pidfd, &information, WEXITED | WNOHANG) < 0)
		return -errno;
	if (information.si_pid == 0)
		return -EAGAIN;
	/* As wait4 encodes it. */
	if (information.si_code == CLD_EXITED)
		*status = (information.si_status & 0xff) << 8;
	else
		*status = information.si_status | (information.si_code == CLD_DUMPED ? 0x80 : 0);
	return 0;
}

static int interface_call(const char *name, unsigned long request, struct ifreq *interface)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (name)
		strncpy(interface->ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, request, interface) < 0)
		error = errno;
	close(fd);
	return -error;
}

int guest_link_up(const char *name)
{
	struct ifreq interface = { 0 };
	int error = interface_call(name, SIOCGIFFLAGS, &interface);

	if (error)
		return error;
	interface.ifr_flags |= IFF_UP | IFF_RUNNING;
	return interface_call(name, SIOCSIFFLAGS, &interface);
}

static struct sockaddr socket_address(uint32_t address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { address } };
	struct sockaddr out;

	memcpy(&out, &in, sizeof(out));
	return out;
}

int guest_set_address(const char *name, uint32_t address, int prefix)
{
	struct ifreq interface = { 0 };
	uint32_t mask = prefix <= 0 ? 0 : htonl(~0u << (32 - prefix));
	int error;

	interface.ifr_addr = socket_address(address);
	error = interface_call(name, SIOCSIFADDR, &interface);
	if (error)
		return error;
	memset(&interface, 0, sizeof(interface));
	interface.ifr_netmask = socket_address(mask);
	return interface_call(name, SIOCSIFNETMASK, &interface);
}

int guest_add_default_route(uint32_t gateway)
{
	struct rtentry route = {
		.rt_dst = socket_address(0),
		.rt_genmask = socket_address(0),
		.rt_gateway = socket_address(gateway),
		.rt_flags = RTF_UP | RTF_GATEWAY,
	};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCADDRT, &route) < 0)
		error = errno;
	close(fd);
	return -error;
}
