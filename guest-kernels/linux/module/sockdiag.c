// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: NETLINK_SOCK_DIAG, by which ss and others list sockets. The sockets of
 * INET, INET6 and PACKET live in the service's domain, all others here. Each
 * question names one family; so such a socket has a local one beside its remote
 * object, with the opener's identity, and the last question decides who answers.
 * No question is trusted to be what it seemed: whichever side gets it has Linux's
 * own checks, and what goes to the far end comes without any right.
 */
#include <linux/file.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/poll.h>
#include <linux/sock_diag.h>
#include <linux/uio.h>
#include <net/netlink.h>

#include "sockets.h"

static struct socket *vos_diag_socket(struct vos_sock *vs)
{
	return sock_from_file(vs->local);
}

int vos_diag_open(struct vos_sock *vs)
{
	struct socket *local;
	struct file *file;
	int ret = sock_create_kern(sock_net(&vs->sk), PF_NETLINK, SOCK_RAW,
				   NETLINK_SOCK_DIAG, &local);

	if (ret)
		return ret;
	file = sock_alloc_file(local, O_CLOEXEC, NULL);
	if (IS_ERR(file))
		return PTR_ERR(file); /* and the socket is gone */
	vs->local = file;
	return 0;
}

/* The family that a question is about; its place is the same in all of them. */
static bool vos_diag_asks_here(struct msghdr *msg, size_t length)
{
	struct {
		struct nlmsghdr head;
		struct sock_diag_req request;
	} question;
	size_t copied;

	if (length < sizeof(question))
		return false;
	copied = copy_from_iter(&question, sizeof(question), &msg->msg_iter);
	iov_iter_revert(&msg->msg_iter, copied);
	if (copied != sizeof(question) ||
	    question.head.nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return false;
	switch (question.request.sdiag_family) {
	case AF_UNSPEC:
	case AF_INET:
	case AF_INET6:
	case AF_PACKET:
		return false;
	}
	return true;
}

/*
 * The answers must bear the number by which the program knows its socket: that of
 * the remote one. Only sockets like this one are in the local table.
 */
static int vos_diag_bind(struct vos_sock *vs)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_BIND);
	struct sockaddr_nl name = { .nl_family = AF_NETLINK };
	struct socket *local = vos_diag_socket(vs);
	u8 room[VOS_ADDRESS_BYTES] = {};
	u32 length;
	s64 ret;

	ask.length = sizeof(name);
	vos_sock_call(vs, &ask, &name, NULL, NULL); /* unless it has a number */
	ask = vos_sock_ask(vs, VOS_CALL_GETSOCKNAME);
	ask.capacity = sizeof(room);
	ret = vos_sock_call(vs, &ask, NULL, room, &length);
	if (ret < 0)
		return vos_sock_error(vs, ret);
	name.nl_pid = ((struct sockaddr_nl *)room)->nl_pid;
	return local->ops->bind(local, (struct sockaddr *)&name, sizeof(name));
}

/* What tells of one socket of the far end, in the form for its family. */
static void vos_diag_own(struct vos_device *dev, void *data, size_t length)
{
	struct inet_diag_msg *inet = data;
	struct packet_diag_msg *packet = data;
	struct vos_owner owner;

	if (length < 1)
		return;
	if (*(u8 *)data == AF_PACKET && length >= sizeof(*packet)) {
		packet->pdiag_ino = vos_owner_of(dev, packet->pdiag_ino).inode;
	} else if (length >= sizeof(*inet)) {
		owner = vos_owner_of(dev, inet->idiag_inode);
		inet->idiag_inode = owner.inode;
		if (uid_valid(owner.user))
			inet->idiag_uid = from_kuid_munged(current_user_ns(),
							   owner.user);
	}
}

/* A reply of the far end on its way to the program. */
int vos_diag_payload_out(struct vos_sock *vs, const void *payload,
			 struct msghdr *msg, size_t length)
{
	void *copy = kvmalloc(length, GFP_KERNEL);
	struct nlmsghdr *head = copy;
	int left = length, ret = 0;

	if (!copy)
		return -ENOBUFS;
	memcpy(copy, payload, length);
	for (; nlmsg_ok(head, left); head = nlmsg_next(head, &left))
		if (head->nlmsg_type == SOCK_DIAG_BY_FAMILY)
			vos_diag_own(vs->dev, nlmsg_data(head), nlmsg_len(head));
	if (copy_to_iter(copy, length, &msg->msg_iter) != length)
		ret = -EFAULT;
	kvfree(copy);
	return ret;
}

bool vos_diag_is_local(struct vos_sock *vs, struct msghdr *msg, size_t length)
{
	bool local;

	if (!vs->local)
		return false;
	local = vos_diag_asks_here(msg, length);
	WRITE_ONCE(vs->local_answers, local);
	if (!local)
		vos_owners_learn(vs->dev);
	return local;
}

int vos_diag_sendmsg(struct vos_sock *vs, struct msghdr *msg)
{
	int ret = vos_diag_bind(vs);

	return ret ?: sock_sendmsg(vos_diag_socket(vs), msg);
}

int vos_diag_recvmsg(struct vos_sock *vs, struct msghdr *msg, int flags)
{
	struct socket *local = vos_diag_socket(vs);

	WRITE_ONCE(local->sk->sk_rcvtimeo, READ_ONCE(vs->sk.sk_rcvtimeo));
	return sock_recvmsg(local, msg, flags);
}

__poll_t vos_diag_poll(struct vos_sock *vs, struct poll_table_struct *wait)
{
	return vfs_poll(vs->local, wait);
}
