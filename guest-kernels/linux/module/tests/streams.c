// SPDX-License-Identifier: GPL-2.0-only
/* vos: checks of stream sockets. */
#define _GNU_SOURCE
#include <linux/sockios.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "tests.h"

static void names(void)
{
	int l = listener(7001), c = dial(7001), s;
	struct sockaddr_in address, peer;
	socklen_t length = sizeof(peer);

	s = accept4(l, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC);
	CHECK(c >= 0 && s >= 0 && length == sizeof(peer));
	CHECK(fcntl(s, F_GETFD) == FD_CLOEXEC);
	length = sizeof(address);
	CHECK(!getsockname(c, (struct sockaddr *)&address, &length));
	CHECK(address.sin_port == peer.sin_port && address.sin_family == AF_INET);
	length = 4;
	CHECK(!getpeername(c, (struct sockaddr *)&address, &length) && length == 16);
	CHECK(get_option(l, SOL_SOCKET, SO_ACCEPTCONN) == 1);
	CHECK(get_option(c, SOL_SOCKET, SO_ACCEPTCONN) == 0);
	SAME("getpeername of a listener", getpeername(l, (struct sockaddr *)&peer, &length));
	SAME("accept on a connected socket", accept(c, NULL, NULL));
	SAME("connect a connected socket", connect(c, ADDRESS(peer)));
	SAME("listen on a connected socket", listen(c, 1));
	close(s);
	close(c);
	close(l);
}

static void errors(void)
{
	struct sockaddr_in address = at(7001), wrong = { .sin_family = AF_INET };
	struct sockaddr_in6 other = at6(7001);
	int l = listener(7001), s = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(dial(7999) < 0 && errno == ECONNREFUSED);
	SAME("socket: seqpacket", socket(AF_INET, SOCK_SEQPACKET, 0));
	SAME("socket: stream of UDP", socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	SAME("socket: unknown protocol", socket(AF_INET, SOCK_DGRAM, 250));
	SAME("socket: protocol too large", socket(AF_INET, SOCK_STREAM, 9999));
	SAME("bind an address in use", bind(s, ADDRESS(address)));
	wrong.sin_addr.s_addr = htonl(0x01020304);
	SAME("bind a foreign address", bind(s, ADDRESS(wrong)));
	SAME("bind short", bind(s, (struct sockaddr *)&address, 4));
	SAME("bind another family", bind(s, ADDRESS(other)));
	SAME("connect short", connect(s, (struct sockaddr *)&address, 1));
	SAME("send unconnected", send(s, "x", 1, MSG_NOSIGNAL));
	SAME("receive unconnected", recv(s, &address, 1, 0));
	SAME("shutdown unconnected", shutdown(s, SHUT_WR));
	SAME("shutdown, no such half", shutdown(s, 7));
	SAME("accept not listening", accept(s, NULL, NULL));
	close(s);
	close(l);
}

static void bytes(void)
{
	struct timeval limit = { 0, 200000 };
	struct tcp_info info;
	socklen_t length = sizeof(info);
	char buffer[100];
	int pair[2], waiting_bytes = 0;
	double start;

	stream_pair(7002, pair);
	SAME("a bad buffer to send", send(pair[0], (void *)8, 10, MSG_NOSIGNAL));
	CHECK(write(pair[0], "hello", 5) == 5);
	CHECK(recv(pair[1], buffer, 100, MSG_PEEK) == 5);
	CHECK(!ioctl(pair[1], FIONREAD, &waiting_bytes) && waiting_bytes == 5);
	SAME("a bad buffer to receive", recv(pair[1], (void *)8, 10, MSG_PEEK));
	CHECK(read(pair[1], buffer, 3) == 3 && !memcmp(buffer, "hel", 3));
	CHECK(read(pair[1], buffer, 100) == 2);
	CHECK(recv(pair[1], buffer, 9, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	start = now();
	CHECK(recv(pair[1], buffer, 9, 0) < 0 && errno == EAGAIN);
	CHECK(now() - start > 0.15 && now() - start < SOON);
	CHECK(!getsockopt(pair[0], SOL_TCP, TCP_INFO, &info, &length) &&
	      info.tcpi_state == TCP_ESTABLISHED);
	SAME("read of no bytes", read(pair[1], buffer, 0));
	SAME("write of no bytes", write(pair[0], buffer, 0));
	CHECK(send(pair[0], "gone", 4, 0) == 4);
	CHECK(recv(pair[1], NULL, 4, MSG_TRUNC | MSG_WAITALL) == 4);
	close(pair[0]);
	close(pair[1]);
}

static void *write_in_pieces(void *argument)
{
	char piece[1000];

	memset(piece, 'w', sizeof(piece));
	for (int i = 0; i < 5; i++) {
		nap(20);
		if (write((long)argument, piece, sizeof(piece)) < 0)
			break;
	}
	return NULL;
}

static void all(void)
{
	char buffer[5000];
	pthread_t thread;
	int pair[2];

	stream_pair(7003, pair);
	pthread_create(&thread, NULL, write_in_pieces, (void *)(long)pair[0]);
	CHECK(recv(pair[1], buffer, 5000, MSG_WAITALL | MSG_PEEK) == 5000);
	CHECK(recv(pair[1], buffer, 5000, MSG_WAITALL) == 5000);
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, write_in_pieces, (void *)(long)pair[0]);
	pthread_join(thread, NULL);
	close(pair[0]);
	CHECK(recv(pair[1], buffer, 5000, MSG_WAITALL) == 5000);
	CHECK(recv(pair[1], buffer, 5000, MSG_WAITALL) == 0);
	close(pair[1]);
}

static void urgent(void)
{
	struct pollfd look = { .events = POLLPRI };
	char buffer[10];
	int pair[2], at_mark = -1;

	stream_pair(7004, pair);
	look.fd = pair[1];
	send(pair[0], "ab", 2, 0);
	CHECK(send(pair[0], "!", 1, MSG_OOB) == 1);
	CHECK(poll(&look, 1, 2000) == 1 && look.revents == POLLPRI);
	CHECK(!ioctl(pair[1], SIOCATMARK, &at_mark) && at_mark == 0);
	CHECK(recv(pair[1], buffer, 10, 0) == 2);
	CHECK(!ioctl(pair[1], SIOCATMARK, &at_mark) && at_mark == 1);
	CHECK(recv(pair[1], buffer, 10, MSG_OOB) == 1 && buffer[0] == '!');
	SAME("no second urgent byte", recv(pair[1], buffer, 10, MSG_OOB));
	close(pair[0]);
	close(pair[1]);
	stream_pair(7004, pair);
	CHECK(!set_option(pair[1], SOL_SOCKET, SO_OOBINLINE, 1));
	send(pair[0], "?", 1, MSG_OOB);
	CHECK(recv(pair[1], buffer, 10, 0) == 1 && buffer[0] == '?');
	close(pair[0]);
	close(pair[1]);
}

static void halves(void)
{
	struct pollfd look = { .events = POLLIN | POLLRDHUP };
	char buffer[10];
	int pair[2];

	stream_pair(7005, pair);
	look.fd = pair[1];
	CHECK(!shutdown(pair[0], SHUT_WR));
	CHECK(poll(&look, 1, 2000) == 1);
	nap(20);
	poll(&look, 1, 0);
	same("poll after the peer's shutdown", look.revents);
	CHECK(read(pair[1], buffer, 10) == 0);
	CHECK(write(pair[1], "back", 4) == 4 && read(pair[0], buffer, 10) == 4);
	CHECK(send(pair[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	CHECK(!shutdown(pair[1], SHUT_RD));
	CHECK(!shutdown(pair[1], SHUT_WR));
	nap(50);
	look.events = POLLIN | POLLOUT | POLLRDHUP;
	poll(&look, 1, 0);
	same("poll after both shutdowns", look.revents);
	close(pair[0]);
	close(pair[1]);
}

static void corked(void)
{
	struct pollfd look = { .events = POLLIN };
	char buffer[10];
	int pair[2];

	stream_pair(7006, pair);
	look.fd = pair[1];
	CHECK(!set_option(pair[0], SOL_TCP, TCP_CORK, 1));
	write(pair[0], "a", 1);
	CHECK(poll(&look, 1, 0) == 0); /* Linux lets it go after 200 ms */
	CHECK(!set_option(pair[0], SOL_TCP, TCP_CORK, 0));
	CHECK(poll(&look, 1, 2000) == 1 && read(pair[1], buffer, 10) == 1);
	CHECK(send(pair[0], "b", 1, MSG_MORE) == 1);
	CHECK(poll(&look, 1, 0) == 0);
	send(pair[0], "c", 1, 0);
	CHECK(poll(&look, 1, 2000) == 1 && read(pair[1], buffer, 10) == 2);
	close(pair[0]);
	close(pair[1]);
}

static void no_wait(void)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), l, c;
	struct sockaddr_in address = at(7998);
	struct pollfd look = { .fd = s, .events = POLLOUT };
	char byte;

	CHECK(connect(s, ADDRESS(address)) < 0 &&
	      (errno == EINPROGRESS || errno == ECONNREFUSED));
	if (errno == EINPROGRESS) {
		CHECK(poll(&look, 1, 2000) == 1);
		CHECK(get_option(s, SOL_SOCKET, SO_ERROR) == ECONNREFUSED);
	}
	CHECK(get_option(s, SOL_SOCKET, SO_ERROR) == 0);
	close(s);
	l = listener(7007);
	s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	address = at(7007);
	CHECK(connect(s, ADDRESS(address)) == 0 || errno == EINPROGRESS);
	look.fd = s;
	CHECK(poll(&look, 1, 2000) == 1 && look.revents == POLLOUT);
	CHECK(get_option(s, SOL_SOCKET, SO_ERROR) == 0);
	c = accept(l, NULL, NULL);
	CHECK(write(s, "z", 1) == 1 && read(c, &byte, 1) == 1);
	fcntl(l, F_SETFL, O_NONBLOCK);
	CHECK(accept(l, NULL, NULL) < 0 && errno == EAGAIN);
	close(c);
	close(s);
	close(l);
}

/* Of a backlog of 1 Linux takes two connections; a third stays in the air. */
static void backlog(void)
{
	struct sockaddr_in address = at(7008);
	struct timeval limit = { 0, 200000 };
	int l = socket(AF_INET, SOCK_STREAM, 0), s[3];

	set_option(l, SOL_SOCKET, SO_REUSEADDR, 1);
	bind(l, ADDRESS(address));
	CHECK(!listen(l, 1));
	for (int i = 0; i < 3; i++) {
		s[i] = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(s[i], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		SAME("connect beyond the backlog", connect(s[i], ADDRESS(address)));
	}
	for (int i = 0; i < 3; i++)
		close(s[i]);
	close(l);
}

/* A first sight: no cookie, so that the bytes go when it is connected. */
static void fast_open(void)
{
	struct sockaddr_in address = at(7009), nobody = at(7998);
	int l = listener(7009), c = socket(AF_INET, SOCK_STREAM, 0), s;
	char buffer[10];

	set_option(l, SOL_TCP, TCP_FASTOPEN, 5);
	CHECK(sendto(c, "early", 5, MSG_FASTOPEN, ADDRESS(address)) == 5);
	s = accept(l, NULL, NULL);
	CHECK(recv(s, buffer, 5, MSG_WAITALL) == 5 && write(c, "!", 1) == 1);
	SAME("connect after a fast open", connect(c, ADDRESS(address)));
	close(c);
	close(s);
	c = socket(AF_INET, SOCK_STREAM, 0);
	SAME("fast open, nobody there",
	     sendto(c, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, ADDRESS(nobody)));
	close(c);
	close(l);
}

void streams(void)
{
	fast_open();
	names();
	errors();
	bytes();
	all();
	urgent();
	halves();
	corked();
	no_wait();
	backlog();
}

void streams6(void)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(7010) };
	struct sockaddr_in6 address = at6(7010), peer;
	socklen_t length = sizeof(peer);
	int l = socket(AF_INET6, SOCK_STREAM, 0), c, s, four;

	set_option(l, SOL_SOCKET, SO_REUSEADDR, 1);
	CHECK(get_option(l, IPPROTO_IPV6, IPV6_V6ONLY) == 0);
	CHECK(!bind(l, ADDRESS(any)) && !listen(l, 5));
	c = socket(AF_INET6, SOCK_STREAM, 0);
	CHECK(!connect(c, ADDRESS(address)));
	s = accept(l, (struct sockaddr *)&peer, &length);
	CHECK(s >= 0 && length == sizeof(peer) && IN6_IS_ADDR_LOOPBACK(&peer.sin6_addr));
	close(s);
	close(c);
	c = dial(7010);
	CHECK(c >= 0);
	length = sizeof(peer);
	s = accept(l, (struct sockaddr *)&peer, &length);
	CHECK(s >= 0 && IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr));
	CHECK(write(s, "4", 1) == 1 && read(c, &peer, 1) == 1);
	close(s);
	close(c);
	close(l);
	/* A listener of each family on one port, when one is for IPv6 only. */
	l = socket(AF_INET6, SOCK_STREAM, 0);
	set_option(l, SOL_SOCKET, SO_REUSEADDR, 1);
	CHECK(!set_option(l, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	any.sin6_port = htons(7011);
	CHECK(!bind(l, ADDRESS(any)) && !listen(l, 5));
	CHECK(dial(7011) < 0 && errno == ECONNREFUSED);
	four = listener(7011);
	c = dial(7011);
	CHECK(c >= 0);
	close(c);
	close(four);
	close(l);
	c = socket(AF_INET6, SOCK_STREAM, 0);
	SAME("an IPv4 address on an IPv6 socket", connect(c, (struct sockaddr *)&address, 16));
	close(c);
}

/* The peer sees a reset when a close does not linger at all. */
static void abort_close(void)
{
	struct linger none = { .l_onoff = 1 }, read_back;
	socklen_t length = sizeof(read_back);
	char byte;
	int pair[2];

	stream_pair(7012, pair);
	CHECK(!setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &none, sizeof(none)));
	CHECK(!getsockopt(pair[0], SOL_SOCKET, SO_LINGER, &read_back, &length) &&
	      read_back.l_onoff && !read_back.l_linger);
	close(pair[0]);
	CHECK(read(pair[1], &byte, 1) < 0 && errno == ECONNRESET);
	close(pair[1]);
}

/* close() waits while the peer does not read, no longer than it was told. */
static void linger_close(void)
{
	struct linger one = { .l_onoff = 1, .l_linger = 1 };
	char block[65536] = { 0 };
	double start;
	int pair[2];

	stream_pair(7013, pair);
	setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &one, sizeof(one));
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	while (write(pair[0], block, sizeof(block)) > 0)
		;
	fcntl(pair[0], F_SETFL, 0);
	start = now();
	close(pair[0]);
	CHECK(now() - start > 0.9 && now() - start < SOON, "%.2f s", now() - start);
	close(pair[1]);
	stream_pair(7013, pair);
	one.l_linger = 2 * SOON;
	setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &one, sizeof(one));
	write(pair[0], "x", 1);
	start = now();
	close(pair[0]);
	CHECK(now() - start < SOON, "%.2f s", now() - start);
	close(pair[1]);
}

void closing(void)
{
	struct pollfd look = { .events = POLLIN };
	char byte;
	int pair[2];

	abort_close();
	linger_close();
	stream_pair(7014, pair);
	write(pair[0], "last", 4);
	look.fd = pair[1];
	CHECK(poll(&look, 1, 5000) == 1);
	close(pair[1]); /* with bytes unread: the peer gets a reset */
	nap(50);
	look.fd = pair[0];
	poll(&look, 1, 1000);
	same("poll after a reset", look.revents);
	SAME("read after a reset", read(pair[0], &byte, 1));
	SAME("read again", read(pair[0], &byte, 1));
	CHECK(send(pair[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	close(pair[0]);
}

struct sum {
	int s;
	long bytes, weighted;
};

static void *drain(void *argument)
{
	struct sum *sum = argument;
	unsigned char *buffer = malloc(200000);
	long count;

	while ((count = read(sum->s, buffer, 200000)) > 0)
		for (long i = 0; i < count; i++, sum->bytes++)
			sum->weighted += buffer[i] * (sum->bytes % 7 + 1);
	free(buffer);
	return NULL;
}

static void transfer(long size)
{
	unsigned char *block = malloc(size);
	struct sum sum = { 0 };
	long weighted = 0;
	pthread_t thread;
	int pair[2];

	stream_pair(7015, pair);
	sum.s = pair[1];
	pthread_create(&thread, NULL, drain, &sum);
	for (long i = 0; i < size; i++) {
		block[i] = i * 31 + (i >> 9);
		weighted += block[i] * (i % 7 + 1);
	}
	CHECK(write(pair[0], block, size) == size);
	shutdown(pair[0], SHUT_WR);
	pthread_join(thread, NULL);
	CHECK(sum.bytes == size && sum.weighted == weighted);
	close(pair[0]);
	close(pair[1]);
	free(block);
}

/* File to socket, socket to pipe to file, pipe to socket. */
static void without_copies(void)
{
	int file = open("/proc/self/exe", O_RDONLY), pair[2], ends[2];
	long moved = 0, count, want = 300000;
	struct sum sum = { 0 };
	pthread_t thread;
	char buffer[100];

	stream_pair(7016, pair);
	sum.s = pair[1];
	pthread_create(&thread, NULL, drain, &sum);
	while (moved < want && (count = sendfile(pair[0], file, NULL, want - moved)) > 0)
		moved += count;
	shutdown(pair[0], SHUT_WR);
	pthread_join(thread, NULL);
	CHECK(moved == want && sum.bytes == want);
	close(pair[0]);
	close(pair[1]);
	close(file);
	stream_pair(7016, pair);
	CHECK(!pipe(ends));
	write(pair[0], "through a pipe", 14);
	CHECK(splice(pair[1], NULL, ends[1], NULL, 100, 0) == 14);
	CHECK(splice(ends[0], NULL, pair[1], NULL, 14, SPLICE_F_MORE) == 14);
	CHECK(recv(pair[0], buffer, 14, MSG_WAITALL) == 14 && !memcmp(buffer, "through", 7));
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	CHECK(splice(pair[1], NULL, ends[1], NULL, 100, SPLICE_F_NONBLOCK) < 0 &&
	      errno == EAGAIN);
	close(pair[0]);
	CHECK(splice(pair[1], NULL, ends[1], NULL, 100, 0) == 0);
	close(pair[1]);
	close(ends[0]);
	close(ends[1]);
}

static void vectors(void)
{
	char a[3], b[100];
	struct iovec parts[] = { { "one", 3 }, { "", 0 }, { "two", 3 } };
	struct iovec room[] = { { a, 3 }, { b, 100 } };
	int pair[2];

	stream_pair(7017, pair);
	CHECK(writev(pair[0], parts, 3) == 6);
	CHECK(recv(pair[1], b, 6, MSG_PEEK | MSG_WAITALL) == 6);
	CHECK(readv(pair[1], room, 2) == 6 && !memcmp(b, "two", 3));
	SAME("pwrite on a socket", pwrite(pair[0], "x", 1, 0));
	SAME("lseek on a socket", lseek(pair[0], 0, SEEK_CUR));
	close(pair[0]);
	close(pair[1]);
}

void bulk(void)
{
	transfer(3 << 20);
	without_copies();
	vectors();
}
