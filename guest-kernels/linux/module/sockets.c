// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: the life of a remote socket: create, bind, connect, listen, accept,
 * shut down, release. The service executes them; who waits is us.
 */
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/module.h>
#include <linux/netlink.h>
#include <linux/sched/signal.h>
#include <net/ip.h>
#include <net/tcp_states.h>

#include "sockets.h"

struct proto vos_proto = {
	.name = "VOS",
	.owner = THIS_MODULE,
	.obj_size = sizeof(struct vos_sock),
	.keepalive = vos_sock_keepalive,
};

static const struct proto_ops vos_inet_ops;
static const struct proto_ops vos_inet6_ops;
static const struct proto_ops vos_netlink_ops;
static const struct proto_ops vos_packet_ops;

/* How often a close that lingers looks whether all bytes are taken. */
#define VOS_LINGER_LOOK max(HZ / 100, 1)

/* What a program shall see when the service is lost, or was never there. */
s64 vos_sock_error(struct vos_sock *vs, s64 result)
{
	if (result != -ENOTCONN && result != -EIO)
		return result;
	if (READ_ONCE(vs->dev->up) && !READ_ONCE(vs->dev->broken) &&
	    atomic_read(&vs->dev->epoch) == vs->epoch)
		return result;
	return vs->has_object && vos_sock_is_stream(vs) ? -ECONNRESET :
							  -ENETDOWN;
}

/*
 * A sock that says AF_NETLINK is taken for a netlink_sock by mq_notify, which
 * finds wait queues in it, and one that says AF_PACKET may be by others.
 */
static int vos_shown_family(int family)
{
	return family == PF_INET || family == PF_INET6 ? family : PF_UNSPEC;
}

/* Takes over the caller's reference to @dev, also when it fails. */
static struct vos_sock *vos_sock_new(struct net *net, struct vos_device *dev,
				     struct socket *sock, int family, int type,
				     int protocol)
{
	struct sock *sk = sk_alloc(net, family, GFP_KERNEL, &vos_proto, 0);
	struct vos_sock *vs;

	if (!sk) {
		vos_device_put(dev);
		return NULL;
	}
	vs = vos_sk(sk);
	sock_init_data(sock, sk);
	sock_set_flag(sk, SOCK_RCU_FREE);
	sk->sk_family = vos_shown_family(family);
	vs->family = family;
	sk->sk_type = type;
	sk->sk_protocol = protocol;
	vs->inet.pinet6 = &vs->tcp.inet6;
	vs->dev = dev;
	vs->epoch = atomic_read(&dev->epoch);
	spin_lock_init(&vs->arm_lock);
	mutex_init(&vs->options_lock);
	vos_sock_options_init(vs);
	if (xa_alloc_cyclic(&dev->sockets, &vs->cookie, vs, xa_limit_32b,
			    &dev->next_cookie, GFP_KERNEL) >= 0)
		return vs;
	if (sock)
		sock->sk = NULL;
	sock_put(sk);
	vos_device_put(dev);
	return NULL;
}

static void vos_sock_free(struct vos_sock *vs)
{
	struct vos_device *dev = vs->dev;

	xa_erase(&dev->sockets, vs->cookie);
	if (vs->has_object)
		vos_close_object(dev, vs->epoch, vs->object);
	if (vs->local)
		fput(vs->local);
	sock_orphan(&vs->sk);
	sock_put(&vs->sk);
	vos_device_put(dev);
}

static int vos_sock_open(struct vos_sock *vs)
{
	struct vos_ask ask = {
		.call = VOS_CALL_SOCKET,
		.argument = { (u64)vs->family << 32 | vs->sk.sk_type,
			      (u64)vos_rights(sock_net(&vs->sk)) << 32 |
				      vs->sk.sk_protocol,
			      vs->cookie },
	};
	s64 result = vos_sock_call(vs, &ask, NULL, NULL, NULL);

	if (result < 0)
		return vos_sock_error(vs, result);
	vs->object = result;
	vs->has_object = true;
	return 0;
}

/* Who may have an ICMP datagram socket: ping_group_range, as ping_init_sock() says. */
static int vos_ping_allowed(struct net *net, int family, int protocol)
{
	struct group_info *groups = current_cred()->group_info;
	kgid_t low, high;
	unsigned int sequence;
	int i;

	if ((family == PF_INET) != (protocol == IPPROTO_ICMP))
		return -EPROTONOSUPPORT;
	do {
		sequence = read_seqbegin(&net->ipv4.ping_group_range.lock);
		low = net->ipv4.ping_group_range.range[0];
		high = net->ipv4.ping_group_range.range[1];
	} while (read_seqretry(&net->ipv4.ping_group_range.lock, sequence));
	if (gid_lte(low, current_egid()) && gid_lte(current_egid(), high))
		return 0;
	for (i = 0; i < groups->ngroups; i++)
		if (gid_lte(low, groups->gid[i]) && gid_lte(groups->gid[i], high))
			return 0;
	return -EACCES;
}

/* What kinds there are; rights for them are checked at the far end, but for one. */
static int vos_inet_allowed(struct net *net, int family, int type, int *protocol)
{
	if (*protocol < 0 || *protocol >= IPPROTO_MAX)
		return -EINVAL;
	switch (type) {
	case SOCK_STREAM:
		*protocol = *protocol ?: IPPROTO_TCP;
		return *protocol == IPPROTO_TCP ? 0 : -EPROTONOSUPPORT;
	case SOCK_DGRAM:
		*protocol = *protocol ?: IPPROTO_UDP;
		/* The far end would look at its daemon's groups, and lets all in. */
		if (*protocol == IPPROTO_ICMP || *protocol == IPPROTO_ICMPV6)
			return vos_ping_allowed(net, family, *protocol);
		if (*protocol == IPPROTO_UDP || *protocol == IPPROTO_UDPLITE)
			return 0;
		return -EPROTONOSUPPORT;
	case SOCK_RAW:
		return *protocol ? 0 : -EPROTONOSUPPORT;
	}
	return -ESOCKTNOSUPPORT;
}

static int vos_kind_allowed(struct net *net, int family, int type, int *protocol)
{
	if (family == PF_INET || family == PF_INET6)
		return vos_inet_allowed(net, family, type, protocol);
	if (family == PF_PACKET && !ns_capable(net->user_ns, CAP_NET_RAW))
		return -EPERM;
	return type == SOCK_RAW || type == SOCK_DGRAM ? 0 : -ESOCKTNOSUPPORT;
}

static const struct proto_ops *vos_ops_of(int family)
{
	switch (family) {
	case PF_INET:
		return &vos_inet_ops;
	case PF_INET6:
		return &vos_inet6_ops;
	case PF_NETLINK:
		return &vos_netlink_ops;
	}
	return &vos_packet_ops;
}

/*
 * Differs: SCTP, DCCP, MPTCP and SOCK_PACKET are not there (EPROTONOSUPPORT,
 * ESOCKTNOSUPPORT); ENETDOWN without a service; SO_DOMAIN of netlink and packet
 * sockets says 0.
 */
int vos_socket_create(struct net *net, struct socket *sock, int protocol,
		      int family, int kern)
{
	struct vos_device *dev;
	struct vos_sock *vs;
	int ret;

	ret = vos_kind_allowed(net, family, sock->type, &protocol);
	if (ret)
		return ret;
	dev = vos_family_device();
	if (!dev)
		return -ENETDOWN;
	sock->ops = vos_ops_of(family);
	vs = vos_sock_new(net, dev, sock, family, sock->type, protocol);
	if (!vs)
		return -ENOBUFS;
	ret = vos_sock_open(vs);
	if (!ret && family == PF_NETLINK && protocol == NETLINK_SOCK_DIAG)
		ret = vos_diag_open(vs);
	if (ret) {
		sock->sk = NULL;
		vos_sock_free(vs);
	}
	return ret;
}

/*
 * The service never blocks, so it is here that a close waits, for as long as
 * SO_LINGER says, until the peer has taken all bytes and the end.
 */
static void vos_linger(struct vos_sock *vs)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_SHUTDOWN);
	struct vos_ask look = vos_sock_ask(vs, VOS_CALL_POLL);
	long left = vs->sk.sk_lingertime;

	if (!vos_sock_is_stream(vs) || !sock_flag(&vs->sk, SOCK_LINGER) ||
	    !left || current->flags & PF_EXITING)
		return;
	ask.argument[0] = SHUT_WR;
	if (vos_sock_call(vs, &ask, NULL, NULL, NULL) < 0)
		return;
	while (left > 0 && !signal_pending(current) && vos_sock_unsent(vs) > 0) {
		if (vos_sock_call(vs, &look, NULL, NULL, NULL) & EPOLLERR)
			break; /* a peer that is gone takes nothing */
		schedule_timeout_interruptible(VOS_LINGER_LOOK);
		left -= VOS_LINGER_LOOK;
	}
}

/* Differs: SO_LINGER waits in steps of 10 ms. */
static int vos_release(struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (!sk)
		return 0;
	if (vos_sk(sk)->has_object) {
		vos_sock_tell_options(vos_sk(sk)); /* whether to linger, above all */
		vos_linger(vos_sk(sk));
	}
	sock->sk = NULL;
	vos_sock_free(vos_sk(sk));
	return 0;
}

/* A call that takes an address and little else. */
static int vos_address_call(struct vos_sock *vs, u16 call, u32 rights,
			    struct sockaddr *address, int length)
{
	struct vos_ask ask = vos_sock_ask(vs, call);

	if (length < 0 || length > VOS_ADDRESS_BYTES)
		return -EINVAL;
	ask.argument[2] = rights;
	ask.length = length;
	return vos_sock_error(vs, vos_sock_call(vs, &ask, address, NULL, NULL));
}

/*
 * Which ports are low is for this kernel to say (ip_unprivileged_port_start). To
 * inet_bind AF_UNSPEC is AF_INET: its port counts too.
 */
static int vos_bind_allowed(struct vos_sock *vs, struct sockaddr *address,
			    int length)
{
	struct net *net = sock_net(&vs->sk);
	u16 port;

	/* The port is at the same place in sockaddr_in and sockaddr_in6. */
	if (length < (int)offsetofend(struct sockaddr_in, sin_port) ||
	    vs->sk.sk_type == SOCK_RAW || vs->sk.sk_family == PF_UNSPEC)
		return 0;
	port = ntohs(((struct sockaddr_in *)address)->sin_port);
	if (port && inet_port_requires_bind_service(net, port) &&
	    !ns_capable(net->user_ns, CAP_NET_BIND_SERVICE))
		return -EACCES;
	return 0;
}

/* Differs: low ports are those of this kernel's ip_unprivileged_port_start. */
static int vos_bind(struct socket *sock, struct sockaddr *address, int length)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	int ret = vos_bind_allowed(vs, address, length);

	if (ret)
		return ret;
	vos_sock_tell_options(vs);
	return vos_address_call(vs, VOS_CALL_BIND,
				vos_rights(sock_net(&vs->sk)) |
					VOS_RIGHT_BIND_SERVICE,
				address, length);
}

/* The remote connect is under way: waits for its end. */
static int vos_connect_wait(struct socket *sock, int flags)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	long timeout = sock_sndtimeo(sock->sk, flags & O_NONBLOCK);
	unsigned int tries = 0;
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_POLL);
	s64 mask;
	int ret;

	do {
		ret = vos_sock_wait(vs, EPOLLOUT, &timeout, &tries);
		if (ret)
			return ret == -EAGAIN ? -EINPROGRESS : ret;
		ask.argument[0] = EPOLLOUT;
		mask = vos_sock_call(vs, &ask, NULL, NULL, NULL);
	} while (mask >= 0 && !(mask & (EPOLLOUT | EPOLLERR | EPOLLHUP)));
	if (mask < 0)
		return vos_sock_error(vs, mask);
	ret = sock_error(sock->sk); /* a poll() may have fetched it */
	return ret ?: -vos_sock_remote_error(vs);
}

static int vos_connect(struct socket *sock, struct sockaddr *address,
		       int length, int flags)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	bool dissolves = length >= (int)sizeof(address->sa_family) &&
			 address->sa_family == AF_UNSPEC;
	int ret = sock_error(sock->sk);

	if (ret)
		return ret;
	/* The far end, not having waited, would only now notice that it is. */
	if (sock->state == SS_CONNECTED && vos_sock_is_stream(vs) && !dissolves)
		return -EISCONN;
	vos_sock_tell_options(vs);
	ret = vos_address_call(vs, VOS_CALL_CONNECT, 0, address, length);
	vos_sock_disarm(vs);
	if (ret == -EINPROGRESS ||
	    (ret == -EALREADY && !(flags & O_NONBLOCK))) {
		sock->state = SS_CONNECTING;
		if (flags & O_NONBLOCK)
			return ret;
		ret = vos_connect_wait(sock, flags);
	}
	if (!ret)
		sock->state = dissolves ? SS_UNCONNECTED : SS_CONNECTED;
	else if (ret != -EINPROGRESS && sock->state == SS_CONNECTING &&
		 ret != -EALREADY && ret != -EINTR && ret != -ERESTARTSYS)
		sock->state = SS_UNCONNECTED;
	return ret;
}

static int vos_listen(struct socket *sock, int backlog)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_LISTEN);
	s64 ret;

	if (!vos_sock_is_stream(vs))
		return -EOPNOTSUPP;
	vos_sock_tell_options(vs);
	ask.argument[0] = (u32)backlog;
	ret = vos_sock_call(vs, &ask, NULL, NULL, NULL);
	vos_sock_disarm(vs);
	if (ret >= 0)
		inet_sk_set_state(&vs->sk, TCP_LISTEN);
	return vos_sock_error(vs, ret);
}

/* Accepts into @child, waiting for a connection if @flags allow. */
static int vos_accept_into(struct vos_sock *vs, struct vos_sock *child,
			   int flags)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_ACCEPT4);
	long timeout = sock_rcvtimeo(&vs->sk, flags & O_NONBLOCK);
	u8 address[VOS_ADDRESS_BYTES];
	unsigned int tries = 0;
	s64 result;
	int ret;

	ask.argument[2] = child->cookie;
	ask.capacity = sizeof(address);
	for (;;) {
		result = vos_sock_call(vs, &ask, NULL, address, NULL);
		if (result != -EAGAIN)
			break;
		if (!timeout)
			vos_sock_rearm(vs, EPOLLIN);
		ret = vos_sock_wait(vs, EPOLLIN, &timeout, &tries);
		if (ret)
			return ret;
	}
	if (result < 0)
		return vos_sock_error(vs, result);
	child->object = result;
	child->has_object = true;
	return 0;
}

static int vos_accept(struct socket *sock, struct socket *newsock, int flags,
		      bool kern)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	struct vos_sock *child;
	int ret;

	if (vs->sk.sk_state != TCP_LISTEN)
		return vos_sock_is_stream(vs) ? -EINVAL : -EOPNOTSUPP;
	vos_device_get(vs->dev);
	child = vos_sock_new(sock_net(&vs->sk), vs->dev, NULL, vs->family,
			     vs->sk.sk_type, vs->sk.sk_protocol);
	if (!child)
		return -ENOBUFS;
	child->epoch = vs->epoch;
	ret = vos_accept_into(vs, child, flags);
	if (ret) {
		vos_sock_free(child);
		return ret;
	}
	vos_sock_options_inherit(vs, child);
	sock_graft(&child->sk, newsock);
	newsock->state = SS_CONNECTED;
	return 0;
}

/* @peer: 0 own address, 1 or 2 the peer's. */
static int vos_getname(struct socket *sock, struct sockaddr *address, int peer)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	struct vos_ask ask = vos_sock_ask(vs, peer ? VOS_CALL_GETPEERNAME :
						     VOS_CALL_GETSOCKNAME);
	u32 length;
	s64 ret;

	/* The core's buffer is a sockaddr_storage, of just this size. */
	BUILD_BUG_ON(sizeof(struct sockaddr_storage) != VOS_ADDRESS_BYTES);
	ask.capacity = VOS_ADDRESS_BYTES;
	ret = vos_sock_call(vs, &ask, NULL, address, &length);
	return ret < 0 ? vos_sock_error(vs, ret) : length;
}

static int vos_shutdown(struct socket *sock, int how)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_SHUTDOWN);
	s64 ret;

	if (how < SHUT_RD || how > SHUT_RDWR)
		return -EINVAL;
	ask.argument[0] = how;
	ret = vos_sock_call(vs, &ask, NULL, NULL, NULL);
	vos_sock_disarm(vs);
	wake_up_interruptible_all(sk_sleep(&vs->sk));
	return vos_sock_error(vs, ret);
}

#define VOS_OPS(name, pf)                                                      \
	static const struct proto_ops name = {                                 \
		.family = pf,                                                  \
		.owner = THIS_MODULE,                                          \
		.release = vos_release,                                        \
		.bind = vos_bind,                                              \
		.connect = vos_connect,                                        \
		.socketpair = sock_no_socketpair,                              \
		.accept = vos_accept,                                          \
		.getname = vos_getname,                                        \
		.poll = vos_sock_poll,                                         \
		.ioctl = vos_sock_ioctl,                                       \
		.gettstamp = vos_sock_gettstamp,                               \
		.listen = vos_listen,                                          \
		.shutdown = vos_shutdown,                                      \
		.setsockopt = vos_sock_setsockopt,                             \
		.getsockopt = vos_sock_getsockopt,                             \
		.sendmsg = vos_sock_sendmsg,                                   \
		.recvmsg = vos_sock_recvmsg,                                   \
		.mmap = sock_no_mmap,                                          \
		.sendpage = sock_no_sendpage,                                  \
		.set_rcvlowat = vos_sock_set_low_water,                        \
		.set_peek_off = vos_sock_set_peek_offset,                      \
	}

VOS_OPS(vos_inet_ops, PF_INET);
VOS_OPS(vos_inet6_ops, PF_INET6);
VOS_OPS(vos_netlink_ops, PF_NETLINK);
VOS_OPS(vos_packet_ops, PF_PACKET);
