// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: sending.
 */
#include "sockio.h"

#define VOS_SEND_FLAGS                                                         \
	(MSG_OOB | MSG_DONTROUTE | MSG_EOR | MSG_CONFIRM | MSG_MORE |          \
	 MSG_FASTOPEN)

/* Reads the caller's bytes into the buffer at @offset: 0 or -EFAULT. */
static int vos_payload_in(struct vos_request *request, u32 offset,
			  struct msghdr *msg, size_t length)
{
	size_t copied = copy_from_iter(request->buffer + offset, length,
				       &msg->msg_iter);

	if (copied == length)
		return 0;
	iov_iter_revert(&msg->msg_iter, copied);
	return -EFAULT;
}

/* @asked went out; the far end took @result of it (or failed). */
static s64 vos_payload_taken(struct vos_sock *vs, struct msghdr *msg,
			     size_t asked, s64 result)
{
	if (result > (s64)asked) {
		vos_peer_broken(vs->dev, "bytes sent", result);
		result = -EIO;
	}
	iov_iter_revert(&msg->msg_iter, asked - max_t(s64, result, 0));
	return result;
}

/* The hot form: bytes of a stream and nothing else. */
static s64 vos_send_bytes(struct vos_sock *vs, struct vos_request *request,
			  struct msghdr *msg, size_t length, int flags)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_WRITE);
	size_t piece = min_t(size_t, length, request->room);
	u32 reply;
	int ret = vos_payload_in(request, 0, msg, piece);

	if (ret)
		return ret;
	if (piece < length)
		flags |= MSG_MORE;
	ask.argument[0] = flags;
	ask.length = piece;
	return vos_payload_taken(vs, msg, piece,
				 vos_request_call(request, &ask, &reply));
}

static s64 vos_send_message(struct vos_sock *vs, struct vos_request *request,
			    struct msghdr *msg, size_t length, int flags)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_SENDMSG);
	u32 control = msg->msg_controllen;
	struct vos_message head = {
		.flags = flags,
		.name_length = msg->msg_name ? msg->msg_namelen : 0,
		.control_length = control,
	};
	u32 start = sizeof(head) + round_up(control, 8);
	size_t piece = length;
	u32 reply;
	int ret;

	if (control && vs->family != PF_NETLINK)
		ask.argument[2] = vos_rights(sock_net(&vs->sk));
	if (start >= request->room || head.name_length > sizeof(head.name))
		return -EINVAL;
	if (vos_sock_is_stream(vs))
		piece = min_t(size_t, length, request->room - start);
	else if (length > request->room - start)
		return -EMSGSIZE;
	head.payload_length = piece;
	if (head.name_length)
		memcpy(head.name, msg->msg_name, head.name_length);
	memcpy(request->buffer, &head, sizeof(head));
	memcpy(request->buffer + sizeof(head), msg->msg_control, control);
	ret = vos_payload_in(request, start, msg, piece);
	if (ret)
		return ret;
	ask.length = start + piece;
	return vos_payload_taken(vs, msg, piece,
				 vos_request_call(request, &ask, &reply));
}

static s64 vos_send_once(struct vos_sock *vs, struct msghdr *msg, size_t length,
			 int flags)
{
	struct vos_request request;
	s64 ret = vos_request_get_room(
		&request, vs->dev, vs->epoch,
		vos_room_for(vs, length, msg->msg_controllen));

	if (ret)
		return ret;
	if (vos_sock_is_stream(vs) && !msg->msg_controllen && !msg->msg_name)
		ret = vos_send_bytes(vs, &request, msg, length, flags);
	else
		ret = vos_send_message(vs, &request, msg, length, flags);
	vos_request_put(&request);
	return ret;
}

/* Descriptors and identities: they mean something to sockets of this kernel alone. */
static bool vos_control_is_local(const struct cmsghdr *control)
{
	return control->cmsg_level == SOL_SOCKET &&
	       (control->cmsg_type == SCM_RIGHTS ||
		control->cmsg_type == SCM_CREDENTIALS);
}

static bool vos_control_offered(const struct cmsghdr *control)
{
	return control->cmsg_level != SOL_SOCKET ||
	       control->cmsg_type == SO_MARK ||
	       control->cmsg_type == SO_TIMESTAMPING_OLD ||
	       control->cmsg_type == SO_TIMESTAMPING_NEW ||
	       control->cmsg_type == SCM_TXTIME;
}

/* Takes an item out; the next is where it was, or NULL. */
static struct cmsghdr *vos_control_drop(struct msghdr *msg, struct cmsghdr *control)
{
	size_t before = (void *)control - msg->msg_control;
	size_t left = msg->msg_controllen - before;
	size_t bytes = min_t(size_t, CMSG_ALIGN(control->cmsg_len), left);

	memmove(control, (void *)control + bytes, left - bytes);
	msg->msg_controllen -= bytes;
	return left - bytes < sizeof(*control) ? NULL : control;
}

/*
 * The core has copied the control data: it does not change any more. As Linux does,
 * sockets of the Internet make nothing of descriptors, and netlink refuses them.
 */
static int vos_control_allowed(struct vos_sock *vs, struct msghdr *msg)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(msg);

	if (msg->msg_controllen > VOS_CONTROL_MAX)
		return -ENOBUFS;
	while (control) {
		if (!CMSG_OK(msg, control))
			return -EINVAL;
		if (vos_control_is_local(control) &&
		    !(vs->family == PF_NETLINK &&
		      control->cmsg_type == SCM_RIGHTS)) {
			control = vos_control_drop(msg, control);
			continue;
		}
		if (!vos_control_offered(control))
			return -EINVAL;
		control = CMSG_NXTHDR(msg, control);
	}
	return 0;
}

/* A stream says EPIPE with a signal; a pending error goes first. */
static int vos_send_error(struct vos_sock *vs, s64 error, int flags)
{
	error = vos_sock_error(vs, error);
	if (error != -EPIPE || !vos_sock_is_stream(vs))
		return error;
	error = sock_error(&vs->sk) ?: -EPIPE;
	if (error == -EPIPE && !(flags & MSG_NOSIGNAL))
		send_sig(SIGPIPE, current, 0);
	return error;
}

static int vos_send_allowed(struct vos_sock *vs, struct msghdr *msg)
{
	int ret = sock_error(&vs->sk);

	if (ret)
		return ret;
	/* Where sockhook.c could not refuse the option. */
	if (msg->msg_flags & MSG_ZEROCOPY && sock_flag(&vs->sk, SOCK_ZEROCOPY))
		return -EOPNOTSUPP;
	return vos_control_allowed(vs, msg);
}

/* MSG_FASTOPEN without a cookie only connects: the bytes are to be sent then. */
static int vos_send_connected(struct socket *sock, long timeout)
{
	int ret;

	sock->state = SS_CONNECTING;
	vos_sock_disarm(vos_sk(sock->sk));
	if (!timeout)
		return -EINPROGRESS;
	ret = vos_connect_wait(sock, 0);
	if (!ret)
		sock->state = SS_CONNECTED;
	return ret;
}

/*
 * Differs: control data ends at 2 KiB (ENOBUFS).
 */
int vos_sock_sendmsg(struct socket *sock, struct msghdr *msg, size_t length)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	int flags = msg->msg_flags;
	long timeout = sock_sndtimeo(sock->sk, flags & MSG_DONTWAIT);
	int wire = (flags & VOS_SEND_FLAGS) | VOS_ALWAYS_FLAGS;
	unsigned int tries = 0;
	size_t sent = 0;
	s64 ret = vos_send_allowed(vs, msg);

	if (ret)
		return vos_send_error(vs, ret, flags);
	if (vos_sock_is_stream(vs) && !(flags & MSG_FASTOPEN))
		msg->msg_name = NULL;
	if (vos_diag_is_local(vs, msg, length))
		return vos_diag_sendmsg(vs, msg);
	vos_sock_tell_options(vs);
	do {
		ret = vos_send_once(vs, msg, length - sent, wire);
		if (ret == -EINPROGRESS && vos_sock_is_stream(vs)) {
			ret = vos_send_connected(sock, timeout);
			if (ret)
				break;
			wire &= ~MSG_FASTOPEN;
			msg->msg_name = NULL;
			continue;
		}
		if (ret == -EAGAIN) {
			if (!timeout)
				vos_sock_rearm(vs, EPOLLOUT);
			ret = vos_sock_wait(vs, EPOLLOUT, &timeout, &tries);
			if (ret)
				break;
			continue;
		}
		if (ret <= 0 || !vos_sock_is_stream(vs))
			break;
		sent += ret;
		tries = 0;
		msg->msg_controllen = 0; /* goes with the first piece */
		msg->msg_name = NULL;
		wire &= ~MSG_FASTOPEN;
	} while (sent < length && vos_may_go_on());
	if (sent)
		return sent;
	return ret < 0 ? vos_send_error(vs, ret, flags) : ret;
}
