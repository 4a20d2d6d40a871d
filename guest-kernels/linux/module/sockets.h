/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vos: remote sockets; what the socket files share.
 */
#ifndef VOS_SOCKETS_H
#define VOS_SOCKETS_H

#include <linux/ipv6.h>
#include <linux/net.h>
#include <linux/socket.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/sock.h>

#include "vos.h"

/* SOL_SOCKET options that were told to the service; see sockopt.c. */
struct vos_told {
	int reuse;
	int reuse_port;
	int keepalive;
	int broadcast;
	int oob_inline;
	int dont_route;
	int receive_buffer;
	int send_buffer;
	int low_water;
	int priority;
	int mark;
	int linger;
	int bound_interface;
	int timestamp; /* SO_TIMESTAMP*, or 0 */
	int timestamping;
	int queue_overflow;
	int select_errors;
	u32 pacing; /* ~0: none */
	u32 filter; /* hash of the classic filter's program, or 0 */
};

struct vos_sock {
	/*
	 * Other parts of the kernel take a sock of family INET or INET6 for an
	 * inet_sock, a tcp_sock or a udp_sock, and cast. Room for the largest
	 * of them, all zero, makes every such cast harmless. Must come first.
	 */
	union {
		struct sock sk;
		struct inet_sock inet;
		struct tcp6_sock tcp;
		struct udp6_sock udp;
	};
	struct vos_device *dev;
	struct file *local; /* of SOCK_DIAG: answers for this kernel, see sockdiag.c */
	bool local_answers; /* it was asked last */
	u16 family; /* PF_*: sk_family says INET and INET6 alone, see vos_sock_new() */
	u64 object;
	u32 epoch;  /* life of the service that has the object */
	u32 cookie; /* of READY events; 0: none */
	bool has_object;
	unsigned long far_inode; /* of the service's socket, once asked; 0: unknown */
	spinlock_t arm_lock;
	u32 armed; /* events that the service will tell of */
	u32 told_ready; /* counts READY events, and what makes `armed` stale */
	u32 edges; /* events of edge-triggered waiters: the service tells each time */
	u32 hint; /* what the last READY event said, until it has been used */
	u32 hint_covers; /* events of which it says whether they are ready */
	struct mutex options_lock;
	int untold; /* how the far end refused what it was told last */
	struct vos_told told;
};

static inline struct vos_sock *vos_sk(struct sock *sk)
{
	return container_of(sk, struct vos_sock, sk);
}

/* What every call on a socket's object asks. */
static inline struct vos_ask vos_sock_ask(struct vos_sock *vs, u16 call)
{
	struct vos_ask ask = { .call = call, .object = vs->object };

	return ask;
}

static inline s64 vos_sock_call(struct vos_sock *vs, const struct vos_ask *ask,
				const void *in, void *out, u32 *out_length)
{
	return vos_call(vs->dev, vs->epoch, ask, in, out, out_length);
}

static inline bool vos_sock_is_stream(struct vos_sock *vs)
{
	return vs->sk.sk_type == SOCK_STREAM;
}

/* sockets.c */
extern struct proto vos_proto;
int vos_socket_create(struct net *net, struct socket *sock, int protocol,
		      int family, int kern);
s64 vos_sock_error(struct vos_sock *vs, s64 result);
struct vos_sock *vos_sock_new(struct net *net, struct vos_device *dev,
			      struct socket *sock, int family, int type,
			      int protocol);
void vos_sock_free(struct vos_sock *vs);

/* sockconn.c */
int vos_sock_bind(struct socket *sock, struct sockaddr *address, int length);
int vos_sock_connect(struct socket *sock, struct sockaddr *address, int length,
		     int flags);
int vos_connect_wait(struct socket *sock, int flags);
int vos_sock_listen(struct socket *sock, int backlog);
int vos_sock_accept(struct socket *sock, struct socket *newsock, int flags,
		    bool kern);
int vos_sock_getname(struct socket *sock, struct sockaddr *address, int peer);
int vos_sock_shutdown(struct socket *sock, int how);

/* rights.c */
u32 vos_rights(struct net *net);

/* sockwait.c */
void vos_sock_disarm(struct vos_sock *vs);
void vos_sock_forget_hint(struct vos_sock *vs);
int vos_sock_wait(struct vos_sock *vs, u32 events, long *timeout,
		  unsigned int *tries);
int vos_sock_pause(long *timeout);
void vos_sock_rearm(struct vos_sock *vs, u32 events);
void vos_sock_want_edges(struct vos_sock *vs, u32 events);
void vos_sock_wake_next(struct vos_sock *vs, u32 events);
__poll_t vos_sock_poll(struct file *file, struct socket *sock,
		       struct poll_table_struct *wait);

/* socksend.c */
int vos_sock_sendmsg(struct socket *sock, struct msghdr *msg, size_t length);

/* sockrecv.c */
int vos_sock_recvmsg(struct socket *sock, struct msghdr *msg, size_t length,
		     int flags);

/* sockopt.c */
void vos_sock_options_init(struct vos_sock *vs);
void vos_sock_options_inherit(struct vos_sock *from, struct vos_sock *to);
int vos_sock_tell_options(struct vos_sock *vs);
void vos_sock_keepalive(struct sock *sk, int on);
int vos_sock_set_low_water(struct sock *sk, int value);
int vos_sock_set_peek_offset(struct sock *sk, int value);
int vos_sock_remote_error(struct vos_sock *vs);
int vos_sock_setsockopt(struct socket *sock, int level, int name,
			sockptr_t value, unsigned int length);
int vos_sock_getsockopt(struct socket *sock, int level, int name,
			char __user *value, int __user *length);

/* sockioctl.c */
int vos_sock_interface(struct vos_sock *vs, unsigned int command,
		       struct ifreq *request);
int vos_sock_ioctl(struct socket *sock, unsigned int command,
		   unsigned long argument);
int vos_sock_unsent(struct vos_sock *vs);
int vos_sock_gettstamp(struct socket *sock, void __user *stamp, bool micro,
		       bool time32);

/* sockhook.c */
void vos_hook_place(void);
void vos_hook_remove(void);

/* sockowner.c */
struct vos_owner {
	unsigned long inode; /* of this kernel's socket; 0: there is none */
	kuid_t user;
};

void vos_owners_learn(struct vos_device *dev);
struct vos_owner vos_owner_of(struct vos_device *dev, unsigned long far);

/* proctable.c */
void vos_tables_take(void);
void vos_tables_give_back(void);

/* sockdiag.c */
int vos_diag_open(struct vos_sock *vs);
bool vos_diag_is_local(struct vos_sock *vs, struct msghdr *msg, size_t length);
int vos_diag_sendmsg(struct vos_sock *vs, struct msghdr *msg);
int vos_diag_payload_out(struct vos_sock *vs, const void *payload,
			 struct msghdr *msg, size_t length);
int vos_diag_recvmsg(struct vos_sock *vs, struct msghdr *msg, int flags);
__poll_t vos_diag_poll(struct vos_sock *vs, struct poll_table_struct *wait);

static inline bool vos_diag_answers(struct vos_sock *vs)
{
	return vs->local && READ_ONCE(vs->local_answers);
}

#endif /* VOS_SOCKETS_H */
