// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: names and connections of remote sockets: bind, connect, listen, accept,
 * and their end. The service executes them and never blocks; who waits is us.
 */
#include <linux/capability.h>
#include <linux/in.h>
#include <net/ip.h>
#include <net/tcp_states.h>

#include "sockets.h"

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
int vos_sock_bind(struct socket *sock, struct sockaddr *address, int length)
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
int vos_connect_wait(struct socket *sock, int flags)
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

int vos_sock_connect(struct socket *sock, struct sockaddr *address, int length,
		     int flags)
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

int vos_sock_listen(struct socket *sock, int backlog)
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
	if (ret >= 0) {
		inet_sk_set_state(&vs->sk, TCP_LISTEN);
		vos_sock_want_edges(vs, EPOLLIN);
	}
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
		if (ret) {
			if (ret != -EAGAIN) /* a signal, and perhaps woken too */
				vos_sock_wake_next(vs, EPOLLIN);
			return ret;
		}
	}
	if (result < 0)
		return vos_sock_error(vs, result);
	child->object = result;
	child->has_object = true;
	vos_sock_wake_next(vs, EPOLLIN);
	return 0;
}

int vos_sock_accept(struct socket *sock, struct socket *newsock, int flags,
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
	vos_sock_forget_hint(vs);
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
int vos_sock_getname(struct socket *sock, struct sockaddr *address, int peer)
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

int vos_sock_shutdown(struct socket *sock, int how)
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
