// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: socket options.
 *
 * In this kernel the core keeps SOL_SOCKET for itself: it checks rights, sets
 * fields of the local sock, and no family is asked (SOCK_CUSTOM_SOCKOPT is
 * newer). So the fields that the far end must know are compared with what it
 * was told: after each setsockopt (sockhook.c) and, where no probe could be placed,
 * before each call for which they matter. Time-outs stay here, where
 * the waiting is done; SO_ERROR is also fetched when poll() sees EPOLLERR.
 * All other levels are the service's, with the caller's rights (rights.c).
 */
#include <linux/filter.h>
#include <linux/in.h>
#include <linux/if_packet.h>
#include <linux/in6.h>
#include <linux/jhash.h>
#include <linux/netlink.h>
#include <linux/netdevice.h>
#include <linux/tcp.h>
#include <linux/uaccess.h>

#include "sockets.h"

/* Netfilter's and multicast routing's options begin here at the IP level. */
#define VOS_IP_FOREIGN_FIRST 64
/* At the IPv6 level netfilter's lie among others: ip6_tables.h. */
#define VOS_IP6_FOREIGN (BIT(0) | BIT(1) | BIT(4) | BIT(5)) /* 64 + n */
#define VOS_IP6_MULTICAST_ROUTING_FIRST 200

/* No option's value is longer, tables of netfilter apart, which we refuse. */
#define VOS_OPTION_BYTES_MAX 2048

/* Which of the options that stamp received data is on: one excludes the others. */
static int vos_timestamp_option(const struct sock *sk)
{
	bool new = sock_flag(sk, SOCK_TSTAMP_NEW);

	if (!sock_flag(sk, SOCK_RCVTSTAMP))
		return 0;
	if (sock_flag(sk, SOCK_RCVTSTAMPNS))
		return new ? SO_TIMESTAMPNS_NEW : SO_TIMESTAMPNS_OLD;
	return new ? SO_TIMESTAMP_NEW : SO_TIMESTAMP_OLD;
}

/* A copy of the socket's classic filter, or NULL; a program of eBPF has none. */
static struct sock_filter *vos_filter_copy(struct sock *sk, u32 *count)
{
	struct sock_fprog_kern *program = NULL;
	struct sk_filter *filter;
	struct sock_filter *copy = NULL;

	rcu_read_lock();
	filter = rcu_dereference(sk->sk_filter);
	if (filter)
		program = filter->prog->orig_prog;
	if (program) {
		*count = program->len;
		copy = kmemdup(program->filter, array_size(*count, sizeof(*copy)),
			       GFP_ATOMIC);
	}
	rcu_read_unlock();
	return copy;
}

static u32 vos_filter_hash(const struct sock *sk)
{
	struct sock_fprog_kern *program = NULL;
	struct sk_filter *filter;
	u32 hash = 0;

	if (likely(!rcu_access_pointer(sk->sk_filter)))
		return 0;
	rcu_read_lock();
	filter = rcu_dereference(sk->sk_filter);
	if (filter)
		program = filter->prog->orig_prog;
	if (program)
		hash = jhash(program->filter,
			     program->len * sizeof(struct sock_filter), 0) | 1;
	rcu_read_unlock();
	return hash;
}

static void vos_told_read(const struct sock *sk, struct vos_told *told)
{
	told->reuse = sk->sk_reuse != SK_NO_REUSE;
	told->reuse_port = sk->sk_reuseport;
	told->keepalive = sock_flag(sk, SOCK_KEEPOPEN);
	told->broadcast = sock_flag(sk, SOCK_BROADCAST);
	told->oob_inline = sock_flag(sk, SOCK_URGINLINE);
	told->dont_route = sock_flag(sk, SOCK_LOCALROUTE);
	/* Of who sets none the far end tunes them. The core doubles what it is given. */
	told->receive_buffer = sk->sk_userlocks & SOCK_RCVBUF_LOCK ?
				       READ_ONCE(sk->sk_rcvbuf) / 2 : 0;
	told->send_buffer = sk->sk_userlocks & SOCK_SNDBUF_LOCK ?
				    READ_ONCE(sk->sk_sndbuf) / 2 : 0;
	told->low_water = READ_ONCE(sk->sk_rcvlowat);
	told->priority = READ_ONCE(sk->sk_priority);
	told->mark = READ_ONCE(sk->sk_mark);
	/* Only the abortive close goes over: the other would block the service. */
	told->linger = sock_flag(sk, SOCK_LINGER) && !sk->sk_lingertime;
	told->bound_interface = READ_ONCE(sk->sk_bound_dev_if);
	told->timestamp = vos_timestamp_option(sk);
	told->timestamping = READ_ONCE(sk->sk_tsflags);
	told->queue_overflow = sock_flag(sk, SOCK_RXQ_OVFL);
	told->select_errors = sock_flag(sk, SOCK_SELECT_ERR_QUEUE);
	told->pacing = min_t(u64, READ_ONCE(sk->sk_max_pacing_rate), ~0U);
	told->filter = vos_filter_hash(sk);
}

void vos_sock_options_init(struct vos_sock *vs)
{
	vos_told_read(&vs->sk, &vs->told);
}

/* The far end's child has its listener's options; so has ours. */
void vos_sock_options_inherit(struct vos_sock *from, struct vos_sock *to)
{
	static const int flags[] = { SOCK_KEEPOPEN, SOCK_BROADCAST,
				     SOCK_URGINLINE, SOCK_LOCALROUTE,
				     SOCK_LINGER };
	int i;

	vos_sock_tell_options(from);
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		sock_valbool_flag(&to->sk, flags[i],
				  sock_flag(&from->sk, flags[i]));
	to->sk.sk_reuse = from->sk.sk_reuse;
	to->sk.sk_reuseport = from->sk.sk_reuseport;
	to->sk.sk_userlocks = from->sk.sk_userlocks &
			      (SOCK_RCVBUF_LOCK | SOCK_SNDBUF_LOCK);
	to->sk.sk_rcvbuf = from->sk.sk_rcvbuf;
	to->sk.sk_sndbuf = from->sk.sk_sndbuf;
	to->sk.sk_rcvlowat = from->sk.sk_rcvlowat;
	to->sk.sk_priority = from->sk.sk_priority;
	to->sk.sk_mark = from->sk.sk_mark;
	to->sk.sk_lingertime = from->sk.sk_lingertime;
	to->sk.sk_bound_dev_if = from->sk.sk_bound_dev_if;
	to->sk.sk_rcvtimeo = from->sk.sk_rcvtimeo;
	to->sk.sk_sndtimeo = from->sk.sk_sndtimeo;
	vos_sock_options_init(to);
}

static s64 vos_option_set(struct vos_sock *vs, u32 rights, int level, int name,
			  const void *value, u32 length)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_SETSOCKOPT);

	ask.argument[0] = (u32)level;
	ask.argument[1] = (u32)name;
	ask.argument[2] = rights;
	ask.length = length;
	return vos_sock_call(vs, &ask, value, NULL, NULL);
}

/*
 * The core has accepted it already, and checked the rights of whoever asked: that
 * may be another than the one who calls now.
 */
static void vos_option_tell(struct vos_sock *vs, int name, const void *value,
			    u32 length)
{
	s64 ret = vos_option_set(vs, VOS_RIGHTS_ALL, SOL_SOCKET, name, value,
				 length);

	if (ret < 0)
		vs->untold = vos_sock_error(vs, ret);
}

static void vos_tell(struct vos_sock *vs, int name, int *old, int new)
{
	if (*old == new)
		return;
	vos_option_tell(vs, name, &new, sizeof(new));
	*old = new;
}

/*
 * This kernel has applied its limits, or those of SO_RCVBUFFORCE; netlink sockets
 * have no right to that over there. 0: none is set.
 */
static void vos_tell_buffer(struct vos_sock *vs, int name, int forced, int *old,
			    int new)
{
	if (new)
		vos_tell(vs, vs->family == PF_NETLINK ? name : forced, old, new);
	*old = new;
}

static void vos_tell_linger(struct vos_sock *vs, int *old, int new)
{
	struct linger linger = { .l_onoff = new };

	if (*old == new)
		return;
	vos_option_tell(vs, SO_LINGER, &linger, sizeof(linger));
	*old = new;
}

static void vos_tell_timestamp(struct vos_sock *vs, int *old, int new)
{
	int on = new != 0;

	if (*old == new)
		return;
	vos_option_tell(vs, new ?: *old, &on, sizeof(on));
	*old = new;
}

/* The service gets the program itself; in SO_ATTACH_FILTER there is a pointer. */
static void vos_tell_filter(struct vos_sock *vs, u32 *old, u32 new)
{
	struct sock_filter *program;
	u32 count = 0;
	int none = 0;

	if (*old == new)
		return;
	program = vos_filter_copy(&vs->sk, &count);
	if (program)
		vos_option_tell(vs, SO_ATTACH_FILTER, program,
				count * sizeof(*program));
	else
		vos_option_tell(vs, SO_DETACH_FILTER, &none, sizeof(none));
	kfree(program);
	*old = new;
}

/* Interfaces are known by name at the far end; ours must have the same. */
static void vos_tell_interface(struct vos_sock *vs, int *old, int new)
{
	char name[IFNAMSIZ] = "";
	struct net_device *interface;

	if (*old == new)
		return;
	interface = new ? dev_get_by_index(sock_net(&vs->sk), new) : NULL;
	if (interface) {
		strscpy(name, interface->name, sizeof(name));
		dev_put(interface);
	}
	vos_option_tell(vs, SO_BINDTODEVICE, name, sizeof(name));
	*old = new;
}

/*
 * Tells the far end what has changed since it was told last: 0, or how it refused.
 * Only a setsockopt() that is under way can tell the program.
 */
int vos_sock_tell_options(struct vos_sock *vs)
{
	struct vos_told now = {};
	struct vos_told *old = &vs->told;
	int ret;

	vos_told_read(&vs->sk, &now);
	if (likely(!memcmp(&now, old, sizeof(now))))
		return 0;
	mutex_lock(&vs->options_lock);
	vos_told_read(&vs->sk, &now); /* another may have told later ones meanwhile */
	vs->untold = 0;
	vos_tell(vs, SO_REUSEADDR, &old->reuse, now.reuse);
	vos_tell(vs, SO_REUSEPORT, &old->reuse_port, now.reuse_port);
	vos_tell(vs, SO_KEEPALIVE, &old->keepalive, now.keepalive);
	vos_tell(vs, SO_BROADCAST, &old->broadcast, now.broadcast);
	vos_tell(vs, SO_OOBINLINE, &old->oob_inline, now.oob_inline);
	vos_tell(vs, SO_DONTROUTE, &old->dont_route, now.dont_route);
	vos_tell_buffer(vs, SO_RCVBUF, SO_RCVBUFFORCE, &old->receive_buffer,
			now.receive_buffer);
	vos_tell_buffer(vs, SO_SNDBUF, SO_SNDBUFFORCE, &old->send_buffer,
			now.send_buffer);
	vos_tell(vs, SO_RCVLOWAT, &old->low_water, now.low_water);
	vos_tell(vs, SO_PRIORITY, &old->priority, now.priority);
	vos_tell(vs, SO_MARK, &old->mark, now.mark);
	vos_tell_linger(vs, &old->linger, now.linger);
	vos_tell_interface(vs, &old->bound_interface, now.bound_interface);
	vos_tell_timestamp(vs, &old->timestamp, now.timestamp);
	vos_tell(vs, SO_TIMESTAMPING_OLD, &old->timestamping, now.timestamping);
	vos_tell(vs, SO_RXQ_OVFL, &old->queue_overflow, now.queue_overflow);
	vos_tell(vs, SO_SELECT_ERR_QUEUE, &old->select_errors,
		 now.select_errors);
	vos_tell(vs, SO_MAX_PACING_RATE, (int *)&old->pacing, now.pacing);
	vos_tell_filter(vs, &old->filter, now.filter);
	ret = vs->untold;
	mutex_unlock(&vs->options_lock);
	return ret;
}

/* The core asks for these two with the socket locked; both may sleep. */
void vos_sock_keepalive(struct sock *sk, int on)
{
	struct vos_sock *vs = vos_sk(sk);

	mutex_lock(&vs->options_lock);
	vos_tell(vs, SO_KEEPALIVE, &vs->told.keepalive, !!on);
	mutex_unlock(&vs->options_lock);
}

int vos_sock_set_low_water(struct sock *sk, int value)
{
	struct vos_sock *vs = vos_sk(sk);

	WRITE_ONCE(sk->sk_rcvlowat, value ?: 1);
	mutex_lock(&vs->options_lock);
	vos_tell(vs, SO_RCVLOWAT, &vs->told.low_water, value ?: 1);
	mutex_unlock(&vs->options_lock);
	return 0;
}

/* Streams have no such thing in this kernel (tcp(7) has it since 6.9). */
int vos_sock_set_peek_offset(struct sock *sk, int value)
{
	struct vos_sock *vs = vos_sk(sk);
	s64 ret;

	if (vos_sock_is_stream(vs) || sk->sk_family == PF_UNSPEC)
		return -EOPNOTSUPP;
	ret = vos_option_set(vs, 0, SOL_SOCKET, SO_PEEK_OFF, &value,
			     sizeof(value));
	if (ret >= 0)
		WRITE_ONCE(sk->sk_peek_off, value);
	return vos_sock_error(vs, ret);
}

/* Takes the far end's pending error: a positive errno, or 0. */
int vos_sock_remote_error(struct vos_sock *vs)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_GETSOCKOPT);
	u32 length;
	int error = 0;

	ask.argument[0] = SOL_SOCKET;
	ask.argument[1] = SO_ERROR;
	ask.length = sizeof(error);
	ask.capacity = sizeof(error);
	if (vos_sock_call(vs, &ask, &error, &error, &length) < 0 ||
	    length != sizeof(error))
		return EIO;
	return error < 0 || error >= VOS_ERRNO_LIMIT ? EIO : error;
}

/* Options that carry pointers, or load code: not over a channel. */
static bool vos_option_offered(int level, int name)
{
	if (level == SOL_SOCKET)
		return true; /* of these sockhook.c brings what it names */
	if (level == SOL_TCP)
		return name != TCP_ZEROCOPY_RECEIVE && name != TCP_ULP;
	if (level == SOL_IP)
		return name < VOS_IP_FOREIGN_FIRST;
	if (level == SOL_IPV6)
		return name < VOS_IP6_MULTICAST_ROUTING_FIRST &&
		       !(name >= 64 && name < 72 &&
			 VOS_IP6_FOREIGN & BIT(name - 64));
	if (level == SOL_PACKET)
		return name != PACKET_RX_RING && name != PACKET_TX_RING &&
		       name != PACKET_VERSION && name != PACKET_HDRLEN &&
		       name != PACKET_FANOUT_DATA;
	return level == SOL_UDP || level == SOL_UDPLITE || level == SOL_RAW ||
	       level == SOL_ICMPV6 || level == SOL_NETLINK;
}

/* Families differ in what they say of a level that they do not know. */
static int vos_level_unknown(struct vos_sock *vs, int level)
{
	switch (level) {
	case SOL_IP:
	case SOL_IPV6:
	case SOL_TCP:
	case SOL_PACKET:
		return -ENOPROTOOPT;
	}
	return vs->family == PF_INET ? -EOPNOTSUPP : -ENOPROTOOPT;
}

/*
 * Differs: options that hold pointers or load code are ENOPROTOOPT (TCP_ULP,
 * TCP_ZEROCOPY_RECEIVE, netfilter, multicast routing, packet rings); TCP_REPAIR
 * too; SO_ATTACH_BPF and SO_ATTACH_REUSEPORT_* as well; SO_ZEROCOPY is EOPNOTSUPP.
 */
int vos_sock_setsockopt(struct socket *sock, int level, int name,
			sockptr_t value, unsigned int length)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	void *copy;
	s64 ret;

	if (!vos_option_offered(level, name))
		return -ENOPROTOOPT;
	if (length > VOS_OPTION_BYTES_MAX)
		return -EINVAL;
	copy = memdup_sockptr(value, length);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	ret = vos_option_set(vs, vos_rights(sock_net(&vs->sk)), level, name,
			     copy, length);
	kfree(copy);
	return vos_sock_error(vs, ret);
}

static int vos_option_get(struct vos_sock *vs, int level, int name, void *value,
			  u32 *length)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_GETSOCKOPT);
	s64 ret;

	ask.argument[0] = (u32)level;
	ask.argument[1] = (u32)name;
	ask.length = *length;
	ask.capacity = *length;
	ret = vos_sock_call(vs, &ask, value, value, length);
	return ret < 0 ? vos_sock_error(vs, ret) : 0;
}

/*
 * Differs: SOL_SOCKET is answered by this kernel, but SO_ERROR, SO_COOKIE, buffers
 * and the interface.
 */
int vos_sock_getsockopt(struct socket *sock, int level, int name,
			char __user *value, int __user *length)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	void *copy;
	u32 size;
	int ret;

	if (!vos_option_offered(level, name))
		return vos_level_unknown(vs, level);
	if (get_user(size, (u32 __user *)length))
		return -EFAULT;
	if ((int)size < 0)
		return -EINVAL;
	size = min_t(u32, size, VOS_OPTION_BYTES_MAX);
	copy = memdup_user(value, size);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	vos_sock_tell_options(vs);
	ret = vos_option_get(vs, level, name, copy, &size);
	if (!ret && (copy_to_user(value, copy, size) ||
		     put_user(size, (u32 __user *)length)))
		ret = -EFAULT;
	kfree(copy);
	return ret;
}
