// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: receiving.
 */
#include "sockio.h"

#define VOS_RECEIVE_FLAGS (MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE)
#define VOS_RECEIVED_FLAGS                                                     \
	(MSG_OOB | MSG_TRUNC | MSG_CTRUNC | MSG_EOR | MSG_ERRQUEUE |           \
	 MSG_CONFIRM)

static int vos_payload_out(struct vos_request *request, u32 offset,
			   struct msghdr *msg, size_t length)
{
	return copy_to_iter(request->buffer + offset, length, &msg->msg_iter) ==
			       length ? 0 : -EFAULT;
}

static s64 vos_receive_bytes(struct vos_sock *vs, struct vos_request *request,
			     struct msghdr *msg, size_t length, int flags)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_READ);
	u32 reply;
	s64 ret;

	ask.argument[0] = flags;
	ask.capacity = length;
	ret = vos_request_call(request, &ask, &reply);
	if (ret < 0)
		return ret;
	if (ret > ask.capacity) {
		vos_peer_broken(vs->dev, "bytes received", ret);
		return -EIO;
	}
	/* A stream's MSG_TRUNC throws the bytes away; reply says how many came. */
	if (flags & MSG_TRUNC)
		return ret;
	if (reply != ret) {
		vos_peer_broken(vs->dev, "reply to read", reply);
		return -EIO;
	}
	return vos_payload_out(request, 0, msg, ret) ?: ret;
}

static bool vos_control_wanted(const struct cmsghdr *control)
{
	if (control->cmsg_level != SOL_SOCKET)
		return true;
	switch (control->cmsg_type) {
	case SO_TIMESTAMP_OLD:
	case SO_TIMESTAMP_NEW:
	case SO_TIMESTAMPNS_OLD:
	case SO_TIMESTAMPNS_NEW:
	case SO_TIMESTAMPING_OLD:
	case SO_TIMESTAMPING_NEW:
	case SO_RXQ_OVFL:
	case SO_MARK:
		return true;
	}
	return false; /* descriptors and identities of another kernel */
}

/* @data is our own copy: items are checked as if a program had sent them. */
static void vos_control_put(struct msghdr *msg, void *data, u32 length)
{
	struct msghdr walk = { .msg_control = data, .msg_controllen = length };
	struct cmsghdr *control;

	for_each_cmsghdr(control, &walk) {
		if (!CMSG_OK(&walk, control))
			break;
		if (vos_control_wanted(control))
			put_cmsg(msg, control->cmsg_level, control->cmsg_type,
				 control->cmsg_len - sizeof(*control),
				 CMSG_DATA(control));
	}
}

static int vos_control_out(struct vos_request *request, struct msghdr *msg,
			   u32 length)
{
	void *copy;

	if (!length || !msg->msg_control)
		return 0;
	copy = kmemdup(request->buffer + sizeof(struct vos_message), length,
		       GFP_KERNEL);
	if (!copy)
		return -ENOBUFS;
	vos_control_put(msg, copy, length);
	kfree(copy);
	return 0;
}

static int vos_message_check(struct vos_sock *vs, const struct vos_message *head,
			     u32 reply, u32 control_room, u32 payload_room)
{
	if (reply >= sizeof(*head) && head->name_length <= VOS_ADDRESS_BYTES &&
	    head->control_length <= control_room &&
	    head->payload_length <= payload_room)
		return 0;
	vos_peer_broken(vs->dev, "reply to recvmsg", reply);
	return -EIO;
}

static void vos_name_out(struct msghdr *msg, const struct vos_message *head)
{
	if (!msg->msg_name)
		return;
	memcpy(msg->msg_name, head->name, head->name_length);
	msg->msg_namelen = head->name_length;
}

static int vos_message_out(struct vos_sock *vs, struct vos_request *request,
			   u32 start, struct msghdr *msg, u32 length)
{
	if (vs->local)
		return vos_diag_payload_out(vs, request->buffer + start, msg,
					    length);
	return vos_payload_out(request, start, msg, length);
}

static s64 vos_receive_message(struct vos_sock *vs, struct vos_request *request,
			       struct msghdr *msg, size_t length, int flags)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_RECVMSG);
	u32 control_room = min_t(size_t, msg->msg_control ? msg->msg_controllen : 0,
				 min_t(u32, VOS_CONTROL_MAX, request->room / 4));
	u32 start = sizeof(struct vos_message) + round_up(control_room, 8);
	struct vos_message head = {
		.flags = flags,
		.name_length = msg->msg_name ? VOS_ADDRESS_BYTES : 0,
		.control_length = control_room,
		.payload_length = min_t(size_t, length, request->room - start),
	};
	u32 payload_room = head.payload_length;
	u32 reply;
	s64 ret;

	memcpy(request->buffer, &head, sizeof(head));
	ask.length = sizeof(head);
	ask.capacity = start + payload_room;
	ret = vos_request_call(request, &ask, &reply);
	if (ret < 0)
		return ret;
	memcpy(&head, request->buffer, sizeof(head));
	barrier(); /* from here on the copy is what counts */
	if (vos_message_check(vs, &head, reply, control_room, payload_room))
		return -EIO;
	vos_name_out(msg, &head);
	msg->msg_flags |= head.flags & VOS_RECEIVED_FLAGS;
	if (!(vos_sock_is_stream(vs) && flags & MSG_TRUNC) &&
	    vos_message_out(vs, request, start, msg, head.payload_length))
		return -EFAULT;
	if (vos_control_out(request, msg, head.control_length))
		return -ENOBUFS;
	/* Of a stream no more was thrown away than was asked for. */
	return flags & MSG_TRUNC && !vos_sock_is_stream(vs) ?
		       min_t(s64, ret, INT_MAX) : head.payload_length;
}

static s64 vos_receive_once(struct vos_sock *vs, struct msghdr *msg,
			    size_t length, int flags, size_t *asked)
{
	bool plain = vos_sock_is_stream(vs) && !msg->msg_controllen &&
		     !(flags & (MSG_OOB | MSG_ERRQUEUE));
	struct vos_request request;
	s64 ret = vos_request_get_room(
		&request, vs->dev, vs->epoch,
		vos_room_for(vs, length,
			     min_t(size_t, msg->msg_controllen, VOS_CONTROL_MAX)));

	*asked = 0;
	if (ret)
		return ret;
	*asked = min_t(size_t, length, request.room);
	if (plain)
		ret = vos_receive_bytes(vs, &request, msg, *asked, flags);
	else
		ret = vos_receive_message(vs, &request, msg, length, flags);
	vos_request_put(&request);
	return ret;
}

/*
 * A look that waits for all: there are too few bytes yet, but none to wait for, as
 * poll() takes any for readiness. So look again and again; 0: do.
 */
static int vos_peek_again(struct vos_sock *vs, struct msghdr *msg, s64 seen,
			  long *timeout)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_POLL);
	s64 mask;
	int ret;

	if (!*timeout)
		return -EAGAIN;
	ask.argument[0] = EPOLLRDHUP;
	mask = vos_sock_call(vs, &ask, NULL, NULL, NULL);
	if (mask < 0 || mask & (EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		return -EIO;
	ret = vos_sock_pause(timeout);
	if (!ret)
		iov_iter_revert(&msg->msg_iter, seen);
	return ret;
}

/* Ended with nothing: an error that poll() fetched has not been told yet. */
static int vos_receive_error(struct vos_sock *vs, s64 result)
{
	int pending = 0;

	if (result != -EAGAIN && result != -ERESTARTSYS && result != -EINTR)
		pending = sock_error(&vs->sk);
	return pending ?: vos_sock_error(vs, result);
}

/* Waits after EAGAIN; nonzero ends the call. */
static int vos_receive_wait(struct vos_sock *vs, int flags, long *timeout,
			    unsigned int *tries)
{
	if (flags & MSG_ERRQUEUE)
		return -EAGAIN;
	if (!*timeout)
		vos_sock_rearm(vs, EPOLLIN);
	return vos_sock_wait(vs, EPOLLIN, timeout, tries);
}

/*
 * Differs: MSG_PEEK with MSG_WAITALL looks every 20 ms; control data ends at
 * 2 KiB (MSG_CTRUNC).
 */
int vos_sock_recvmsg(struct socket *sock, struct msghdr *msg, size_t length,
		     int flags)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	long timeout = sock_rcvtimeo(sock->sk, flags & MSG_DONTWAIT);
	int wire = (flags & VOS_RECEIVE_FLAGS) | VOS_ALWAYS_FLAGS;
	bool stream = vos_sock_is_stream(vs);
	bool peek_all = stream && (flags & MSG_PEEK) && (flags & MSG_WAITALL);
	size_t target = sock_rcvlowat(sock->sk, flags & MSG_WAITALL, length);
	size_t received = 0, asked;
	unsigned int tries = 0;
	s64 ret;

	if (vos_diag_answers(vs))
		return vos_diag_recvmsg(vs, msg, flags);
	/* A second look at a stream would see the same bytes again. */
	if (!stream || flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE))
		target = 0;
	vos_sock_tell_options(vs);
	vos_sock_forget_hint(vs);
	do {
		ret = vos_receive_once(vs, msg, length - received, wire, &asked);
		if (ret == -EAGAIN && (!received || received < target)) {
			ret = vos_receive_wait(vs, flags, &timeout, &tries);
			if (ret)
				break;
			continue;
		}
		if (peek_all && ret > 0 && ret < asked &&
		    !vos_peek_again(vs, msg, ret, &timeout))
			continue;
		if (ret <= 0 || !target) {
			received += max_t(s64, ret, 0);
			break;
		}
		received += ret;
		tries = 0;
		if (ret < asked && received >= target) {
			vos_sock_rearm(vs, EPOLLIN);
			break;
		}
	} while (received < length && vos_may_go_on());
	/* A datagram of no bytes is no end and no error. */
	if (received || (ret == 0 && !sock->sk->sk_err))
		return received;
	return vos_receive_error(vs, ret);
}
