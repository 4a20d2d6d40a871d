// SPDX-License-Identifier: GPL-2.0-only
/* vos: checks of datagram and raw sockets. */
#define _GNU_SOURCE
#include <time.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/sockios.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

#include "tests.h"

struct message {
	struct sockaddr_storage from;
	char payload[64];
	_Alignas(8) char control[512];
	struct iovec part;
	struct msghdr head;
};

static struct msghdr *room(struct message *message)
{
	message->part = (struct iovec){ message->payload, sizeof(message->payload) };
	message->head = (struct msghdr){
		.msg_name = &message->from, .msg_namelen = sizeof(message->from),
		.msg_iov = &message->part, .msg_iovlen = 1,
		.msg_control = message->control,
		.msg_controllen = sizeof(message->control),
	};
	return &message->head;
}

/* The item's data, or NULL. */
static void *control_item(struct message *message, int level, int type)
{
	struct cmsghdr *item;

	for (item = CMSG_FIRSTHDR(&message->head); item;
	     item = CMSG_NXTHDR(&message->head, item))
		if (item->cmsg_level == level && item->cmsg_type == type)
			return CMSG_DATA(item);
	return NULL;
}

static void sizes(void)
{
	struct sockaddr_in to = at(7101), from;
	int a = datagram(7100), b = datagram(7101);
	socklen_t length = sizeof(from);
	char *big = calloc(1, 70000), small[4];
	int waiting_bytes = -1;

	CHECK(sendto(a, "datagram", 8, 0, ADDRESS(to)) == 8);
	CHECK(!ioctl(b, FIONREAD, &waiting_bytes) && waiting_bytes == 8);
	CHECK(recv(b, small, 4, MSG_PEEK | MSG_TRUNC) == 8);
	CHECK(recv(b, small, 4, MSG_TRUNC) == 8);
	CHECK(sendto(a, "", 0, 0, ADDRESS(to)) == 0);
	CHECK(recvfrom(b, small, 4, 0, (struct sockaddr *)&from, &length) == 0);
	CHECK(length == 16 && ntohs(from.sin_port) == 7100);
	memset(big, 'b', 70000);
	CHECK(sendto(a, big, 65507, 0, ADDRESS(to)) == 65507);
	memset(big, 0, 70000);
	CHECK(recv(b, big, 70000, 0) == 65507 && big[0] == 'b' && big[65506] == 'b');
	CHECK(sendto(a, big, 65508, 0, ADDRESS(to)) < 0 && errno == EMSGSIZE);
	CHECK(sendto(a, big, 40000, 0, ADDRESS(to)) == 40000);
	CHECK(recv(b, big, 100, MSG_TRUNC) == 40000);
	SAME("nothing there", recv(b, big, 100, MSG_DONTWAIT));
	SAME("nowhere to send", send(a, "x", 1, 0));
	to.sin_addr.s_addr = htonl(0x7fffffff);
	SAME("broadcast, not asked for", sendto(a, "b", 1, 0, ADDRESS(to)));
	CHECK(!set_option(a, SOL_SOCKET, SO_BROADCAST, 1));
	CHECK(sendto(a, "b", 1, 0, ADDRESS(to)) == 1);
	SAME("listen on a datagram socket", listen(a, 1));
	SAME("accept on a datagram socket", accept(a, NULL, NULL));
	free(big);
	close(a);
	close(b);
}

static void connected(void)
{
	struct sockaddr_in nobody = at(7777), to = at(7103), none = { .sin_family = AF_UNSPEC };
	int a = datagram(7102), b = datagram(7103);
	struct pollfd look = { .fd = a, .events = POLLIN };
	char buffer[10];

	CHECK(!connect(a, ADDRESS(nobody)) && send(a, "x", 1, 0) == 1);
	CHECK(poll(&look, 1, 1000) == 1 && look.revents & POLLERR);
	CHECK(get_option(a, SOL_SOCKET, SO_ERROR) == ECONNREFUSED);
	send(a, "x", 1, 0);
	nap(50);
	SAME("a refusal is told by the next call", send(a, "x", 1, 0));
	send(a, "x", 1, 0);
	nap(50);
	SAME("and by receive", recv(a, buffer, 1, 0));
	CHECK(!connect(a, ADDRESS(to)) && send(a, "hi", 2, 0) == 2);
	CHECK(recv(b, buffer, 10, 0) == 2);
	CHECK(!connect(a, ADDRESS(none)));
	SAME("disconnected", send(a, "x", 1, 0));
	SAME("no peer any more", getpeername(a, (struct sockaddr *)&to, &(socklen_t){ 16 }));
	close(a);
	close(b);
}

/* SO_ERROR without a look by poll. */
static void pending_error(void)
{
	struct sockaddr_in nobody = at(7777);
	int a = datagram(7102);

	connect(a, ADDRESS(nobody));
	send(a, "x", 1, 0);
	nap(50);
	same("SO_ERROR unasked", get_option(a, SOL_SOCKET, SO_ERROR));
	same("SO_ERROR again", get_option(a, SOL_SOCKET, SO_ERROR));
	close(a);
}

static void peek_offset(void)
{
	struct sockaddr_in to = at(7105);
	int a = datagram(7104), b = datagram(7105), pair[2];
	char buffer[10];

	CHECK(!set_option(b, SOL_SOCKET, SO_PEEK_OFF, 2));
	sendto(a, "abcdef", 6, 0, ADDRESS(to));
	CHECK(recv(b, buffer, 2, MSG_PEEK) == 2 && !memcmp(buffer, "cd", 2));
	CHECK(recv(b, buffer, 2, MSG_PEEK) == 2 && !memcmp(buffer, "ef", 2));
	CHECK(recv(b, buffer, 10, 0) == 6);
	stream_pair(7106, pair);
	SAME("SO_PEEK_OFF of a stream", set_option(pair[0], SOL_SOCKET, SO_PEEK_OFF, 0));
	close(pair[0]);
	close(pair[1]);
	close(a);
	close(b);
}

void datagrams(void)
{
	sizes();
	connected();
	pending_error();
	peek_offset();
}

static void information(void)
{
	struct sockaddr_in to = at(7111);
	struct sockaddr_in6 to6 = at6(7112);
	int a = datagram(7110), b = datagram(7111), c = socket(AF_INET6, SOCK_DGRAM, 0);
	struct message message;
	struct in_pktinfo *four;
	struct in6_pktinfo *six;
	int *hops;

	CHECK(!set_option(b, IPPROTO_IP, IP_PKTINFO, 1));
	CHECK(!set_option(b, IPPROTO_IP, IP_RECVTTL, 1));
	sendto(a, "pi", 2, 0, ADDRESS(to));
	CHECK(recvmsg(b, room(&message), 0) == 2);
	four = control_item(&message, IPPROTO_IP, IP_PKTINFO);
	CHECK(four && four->ipi_addr.s_addr == to.sin_addr.s_addr && four->ipi_ifindex == 1);
	hops = control_item(&message, IPPROTO_IP, IP_TTL);
	CHECK(hops && *hops == 64);
	CHECK(!bind(c, ADDRESS(to6)));
	CHECK(!set_option(c, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
	CHECK(!set_option(c, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
	CHECK(sendto(c, "six", 3, 0, ADDRESS(to6)) == 3);
	CHECK(recvmsg(c, room(&message), 0) == 3 && message.head.msg_namelen == sizeof(to6));
	six = control_item(&message, IPPROTO_IPV6, IPV6_PKTINFO);
	CHECK(six && six->ipi6_ifindex == 1 && IN6_IS_ADDR_LOOPBACK(&six->ipi6_addr));
	CHECK(control_item(&message, IPPROTO_IPV6, IPV6_HOPLIMIT));
	sendto(a, "truncated", 9, 0, ADDRESS(to));
	room(&message)->msg_controllen = 20;
	message.part.iov_len = 4;
	CHECK(recvmsg(b, &message.head, 0) == 4);
	same("flags of a message without room",
	     message.head.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
	close(a);
	close(b);
	close(c);
}

/* A source address by control data. */
static void chosen_source(void)
{
	struct sockaddr_in to = at(7114), from;
	int a = socket(AF_INET, SOCK_DGRAM, 0), b = datagram(7114);
	socklen_t length = sizeof(from);
	struct message message;
	struct in_pktinfo choice = { .ipi_spec_dst.s_addr = htonl(0x7f000005) };
	struct cmsghdr *item;
	char byte;

	room(&message)->msg_controllen = CMSG_SPACE(sizeof(choice));
	memcpy(&message.from, &to, sizeof(to));
	message.head.msg_namelen = sizeof(to);
	message.part.iov_len = 1;
	item = CMSG_FIRSTHDR(&message.head);
	*item = (struct cmsghdr){ CMSG_LEN(sizeof(choice)), IPPROTO_IP, IP_PKTINFO };
	memcpy(CMSG_DATA(item), &choice, sizeof(choice));
	CHECK(sendmsg(a, &message.head, 0) == 1);
	CHECK(recvfrom(b, &byte, 1, 0, (struct sockaddr *)&from, &length) == 1);
	CHECK(ntohl(from.sin_addr.s_addr) == 0x7f000005);
	close(a);
	close(b);
}

static void stamps(void)
{
	struct sockaddr_in to = at(7116);
	int a = datagram(7115), b = datagram(7116);
	struct message message;
	struct timespec *nanoseconds;
	struct timeval *microseconds, last = {};
	void *control = NULL;
	char byte;

	CHECK(!set_option(b, SOL_SOCKET, SO_TIMESTAMP, 1));
	sendto(a, "t", 1, 0, ADDRESS(to));
	CHECK(recvmsg(b, room(&message), 0) == 1);
	microseconds = control_item(&message, SOL_SOCKET, SCM_TIMESTAMP);
	CHECK(microseconds && microseconds->tv_sec > 0);
	CHECK(!set_option(b, SOL_SOCKET, SO_TIMESTAMPNS, 1));
	sendto(a, "t", 1, 0, ADDRESS(to));
	CHECK(recvmsg(b, room(&message), 0) == 1);
	nanoseconds = control_item(&message, SOL_SOCKET, SCM_TIMESTAMPNS);
	CHECK(nanoseconds && nanoseconds->tv_sec > 0);
	set_option(b, SOL_SOCKET, SO_TIMESTAMPNS, 0);
	CHECK(!set_option(b, SOL_SOCKET, SO_TIMESTAMPING,
			  SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE));
	for (int i = 0; i < 200 && !control; i++) { /* it is switched on by and by */
		nap(10);
		sendto(a, "t", 1, 0, ADDRESS(to));
		recvmsg(b, room(&message), 0);
		control = control_item(&message, SOL_SOCKET, SCM_TIMESTAMPING);
	}
	CHECK(control);
	close(b);
	b = datagram(7116);
	ioctl(b, SIOCGSTAMP, &last);
	sendto(a, "t", 1, 0, ADDRESS(to));
	recv(b, &byte, 1, 0);
	CHECK(!ioctl(b, SIOCGSTAMP, &last) && last.tv_sec > 0);
	close(a);
	close(b);
}

static void error_queue(void)
{
	struct sockaddr_in nobody = at(7778);
	int a = datagram(7117);
	struct pollfd look = { .fd = a };
	struct sock_extended_err *error;
	struct message message;

	CHECK(!set_option(a, IPPROTO_IP, IP_RECVERR, 1));
	SAME("an empty error queue", recvmsg(a, room(&message), MSG_ERRQUEUE));
	sendto(a, "lost", 4, 0, ADDRESS(nobody));
	CHECK(poll(&look, 1, 1000) == 1 && look.revents == POLLERR);
	CHECK(recvmsg(a, room(&message), MSG_ERRQUEUE) == 4);
	CHECK(message.head.msg_flags & MSG_ERRQUEUE);
	error = control_item(&message, IPPROTO_IP, IP_RECVERR);
	CHECK(error && error->ee_errno == ECONNREFUSED &&
	      error->ee_origin == SO_EE_ORIGIN_ICMP);
	close(a);
}

static void many(void)
{
	struct sockaddr_in to = at(7119);
	int a = datagram(7118), b = datagram(7119);
	struct timespec limit = { 0, 100000000 };
	struct iovec parts[3] = { { "a", 1 }, { "bb", 2 }, { "ccc", 3 } };
	char rooms[4][10];
	struct mmsghdr out[3] = {}, in[4] = {};

	connect(a, ADDRESS(to));
	for (int i = 0; i < 3; i++)
		out[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	CHECK(sendmmsg(a, out, 3, 0) == 3 && out[2].msg_len == 3);
	for (int i = 0; i < 4; i++) {
		struct iovec *part = malloc(sizeof(*part));

		*part = (struct iovec){ rooms[i], 10 };
		in[i].msg_hdr = (struct msghdr){ .msg_iov = part, .msg_iovlen = 1 };
	}
	CHECK(recvmmsg(b, in, 4, MSG_WAITFORONE, NULL) == 3 && in[1].msg_len == 2);
	sendmmsg(a, out, 2, 0);
	CHECK(recvmmsg(b, in, 2, 0, &limit) == 2);
	SAME("recvmmsg, nothing there", recvmmsg(b, in, 4, MSG_DONTWAIT, NULL));
	close(a);
	close(b);
}

void messages(void)
{
	information();
	chosen_source();
	stamps();
	error_queue();
	many();
}

void multicast(void)
{
	struct sockaddr_in group = at(7121);
	struct ip_mreqn join = { .imr_ifindex = 1 };
	struct group_req join6 = { .gr_interface = 1 };
	struct sockaddr_in6 group6 = at6(7122);
	int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
	int c = socket(AF_INET6, SOCK_DGRAM, 0);
	struct pollfd look = { .fd = b, .events = POLLIN };
	char buffer[10];

	group.sin_addr.s_addr = join.imr_multiaddr.s_addr = htonl(0xefff0101);
	CHECK(!bind(b, ADDRESS(group)));
	CHECK(!setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)));
	SAME("joined already",
	     setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)));
	CHECK(!setsockopt(a, IPPROTO_IP, IP_MULTICAST_IF, &join, sizeof(join)));
	CHECK(!set_option(a, IPPROTO_IP, IP_MULTICAST_TTL, 3));
	CHECK(get_option(a, IPPROTO_IP, IP_MULTICAST_TTL) == 3);
	CHECK(sendto(a, "all", 3, 0, ADDRESS(group)) == 3);
	CHECK(poll(&look, 1, 1000) == 1 && recv(b, buffer, 10, 0) == 3);
	CHECK(!setsockopt(b, IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof(join)));
	sendto(a, "all", 3, 0, ADDRESS(group));
	CHECK(poll(&look, 1, 50) == 0);
	inet_pton(AF_INET6, "ff01::123", &group6.sin6_addr);
	memcpy(&join6.gr_group, &group6, sizeof(group6));
	CHECK(!setsockopt(c, IPPROTO_IPV6, MCAST_JOIN_GROUP, &join6, sizeof(join6)));
	CHECK(!setsockopt(c, IPPROTO_IPV6, MCAST_LEAVE_GROUP, &join6, sizeof(join6)));
	SAME("left already",
	     setsockopt(c, IPPROTO_IPV6, MCAST_LEAVE_GROUP, &join6, sizeof(join6)));
	close(a);
	close(b);
	close(c);
}

static unsigned short checksum(const void *data, int words)
{
	const unsigned short *word = data;
	unsigned int sum = 0;

	while (words--)
		sum += *word++;
	sum = (sum >> 16) + (sum & 0xffff);
	return ~(sum + (sum >> 16));
}

/* An echo of ourselves; @skip: bytes before the answer's ICMP header. */
static void ping(int s, int skip)
{
	struct icmphdr echo = { .type = ICMP_ECHO, .un.echo.sequence = htons(7) };
	struct timeval limit = { 2, 0 };
	struct sockaddr_in to = at(0);
	struct icmphdr answer = { .type = 255 };
	char buffer[200];

	echo.checksum = checksum(&echo, 4);
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	CHECK(sendto(s, &echo, sizeof(echo), 0, ADDRESS(to)) == sizeof(echo));
	for (int i = 0; i < 3 && answer.type != ICMP_ECHOREPLY; i++) {
		int count = recv(s, buffer, sizeof(buffer), 0);

		if (count < skip + (int)sizeof(answer))
			continue; /* raw sockets hear the question too */
		memcpy(&answer, buffer + skip, sizeof(answer));
		if (answer.type == ICMP_ECHO)
			answer.type = 255;
	}
	CHECK(answer.type == ICMP_ECHOREPLY && ntohs(answer.un.echo.sequence) == 7,
	      "type %d", answer.type);
}

static void write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);

	if (write(file, text, strlen(text)) < 0)
		perror(path);
	close(file);
}

/* Who may open an ICMP datagram socket is this domain's ping_group_range to say. */
static void ping_sockets(void)
{
	static const char *const range = "/proc/sys/net/ipv4/ping_group_range";
	pid_t child;
	int s;

	write_file(range, "1 0");
	child = fork();
	if (!child) {
		if (setgid(1000) || setuid(1000))
			_exit(9);
		_exit(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP) >= 0 ? 1 : errno);
	}
	CHECK(wait_for(child) == EACCES << 8);
	write_file(range, "0 2147483647");
	s = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
	CHECK(s >= 0);
	ping(s, 0);
	close(s);
	child = fork();
	if (!child) {
		if (setgid(1000) || setuid(1000))
			_exit(9);
		_exit(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP) >= 0 ? 0 : errno);
	}
	CHECK(wait_for(child) == 0);
	s = socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6);
	CHECK(s >= 0);
	close(s);
	SAME("socket: ICMPv6 of AF_INET", socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6));
}

void raw(void)
{
	int s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);

	CHECK(s >= 0);
	ping(s, sizeof(struct iphdr));
	close(s);
	s = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	CHECK(s >= 0);
	CHECK(get_option(s, IPPROTO_IPV6, IPV6_CHECKSUM) == 2);
	close(s);
	SAME("socket: raw of no protocol", socket(AF_INET, SOCK_RAW, 0));
	s = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	CHECK(s >= 0 && get_option(s, IPPROTO_IP, IP_HDRINCL) == 1);
	close(s);
	ping_sockets();
}
