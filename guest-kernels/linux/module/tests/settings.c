// SPDX-License-Identifier: GPL-2.0-only
/* vos: checks of options and ioctls: what is set is there, and refusals are Linux's. */
#define _GNU_SOURCE
#include <ifaddrs.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/udp.h>

#include "tests.h"

static const struct {
	const char *name;
	int level, option, value;
} settings[] = {
	{ "SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 1 },
	{ "SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT, 1 },
	{ "SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ "SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, 20000 },
	{ "SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, 20000 },
	{ "SO_RCVBUFFORCE", SOL_SOCKET, SO_RCVBUFFORCE, 2000000 },
	{ "SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, 3 },
	{ "SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, 5 },
	{ "SO_MARK", SOL_SOCKET, SO_MARK, 9 },
	{ "SO_MAX_PACING_RATE", SOL_SOCKET, SO_MAX_PACING_RATE, 1000000 },
	{ "SO_TYPE", SOL_SOCKET, SO_TYPE, 1 },
	{ "SO_DOMAIN", SOL_SOCKET, SO_DOMAIN, 1 },
	{ "SO_PROTOCOL", SOL_SOCKET, SO_PROTOCOL, 1 },
	{ "SO_ERROR", SOL_SOCKET, SO_ERROR, 1 },
	{ "SO_BSDCOMPAT", SOL_SOCKET, SO_BSDCOMPAT, 1 },
	{ "SO_PASSCRED", SOL_SOCKET, SO_PASSCRED, 0 },
	{ "SOL_SOCKET 9999", SOL_SOCKET, 9999, 1 },
	{ "TCP_NODELAY", SOL_TCP, TCP_NODELAY, 1 },
	{ "TCP_KEEPIDLE", SOL_TCP, TCP_KEEPIDLE, 77 },
	{ "TCP_KEEPINTVL", SOL_TCP, TCP_KEEPINTVL, 7 },
	{ "TCP_KEEPCNT", SOL_TCP, TCP_KEEPCNT, 3 },
	{ "TCP_SYNCNT", SOL_TCP, TCP_SYNCNT, 3 },
	{ "TCP_DEFER_ACCEPT", SOL_TCP, TCP_DEFER_ACCEPT, 3 },
	{ "TCP_QUICKACK", SOL_TCP, TCP_QUICKACK, 1 },
	{ "TCP_USER_TIMEOUT", SOL_TCP, TCP_USER_TIMEOUT, 3000 },
	{ "TCP_FASTOPEN_CONNECT", SOL_TCP, TCP_FASTOPEN_CONNECT, 1 },
	{ "TCP_MAXSEG", SOL_TCP, TCP_MAXSEG, 600 },
	{ "TCP_WINDOW_CLAMP", SOL_TCP, TCP_WINDOW_CLAMP, 30000 },
	{ "TCP_NOTSENT_LOWAT", SOL_TCP, TCP_NOTSENT_LOWAT, 4096 },
	{ "TCP_LINGER2", SOL_TCP, TCP_LINGER2, 5 },
	{ "SOL_TCP 9999", SOL_TCP, 9999, 1 },
	{ "IP_TOS", IPPROTO_IP, IP_TOS, 16 },
	{ "IP_TTL", IPPROTO_IP, IP_TTL, 9 },
	{ "IP_TTL 999", IPPROTO_IP, IP_TTL, 999 },
	{ "IP_MTU_DISCOVER", IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO },
	{ "IP_MTU", IPPROTO_IP, IP_MTU, 1 },
	{ "IP_FREEBIND", IPPROTO_IP, IP_FREEBIND, 1 },
	{ "IP_BIND_ADDRESS_NO_PORT", IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1 },
	{ "IP_MULTICAST_LOOP", IPPROTO_IP, IP_MULTICAST_LOOP, 0 },
	{ "IP_RECVTOS", IPPROTO_IP, IP_RECVTOS, 1 },
	{ "IP_TRANSPARENT", IPPROTO_IP, IP_TRANSPARENT, 1 },
	{ "level 999", 999, 1, 1 },
	{ "SOL_SCTP", IPPROTO_SCTP, 1, 1 },
	{ "UDP_CORK", IPPROTO_UDP, UDP_CORK, 0 },
	{ "IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY, 1 },
	{ "IPV6_UNICAST_HOPS", IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9 },
	{ "IPV6_TCLASS", IPPROTO_IPV6, IPV6_TCLASS, 8 },
	{ "IPV6_MULTICAST_HOPS", IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 4 },
};

static void set_all(const char *kind, int family, int type)
{
	char name[80];

	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
		int s = socket(family, type, 0);

		snprintf(name, sizeof(name), "%s %s set", kind, settings[i].name);
		SAME(name, set_option(s, settings[i].level, settings[i].option,
				      settings[i].value));
		snprintf(name, sizeof(name), "%s %s get", kind, settings[i].name);
		same(name, get_option(s, settings[i].level, settings[i].option));
		close(s);
	}
}

/* What nobody has set, and what is set to just that. */
static void defaults(const char *kind, int family, int type)
{
	static const int names[] = { SO_RCVBUF, SO_SNDBUF, SO_DOMAIN, SO_RCVLOWAT, SO_PRIORITY,
				     SO_REUSEADDR, SO_KEEPALIVE };
	int s = socket(family, type, 0);
	char name[60];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(name, sizeof(name), "%s option %d unset", kind, names[i]);
		same(name, get_option(s, SOL_SOCKET, names[i]));
	}
	set_option(s, SOL_SOCKET, SO_RCVBUF, 212992 / 2);
	snprintf(name, sizeof(name), "%s a usual SO_RCVBUF", kind);
	same(name, get_option(s, SOL_SOCKET, SO_RCVBUF));
	close(s);
}

static void odd_lengths(void)
{
	int s = socket(AF_INET, SOCK_STREAM, 0), value = 1;
	char name[20] = "";
	socklen_t length = 2;

	SAME("a short option", setsockopt(s, SOL_TCP, TCP_NODELAY, &value, 2));
	SAME("a bad pointer", setsockopt(s, SOL_TCP, TCP_NODELAY, (void *)8, 4));
	SAME("read a short option", getsockopt(s, SOL_TCP, TCP_NODELAY, &value, &length));
	same("its length", length);
	length = sizeof(name);
	SAME("TCP_CONGESTION", getsockopt(s, SOL_TCP, TCP_CONGESTION, name, &length));
	same("its name", name[0]);
	SAME("set TCP_CONGESTION", setsockopt(s, SOL_TCP, TCP_CONGESTION, "none such", 9));
	close(s);
}

/* Both ends inherit and tell; the far end's kernel knows, not only ours. */
static void effects(void)
{
	int l = listener(7131), c, s, queue = -1;
	char block[5000] = { 0 };

	set_option(l, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(l, SOL_TCP, TCP_NODELAY, 1);
	c = dial(7131);
	s = accept(l, NULL, NULL);
	CHECK(get_option(s, SOL_SOCKET, SO_KEEPALIVE) == 1);
	CHECK(get_option(s, SOL_TCP, TCP_NODELAY) == 1);
	CHECK(send(c, block, sizeof(block), 0) == sizeof(block));
	nap(50);
	CHECK(!ioctl(s, SIOCINQ, &queue) && queue == sizeof(block));
	CHECK(!ioctl(c, SIOCOUTQ, &queue) && queue == 0);
	CHECK(!ioctl(c, SIOCOUTQNSD, &queue) && queue == 0);
	SAME("SIOCATMARK of an empty queue", ioctl(c, SIOCATMARK, &queue));
	SAME("SIOCINQ of a listener", ioctl(l, SIOCINQ, &queue));
	close(c);
	close(s);
	close(l);
}

/* What would have no effect is not taken. */
static void refused(void)
{
	int s = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(set_option(s, SOL_SOCKET, SO_ZEROCOPY, 1) < 0 && errno == EOPNOTSUPP);
	CHECK(set_option(s, SOL_SOCKET, SO_ATTACH_BPF, 0) < 0 && errno == ENOPROTOOPT);
	CHECK(set_option(s, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, 0) < 0 &&
	      errno == ENOPROTOOPT);
	CHECK(send(s, "x", 1, MSG_ZEROCOPY | MSG_NOSIGNAL) < 0 && errno == EPIPE);
	close(s);
}

static void bind_device(void)
{
	int s = socket(AF_INET, SOCK_STREAM, 0), l = listener(7132);
	struct sockaddr_in address = at(7132);
	char name[IFNAMSIZ] = "";
	socklen_t length = sizeof(name);

	CHECK(!setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	CHECK(!getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &length) &&
	      !strcmp(name, "lo"));
	CHECK(!connect(s, ADDRESS(address)));
	SAME("SO_BINDTODEVICE unknown",
	     setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "none0", 6));
	close(s);
	close(l);
}

void options(void)
{
	set_all("stream", AF_INET, SOCK_STREAM);
	set_all("datagram", AF_INET, SOCK_DGRAM);
	set_all("stream6", AF_INET6, SOCK_STREAM);
	set_all("netlink", AF_NETLINK, SOCK_RAW);
	set_all("packet", AF_PACKET, SOCK_DGRAM);
	defaults("stream", AF_INET, SOCK_STREAM);
	defaults("datagram6", AF_INET6, SOCK_DGRAM);
	defaults("netlink", AF_NETLINK, SOCK_RAW);
	defaults("packet", AF_PACKET, SOCK_RAW);
	if (remote)
		refused();
	odd_lengths();
	effects();
	bind_device();
}

/* What only a socket of AF_INET is asked, beside what described() asks of all. */
static void interface(int s)
{
	struct ifreq request = { .ifr_name = "lo" };

	CHECK(!ioctl(s, SIOCGIFFLAGS, &request));
	same("flags of lo", request.ifr_flags);
	CHECK(!ioctl(s, SIOCGIFADDR, &request) &&
	      ((struct sockaddr_in *)&request.ifr_addr)->sin_addr.s_addr ==
		      htonl(INADDR_LOOPBACK));
	CHECK(!ioctl(s, SIOCGIFNETMASK, &request));
	CHECK(!ioctl(s, SIOCGIFHWADDR, &request));
	same("kind of lo", request.ifr_hwaddr.sa_family);
	strcpy(request.ifr_name, "none0");
	SAME("an unknown interface", ioctl(s, SIOCGIFINDEX, &request));
	SAME("is a socket a terminal", isatty(s)); /* minus ENOTTY */
	same("the errno of it", errno);
	SAME("an ioctl of others", ioctl(s, 0x12345678, &request));
}

/* Whatever kind of socket is asked. The service's init has set the length of the queue. */
static void described(int s)
{
	struct ifreq request = { .ifr_name = "lo" };

	CHECK(!ioctl(s, SIOCGIFINDEX, &request) && request.ifr_ifindex == 1);
	CHECK(!ioctl(s, SIOCGIFNAME, &request) && !strcmp(request.ifr_name, "lo"));
	CHECK(!ioctl(s, SIOCGIFTXQLEN, &request) && (request.ifr_qlen == 777) == remote);
	CHECK(!ioctl(s, SIOCGIFMAP, &request));
	CHECK(!ioctl(s, SIOCGIFMTU, &request) && request.ifr_mtu == 65536);
	SAME("a number of no interface",
	     ioctl(s, SIOCGIFNAME, &(struct ifreq){ .ifr_ifindex = 4711 }));
	SAME("an interface at a bad pointer", ioctl(s, SIOCGIFINDEX, NULL));
	strcpy(request.ifr_name, "none0");
	SAME("an interface that is not there", ioctl(s, SIOCGIFMTU, &request));
}

/* Whatever kind of socket is asked. */
static void listed(int s)
{
	struct ifreq list[20];
	struct ifconf conf = { sizeof(list), { (char *)list } }, sized = { 0 };
	int found = 0;

	CHECK(!ioctl(s, SIOCGIFCONF, &conf));
	for (size_t i = 0; i < conf.ifc_len / sizeof(*list); i++)
		found |= !strcmp(list[i].ifr_name, "lo");
	CHECK(found);
	CHECK(!ioctl(s, SIOCGIFCONF, &sized) && sized.ifc_len == conf.ifc_len);
	SAME("SIOCGIFCONF of a bad pointer", ioctl(s, SIOCGIFCONF, NULL));
}

void controls(void)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), local = socket(AF_UNIX, SOCK_DGRAM, 0);
	struct ifreq request = { .ifr_name = "lo" };
	struct ifaddrs *list, *one;
	bool four = false, six = false;

	interface(s);
	listed(s);
	described(s);
	listed(local);
	described(local);
	CHECK(if_nametoindex("lo") == 1);
	CHECK(!getifaddrs(&list));
	for (one = list; one; one = one->ifa_next) {
		four |= one->ifa_addr && one->ifa_addr->sa_family == AF_INET;
		six |= one->ifa_addr && one->ifa_addr->sa_family == AF_INET6;
	}
	CHECK(four && six);
	freeifaddrs(list);
	if (remote) { /* the service domain alone configures its interfaces */
		CHECK(ioctl(s, SIOCSIFFLAGS, &request) < 0 && errno == EPERM);
		CHECK(ioctl(s, SIOCADDRT, &request) < 0 && errno == EPERM);
	}
	CHECK(!ioctl(s, FIONBIO, &(int){ 1 }) && fcntl(s, F_GETFL) & O_NONBLOCK);
	CHECK(!ioctl(s, FIOCLEX) && fcntl(s, F_GETFD) == FD_CLOEXEC);
	close(s);
}
