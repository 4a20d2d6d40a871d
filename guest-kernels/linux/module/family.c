// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: takes AF_INET, AF_INET6, AF_PACKET and, of AF_NETLINK, what asks about
 * them (NETLINK_ROUTE, NETLINK_SOCK_DIAG) over, and gives them back.
 *
 * The kernel has one table of families and lets no one see an entry, so the
 * families are unregistered and registered anew. Sockets that the kernel makes
 * for itself (ICMP, tunnels, NFS), and those of other network namespaces, stay
 * local: their owners reach into tcp_sock and sk_buff queues, which remote
 * sockets have not, and a new namespace cannot even be made without its
 * kernel sockets. For these the family's own create function is called; its
 * address comes from a kprobe that is placed and taken away again. Where that
 * fails (no kprobes), such sockets get EAFNOSUPPORT and the module stays.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <linux/slab.h>

#include "sockets.h"

typedef int (*vos_create_fn)(struct net *net, struct socket *sock,
			     int protocol, int kern);

struct vos_family {
	struct net_proto_family ours;
	const char *local_symbol;
	vos_create_fn local;
	/* Outlives the module: the kernel keeps it after we give back. */
	struct net_proto_family *restored;
};

static DEFINE_MUTEX(vos_family_lock);
static struct vos_device *vos_family_channel;
static bool vos_family_taken;

static int vos_create_inet(struct net *net, struct socket *sock, int protocol,
			   int kern);
static int vos_create_inet6(struct net *net, struct socket *sock, int protocol,
			    int kern);
static int vos_create_netlink(struct net *net, struct socket *sock,
			      int protocol, int kern);
static int vos_create_packet(struct net *net, struct socket *sock, int protocol,
			     int kern);

static struct vos_family vos_families[] = {
	{
		.ours = { .family = PF_INET, .create = vos_create_inet,
			  .owner = THIS_MODULE },
		.local_symbol = "inet_create",
	},
	{
		.ours = { .family = PF_INET6, .create = vos_create_inet6,
			  .owner = THIS_MODULE },
		.local_symbol = "inet6_create",
	},
	{
		.ours = { .family = PF_NETLINK, .create = vos_create_netlink,
			  .owner = THIS_MODULE },
		.local_symbol = "netlink_create",
	},
	{
		.ours = { .family = PF_PACKET, .create = vos_create_packet,
			  .owner = THIS_MODULE },
		.local_symbol = "packet_create",
	},
};

static int vos_create(struct vos_family *family, struct net *net,
		      struct socket *sock, int protocol, int kern)
{
	if (!kern && net_eq(net, &init_net))
		return vos_socket_create(net, sock, protocol,
					 family->ours.family, kern);
	if (!family->local)
		return -EAFNOSUPPORT;
	return family->local(net, sock, protocol, kern);
}

static int vos_create_inet(struct net *net, struct socket *sock, int protocol,
			   int kern)
{
	return vos_create(&vos_families[0], net, sock, protocol, kern);
}

static int vos_create_inet6(struct net *net, struct socket *sock, int protocol,
			    int kern)
{
	return vos_create(&vos_families[1], net, sock, protocol, kern);
}

/* Events of devices, audit, generic netlink and the rest are this kernel's own. */
static int vos_create_netlink(struct net *net, struct socket *sock,
			      int protocol, int kern)
{
	bool theirs = protocol == NETLINK_ROUTE ||
		      protocol == NETLINK_SOCK_DIAG;

	/* vos_create() keeps what the kernel makes for itself local. */
	return vos_create(&vos_families[2], net, sock, protocol,
			  kern || !theirs);
}

static int vos_create_packet(struct net *net, struct socket *sock, int protocol,
			     int kern)
{
	return vos_create(&vos_families[3], net, sock, protocol, kern);
}

/* Any context: is there such a channel? */
bool vos_family_serves(void)
{
	return READ_ONCE(vos_family_channel);
}

/* The channel that new sockets use, with a reference; NULL: none. */
struct vos_device *vos_family_device(void)
{
	struct vos_device *dev;

	mutex_lock(&vos_family_lock);
	dev = vos_family_channel;
	if (dev)
		vos_device_get(dev);
	mutex_unlock(&vos_family_lock);
	return dev;
}

/* A function of the kernel that no module may call by name; NULL: not found. */
void *vos_find_function(const char *symbol)
{
	struct kprobe probe = { .symbol_name = symbol };
	int ret = register_kprobe(&probe);

	if (ret) {
		pr_warn("vos: %s not found (%d)\n", symbol, ret);
		return NULL;
	}
	unregister_kprobe(&probe);
	return probe.addr;
}

static void vos_family_find_local(struct vos_family *family)
{
	family->local = vos_find_function(family->local_symbol);
	if (!family->local)
		return;
	family->restored = kzalloc(sizeof(*family->restored), GFP_KERNEL);
	if (!family->restored) {
		family->local = NULL;
		return;
	}
	family->restored->family = family->ours.family;
	family->restored->create = family->local;
}

static void vos_family_take(void)
{
	bool all = true;
	int i;

	for (i = 0; i < ARRAY_SIZE(vos_families); i++) {
		struct vos_family *family = &vos_families[i];

		vos_family_find_local(family);
		all = all && family->local;
		sock_unregister(family->ours.family);
		if (sock_register(&family->ours))
			pr_err("vos: family %d not registered\n",
			       family->ours.family);
	}
	vos_hook_place();
	vos_tables_take();
	vos_family_taken = true;
	if (!all)
		__module_get(THIS_MODULE);
}

/* The first channel that carries sockets has them. */
void vos_family_attach(struct vos_device *dev)
{
	if (!(dev->geometry.carries & VOS_CARRIES_SOCKETS))
		return;
	mutex_lock(&vos_family_lock);
	if (vos_family_channel) {
		pci_warn(dev->pci, "sockets are carried by %s already\n",
			 vos_family_channel->geometry.name);
	} else {
		WRITE_ONCE(vos_family_channel, dev);
		if (!vos_family_taken)
			vos_family_take();
	}
	mutex_unlock(&vos_family_lock);
}

void vos_family_detach(struct vos_device *dev)
{
	mutex_lock(&vos_family_lock);
	if (vos_family_channel == dev)
		WRITE_ONCE(vos_family_channel, NULL);
	mutex_unlock(&vos_family_lock);
}

int vos_family_init(void)
{
	return proto_register(&vos_proto, 1);
}

/* No socket of ours lives any more: each holds the module. */
void vos_family_exit(void)
{
	int i;

	if (vos_family_taken) {
		vos_tables_give_back();
		vos_hook_remove();
	}
	for (i = 0; vos_family_taken && i < ARRAY_SIZE(vos_families); i++) {
		sock_unregister(vos_families[i].ours.family);
		if (sock_register(vos_families[i].restored))
			pr_err("vos: family %d is lost\n",
			       vos_families[i].ours.family);
	}
	proto_unregister(&vos_proto);
}
