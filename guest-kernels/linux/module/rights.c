// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: the rights of a caller. The service runs as root, and trusts this kernel
 * but none of its programs. So whatever takes a right (a raw socket, a low port,
 * IPV6_HOPOPTS as an option or as control data, SO_MARK, IP_TRANSPARENT, ...) is
 * not listed here a second time: each call that could take one says which the
 * caller has, the service executes it with these and no others, and the far
 * kernel's own checks decide.
 */
#include <linux/capability.h>

#include "sockets.h"

static const struct {
	int capability;
	u32 right;
} vos_rights_known[] = {
	{ CAP_NET_BIND_SERVICE, VOS_RIGHT_BIND_SERVICE },
	{ CAP_NET_RAW, VOS_RIGHT_RAW },
	{ CAP_NET_ADMIN, VOS_RIGHT_ADMIN },
};

/* What the calling process may, VOS_RIGHT_*. */
u32 vos_rights(struct net *net)
{
	u32 rights = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(vos_rights_known); i++)
		if (ns_capable_noaudit(net->user_ns,
				       vos_rights_known[i].capability))
			rights |= vos_rights_known[i].right;
	return rights;
}
