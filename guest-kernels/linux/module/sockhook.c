// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: the few SOL_SOCKET options that this kernel's core cannot answer for a
 * remote socket: SO_ERROR, which the far end has, and the interface that a socket
 * is bound to, which only the far end has. The core asks no family, so probes at
 * its two entries send such calls, and these alone, to functions of ours that
 * have the same arguments and return in their place. They run where the core's
 * would: after the LSM's check, with nothing locked. A kernel that lets no probe
 * be placed does without: SO_ERROR is what poll() saw, and the interface must
 * have the same name here.
 */
#include <linux/kprobes.h>
#include <linux/uaccess.h>

#include "sockets.h"

static bool vos_hook_is_ours(const struct pt_regs *regs)
{
	struct socket *sock = (struct socket *)regs->di;

	return sock->sk && READ_ONCE(sock->sk->sk_prot) == &vos_proto;
}

static bool vos_hook_is_interface(int name)
{
	return name == SO_BINDTODEVICE || name == SO_BINDTOIFINDEX;
}

/* In place of sock_getsockopt(). */
static int vos_hook_get(struct socket *sock, int level, int name,
			char __user *value, int __user *length)
{
	struct sock *sk = sock->sk;
	int room, error;

	if (name != SO_ERROR)
		return vos_sock_getsockopt(sock, level, name, value, length);
	if (get_user(room, length))
		return -EFAULT;
	if (room < 0)
		return -EINVAL;
	error = -sock_error(sk) ?: vos_sock_remote_error(vos_sk(sk));
	room = min_t(int, room, sizeof(error));
	if (copy_to_user(value, &error, room))
		return -EFAULT;
	return put_user(room, length);
}

/* In place of sock_setsockopt(). */
static int vos_hook_set(struct socket *sock, int level, int name,
			sockptr_t value, unsigned int length)
{
	return vos_sock_setsockopt(sock, level, name, value, length);
}

/* Nonzero: go on where regs->ip says. */
static int vos_hook_at_get(struct kprobe *probe, struct pt_regs *regs)
{
	int name = (int)regs->dx;

	if ((name != SO_ERROR && !vos_hook_is_interface(name)) ||
	    !vos_hook_is_ours(regs))
		return 0;
	regs->ip = (unsigned long)vos_hook_get;
	return 1;
}

static int vos_hook_at_set(struct kprobe *probe, struct pt_regs *regs)
{
	if (!vos_hook_is_interface((int)regs->dx) || !vos_hook_is_ours(regs))
		return 0;
	regs->ip = (unsigned long)vos_hook_set;
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
};
static bool vos_hooked[ARRAY_SIZE(vos_hooks)];

void vos_hook_place(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(vos_hooks); i++) {
		int ret = register_kprobe(&vos_hooks[i]);

		vos_hooked[i] = ret == 0;
		if (ret)
			pr_warn("vos: no probe at %s (%d)\n",
				vos_hooks[i].symbol_name, ret);
	}
}

/* Who is in one of our functions holds a socket of ours, and that the module. */
void vos_hook_remove(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(vos_hooks); i++)
		if (vos_hooked[i])
			unregister_kprobe(&vos_hooks[i]);
}
