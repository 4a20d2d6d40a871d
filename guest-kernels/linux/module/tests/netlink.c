// SPDX-License-Identifier: GPL-2.0-only
/* vos: checks of what ip and ss ask, and of packet sockets. */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests.h"

static char answer[32768];

struct question {
	struct nlmsghdr head;
	union {
		struct rtgenmsg family;
		struct ifinfomsg interface;
		struct ifaddrmsg address;
		struct rtmsg route;
		struct inet_diag_req_v2 inet;
		struct unix_diag_req local;
	};
};

static int ask(int s, struct question *question, int type, int flags, size_t size)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	question->head = (struct nlmsghdr){ .nlmsg_len = NLMSG_LENGTH(size),
					    .nlmsg_type = type,
					    .nlmsg_flags = NLM_F_REQUEST | flags,
					    .nlmsg_seq = 77 };
	return sendto(s, question, question->head.nlmsg_len, 0, ADDRESS(kernel));
}

/* Calls @look for each message of a dump; minus an errno if it says so. */
static int dump(int s, int type, void (*look)(struct nlmsghdr *, void *), void *argument)
{
	for (;;) {
		struct sockaddr_nl from;
		socklen_t length = sizeof(from);
		int count = recvfrom(s, answer, sizeof(answer), 0,
				     (struct sockaddr *)&from, &length);
		struct nlmsghdr *head = (void *)answer;

		if (count <= 0 || from.nl_pid)
			return -errno;
		for (; NLMSG_OK(head, (unsigned int)count); head = NLMSG_NEXT(head, count)) {
			if (head->nlmsg_seq != 77)
				return -EPROTO;
			if (head->nlmsg_type == NLMSG_DONE)
				return 0;
			if (head->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)NLMSG_DATA(head))->error;
			if (head->nlmsg_type != type)
				return -EPROTO;
			look(head, argument);
		}
	}
}

static void see_link(struct nlmsghdr *head, void *argument)
{
	struct ifinfomsg *link = NLMSG_DATA(head);

	if (link->ifi_index == 1)
		*(unsigned int *)argument = link->ifi_flags;
}

static void see_address(struct nlmsghdr *head, void *argument)
{
	struct ifaddrmsg *address = NLMSG_DATA(head);

	if (address->ifa_index == 1 && address->ifa_prefixlen == 8)
		*(unsigned int *)argument = 1;
}

static void count_routes(struct nlmsghdr *head, void *argument)
{
	(void)head;
	++*(unsigned int *)argument;
}

static int open_netlink(int protocol)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK };
	struct timeval limit = { 3, 0 };
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return s >= 0 && bind(s, ADDRESS(own)) ? -1 : s;
}

static void routes(void)
{
	struct question question = { .interface.ifi_family = AF_UNSPEC };
	struct sockaddr_nl own;
	socklen_t length = sizeof(own);
	int s = open_netlink(NETLINK_ROUTE);
	unsigned int seen = 0;

	CHECK(s >= 0);
	CHECK(!getsockname(s, (struct sockaddr *)&own, &length) && length == sizeof(own) &&
	      own.nl_family == AF_NETLINK && own.nl_pid);
	CHECK(!set_option(s, SOL_NETLINK, NETLINK_EXT_ACK, 1));
	CHECK(!set_option(s, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1));
	CHECK(get_option(s, SOL_NETLINK, NETLINK_EXT_ACK) == 1);
	CHECK(ask(s, &question, RTM_GETLINK, NLM_F_DUMP, sizeof(question.interface)) > 0);
	CHECK(!dump(s, RTM_NEWLINK, see_link, &seen) && seen & IFF_UP && seen & IFF_LOOPBACK);
	seen = 0;
	question.address = (struct ifaddrmsg){ .ifa_family = AF_INET };
	CHECK(ask(s, &question, RTM_GETADDR, NLM_F_DUMP, sizeof(question.address)) > 0);
	CHECK(recv(s, NULL, 0, MSG_PEEK | MSG_TRUNC) > 40); /* as iproute2 does */
	CHECK(!dump(s, RTM_NEWADDR, see_address, &seen) && seen);
	seen = 0;
	question.route = (struct rtmsg){ .rtm_family = AF_INET };
	CHECK(ask(s, &question, RTM_GETROUTE, NLM_F_DUMP, sizeof(question.route)) > 0);
	CHECK(!dump(s, RTM_NEWROUTE, count_routes, &seen) && seen >= 3, "%u routes", seen);
	if (remote) { /* looking is all that there is, also for root */
		question.interface = (struct ifinfomsg){ .ifi_index = 1, .ifi_change = IFF_UP };
		ask(s, &question, RTM_NEWLINK, NLM_F_ACK, sizeof(question.interface));
		CHECK(dump(s, 0, count_routes, &seen) == -EPERM);
	}
	close(s);
}

static void groups(void)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	int s = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
	struct pollfd look = { .fd = s, .events = POLLIN };

	CHECK(!bind(s, ADDRESS(own)));
	CHECK(!set_option(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_IPV4_ROUTE));
	CHECK(poll(&look, 1, 50) == 0);
	SAME("netlink: nothing there", recv(s, answer, 10, MSG_DONTWAIT));
	close(s);
}

struct wanted {
	int port, found;
	struct inet_diag_msg last;
};

static void see_socket(struct nlmsghdr *head, void *argument)
{
	struct inet_diag_msg *one = NLMSG_DATA(head);
	struct wanted *wanted = argument;

	if (ntohs(one->id.idiag_sport) == wanted->port &&
	    one->idiag_state == TCP_LISTEN) {
		wanted->found++;
		wanted->last = *one;
	}
}

static void see_local(struct nlmsghdr *head, void *argument)
{
	struct rtattr *part = (void *)((struct unix_diag_msg *)NLMSG_DATA(head) + 1);

	if (head->nlmsg_len > NLMSG_LENGTH(sizeof(struct unix_diag_msg) + sizeof(*part)) &&
	    part->rta_type == UNIX_DIAG_NAME &&
	    !memcmp((char *)RTA_DATA(part) + 1, "vos-tests", 9))
		++*(unsigned int *)argument;
}

/* What ss asks: sockets of the network domain, and this domain's own UNIX sockets. */
static void sockets(void)
{
	struct sockaddr_un name = { AF_UNIX, "\0vos-tests" };
	struct question question = {};
	struct wanted wanted = { 7401 };
	int s = open_netlink(NETLINK_SOCK_DIAG), l = listener(7401);
	int u = socket(AF_UNIX, SOCK_DGRAM, 0);
	unsigned int seen = 0;

	CHECK(s >= 0);
	question.inet = (struct inet_diag_req_v2){ .sdiag_family = AF_INET,
						   .sdiag_protocol = IPPROTO_TCP,
						   .idiag_states = -1 };
	CHECK(ask(s, &question, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sizeof(question.inet)) > 0);
	CHECK(!dump(s, SOCK_DIAG_BY_FAMILY, see_socket, &wanted) && wanted.found == 1);
	bind(u, (struct sockaddr *)&name, sizeof(sa_family_t) + 10);
	question.local = (struct unix_diag_req){ .sdiag_family = AF_UNIX, .udiag_states = -1,
						 .udiag_show = UDIAG_SHOW_NAME };
	CHECK(ask(s, &question, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sizeof(question.local)) > 0);
	CHECK(!dump(s, SOCK_DIAG_BY_FAMILY, see_local, &seen) && seen == 1, "%u", seen);
	wanted.found = 0;
	question.inet = (struct inet_diag_req_v2){ .sdiag_family = AF_INET,
						   .sdiag_protocol = IPPROTO_TCP,
						   .idiag_states = 1 << TCP_LISTEN };
	ask(s, &question, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sizeof(question.inet));
	CHECK(!dump(s, SOCK_DIAG_BY_FAMILY, see_socket, &wanted) && wanted.found == 1);
	close(u);
	close(l);
	close(s);
}

/* The table of listeners, to find @wanted in. */
static bool finds_listener(int s, struct wanted *wanted)
{
	struct question question = {};

	wanted->found = 0;
	question.inet = (struct inet_diag_req_v2){ .sdiag_family = AF_INET,
						   .sdiag_protocol = IPPROTO_TCP,
						   .idiag_states = 1 << TCP_LISTEN };
	ask(s, &question, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sizeof(question.inet));
	return !dump(s, SOCK_DIAG_BY_FAMILY, see_socket, wanted) && wanted->found == 1;
}

/* As ss -p finds whose a socket is: by its inode number, its cookie, its user. */
static void owners(void)
{
	int s = open_netlink(NETLINK_SOCK_DIAG), l = listener(7403), ready[2];
	struct wanted mine = { 7403 }, other = { 7404 };
	uint64_t cookie = 0, told;
	socklen_t length = sizeof(cookie);
	struct stat file;
	pid_t child;

	CHECK(finds_listener(s, &mine) && !fstat(l, &file));
	CHECK(mine.last.idiag_inode == file.st_ino && mine.last.idiag_uid == 0,
	      "inode %u of %u", mine.last.idiag_inode, mine.last.idiag_uid);
	CHECK(!getsockopt(l, SOL_SOCKET, SO_COOKIE, &cookie, &length));
	memcpy(&told, mine.last.id.idiag_cookie, sizeof(told));
	CHECK(told == cookie);
	CHECK(!pipe(ready));
	child = fork();
	if (!child) {
		if (setuid(1000) || listener(7404) < 0 || write(ready[1], "r", 1) != 1)
			_exit(1);
		pause();
	}
	read(ready[0], answer, 1);
	CHECK(finds_listener(s, &other) && other.last.idiag_uid == 1000,
	      "user %u", other.last.idiag_uid);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	close(l);
	close(s);
}

static char text[1 << 18];

/* The text of a file of /proc/net; "" if there is none. */
static const char *table(const char *name)
{
	char path[40];
	FILE *file;
	size_t length = 0;

	snprintf(path, sizeof(path), "/proc/net/%s", name);
	file = fopen(path, "r");
	if (file) {
		length = fread(text, 1, sizeof(text) - 1, file);
		fclose(file);
	}
	text[length] = 0;
	return text;
}

/* The inode number in the line of a socket at @port; 0: no such line. */
static unsigned long table_inode(const char *name, int port, unsigned int state)
{
	unsigned int own, at;
	unsigned long inode;
	char *rest = (char *)table(name), *line;

	while ((line = strsep(&rest, "\n")))
		if (sscanf(line, " %*d: %*x:%x %*x:%*x %x %*x:%*x %*x:%*x %*x %*d %*d %lu",
			   &own, &at, &inode) == 3 &&
		    (int)own == port && at == state)
			return inode;
	return 0;
}

/* What netstat, lsof, ifconfig and route read. */
static void tables(void)
{
	int l = listener(7405), u = datagram(7406), six = socket(AF_INET6, SOCK_STREAM, 0);
	struct sockaddr_in6 address = at6(7407);
	struct stat file;

	CHECK(!bind(six, ADDRESS(address)) && !listen(six, 1));
	CHECK(!fstat(l, &file) && table_inode("tcp", 7405, TCP_LISTEN) == file.st_ino);
	CHECK(!fstat(u, &file) && table_inode("udp", 7406, TCP_CLOSE) == file.st_ino);
	CHECK(!fstat(six, &file) && table_inode("tcp6", 7407, TCP_LISTEN) == file.st_ino,
	      "%s", text);
	CHECK(strstr(table("dev"), "lo:"));
	CHECK(strstr(table("if_inet6"), " lo\n"));
	CHECK(!strncmp(table("snmp"), "Ip: ", 4) && strstr(text, "\nTcp: "));
	CHECK(strstr(table("netstat"), "TcpExt: "));
	CHECK(strstr(table("sockstat"), "TCP: inuse "));
	CHECK(!strncmp(table("route"), "Iface\t", 6));
	CHECK(!strncmp(table("arp"), "IP address", 10));
	CHECK(strstr(table("raw"), "local_address") && strstr(table("udp6"), "local_address") &&
	      strstr(table("raw6"), "local_address"));
	SAME("a table is not written", open("/proc/net/tcp", O_WRONLY) >= 0);
	close(l);
	close(u);
	close(six);
}

/* Families that stay local: their sockets are this kernel's. */
static void others(void)
{
	static const int local[] = { NETLINK_KOBJECT_UEVENT, NETLINK_GENERIC, NETLINK_AUDIT };

	for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++) {
		int s = socket(AF_NETLINK, SOCK_RAW, local[i]);
		struct sockaddr_nl own = { .nl_family = AF_NETLINK };

		SAME("bind of another netlink family", bind(s, ADDRESS(own)));
		close(s);
	}
	SAME("an unknown netlink family", socket(AF_NETLINK, SOCK_RAW, 31));
	SAME("no such kind of netlink", socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE));
}

void netlink(void)
{
	routes();
	groups();
	sockets();
	owners();
	tables();
	others();
}

/* The datagram's payload as it went over lo, to port 7402. */
static bool is_ours(const char *packet, int length)
{
	struct iphdr ip;
	struct udphdr udp;

	if (length < (int)(sizeof(ip) + sizeof(udp) + 6))
		return false;
	memcpy(&ip, packet, sizeof(ip));
	memcpy(&udp, packet + sizeof(ip), sizeof(udp));
	return ip.protocol == IPPROTO_UDP && udp.dest == htons(7402) &&
	       !memcmp(packet + sizeof(ip) + sizeof(udp), "packet", 6);
}

static bool hears(int s, struct sockaddr_ll *from)
{
	struct timeval limit = { 1, 0 };
	char packet[2000];

	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	for (int i = 0; i < 10; i++) {
		socklen_t length = sizeof(*from);
		int count = recvfrom(s, packet, sizeof(packet), 0, (struct sockaddr *)from,
				     &length);

		if (count < 0)
			return false;
		if (is_ours(packet, count))
			return true;
	}
	return false;
}

void packets(void)
{
	struct sockaddr_ll own = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP) };
	struct sock_filter nothing[] = { { BPF_RET | BPF_K, 0, 0, 0 } };
	struct sock_fprog program = { 1, nothing };
	struct sockaddr_ll from;
	struct sockaddr_in to = at(7402);
	struct tpacket_stats counts;
	socklen_t length = sizeof(counts);
	int s = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP)), u = datagram(7402);
	pid_t child;

	CHECK(s >= 0);
	own.sll_ifindex = if_nametoindex("lo");
	CHECK(!bind(s, ADDRESS(own)));
	sendto(u, "packet", 6, 0, ADDRESS(to));
	CHECK(hears(s, &from) && from.sll_ifindex == 1 && from.sll_hatype == 772);
	CHECK(!getsockopt(s, SOL_PACKET, PACKET_STATISTICS, &counts, &length));
	CHECK(counts.tp_packets > 0);
	CHECK(!setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
	while (recv(s, answer, 100, MSG_DONTWAIT) >= 0)
		;
	sendto(u, "packet", 6, 0, ADDRESS(to));
	CHECK(!hears(s, &from));
	close(s);
	close(u);
	child = fork();
	if (!child) {
		if (setuid(1000))
			_exit(1);
		_exit(socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EPERM ? 0 : 2);
	}
	CHECK(wait_for(child) == 0);
}
