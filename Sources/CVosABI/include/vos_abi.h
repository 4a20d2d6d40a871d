/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
 *
 * The channel ABI, version 1: everything that two domains share in memory.
 *
 * This one header is read by the host (Swift), by micro guests (Embedded
 * Swift), by the Linux kernel module and by libvos. docs/abi.md explains it.
 *
 * Rules that hold for every byte of a region:
 *  - fixed layout, little endian, offsets and never pointers;
 *  - whatever the other side wrote is copied once, checked, then used;
 *  - a field has exactly one writer, named beside it.
 *
 *   0x0000  superblock         written by the host before the region is handed
 *                              out (and its life words later); read-only to both
 *   0x1000  client page        written by the client's kernel
 *   0x2000  service page       written by the service daemon
 *   ....    slice table        written by the client's kernel
 *   ....    event ring         written by the service daemon
 *   ....    slices             one per client process; slice 0 is the client
 *                              kernel's own
 */
#ifndef VOS_ABI_H
#define VOS_ABI_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

#define VOS_MAGIC 0x314e414843534f56ULL /* "VOSCHAN1" */
#define VOS_ABI_VERSION 1u

#define VOS_PAGE_BYTES 4096u
#define VOS_SUPERBLOCK_OFFSET 0x0000u
#define VOS_CLIENT_PAGE_OFFSET 0x1000u
#define VOS_SERVICE_PAGE_OFFSET 0x2000u

/* ivshmem peer ids on a channel. The host watches both sides. */
#define VOS_PEER_CLIENT 0u
#define VOS_PEER_SERVICE 1u
#define VOS_PEER_HOST 2u
/* The doorbell vector that each peer listens on. */
#define VOS_VECTOR_DOORBELL 0u

/* What a channel carries (vos_superblock.carries). */
#define VOS_CARRIES_CONTROL 1u /* host to a domain's agent */
#define VOS_CARRIES_SOCKETS 2u /* AF_INET, AF_INET6, ... */
#define VOS_CARRIES_FILES 4u   /* a mounted file system */

/* A side's own word on itself (vos_side_page.state). */
#define VOS_SIDE_ABSENT 0u
#define VOS_SIDE_DRIVER 1u   /* the kernel module has found the region */
#define VOS_SIDE_READY 2u    /* calls are served, or may be issued */
#define VOS_SIDE_STOPPING 3u /* no new calls; those in flight are answered */
#define VOS_SIDE_BROKEN 4u   /* this side saw the other break the protocol */

/* The host's word on a side (vos_superblock.client_life, .service_life). */
#define VOS_LIFE_ABSENT 0u
#define VOS_LIFE_ALIVE 1u
#define VOS_LIFE_FAILED 2u

struct vos_superblock {
	uint64_t magic;
	uint32_t abi_version;
	uint32_t channel; /* number of the channel within its system */
	uint64_t region_bytes;
	uint32_t carries; /* VOS_CARRIES_* bits */
	uint32_t slice_count;
	uint64_t slice_table_offset;
	uint64_t event_ring_offset;
	uint32_t event_count; /* a power of two */
	uint32_t slot_count;  /* slots in each slice, 1..64 */
	uint64_t slices_offset;
	uint64_t slice_stride;   /* bytes from one slice to the next */
	uint32_t slots_offset;   /* of slot 0 within a slice */
	uint32_t arena_offset;   /* of the data arena within a slice */
	uint32_t arena_bytes;
	uint32_t reserved0;
	/* Written by the host while the channel lives; the only fields that change. */
	uint32_t client_life;  /* VOS_LIFE_* */
	uint32_t service_life; /* VOS_LIFE_* */
	uint32_t client_generation;
	uint32_t service_generation;
	char name[64]; /* of the channel, NUL-terminated: "network" gives /dev/vos/network */
};

/*
 * One page per side; `heartbeat` counts while the side is alive. A side that begins or leaves a
 * life writes state and generation as one 64-bit word, and who compares both reads them so:
 * ABSENT with this life's generation says that the side has left it.
 */
struct vos_side_page {
	uint32_t state;      /* VOS_SIDE_* */
	uint32_t generation; /* the generation of itself that this side believes in */
	uint64_t heartbeat;
	uint32_t abi_version; /* what this side speaks */
	uint32_t lives; /* service: daemons that have left; written by its kernel */
	uint32_t reserved0[10];
	/* Next cache line: the event ring's index of this side. */
	uint32_t event_index;    /* client: next to read; service: next to write */
	uint32_t event_overflow; /* service: counts events it could not write */
	uint32_t reserved1[14];
};

/* Slice table entry, written by the client's kernel. */
#define VOS_SLICE_FREE 0u
#define VOS_SLICE_LIVE 1u
#define VOS_SLICE_DEAD 2u /* its process is gone; the service lets go of all it held */
struct vos_slice_entry {
	uint32_t state;      /* VOS_SLICE_* */
	uint32_t generation; /* goes up each time the slice is given out */
	uint32_t pid;        /* of the process in the client: files are attached to it alone */
	uint32_t uid;        /* real ids of the process when it took the slice */
	uint32_t gid;
	uint32_t reserved0[11];
};

/* First lines of a slice. */
struct vos_slice_header {
	/* Line 0, written by the client process. */
	uint32_t slot_limit; /* the service looks at slots 0 ..< slot_limit */
	/*
	 * Written by the client's kernel: another value says that somebody began to watch
	 * files, so that VOS_IOC_WATCHED may have another answer.
	 */
	uint32_t watch_count;
	uint32_t reserved0[14];
	/* Line 1, written by the service. */
	uint32_t sleeping;          /* 1: ring the doorbell after a submission */
	uint32_t served_generation; /* the slice generation the service serves now */
	uint32_t released_generation; /* the last one of which it holds nothing any more */
	uint32_t reserved1[13];
	/*
	 * Line 2, written by the client process: for people who count. In slice 0 the
	 * client's kernel counts its own calls in fast_calls, and in dead_* what the
	 * processes counted whose slices it took back.
	 */
	uint64_t fast_calls;     /* went over slots */
	uint64_t fallback_calls; /* on a remote descriptor, but by the kernel path */
	uint64_t dead_fast_calls;
	uint64_t dead_fallback_calls;
	uint64_t reserved2[4];
	/*
	 * Lines 3 to 6, written by the service: SUBMITTED with the sequence that it took
	 * of each slot last, stored before it executes anything of the call. Nobody reads
	 * it while the service lives; afterwards it tells the calls that may have been
	 * executed from those that were not.
	 */
	uint32_t taken[64];
	uint32_t reserved3[16];
};

/*
 * A slot is one call: 64 bytes, one cache line each way.
 *
 *   client: fills everything but state and result, then stores state
 *           SUBMITTED with the next sequence number (release)
 *   service: sees SUBMITTED with a sequence it has not yet served (acquire),
 *           copies the line, checks it, executes, writes result and
 *           data_length, then exchanges state to DONE with the same sequence
 *   client: sees DONE with its sequence (acquire), takes the result; the slot
 *           is its own again
 *
 * A client that is about to sleep sets VOS_SLOT_WAITER by compare-and-swap; the
 * service's exchange returns it, and then, only then, an event is due.
 */
#define VOS_SLOT_FREE 0u
#define VOS_SLOT_SUBMITTED 1u
#define VOS_SLOT_DONE 2u
#define VOS_SLOT_PHASE_MASK 3u
#define VOS_SLOT_WAITER 4u
#define VOS_SLOT_SEQUENCE_SHIFT 8u
#define VOS_SLOT_SEQUENCE_MASK 0x00ffffffu

struct vos_slot {
	uint32_t state;
	uint16_t call;  /* VOS_CALL_* */
	uint16_t flags; /* none defined; must be zero */
	uint64_t object;
	uint32_t data_offset; /* within the arena */
	uint32_t data_length; /* in: bytes of request; out: bytes of reply */
	uint32_t data_capacity; /* bytes from data_offset that the reply may use */
	uint32_t reserved0;
	uint64_t argument[3];
	int64_t result; /* >= 0, or minus a Linux errno */
};

/*
 * Errnos that a program may see are below this. From here on (ERESTARTSYS,
 * include/linux/errno.h) they are a kernel's own and act on whoever gets them:
 * a kernel takes no such result from a service.
 */
#define VOS_ERRNO_LIMIT 512

/*
 * The result of a call that a service took which died before it answered: it was
 * executed, or not, or in part. No errno of Linux; a caller asks again what may be
 * asked twice, and says EIO for the rest.
 */
#define VOS_RESULT_LOST (-4095)

/*
 * What the predecessor of a service left behind. In a slice whose generation it
 * served (served_generation), a slot that is SUBMITTED with the word in `taken`
 * was taken and may have been executed: before it says READY, the service that
 * starts answers it with VOS_RESULT_LOST, and executes nothing. Every other slot
 * that is SUBMITTED was never taken, and is served. Whoever gives a call up
 * exchanges SUBMITTED for FREE: then nobody takes it any more, and what `taken`
 * says of it is final as soon as the service's life is over.
 * A slice's new generation begins with all-zero slots and nothing taken; but in
 * slice 0 the sequences go on.
 * The event ring is written on from the service page's event_index.
 *
 * Events, service to client's kernel.
 */
#define VOS_EVENT_COMPLETION 1u /* slot `value` of slice `slice` is done and had a waiter */
#define VOS_EVENT_READY 2u      /* object with `cookie` has readiness `value` (EPOLL* bits) */
struct vos_event {
	uint32_t type;
	uint32_t slice;
	uint64_t cookie;
	uint32_t value;
	uint32_t reserved0[3];
};

/*
 * Call numbers. Below 0x1000 they are Linux's own for x86-64 (socket 41,
 * sendmsg 46, pread64 17, ...): same name, same meaning, with `object` where
 * Linux has the descriptor. From 0x1000 on they are ours.
 */
#define VOS_CALL_READ 0u
#define VOS_CALL_WRITE 1u
#define VOS_CALL_CLOSE 3u
#define VOS_CALL_FSTAT 5u
#define VOS_CALL_IOCTL 16u
#define VOS_CALL_PREAD64 17u
#define VOS_CALL_PWRITE64 18u
#define VOS_CALL_SOCKET 41u
#define VOS_CALL_CONNECT 42u
#define VOS_CALL_SENDMSG 46u
#define VOS_CALL_RECVMSG 47u
#define VOS_CALL_SHUTDOWN 48u
#define VOS_CALL_BIND 49u
#define VOS_CALL_LISTEN 50u
#define VOS_CALL_GETSOCKNAME 51u
#define VOS_CALL_GETPEERNAME 52u
#define VOS_CALL_SETSOCKOPT 54u
#define VOS_CALL_GETSOCKOPT 55u
#define VOS_CALL_FSYNC 74u
#define VOS_CALL_FDATASYNC 75u
#define VOS_CALL_FTRUNCATE 77u
#define VOS_CALL_FALLOCATE 285u
#define VOS_CALL_ACCEPT4 288u

#define VOS_CALL_OWN_BASE 0x1000u
#define VOS_CALL_NULL 0x1000u   /* does nothing; result 0 */
#define VOS_CALL_POLL 0x1001u   /* argument[0]: events; [1]: VOS_POLL_* */
#define VOS_CALL_ATTACH 0x1002u /* argument[0]: slice that may use object from now on */
#define VOS_CALL_DETACH 0x1003u /* no slice may use object any more but slice 0 */
#define VOS_CALL_NET_TABLE 0x1004u /* data: name of a file of /proc/net; argument[0]: offset */
#define VOS_CALL_FUSE 0x1010u   /* data: one FUSE message in, one reply out */

/* Control channel: the host asks a domain's agent. */
#define VOS_CALL_EXEC 0x1100u        /* data: vos_exec; result: object of the process */
#define VOS_CALL_EXEC_READ 0x1101u   /* argument[0]: 1 stdout, 2 stderr; result 0 at the end */
#define VOS_CALL_EXEC_WRITE 0x1102u  /* data: bytes for stdin; no bytes: close it */
#define VOS_CALL_EXEC_WAIT 0x1103u   /* result: wait status as wait4 gives it */
#define VOS_CALL_EXEC_SIGNAL 0x1104u /* argument[0]: signal number */
#define VOS_CALL_POWEROFF 0x1105u    /* sync, unmount, power off */

/* FALLOC_FL_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE: what may be done twice. */
#define VOS_FALLOCATE_MODES 0x13u

/* POLL: what else than looking. */
#define VOS_POLL_LOOK 0u
#define VOS_POLL_ONCE 1u
#define VOS_POLL_EDGES 2u

/* sockaddr_storage's size: room for every address Linux knows. */
#define VOS_ADDRESS_BYTES 128u

/*
 * What the caller may (its capabilities in the client). The client's kernel says
 * it on slice 0; of another slice's calls nobody says anything. The service
 * gives up these rights of its own and takes back, for one call, those that are
 * said: so its kernel checks the caller's rights as if the caller were there.
 */
#define VOS_RIGHT_BIND_SERVICE 1u /* CAP_NET_BIND_SERVICE */
#define VOS_RIGHT_RAW 2u          /* CAP_NET_RAW */
#define VOS_RIGHT_ADMIN 4u        /* CAP_NET_ADMIN */
#define VOS_RIGHTS_ALL 7u

/*
 * VOS_CALL_SOCKET: argument[0] = family << 32 | type, [1] = rights << 32 |
 * protocol, [2] = cookie for READY events; result: the object. Only slice 0 may
 * ask. BIND, SETSOCKOPT, SENDMSG: argument[2] = rights.
 * The service's socket is always non-blocking: who waits is the client, told
 * by READY events. So no call on a socket ever stays long in a slot.
 *
 * BIND, CONNECT, GETSOCKNAME, GETPEERNAME: data = the address; on return
 * data_length = its length.
 * ACCEPT4: argument[2] = cookie of the new socket; result: its object; data =
 * the peer's address.
 * GETSOCKOPT, SETSOCKOPT: argument[0] = level, [1] = option; data = value.
 * SENDMSG, RECVMSG: data = struct vos_message, then name, control, payload.
 *   In a reply the payload stays where the request's control_length put it,
 *   whatever the received control_length is. RECVMSG asks with name_length
 *   VOS_ADDRESS_BYTES, or 0 if no name is wanted; result: what recvmsg returned
 *   (with MSG_TRUNC more than payload_length, which counts the bytes there are).
 * IOCTL: argument[0] = command; data = its structure, in and out, without
 *   pointers; SIOCGIFCONF: reply data = the array of ifreq alone.
 * GETSOCKOPT: in: the caller's buffer as it was; data_capacity = its length.
 * POLL: result = the EPOLL* bits that are set now. With ONCE, if none of the
 *   asked bits, EPOLLERR or EPOLLHUP is set, the asked bits are added to those
 *   armed; else nothing is armed, for the caller knows already. One READY event
 *   disarms all. With EDGES, the asked bits are added to those of which every
 *   edge (EPOLLET) is told from then on, one READY event each; what is set now
 *   is no edge. ONCE is then served by the edges.
 * READ, WRITE on a socket object: data = payload alone; argument[0] = MSG_*
 * flags; the hot form of send and recv.
 * PREAD64, PWRITE64: argument[0] = offset; data = payload alone.
 * FSYNC, FDATASYNC of a file object: no arguments. FTRUNCATE: argument[0] = size.
 * FALLOCATE: argument[0] = mode (VOS_FALLOCATE_MODES), [1] = offset, [2] = length.
 * Each may be done twice.
 * FSTAT: reply data = struct stat. NET_TABLE: reply data = the text from there on,
 * as far as there is room; result: its bytes, 0 at the end. Only slice 0 may ask.
 */
struct vos_message {
	uint32_t flags;          /* in: MSG_*; out: msg_flags */
	uint32_t name_length;    /* bytes; its room is VOS_ADDRESS_BYTES */
	uint32_t control_length; /* in: sent, or room for received; out: received */
	uint32_t payload_length; /* likewise */
	uint8_t name[VOS_ADDRESS_BYTES];
	/* then control_length bytes rounded up to 8, then the payload */
};

/* VOS_CALL_EXEC: argument vector and environment, NUL-terminated, in this order. */
struct vos_exec {
	uint32_t argument_count;
	uint32_t environment_count;
	uint32_t uid;
	uint32_t gid;
};

/*
 * The kernel module's character device, /dev/vos/NAME.
 *
 * Client side: open; VOS_IOC_TAKE_SLICE; mmap at 0 (the slice, shared, read and
 * write) and at VOS_MAP_SERVICE_PAGE (the service's page, read-only). The slice
 * is given back when the last descriptor and mapping are gone.
 * Service side (root only, one opener): mmap at 0 gives the whole region.
 */
#define VOS_MAP_SERVICE_PAGE 0x10000000u
#define VOS_MAP_SUPERBLOCK 0x10001000u

struct vos_ioc_info {
	uint32_t role; /* VOS_PEER_CLIENT or VOS_PEER_SERVICE */
	uint32_t slice; /* own number; 0 before VOS_IOC_TAKE_SLICE */
	uint32_t slot_count;
	uint32_t slots_offset;
	uint32_t arena_offset;
	uint32_t arena_bytes;
	uint64_t map_bytes; /* of the mapping at 0 */
	uint32_t carries;
	uint32_t generation; /* of the slice */
};

/*
 * VOS_IOC_WAIT's result. Client: 0 when the slot has left `state`. Service: the
 * number of doorbells since the last wait, at least 1 (poll() tells too, and
 * does not count them off). Both: ETIMEDOUT, EINTR; client also ENOTCONN when
 * the service is lost or was never there. It may have been lost and replaced
 * before the wait began: who waits looks at the service page's generation too,
 * and therefore sets a time-out.
 */
struct vos_ioc_wait {
	uint32_t slot;  /* client: wait until this slot leaves `state`; service: unused */
	uint32_t state; /* client: the state word last seen, with VOS_SLOT_WAITER set */
	int32_t timeout_ms; /* -1: for ever */
	uint32_t reserved0;
};

/*
 * Client: wait for any slot. `state` is the slice's count of completion events that
 * was seen last (more than 31 bits: none); the result, when it is another, is the
 * count now. Whoever waits so marks its slots with VOS_SLOT_WAITER first, also while
 * it waits already. A module that does not know it says EINVAL.
 */
#define VOS_WAIT_ANY 0xffffffffu

/* Kernel-path counters, for people who count. */
struct vos_ioc_counters {
	uint64_t kernel_calls; /* calls that the module itself issued over slice 0 */
	uint64_t fast_calls;   /* summed over slices, living and dead */
	uint64_t fallback_calls;
	uint64_t doorbells;    /* rung by this side */
	uint64_t interrupts;   /* taken by this side */
};

/* ioctl numbers: _IOR/_IOW/_IO with type 'v'; spelt out so that Swift can read them. */
#define VOS_IOC_INFO 0x80287600u      /* _IOR('v', 0, struct vos_ioc_info) */
#define VOS_IOC_TAKE_SLICE 0x80287601u /* _IOR('v', 1, struct vos_ioc_info) */
#define VOS_IOC_DOORBELL 0x00007602u  /* _IO('v', 2): ring the other side; arg: peer id */
#define VOS_IOC_WAIT 0x40107603u      /* _IOW('v', 3, struct vos_ioc_wait) */
#define VOS_IOC_COUNTERS 0x80287604u  /* _IOR('v', 4, struct vos_ioc_counters) */
#define VOS_IOC_ATTACH 0x00007605u    /* _IO('v', 5): on a remote descriptor; arg: slice;
                                         result: the object's number */
#define VOS_IOC_DETACH 0x00007606u    /* _IO('v', 6): on a remote descriptor */
#define VOS_IOC_WATCHED 0x00007607u   /* _IO('v', 7): client; arg: a descriptor; result: 1 if
                                         inotify or fanotify tells somebody of its use */

#ifndef __cplusplus
_Static_assert(sizeof(struct vos_superblock) == 168, "superblock layout");
_Static_assert(sizeof(struct vos_side_page) == 128, "side page layout");
_Static_assert(sizeof(struct vos_slice_entry) == 64, "slice entry layout");
_Static_assert(sizeof(struct vos_slice_header) == 512, "slice header layout");
_Static_assert(sizeof(struct vos_slot) == 64, "a slot is one cache line");
_Static_assert(sizeof(struct vos_event) == 32, "event layout");
_Static_assert(sizeof(struct vos_message) == 144, "message layout");
_Static_assert(sizeof(struct vos_ioc_info) == 40, "ioctl layout");
_Static_assert(sizeof(struct vos_ioc_wait) == 16, "ioctl layout");
_Static_assert(sizeof(struct vos_ioc_counters) == 40, "ioctl layout");
#endif

#endif /* VOS_ABI_H */
