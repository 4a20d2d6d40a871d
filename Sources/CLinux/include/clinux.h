/* SPDX-License-Identifier: Apache-2.0
 *
 * Linux interfaces that Swift cannot import by itself: ioctl numbers are
 * function-like macros, some calls are variadic, and some have no declaration
 * in the Glibc module. Types and calls that Glibc has are used from there.
 */
#ifndef CLINUX_H
#define CLINUX_H

#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/types.h>

int clinux_ioctl(int fd, unsigned long request, unsigned long argument);
int clinux_ioctl_pointer(int fd, unsigned long request, void *argument);
int clinux_fcntl(int fd, int command, long argument);
int clinux_open(const char *path, int flags, unsigned int mode);
int clinux_openat(int directory, const char *path, int flags, unsigned int mode);
int clinux_errno(void);
/*
 * Rights of the calling thread (and of what it starts): close descriptors first
 * to last; no privileges by exec; no capabilities. And of the process: nobody of
 * the same user may trace it or read its memory. 0, or -1 with errno.
 */
int clinux_close_range(unsigned int first, unsigned int last);
int clinux_no_new_privileges(void);
int clinux_drop_capabilities(void);
int clinux_no_dump(void);
/* Gives the heap's free pages back to the kernel. */
void clinux_release_free_memory(void);

int clinux_memfd_create(const char *name, unsigned int flags);
#define CLINUX_MFD_CLOEXEC 0x0001u
#define CLINUX_MFD_ALLOW_SEALING 0x0002u
#define CLINUX_MFD_HUGETLB 0x0004u
#define CLINUX_F_ADD_SEALS 1033
#define CLINUX_F_SEAL_SEAL 0x0001
#define CLINUX_F_SEAL_SHRINK 0x0002
#define CLINUX_F_SEAL_GROW 0x0004
#define CLINUX_F_SEAL_WRITE 0x0008

int clinux_pidfd_open(pid_t pid);
int clinux_pidfd_send_signal(int pidfd, int signal_number);

/*
 * Sends `count` bytes with `descriptor_count` descriptors (at most 253, the
 * kernel's SCM_MAX_FD) as one message. Returns bytes sent, or -1 with errno.
 */
ssize_t clinux_send_descriptors(int fd, const void *bytes, size_t count, const int *descriptors,
				size_t descriptor_count);
/*
 * Receives one message. `*descriptor_count` is the room on entry and what came
 * on return; they are close-on-exec. -1 with EMSGSIZE if bytes or descriptors
 * were cut off (all received descriptors are then closed).
 */
ssize_t clinux_receive_descriptors(int fd, void *bytes, size_t capacity, int *descriptors,
				   size_t *descriptor_count);

/*
 * Processors that the calling thread may run on, as a bit set of `count` bytes
 * (sched_getaffinity, sched_setaffinity). 0, or -1 with errno.
 */
int clinux_get_processors(unsigned char *set, size_t count);
int clinux_set_processors(const unsigned char *set, size_t count);

#include "clinux_kvm.h"
#include "clinux_seccomp.h"
#include "clinux_vfio.h"

#endif /* CLINUX_H */
