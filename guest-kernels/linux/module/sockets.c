// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: the life of a remote socket, from its creation, for which it must be of a
 * kind that is offered, to its release.
 */
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/module.h>
#include <linux/netlink.h>
#include <linux/sched/signal.h>

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
	if (vos_channel_serves(vs->dev) && !vos_peer_is_other(vs->dev) &&
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
struct vos_sock *vos_sock_new(struct net *net, struct vos_device *dev,
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

void vos_sock_free(struct vos_sock *vs)
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
 * ESOCKTNOSUPPORT); ENETDOWN without a service.
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

#define VOS_OPS(name, pf)                                                      \
	static const struct proto_ops name = {                                 \
		.family = pf,                                                  \
		.owner = THIS_MODULE,                                          \
		.release = vos_release,                                        \
		.bind = vos_sock_bind,                                         \
		.connect = vos_sock_connect,                                   \
		.socketpair = sock_no_socketpair,                              \
		.accept = vos_sock_accept,                                     \
		.getname = vos_sock_getname,                                   \
		.poll = vos_sock_poll,                                         \
		.ioctl = vos_sock_ioctl,                                       \
		.gettstamp = vos_sock_gettstamp,                               \
		.listen = vos_sock_listen,                                     \
		.shutdown = vos_sock_shutdown,                                 \
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
