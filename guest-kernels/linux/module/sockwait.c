// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: readiness of remote sockets. The service's sockets never block; whoever
 * waits here asks for one READY event per need ("arms"), and sleeps.
 *
 * No wake-up is lost: the sleeper is on the wait queue before it arms, arming
 * answers with the readiness of that moment, and READY wakes all whose arming it
 * ended, so that they look again and arm anew. Who waits for edges (EPOLLET) does
 * not look again by itself: of such a socket the service tells every edge.
 *
 * Of those that wait exclusively (accept, EPOLLEXCLUSIVE) one is woken. It need
 * not come back to arm, so of a listener the service tells every edge too; and as
 * one edge may stand for several connections, who takes one wakes the next.
 */
#include <linux/poll.h>
#include <linux/sched/signal.h>

#include "sockets.h"

#define VOS_POLL_ALWAYS (EPOLLERR | EPOLLHUP)
#define VOS_POLL_KNOWN 0xffff
#define VOS_POLL_READING                                                       \
	(EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND | EPOLLRDHUP)
#define VOS_POLL_WRITING (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND)

/* Ready, and yet the call says EAGAIN: after so many times, slow down. */
#define VOS_TRIES_BEFORE_PAUSE 3
#define VOS_PAUSE (HZ / 50)

/* A sleeper looks by itself this often, in case an event never comes. */
#define VOS_LOOK_INTERVAL (5 * HZ)

/* Any context. */
void vos_sock_disarm(struct vos_sock *vs)
{
	unsigned long flags;

	spin_lock_irqsave(&vs->arm_lock, flags);
	vs->armed = 0;
	vs->hint = 0;
	vs->told_ready++;
	spin_unlock_irqrestore(&vs->arm_lock, flags);
}

/* The bits that some wait for by another name. */
static u32 vos_poll_key(u32 ready)
{
	if (ready & EPOLLIN)
		ready |= EPOLLRDNORM;
	if (ready & EPOLLOUT)
		ready |= EPOLLWRNORM;
	return ready & VOS_POLL_KNOWN;
}

/* Takes note of a READY event; true if it ended an arming for other bits too. */
static bool vos_sock_note_ready(struct vos_sock *vs, u32 ready)
{
	unsigned long flags;
	u32 others;

	spin_lock_irqsave(&vs->arm_lock, flags);
	others = vs->armed & ~(vs->edges | VOS_POLL_ALWAYS);
	vs->hint = vos_poll_key(ready);
	vs->hint_covers = vs->armed | vs->edges | VOS_POLL_ALWAYS;
	vs->armed = 0;
	vs->told_ready++;
	spin_unlock_irqrestore(&vs->arm_lock, flags);
	return others & ~vos_poll_key(ready);
}

/* @ready: the bits that are set; 0: all shall look. */
static void vos_sock_wake(struct vos_sock *vs, u32 ready)
{
	bool all = vos_sock_note_ready(vs, ready) || !ready ||
		   ready & VOS_POLL_ALWAYS;
	struct socket_wq *wq;

	rcu_read_lock();
	wq = rcu_dereference(vs->sk.sk_wq);
	if (!skwq_has_sleeper(wq))
		;
	else if (all)
		wake_up_interruptible_all(&wq->wait);
	else
		wake_up_interruptible_poll(&wq->wait, vos_poll_key(ready));
	sk_wake_async(&vs->sk, SOCK_WAKE_WAITD, POLL_IN);
	rcu_read_unlock();
}

/* From the interrupt handler. Socks are freed after a grace period. */
void vos_sock_ready(struct vos_device *dev, u64 cookie, u32 ready)
{
	struct vos_sock *vs;

	if (cookie > U32_MAX)
		return;
	rcu_read_lock();
	vs = xa_load(&dev->sockets, cookie);
	if (vs)
		vos_sock_wake(vs, ready);
	rcu_read_unlock();
}

void vos_sock_wake_all(struct vos_device *dev)
{
	struct vos_sock *vs;
	unsigned long cookie;

	rcu_read_lock();
	xa_for_each(&dev->sockets, cookie, vs)
		vos_sock_wake(vs, 0);
	rcu_read_unlock();
}

/*
 * Of a file that does not block, a READY event answers the first look after it,
 * without a call: should somebody have been faster, the program finds EAGAIN,
 * which it must reckon with. Errors are always asked for. 0: ask.
 */
static u32 vos_sock_take_hint(struct vos_sock *vs, u32 events)
{
	unsigned long flags;
	u32 hint = 0;

	if (!READ_ONCE(vs->hint))
		return 0;
	spin_lock_irqsave(&vs->arm_lock, flags);
	if (!(vs->hint & VOS_POLL_ALWAYS) && !(events & ~vs->hint_covers))
		hint = vs->hint & events;
	vs->hint = 0;
	spin_unlock_irqrestore(&vs->arm_lock, flags);
	return hint;
}

/* A call is about to take what it may speak of. */
void vos_sock_forget_hint(struct vos_sock *vs)
{
	WRITE_ONCE(vs->hint, 0);
}

/* Armed and not yet told: then the answer is known without asking. */
static bool vos_sock_known_unready(struct vos_sock *vs, u32 events, u32 *seen)
{
	unsigned long flags;
	bool known;

	spin_lock_irqsave(&vs->arm_lock, flags);
	known = vs->armed && !(events & ~vs->armed);
	*seen = vs->told_ready;
	spin_unlock_irqrestore(&vs->arm_lock, flags);
	return known;
}

static void vos_sock_note_armed(struct vos_sock *vs, u32 events, u32 seen)
{
	unsigned long flags;

	spin_lock_irqsave(&vs->arm_lock, flags);
	if (vs->told_ready == seen)
		vs->armed |= events;
	spin_unlock_irqrestore(&vs->arm_lock, flags);
}

/* Readiness now, < 0 on failure; if nothing asked is ready, READY will tell. */
static s64 vos_sock_query(struct vos_sock *vs, u32 events, bool arm)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_POLL);
	u32 seen;
	s64 mask;

	events |= VOS_POLL_ALWAYS;
	if (atomic_read(&vs->dev->epoch) != vs->epoch)
		return -ENOTCONN;
	if (vos_sock_known_unready(vs, events, &seen))
		return 0;
	ask.argument[0] = events;
	ask.argument[0] |= arm ? READ_ONCE(vs->edges) : 0;
	ask.argument[1] = !arm ? VOS_POLL_LOOK :
			  READ_ONCE(vs->edges) ? VOS_POLL_EDGES : VOS_POLL_ONCE;
	mask = vos_sock_call(vs, &ask, NULL, NULL, NULL);
	if (mask < 0)
		return mask;
	mask &= VOS_POLL_KNOWN;
	if (arm && !(mask & events))
		vos_sock_note_armed(vs, events, seen);
	return mask;
}

/* A nap between two tries; nonzero for a signal. */
int vos_sock_pause(long *timeout)
{
	long pause = min_t(long, *timeout, VOS_PAUSE);
	long left = schedule_timeout_interruptible(pause);

	if (*timeout != MAX_SCHEDULE_TIMEOUT)
		*timeout -= pause - left;
	return signal_pending(current) ? sock_intr_errno(*timeout) : 0;
}

static long vos_sock_sleep(wait_queue_entry_t *entry, long timeout)
{
	long nap = min_t(long, timeout, VOS_LOOK_INTERVAL);
	long left = wait_woken(entry, TASK_INTERRUPTIBLE, nap);

	return timeout == MAX_SCHEDULE_TIMEOUT ? timeout : timeout - nap + left;
}

/*
 * A call said EAGAIN: sleeps until trying again may help. 0, -EAGAIN when
 * @timeout is used up, or what a signal asks for. @tries starts at 0.
 */
int vos_sock_wait(struct vos_sock *vs, u32 events, long *timeout,
		  unsigned int *tries)
{
	DEFINE_WAIT_FUNC(entry, woken_wake_function);
	s64 mask;
	int ret = 0;

	if (!*timeout)
		return -EAGAIN;
	if (signal_pending(current))
		return sock_intr_errno(*timeout);
	if ((*tries)++ >= VOS_TRIES_BEFORE_PAUSE)
		return vos_sock_pause(timeout);
	if (vs->sk.sk_state == TCP_LISTEN)
		add_wait_queue_exclusive(sk_sleep(&vs->sk), &entry);
	else
		add_wait_queue(sk_sleep(&vs->sk), &entry);
	mask = vos_sock_query(vs, events, true);
	if (mask == -ERESTARTSYS) {
		ret = sock_intr_errno(*timeout);
	} else if (mask >= 0 && !(mask & (events | VOS_POLL_ALWAYS))) {
		*timeout = vos_sock_sleep(&entry, *timeout);
		*tries = 0;
		if (signal_pending(current))
			ret = sock_intr_errno(*timeout);
	}
	remove_wait_queue(sk_sleep(&vs->sk), &entry);
	return ret; /* a lost service shows when the call is tried again */
}

static bool vos_queue_has_exclusive(struct wait_queue_head *queue)
{
	wait_queue_entry_t *last;
	unsigned long flags;
	bool has = false;

	spin_lock_irqsave(&queue->lock, flags);
	if (!list_empty(&queue->head)) { /* they stand at the end */
		last = list_last_entry(&queue->head, wait_queue_entry_t, entry);
		has = last->flags & WQ_FLAG_EXCLUSIVE;
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	return has;
}

/*
 * The caller alone was woken, and has taken what it was woken for, or goes without:
 * if there is more, it is the next one's.
 */
void vos_sock_wake_next(struct vos_sock *vs, u32 events)
{
	struct wait_queue_head *queue = sk_sleep(&vs->sk);

	if (!vos_queue_has_exclusive(queue))
		return;
	if (vos_sock_query(vs, events, true) & (events | VOS_POLL_ALWAYS))
		wake_up_interruptible_poll(queue, vos_poll_key(events));
}

/*
 * A call drained the socket while others (an edge-triggered epoll) wait on it:
 * they will not ask again by themselves.
 */
void vos_sock_rearm(struct vos_sock *vs, u32 events)
{
	struct socket *sock = vs->sk.sk_socket;

	if (READ_ONCE(vs->edges) || !sock || !wq_has_sleeper(&sock->wq.wait))
		return;
	if (vos_sock_query(vs, events, true) & (events | VOS_POLL_ALWAYS))
		wake_up_interruptible_all(&sock->wq.wait);
}

/*
 * Arming does nothing while any of the asked bits is set. Who asks for reading
 * and writing and may do one of them is to be told of the other all the same.
 */
static s64 vos_sock_arm_rest(struct vos_sock *vs, u32 events, s64 mask)
{
	u32 rest = events & ~VOS_POLL_ALWAYS;
	s64 again;

	if (mask < 0 || mask & VOS_POLL_ALWAYS || !(mask & events))
		return mask;
	rest &= ~mask;
	if (mask & EPOLLIN)
		rest &= ~VOS_POLL_READING;
	if (mask & EPOLLOUT)
		rest &= ~VOS_POLL_WRITING;
	rest &= ~READ_ONCE(vs->edges); /* told in any case */
	if (!rest)
		return mask;
	again = vos_sock_query(vs, rest, true);
	return again < 0 ? again : mask | again;
}

/* From now on the service tells of each edge of these events, once it is asked. */
void vos_sock_want_edges(struct vos_sock *vs, u32 events)
{
	unsigned long flags;

	spin_lock_irqsave(&vs->arm_lock, flags);
	WRITE_ONCE(vs->edges, vs->edges | events);
	vs->armed = 0; /* the service is to be asked once more */
	vs->hint = 0;
	spin_unlock_irqrestore(&vs->arm_lock, flags);
}

/*
 * Differs: an edge may be told twice; of a lost service come EPOLLERR and EPOLLHUP.
 */
__poll_t vos_sock_poll(struct file *file, struct socket *sock,
		       struct poll_table_struct *wait)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	u32 asked = (__force u32)poll_requested_events(wait);
	u32 events = asked & VOS_POLL_KNOWN;
	bool arm, newly;
	s64 mask = 0;

	sock_poll_wait(file, sock, wait);
	if (vs->local && vos_diag_answers(vs))
		return vos_diag_poll(vs, wait);
	/*
	 * poll_requested_events() says ~0 for "whatever". The service has to hear
	 * of new edges: then it is asked in any case.
	 */
	newly = asked & (__force u32)EPOLLET && ~asked &&
		events & ~READ_ONCE(vs->edges);
	if (newly)
		vos_sock_want_edges(vs, events);
	vos_sock_tell_options(vs);
	arm = wq_has_sleeper(&sock->wq.wait);
	if (file->f_flags & O_NONBLOCK && !newly)
		mask = vos_sock_take_hint(vs, events);
	if (!mask)
		mask = vos_sock_query(vs, events, arm);
	if (arm)
		mask = vos_sock_arm_rest(vs, events, mask);
	if (mask < 0) {
		if (!vs->sk.sk_err)
			vs->sk.sk_err = -vos_sock_error(vs, mask);
		return EPOLLERR | EPOLLHUP | EPOLLIN | EPOLLRDNORM |
		       EPOLLRDHUP | EPOLLOUT | EPOLLWRNORM;
	}
	/* getsockopt(SO_ERROR) is answered by the core, from here. */
	if (mask & EPOLLERR && !vs->sk.sk_err)
		vs->sk.sk_err = vos_sock_remote_error(vs);
	if (vs->sk.sk_err)
		mask |= EPOLLERR;
	return (__force __poll_t)mask;
}
