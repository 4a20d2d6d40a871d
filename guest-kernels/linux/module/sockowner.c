// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: whose a socket of the far end is. There all belong to the daemon; who lists
 * them is to see the inode numbers that stand in this kernel's /proc/PID/fd, and
 * the users who made them. So each socket is asked, when first needed, for the
 * inode number that it has over there.
 */
#include <linux/stat.h>
#include <linux/sched/signal.h>

#include "sockets.h"

/* The next socket after *@index, with a reference, or NULL. */
static struct vos_sock *vos_owner_next(struct vos_device *dev, unsigned long *index)
{
	struct vos_sock *vs;

	rcu_read_lock();
	do {
		vs = xa_find_after(&dev->sockets, index, U32_MAX, XA_PRESENT);
	} while (vs && !refcount_inc_not_zero(&vs->sk.sk_refcnt));
	rcu_read_unlock();
	return vs;
}

static void vos_owner_ask(struct vos_sock *vs)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_FSTAT);
	struct stat attributes;
	u32 length;

	ask.capacity = sizeof(attributes);
	if (vos_sock_call(vs, &ask, NULL, &attributes, &length) >= 0 &&
	    length == sizeof(attributes))
		WRITE_ONCE(vs->far_inode, attributes.st_ino);
}

/* Asks for what is not known yet. */
void vos_owners_learn(struct vos_device *dev)
{
	unsigned long index = 0; /* cookies begin at 1 */
	struct vos_sock *vs;

	while (!fatal_signal_pending(current) &&
	       (vs = vos_owner_next(dev, &index))) {
		if (vs->has_object && !vs->far_inode &&
		    vs->epoch == atomic_read(&dev->epoch))
			vos_owner_ask(vs);
		sock_put(&vs->sk);
		cond_resched();
	}
}

/* Of the far end's inode @far: ours, and whose. Inode 0: nobody's here. */
struct vos_owner vos_owner_of(struct vos_device *dev, unsigned long far)
{
	struct vos_owner owner = { .user = INVALID_UID };
	unsigned long index;
	struct vos_sock *vs;

	if (!far)
		return owner;
	rcu_read_lock();
	xa_for_each(&dev->sockets, index, vs) {
		if (READ_ONCE(vs->far_inode) != far ||
		    vs->epoch != atomic_read(&dev->epoch))
			continue;
		owner.inode = sock_i_ino(&vs->sk);
		owner.user = sock_i_uid(&vs->sk);
		break;
	}
	rcu_read_unlock();
	return owner;
}
