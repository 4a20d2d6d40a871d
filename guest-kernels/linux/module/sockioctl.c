// SPDX-License-Identifier: GPL-2.0-only
/*
 * vos: ioctl on a remote socket. What it may ask of the far end is listed
 * here, with sizes; all else would act on this kernel's own interfaces, which
 * are not the ones that the socket uses, and is refused.
 */
#include <linux/if.h>
#include <linux/sockios.h>
#include <linux/uaccess.h>
#include <asm/ioctls.h>

#include "sockets.h"

static s64 vos_ioctl_call(struct vos_sock *vs, unsigned int command, void *data,
			  u32 length, u32 *reply)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_IOCTL);

	ask.argument[0] = command;
	ask.length = length;
	ask.capacity = length;
	return vos_sock_error(vs, vos_sock_call(vs, &ask, data, data, reply));
}

static int vos_ioctl_int(struct vos_sock *vs, unsigned int command,
			 int __user *arg)
{
	u32 reply;
	int value = 0;
	int ret = vos_ioctl_call(vs, command, &value, sizeof(value), &reply);

	if (ret < 0)
		return ret;
	if (reply != sizeof(value))
		return -EIO;
	return put_user(value, arg);
}

/* Bytes that the peer has not taken yet, or < 0. */
int vos_sock_unsent(struct vos_sock *vs)
{
	int value = 0;
	u32 reply;
	int ret = vos_ioctl_call(vs, SIOCOUTQ, &value, sizeof(value), &reply);

	return ret < 0 ? ret : value;
}

/* When the last packet came: SIOCGSTAMP* . */
int vos_sock_gettstamp(struct socket *sock, void __user *stamp, bool micro,
		       bool time32)
{
	struct timespec64 time = {};
	s64 value[2] = {}; /* struct timespec of the service's kernel */
	u32 reply;
	int ret = vos_ioctl_call(vos_sk(sock->sk), SIOCGSTAMPNS_OLD, value,
				 sizeof(value), &reply);

	if (ret < 0)
		return ret;
	time.tv_sec = value[0];
	time.tv_nsec = clamp_t(s64, value[1], 0, NSEC_PER_SEC - 1);
	if (micro)
		time.tv_nsec /= NSEC_PER_USEC;
	return time32 ? put_old_timespec32(&time, stamp) :
			put_timespec64(&time, stamp);
}

/* What a SIOCGIF* but SIOCGIFCONF asks of one interface, answered in place. */
int vos_sock_interface(struct vos_sock *vs, unsigned int command,
		       struct ifreq *request)
{
	u32 reply;
	int ret;

	request->ifr_name[IFNAMSIZ - 1] = 0;
	if (command == SIOCGIFMAP) /* others hold no pointer; nor may this */
		memset(&request->ifr_ifru, 0, sizeof(request->ifr_ifru));
	ret = vos_ioctl_call(vs, command, request, sizeof(*request), &reply);
	if (ret >= 0 && reply != sizeof(*request))
		return -EIO;
	return ret;
}

static int vos_ioctl_ifreq(struct vos_sock *vs, unsigned int command,
			   void __user *arg)
{
	struct ifreq request;
	int ret;

	if (copy_from_user(&request, arg, sizeof(request)))
		return -EFAULT;
	ret = vos_sock_interface(vs, command, &request);
	if (ret < 0)
		return ret;
	return copy_to_user(arg, &request, sizeof(request)) ? -EFAULT : ret;
}

/* The far end gives the bare array; the caller's pointer stays here. */
static int vos_ioctl_ifconf(struct vos_sock *vs, struct ifconf __user *arg)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_IOCTL);
	struct vos_request request;
	struct ifconf conf;
	u32 reply;
	s64 ret;

	if (copy_from_user(&conf, arg, sizeof(conf)))
		return -EFAULT;
	ret = vos_request_get(&request, vs->dev, vs->epoch);
	if (ret)
		return vos_sock_error(vs, ret);
	ask.argument[0] = SIOCGIFCONF;
	ask.capacity = round_down(request.room, sizeof(struct ifreq));
	ret = vos_request_call(&request, &ask, &reply);
	if (ret >= 0 && conf.ifc_buf) {
		reply = min_t(u32, reply, max(conf.ifc_len, 0));
		reply -= reply % sizeof(struct ifreq);
		if (copy_to_user(conf.ifc_buf, request.buffer, reply))
			ret = -EFAULT;
	}
	vos_request_put(&request);
	if (ret < 0)
		return vos_sock_error(vs, ret);
	return put_user((int)reply, &arg->ifc_len);
}

/*
 * The holder of the descriptor lets its process's slice use the object. The
 * slice must be the caller's own: else a descriptor that was lent could be used
 * to let a stranger in.
 */
static int vos_ioctl_attach(struct vos_sock *vs, unsigned long slice)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_ATTACH);
	s64 ret;

	if (slice > U32_MAX || !vos_slice_is_mine(vs->dev, slice))
		return -EPERM;
	if (vs->object > INT_MAX)
		return -EOVERFLOW;
	vos_sock_tell_options(vs);
	ask.argument[0] = slice;
	ret = vos_sock_call(vs, &ask, NULL, NULL, NULL);
	return ret < 0 ? vos_sock_error(vs, ret) : vs->object;
}

static int vos_ioctl_detach(struct vos_sock *vs)
{
	struct vos_ask ask = vos_sock_ask(vs, VOS_CALL_DETACH);
	s64 ret = vos_sock_call(vs, &ask, NULL, NULL, NULL);

	return ret < 0 ? vos_sock_error(vs, ret) : 0;
}

/*
 * Differs: FIONREAD, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK and SIOCGIF* are served;
 * all that sets something is EPERM, also for root, and SIOCGARP too; SIOCETHTOOL
 * is EOPNOTSUPP.
 */
int vos_sock_ioctl(struct socket *sock, unsigned int command,
		   unsigned long argument)
{
	struct vos_sock *vs = vos_sk(sock->sk);
	void __user *arg = (void __user *)argument;

	switch (command) {
	case VOS_IOC_ATTACH:
		return vos_ioctl_attach(vs, argument);
	case VOS_IOC_DETACH:
		return vos_ioctl_detach(vs);
	case SIOCINQ:
	case SIOCOUTQ:
	case SIOCOUTQNSD:
	case SIOCATMARK:
		return vos_ioctl_int(vs, command, arg);
	case SIOCGIFCONF:
		return vos_ioctl_ifconf(vs, arg);
	case SIOCGIFNAME:
	case SIOCGIFFLAGS:
	case SIOCGIFADDR:
	case SIOCGIFDSTADDR:
	case SIOCGIFBRDADDR:
	case SIOCGIFNETMASK:
	case SIOCGIFMETRIC:
	case SIOCGIFMTU:
	case SIOCGIFHWADDR:
	case SIOCGIFINDEX:
	case SIOCGIFMAP:
	case SIOCGIFTXQLEN:
		return vos_ioctl_ifreq(vs, command, arg);
	}
	/* A pointer to a structure that each of its commands has another of. */
	if (command == SIOCETHTOOL)
		return -EOPNOTSUPP;
	/* The service domain alone configures its interfaces. */
	return _IOC_TYPE(command) == SOCK_IOC_TYPE ? -EPERM : -ENOTTY;
}
