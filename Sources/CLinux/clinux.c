/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <string.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAXIMUM_DESCRIPTORS 253 /* SCM_MAX_FD, include/net/scm.h */

int clinux_ioctl(int fd, unsigned long request, unsigned long argument)
{
	return ioctl(fd, request, argument);
}

int clinux_ioctl_pointer(int fd, unsigned long request, void *argument)
{
	return ioctl(fd, request, argument);
}

int clinux_fcntl(int fd, int command, long argument)
{
	return fcntl(fd, command, argument);
}

int clinux_open(const char *path, int flags, unsigned int mode)
{
	return open(path, flags, mode);
}

int clinux_openat(int directory, const char *path, int flags, unsigned int mode)
{
	return openat(directory, path, flags, mode);
}

int clinux_errno(void)
{
	return errno;
}

int clinux_close_range(unsigned int first, unsigned int last)
{
	return (int)syscall(SYS_close_range, first, last, 0);
}

int clinux_no_new_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int clinux_drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return (int)syscall(SYS_capset, &header, none);
}

int clinux_no_dump(void)
{
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void clinux_release_free_memory(void)
{
	malloc_trim(0);
}

void clinux_use_one_heap(void)
{
	mallopt(M_ARENA_MAX, 1);
}

int clinux_install_filter(const struct sock_filter *program, unsigned short count)
{
	struct sock_fprog filter = { .len = count, .filter = (struct sock_filter *)program };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, &filter);
}

int clinux_memfd_create(const char *name, unsigned int flags)
{
	return memfd_create(name, flags);
}

int clinux_pidfd_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int clinux_pidfd_send_signal(int pidfd, int signal_number)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, signal_number, (void *)0, 0);
}

union control {
	char bytes[CMSG_SPACE(sizeof(int) * MAXIMUM_DESCRIPTORS)];
	struct cmsghdr alignment;
};

ssize_t clinux_send_descriptors(int fd, const void *bytes, size_t count, const int *descriptors,
				size_t descriptor_count)
{
	union control control;
	struct iovec part = { .iov_base = (void *)bytes, .iov_len = count };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (descriptor_count > MAXIMUM_DESCRIPTORS) {
		errno = EINVAL;
		return -1;
	}
	if (descriptor_count > 0) {
		size_t size = sizeof(int) * descriptor_count;
		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(size);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(size);
		memcpy(CMSG_DATA(header), descriptors, size);
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static size_t take_descriptors(struct msghdr *message, int *descriptors, size_t room, int *cut)
{
	size_t taken = 0;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
	     header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t index = 0; index < count; index++) {
			int descriptor;
			memcpy(&descriptor, CMSG_DATA(header) + index * sizeof(int), sizeof(int));
			if (taken < room) {
				descriptors[taken++] = descriptor;
			} else {
				close(descriptor);
				*cut = 1;
			}
		}
	}
	return taken;
}

ssize_t clinux_receive_descriptors(int fd, void *bytes, size_t capacity, int *descriptors,
				   size_t *descriptor_count)
{
	union control control;
	struct iovec part = { .iov_base = bytes, .iov_len = capacity };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	if (count < 0)
		return -1;

	int cut = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
	*descriptor_count = take_descriptors(&message, descriptors, *descriptor_count, &cut);
	if (cut) {
		for (size_t index = 0; index < *descriptor_count; index++)
			close(descriptors[index]);
		*descriptor_count = 0;
		errno = EMSGSIZE;
		return -1;
	}
	return count;
}

static void do_nothing(int signal_number)
{
	(void)signal_number;
}

int clinux_ignore_signal_but_interrupt(int signal_number)
{
	struct sigaction action = { .sa_handler = do_nothing };

	return sigaction(signal_number, &action, NULL);
}

int clinux_get_processors(unsigned char *set, size_t count)
{
	return sched_getaffinity(0, count, (cpu_set_t *)set);
}

int clinux_set_processors(const unsigned char *set, size_t count)
{
	return sched_setaffinity(0, count, (const cpu_set_t *)set);
}
