// SPDX-License-Identifier: GPL-2.0-only
/* vos: checks of sockets and processes. */
#define _GNU_SOURCE
#include <sys/un.h>

#include "tests.h"

static void inherited(void)
{
	char buffer[20];
	int pair[2], copy;
	pid_t child;

	stream_pair(7301, pair);
	child = fork();
	if (!child)
		_exit(write(pair[0], "child", 5) == 5 ? 0 : 1);
	CHECK(wait_for(child) == 0 && read(pair[1], buffer, 20) == 5);
	child = fork();
	if (!child) {
		dup2(pair[0], 1);
		execl("/bin/sh", "sh", "-c", "echo from a shell", NULL);
		_exit(1);
	}
	CHECK(wait_for(child) == 0 && recv(pair[1], buffer, 13, MSG_WAITALL) == 13);
	copy = fcntl(pair[0], F_DUPFD, 100);
	CHECK(copy >= 100 && !close(pair[0]) && write(copy, "dup", 3) == 3);
	read(pair[1], buffer, 20);
	CHECK(!close_range(100, ~0U, 0) && read(pair[1], buffer, 20) == 0);
	close(pair[1]);
}

int send_descriptor(int to, int s)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec part = { "d", 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.head), &s, sizeof(s));
	return sendmsg(to, &message, 0);
}

int receive_descriptor(int from)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	int s = -1;

	if (recvmsg(from, &message, 0) == 1 && message.msg_controllen)
		memcpy(&s, CMSG_DATA(&control.head), sizeof(s));
	return s;
}

/* A descriptor travels over a UNIX socket to a process that did not open it. */
static void passed(void)
{
	int pair[2], way[2], s;
	char buffer[10];
	pid_t child;

	CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, way));
	child = fork();
	if (!child) {
		s = receive_descriptor(way[1]);
		_exit(write(s, "passed", 6) == 6 ? 0 : 1);
	}
	stream_pair(7302, pair);
	CHECK(send_descriptor(way[0], pair[0]) == 1);
	close(pair[0]);
	CHECK(wait_for(child) == 0 && read(pair[1], buffer, 10) == 6);
	CHECK(read(pair[1], buffer, 10) == 0);
	/* Over a socket of the Internet none is carried, with or without vos. */
	SAME("SCM_RIGHTS over TCP", send_descriptor(pair[1], way[0]));
	/* One that nobody takes is closed with its message. */
	close(pair[1]);
	stream_pair(7302, pair);
	send_descriptor(way[0], pair[0]);
	close(pair[0]);
	close(way[0]);
	close(way[1]);
	CHECK(read(pair[1], buffer, 10) == 0);
	close(pair[1]);
}

/* What a killed process held is free; how soon, see freed(). */
static void killed(void)
{
	struct sockaddr_in address = at(7303);
	int pair[2], l, ready[2];
	double start;
	pid_t child;
	char byte;

	stream_pair(7304, pair);
	CHECK(!pipe(ready));
	child = fork();
	if (!child) {
		l = socket(AF_INET, SOCK_STREAM, 0);
		if (bind(l, ADDRESS(address)) || listen(l, 5))
			_exit(1);
		close(pair[1]);
		write(ready[1], "r", 1);
		accept(l, NULL, NULL);
		_exit(2);
	}
	close(pair[0]);
	read(ready[0], &byte, 1);
	start = now();
	kill(child, SIGKILL);
	CHECK(read(pair[1], &byte, 1) == 0);
	CHECK(WTERMSIG(wait_for(child)) == SIGKILL);
	l = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!bind(l, ADDRESS(address)) && !listen(l, 5));
	CHECK(now() - start < SOON, "%.2f s", now() - start);
	close(l);
	close(pair[1]);
	close(ready[0]);
	close(ready[1]);
}

/* Killed in the midst of calls, many times; sockets can be made afterwards. */
static void killed_often(void)
{
	for (int i = 0; i < 12; i++) {
		pid_t child = fork();

		if (!child)
			for (;;)
				close(socket(AF_INET, SOCK_STREAM, 0));
		nap(10 + i);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	CHECK(!close(socket(AF_INET, SOCK_STREAM, 0)));
}

static void acceptors(void)
{
	int l = listener(7305), taken[2], count = 0;
	pid_t child[8];
	char byte;

	CHECK(!pipe(taken));
	for (int i = 0; i < 8; i++) {
		child[i] = fork();
		if (!child[i])
			for (int s; (s = accept(l, NULL, NULL)) >= 0; close(s))
				write(s, "!", 1) == 1 ? write(taken[1], "t", 1) : 0;
	}
	for (int i = 0; i < 40; i++) {
		int s = dial(7305);

		count += read(s, &byte, 1) == 1;
		close(s);
	}
	CHECK(count == 40);
	for (int i = 0; i < 8; i++) {
		kill(child[i], SIGKILL);
		waitpid(child[i], NULL, 0);
	}
	close(taken[0]);
	close(taken[1]);
	close(l);
}

static int echo_blocks(int port, int fill)
{
	char out[5000], in[5000];
	int pair[2];

	for (int round = 0; round < 6; round++) {
		stream_pair(port, pair);
		memset(out, fill + round, sizeof(out));
		for (int i = 0; i < 10; i++) {
			if (write(pair[0], out, sizeof(out)) != sizeof(out))
				return 2;
			if (recv(pair[1], in, sizeof(in), MSG_WAITALL) != sizeof(in) ||
			    memcmp(in, out, sizeof(in)))
				return 3;
		}
		close(pair[0]);
		close(pair[1]);
	}
	return 0;
}

static void together(void)
{
	pid_t child[6];
	int bad = 0;

	for (int i = 0; i < 6; i++) {
		child[i] = fork();
		if (!child[i])
			_exit(echo_blocks(7310 + i, i));
	}
	for (int i = 0; i < 6; i++)
		bad |= wait_for(child[i]);
	CHECK(bad == 0);
}

void processes(void)
{
	inherited();
	passed();
	killed();
	killed_often();
	acceptors();
	together();
}

static int one_of_crowd(int start, int server)
{
	struct sockaddr_in to = at(server);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct pollfd go = { start, POLLIN, 0 };

	if (s < 0 || connect(s, ADDRESS(to)))
		return 1;
	if (poll(&go, 1, -1) != 1)
		return 2;
	return send(s, "here", 4, 0) == 4 ? 0 : 3;
}

/* 1,000 processes, each with a socket, all at once. */
void crowd(void)
{
	enum { COUNT = 1000 };
	static pid_t child[COUNT];
	int server = datagram(7320), start[2], bad = 0, heard = 0;
	struct timeval limit = { SOON, 0 };
	char buffer[10];

	CHECK(!pipe(start));
	set_option(server, SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20);
	setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	for (int i = 0; i < COUNT; i++) {
		child[i] = fork();
		if (!child[i])
			_exit(one_of_crowd(start[0], 7320));
		bad += child[i] < 0;
	}
	CHECK(bad == 0);
	write(start[1], "go", 2);
	while (heard < COUNT && recv(server, buffer, 10, 0) == 4)
		heard++;
	CHECK(heard == COUNT, "%d heard", heard);
	for (int i = 0; i < COUNT; i++)
		bad |= wait_for(child[i]);
	CHECK(bad == 0);
	close(server);
	close(start[0]);
	close(start[1]);
}
