/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vos: what sending and receiving share. Payload is copied once, between the
 * caller's memory and the request's buffer in the region. Streams go in pieces of
 * a buffer; for a datagram several are taken together.
 */
#ifndef VOS_SOCKIO_H
#define VOS_SOCKIO_H

#include <linux/sched/signal.h>
#include <linux/uio.h>

#include "sockets.h"

#define VOS_CONTROL_MAX 2048
/* The largest datagram there is, with its head and control data, and some room. */
#define VOS_DATAGRAM_ROOM (68 << 10)
/* The service's socket must neither block nor raise a signal. */
#define VOS_ALWAYS_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)

/* Between pieces: a far end that answers at once, byte by byte, must not hold us. */
static inline bool vos_may_go_on(void)
{
	cond_resched();
	return !fatal_signal_pending(current);
}

/* Bytes of buffer for @length bytes of payload. */
static inline size_t vos_room_for(struct vos_sock *vs, size_t length, size_t control)
{
	if (vos_sock_is_stream(vs))
		return 1;
	return min_t(size_t, length, VOS_DATAGRAM_ROOM) +
	       sizeof(struct vos_message) + round_up(control, 8);
}

#endif /* VOS_SOCKIO_H */
