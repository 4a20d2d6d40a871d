// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: what this kernel's core cannot answer for a remote socket, and asks no
 * family for: SO_ERROR, buffers and the interface that a socket is bound to, which
 * the far end has; all SOL_SOCKET options that are set, for the far end is to have them
 * before setsockopt returns; and SIOCGIF*, which libc asks of AF_UNIX. Probes at
 * the core's entries send such calls, and these alone, to functions of ours that
 * have the same arguments and return in their place. They run where the core's
 * would: after the LSM's check, with nothing locked. A kernel that lets no probe be
 * placed does without: SO_ERROR is what poll() saw, the interface must have the same
 * name here, options go over with the next call, and SIOCGIF* of local sockets show
 * this kernel's interfaces.
 */
#include <linux/compat.h>
#include <linux/if.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sockios.h>
#include <linux/uaccess.h>

#include "sockets.h"

/* The core's own way to set an option; NULL: not found. */
static int (*vos_core_set)(struct sock *sk, int level, int name,
			   sockptr_t value, unsigned int length);

static bool vos_hook_is_ours(const struct pt_regs *regs)
{
	struct socket *sock = (struct socket *)regs->di;

	return sock->sk && READ_ONCE(sock->sk->sk_prot) == &vos_proto;
}

static bool vos_hook_is_interface(int name)
{
	return name == SO_BINDTODEVICE || name == SO_BINDTOIFINDEX;
}

/*
 * What is not answered from this kernel's sock: the far end has the cookie that ss
 * shows, and the sizes to which it tunes buffers.
 */
static bool vos_hook_asks_far(int name)
{
	switch (name) {
	case SO_ERROR:
	case SO_COOKIE:
	case SO_DOMAIN:
	case SO_RCVBUF:
	case SO_SNDBUF:
		return true;
	}
	return vos_hook_is_interface(name);
}

/* Setting these would have no effect over there: better that the program knows. */
static int vos_hook_refuses(int name)
{
	switch (name) {
	case SO_ZEROCOPY: /* nobody would tell of completion */
		return -EOPNOTSUPP;
	case SO_ATTACH_BPF:
	case SO_ATTACH_REUSEPORT_CBPF:
	case SO_ATTACH_REUSEPORT_EBPF:
		return -ENOPROTOOPT;
	}
	return 0;
}

static int vos_hook_put(int result, char __user *value, int __user *length)
{
	int room;

	if (get_user(room, length))
		return -EFAULT;
	if (room < 0)
		return -EINVAL;
	room = min_t(int, room, sizeof(result));
	if (copy_to_user(value, &result, room))
		return -EFAULT;
	return put_user(room, length);
}

/* In place of sock_getsockopt(). */
static int vos_hook_get(struct socket *sock, int level, int name,
			char __user *value, int __user *length)
{
	struct vos_sock *vs = vos_sk(sock->sk);

	if (name == SO_DOMAIN) /* which sk_family may not say: vos_sock_new() */
		return vos_hook_put(vs->family, value, length);
	if (name != SO_ERROR)
		return vos_sock_getsockopt(sock, level, name, value, length);
	return vos_hook_put(-sock_error(&vs->sk) ?: vos_sock_remote_error(vs),
			    value, length);
}

/* In place of sock_setsockopt(). */
static int vos_hook_set(struct socket *sock, int level, int name,
			sockptr_t value, unsigned int length)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	int ret;

	if (vos_hook_is_interface(name))
		return vos_sock_setsockopt(sock, level, name, value, length);
	ret = vos_hook_refuses(name) ?:
		      vos_core_set(sock->sk, level, name, value, length);
	if (ret)
		return ret;
	ret = vos_sock_tell_options(vs);
	/* Netlink has no rights over there, and no use for what takes one. */
	return vs->family == PF_NETLINK ? 0 : ret;
}

/* A remote socket, to ask for one that is not. */
static int vos_hook_socket(struct socket **sock)
{
	int ret = sock_create(PF_INET, SOCK_DGRAM, 0, sock);

	if (ret || (*sock)->sk->sk_prot == &vos_proto)
		return ret;
	sock_release(*sock);
	return -ENODEV;
}

/* In place of dev_ifconf(), whatever the socket that was asked. */
static int vos_hook_ifconf(struct net *net, struct ifconf __user *list)
{
	struct socket *sock;
	int ret = vos_hook_socket(&sock);

	if (!ret) {
		ret = vos_sock_ioctl(sock, SIOCGIFCONF, (unsigned long)list);
		sock_release(sock);
	}
	module_put(THIS_MODULE); /* got at the probe */
	return ret;
}

/* In place of dev_ioctl(), whatever the socket that was asked. */
static int vos_hook_interface(struct net *net, unsigned int command,
			      struct ifreq *request, void __user *data,
			      bool *changed)
{
	struct socket *sock;
	int ret = vos_hook_socket(&sock);

	if (!ret) {
		ret = vos_sock_interface(vos_sk(sock->sk), command, request);
		sock_release(sock);
	}
	if (changed)
		*changed = ret >= 0;
	module_put(THIS_MODULE); /* got at the probe */
	return ret;
}

/* What dev_ioctl() would tell to sockets of any family. */
static bool vos_hook_asks_interface(unsigned int command)
{
	switch (command) {
	case SIOCGIFNAME:
	case SIOCGIFINDEX:
	case SIOCGIFFLAGS:
	case SIOCGIFMETRIC:
	case SIOCGIFMTU:
	case SIOCGIFHWADDR:
	case SIOCGIFMAP:
	case SIOCGIFTXQLEN:
		return true;
	}
	return false;
}

/* Nonzero: go on where regs->ip says. */
static int vos_hook_at_get(struct kprobe *probe, struct pt_regs *regs)
{
	int name = (int)regs->dx;

	if (!vos_hook_asks_far(name) || !vos_hook_is_ours(regs))
		return 0;
	regs->ip = (unsigned long)vos_hook_get;
	return 1;
}

static int vos_hook_at_set(struct kprobe *probe, struct pt_regs *regs)
{
	if ((!vos_core_set && !vos_hook_is_interface((int)regs->dx)) ||
	    !vos_hook_is_ours(regs))
		return 0;
	regs->ip = (unsigned long)vos_hook_set;
	return 1;
}

static bool vos_hook_serves(const struct pt_regs *regs)
{
	return (struct net *)regs->di == &init_net && vos_family_serves() &&
	       try_module_get(THIS_MODULE);
}

/* The structures of 32-bit programs are others. */
static int vos_hook_at_ifconf(struct kprobe *probe, struct pt_regs *regs)
{
	if (in_compat_syscall() || !vos_hook_serves(regs))
		return 0;
	regs->ip = (unsigned long)vos_hook_ifconf;
	return 1;
}

static int vos_hook_at_interface(struct kprobe *probe, struct pt_regs *regs)
{
	if (!vos_hook_asks_interface((unsigned int)regs->si) ||
	    !vos_hook_serves(regs))
		return 0;
	regs->ip = (unsigned long)vos_hook_interface;
	return 1;
}

/* Its presence says that regs->ip may change (Documentation/trace/kprobes.rst). */
static void vos_hook_after(struct kprobe *probe, struct pt_regs *regs,
			   unsigned long flags)
{
}

static struct kprobe vos_hooks[] = {
	{ .symbol_name = "sock_getsockopt", .pre_handler = vos_hook_at_get,
	  .post_handler = vos_hook_after },
	{ .symbol_name = "sock_setsockopt", .pre_handler = vos_hook_at_set,
	  .post_handler = vos_hook_after },
	{ .symbol_name = "dev_ifconf", .pre_handler = vos_hook_at_ifconf,
	  .post_handler = vos_hook_after },
	{ .symbol_name = "dev_ioctl", .pre_handler = vos_hook_at_interface,
	  .post_handler = vos_hook_after },
};
static bool vos_hooked[ARRAY_SIZE(vos_hooks)];

void vos_hook_place(void)
{
	int i;

	vos_core_set = vos_find_function("sk_setsockopt");
	for (i = 0; i < ARRAY_SIZE(vos_hooks); i++) {
		int ret = register_kprobe(&vos_hooks[i]);

		vos_hooked[i] = ret == 0;
		if (ret)
			pr_warn("vos: no probe at %s (%d)\n",
				vos_hooks[i].symbol_name, ret);
	}
}

/* Who is in one of our functions holds the module, most by a socket of ours. */
void vos_hook_remove(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(vos_hooks); i++)
		if (vos_hooked[i])
			unregister_kprobe(&vos_hooks[i]);
	synchronize_rcu_tasks(); /* who has just let go of the module has returned */
}
