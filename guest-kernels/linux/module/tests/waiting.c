// SPDX-License-Identifier: GPL-2.0-only
/* vos: checks of poll, select and epoll. */
#define _GNU_SOURCE
#include <sys/eventfd.h>
#include <sys/select.h>

#include "tests.h"
#include "vos_abi.h"

static void *write_late(void *argument)
{
	nap(100);
	return (void *)write((long)argument, "late", 4);
}

pthread_t late(int s)
{
	pthread_t thread;

	pthread_create(&thread, NULL, write_late, (void *)(long)s);
	return thread;
}

int watch(int s, unsigned int events)
{
	struct epoll_event event = { events, { .fd = s } };
	int set = epoll_create1(0);

	epoll_ctl(set, EPOLL_CTL_ADD, s, &event);
	return set;
}

/* The events within the time; 0: none. */
unsigned int told(int set, int milliseconds)
{
	struct epoll_event event = {};

	return epoll_wait(set, &event, 1, milliseconds) == 1 ? event.events : 0;
}

static void simple(void)
{
	struct timeval limit = { 0, 50000 };
	struct pollfd look = { .events = POLLIN };
	pthread_t thread;
	fd_set reading, writing;
	char buffer[100];
	double start;
	int pair[2];

	stream_pair(7201, pair);
	look.fd = pair[1];
	start = now();
	CHECK(poll(&look, 1, 0) == 0 && poll(&look, 1, 100) == 0);
	CHECK(now() - start > 0.09);
	thread = late(pair[0]);
	CHECK(poll(&look, 1, 5000) == 1 && look.revents == POLLIN);
	pthread_join(thread, NULL);
	CHECK(read(pair[1], buffer, 100) == 4);
	thread = late(pair[0]);
	start = now();
	CHECK(read(pair[1], buffer, 100) == 4 && now() - start < SOON);
	pthread_join(thread, NULL);
	FD_ZERO(&reading);
	FD_ZERO(&writing);
	FD_SET(pair[1], &reading);
	CHECK(select(pair[1] + 1, &reading, NULL, NULL, &limit) == 0);
	FD_SET(pair[1], &reading);
	FD_SET(pair[1], &writing);
	CHECK(select(pair[1] + 1, &reading, &writing, NULL, NULL) == 1 &&
	      FD_ISSET(pair[1], &writing) && !FD_ISSET(pair[1], &reading));
	close(pair[0]);
	close(pair[1]);
}

static void levels(void)
{
	pthread_t thread;
	char buffer[100];
	int pair[2], set;

	stream_pair(7202, pair);
	set = watch(pair[1], EPOLLIN);
	CHECK(told(set, 30) == 0);
	for (int i = 0; i < 3; i++) {
		thread = late(pair[0]);
		CHECK(told(set, 5000) == EPOLLIN && told(set, 0) == EPOLLIN);
		pthread_join(thread, NULL);
		CHECK(read(pair[1], buffer, 2) == 2 && told(set, 0) == EPOLLIN);
		CHECK(read(pair[1], buffer, 100) == 2 && told(set, 20) == 0);
	}
	close(pair[0]);
	CHECK(told(set, 2000) == EPOLLIN && told(set, 0) == EPOLLIN);
	close(pair[1]);
	CHECK(told(set, 20) == 0); /* a closed descriptor leaves the set */
	close(set);
}

static void once(void)
{
	struct epoll_event again = { EPOLLIN | EPOLLONESHOT, {} };
	char buffer[10];
	int pair[2], set;

	stream_pair(7203, pair);
	set = watch(pair[1], EPOLLIN | EPOLLONESHOT);
	write(pair[0], "a", 1);
	CHECK(told(set, 2000) == EPOLLIN && told(set, 20) == 0);
	write(pair[0], "b", 1);
	CHECK(told(set, 50) == 0);
	CHECK(!epoll_ctl(set, EPOLL_CTL_MOD, pair[1], &again));
	CHECK(told(set, 2000) == EPOLLIN);
	CHECK(read(pair[1], buffer, 10) == 2);
	CHECK(!epoll_ctl(set, EPOLL_CTL_MOD, pair[1], &again) && told(set, 20) == 0);
	write(pair[0], "c", 1);
	CHECK(told(set, 2000) == EPOLLIN && told(set, 20) == 0);
	close(set);
	close(pair[0]);
	close(pair[1]);
}

static void nested(void)
{
	char buffer[10];
	int pair[2], inner, outer;
	struct pollfd look = { .events = POLLIN };

	stream_pair(7204, pair);
	inner = watch(pair[1], EPOLLIN);
	outer = watch(inner, EPOLLIN);
	look.fd = outer;
	CHECK(told(outer, 20) == 0 && poll(&look, 1, 0) == 0);
	write(pair[0], "a", 1);
	CHECK(poll(&look, 1, 2000) == 1 && told(outer, 0) == EPOLLIN && told(inner, 0) == EPOLLIN);
	CHECK(read(pair[1], buffer, 10) == 1 && told(outer, 20) == 0);
	close(outer);
	close(inner);
	close(pair[0]);
	close(pair[1]);
}

/* A pipe, an eventfd and two sockets in one set and one poll. */
static void mixed(void)
{
	int pair[2], ends[2], bell = eventfd(0, 0), set, u = datagram(7206);
	struct sockaddr_in to = at(7206);
	struct epoll_event event = { EPOLLIN, {} };
	struct pollfd look[4];
	char buffer[10];

	stream_pair(7205, pair);
	CHECK(!pipe(ends));
	set = watch(pair[1], EPOLLIN);
	epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event);
	epoll_ctl(set, EPOLL_CTL_ADD, bell, &event);
	epoll_ctl(set, EPOLL_CTL_ADD, u, &event);
	for (int i = 0; i < 4; i++)
		look[i] = (struct pollfd){ (int[]){ pair[1], ends[0], bell, u }[i], POLLIN, 0 };
	CHECK(told(set, 20) == 0 && poll(look, 4, 20) == 0);
	write(ends[1], "p", 1);
	CHECK(told(set, 2000) == EPOLLIN && poll(look, 4, -1) == 1 && look[1].revents);
	sendto(u, "u", 1, 0, ADDRESS(to));
	nap(50);
	CHECK(poll(look, 4, -1) == 2 && look[3].revents);
	eventfd_write(bell, 1);
	write(pair[0], "s", 1);
	nap(50);
	CHECK(poll(look, 4, -1) == 4);
	CHECK(read(ends[0], buffer, 9) == 1 && read(u, buffer, 9) == 1 &&
	      read(bell, buffer, 8) == 8 && read(pair[1], buffer, 9) == 1);
	CHECK(told(set, 20) == 0 && poll(look, 4, 20) == 0);
	for (int i = 0; i < 4; i++)
		close(look[i].fd);
	close(pair[0]);
	close(ends[1]);
	close(set);
}

static void *empty(void *argument)
{
	int *work = argument; /* a socket, bytes */
	char buffer[65536];

	nap(100);
	for (long got = 0, count; got < work[1]; got += count)
		if ((count = recv(work[0], buffer, sizeof(buffer), 0)) <= 0)
			break;
	return NULL;
}

/* One waits for reading, another for writing, on one socket. */
static void two_interests(void)
{
	static char block[65536];
	int pair[2], in, out, work[2];
	pthread_t thread;
	long count;

	stream_pair(7207, pair);
	work[0] = pair[0];
	work[1] = 0;
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	while ((count = write(pair[1], block, sizeof(block))) > 0)
		work[1] += count;
	CHECK(count < 0 && errno == EAGAIN);
	in = watch(pair[1], EPOLLIN);
	out = watch(pair[1], EPOLLOUT);
	CHECK(told(in, 0) == 0 && told(out, 0) == 0);
	write(pair[0], "in", 2);
	CHECK(told(in, 3000) == EPOLLIN);
	pthread_create(&thread, NULL, empty, work);
	CHECK(told(out, 5000) == EPOLLOUT);
	pthread_join(thread, NULL);
	close(in);
	close(out);
	close(pair[0]);
	close(pair[1]);
}

void waiting(void)
{
	simple();
	levels();
	once();
	nested();
	mixed();
	two_interests();
}

static void edge_of_reading(void)
{
	pthread_t thread;
	char buffer[100];
	int pair[2], set;

	stream_pair(7211, pair);
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	set = watch(pair[1], EPOLLIN | EPOLLET);
	CHECK(told(set, 30) == 0);
	for (int i = 0; i < 3; i++) {
		thread = late(pair[0]);
		CHECK(told(set, 5000) == EPOLLIN && told(set, 50) == 0);
		pthread_join(thread, NULL);
		CHECK(read(pair[1], buffer, 100) == 4);
		if (i == 2)
			CHECK(read(pair[1], buffer, 100) < 0 && errno == EAGAIN);
		CHECK(told(set, 20) == 0);
	}
	/* Who stops in the middle is told of what comes then. */
	write(pair[0], "abcd", 4);
	CHECK(told(set, 2000) == EPOLLIN && read(pair[1], buffer, 2) == 2);
	CHECK(told(set, 30) == 0);
	write(pair[0], "ef", 2);
	CHECK(told(set, 2000) == EPOLLIN);
	write(pair[0], "gh", 2); /* and without reading at all */
	CHECK(told(set, 2000) == EPOLLIN);
	CHECK(read(pair[1], buffer, 100) == 6);
	close(set);
	close(pair[0]);
	close(pair[1]);
}

static void edge_of_both(void)
{
	const unsigned int all = EPOLLIN | EPOLLOUT | EPOLLRDHUP;
	char buffer[10];
	int pair[2], set;

	stream_pair(7212, pair);
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	set = watch(pair[1], all | EPOLLET);
	CHECK(told(set, 1000) == EPOLLOUT);
	told(set, 50); /* another of the same is no harm */
	CHECK(told(set, 50) == 0);
	write(pair[0], "q", 1);
	CHECK(told(set, 3000) == (EPOLLIN | EPOLLOUT) && told(set, 50) == 0);
	CHECK(read(pair[1], buffer, 10) == 1 && told(set, 50) == 0);
	close(pair[0]);
	CHECK(told(set, 3000) & EPOLLRDHUP);
	close(set);
	close(pair[1]);
}

/* A server: an edge each for the listener, in a burst and one by one. */
static void edge_of_listening(void)
{
	int l = listener(7213), set, s[6], taken = 0, c;

	fcntl(l, F_SETFL, O_NONBLOCK);
	set = watch(l, EPOLLIN | EPOLLET);
	CHECK(told(set, 20) == 0);
	for (int i = 0; i < 3; i++)
		s[i] = dial(7213);
	CHECK(told(set, 2000) == EPOLLIN);
	c = accept(l, NULL, NULL);
	CHECK(c >= 0); /* one of three; the next is told all the same */
	close(c);
	while (told(set, 30))
		;
	s[3] = dial(7213);
	CHECK(told(set, 2000) == EPOLLIN);
	for (; (c = accept(l, NULL, NULL)) >= 0; taken++)
		close(c);
	CHECK(taken == 3);
	for (int i = 0; i < 4; i++)
		close(s[i]);
	close(set);
	close(l);
}

void edges(void)
{
	edge_of_reading();
	edge_of_both();
	edge_of_listening();
}

static long kernel_calls(int device)
{
	struct vos_ioc_counters counters = {};

	ioctl(device, VOS_IOC_COUNTERS, &counters);
	return counters.kernel_calls;
}

/*
 * An event that wakes a program answers its look, too: of a round of sleep, look and
 * read a call arms, one reads and the writer's writes; a look of its own would be a fourth.
 */
void hints(void)
{
	int device = open("/dev/vos/network", O_RDWR), pair[2], rounds = 20, set;
	pthread_t thread;
	long before;
	char buffer[8];

	stream_pair(7231, pair);
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	set = watch(pair[1], EPOLLIN);
	CHECK(told(set, 0) == 0);
	before = kernel_calls(device);
	for (int i = 0; i < rounds; i++) {
		thread = late(pair[0]);
		CHECK(told(set, 5000) == EPOLLIN);
		CHECK(read(pair[1], buffer, 8) == 4);
		pthread_join(thread, NULL);
	}
	/* Some are not asleep in time, on a busy machine. */
	CHECK(device < 0 || kernel_calls(device) - before < rounds * 7 / 2);
	/* What is stale is told at most once, and no byte is read twice. */
	CHECK(write(pair[0], "next", 4) == 4);
	nap(50);
	CHECK(read(pair[1], buffer, 8) == 4);
	CHECK(read(pair[1], buffer, 8) == -1 && errno == EAGAIN);
	told(set, 0);
	CHECK(told(set, 0) == 0);
	close(set);
	close(pair[0]);
	close(pair[1]);
	close(device);
}

/* Sleepers cost nothing: some calls to begin with, and the look of each 5 s. */
void idle(void)
{
	int device = open("/dev/vos/network", O_RDWR), pair[2], l = listener(7221);
	struct epoll_event event = { EPOLLIN, {} };
	int ends[2], set;
	pid_t child[7];
	long before;
	char byte;
	fd_set reading;

	stream_pair(7222, pair);
	CHECK(!pipe(ends));
	FD_ZERO(&reading);
	FD_SET(l, &reading);
	FD_SET(ends[0], &reading);
	for (int i = 0; i < 7; i++) {
		child[i] = fork();
		if (child[i])
			continue;
		struct pollfd look[3] = { { l, POLLIN, 0 }, { pair[1], POLLIN, 0 },
					  { ends[0], POLLIN, 0 } };
		if (i == 0)
			poll(look, 3, -1);
		else if (i == 1)
			told(watch(pair[1], EPOLLIN), -1);
		else if (i == 2)
			told(watch(l, EPOLLIN | EPOLLET), -1);
		else if (i == 3)
			accept(l, NULL, NULL);
		else if (i == 4) /* of descriptors here and there */
			select(FD_SETSIZE, &reading, NULL, NULL, NULL);
		else if (i == 5) {
			set = watch(ends[0], EPOLLIN);
			epoll_ctl(set, EPOLL_CTL_ADD, pair[1], &event);
			told(watch(set, EPOLLIN), -1);
		} else if (read(pair[0], &byte, 1) < 0)
			_exit(1);
		_exit(0);
	}
	nap(300);
	before = kernel_calls(device);
	nap(1500);
	CHECK(kernel_calls(device) - before <= 10, "%ld calls", kernel_calls(device) - before);
	for (int i = 0; i < 7; i++) {
		CHECK(waitpid(child[i], NULL, WNOHANG) == 0, "sleeper %d", i);
		kill(child[i], SIGKILL);
		waitpid(child[i], NULL, 0);
	}
	close(ends[0]);
	close(ends[1]);
	close(device);
	close(pair[0]);
	close(pair[1]);
	close(l);
}
