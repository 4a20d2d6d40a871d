// SPDX-License-Identifier: GPL-2.0-only
/* vos: checks of calls that a signal meets. */
#define _GNU_SOURCE
#include <sys/select.h>

#include "tests.h"

static void handler(int number)
{
	(void)number;
}

static void ring_after(int milliseconds, int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	struct itimerval timer = { .it_value = { 0, milliseconds * 1000 } };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void interrupted(void)
{
	struct timeval limit = { 2 * SOON, 0 };
	struct pollfd look = { .events = POLLIN };
	int pair[2], l = listener(7231), set;
	pthread_t thread;
	char byte[10];
	double start;

	stream_pair(7230, pair);
	ring_after(100, 0);
	SAME("read and a signal", read(pair[1], byte, 1));
	ring_after(100, 0);
	SAME("accept and a signal", accept(l, NULL, NULL));
	look.fd = pair[1];
	ring_after(100, SA_RESTART);
	SAME("poll and a signal, restart", poll(&look, 1, 2000));
	set = watch(pair[1], EPOLLIN);
	ring_after(100, SA_RESTART);
	SAME("epoll and a signal, restart", epoll_wait(set, &(struct epoll_event){}, 1, 2000));
	ring_after(50, SA_RESTART);
	thread = late(pair[0]);
	SAME("read and a signal, restart", read(pair[1], byte, 4));
	pthread_join(thread, NULL);
	setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	ring_after(50, SA_RESTART);
	SAME("read with a limit and a signal, restart", read(pair[1], byte, 4));
	start = now();
	write(pair[0], "part", 4);
	ring_after(100, 0);
	CHECK(recv(pair[1], byte, 8, MSG_WAITALL) == 4 && now() - start < SOON);
	close(set);
	close(pair[0]);
	close(pair[1]);
	close(l);
}

static void *dial_late(void *argument)
{
	nap(150);
	return (void *)(long)dial((long)argument);
}

/* Calls that are under way when a handler runs that wants them to go on, or not. */
static void restarted(void)
{
	int pair[2], l = listener(7233), set, s;
	struct timeval limit = { 2, 0 };
	char block[65536] = { 0 };
	pthread_t thread;
	fd_set reading;
	void *other;
	long count;

	ring_after(50, SA_RESTART);
	pthread_create(&thread, NULL, dial_late, (void *)7233L);
	s = accept(l, NULL, NULL);
	CHECK(s >= 0);
	pthread_join(thread, &other);
	close((long)other);
	close(s);
	FD_ZERO(&reading);
	FD_SET(l, &reading);
	ring_after(50, SA_RESTART);
	SAME("select and a signal, restart", select(l + 1, &reading, NULL, NULL, &limit));
	ring_after(50, SA_RESTART);
	SAME("ppoll and a signal, restart",
	     ppoll(&(struct pollfd){ l, POLLIN, 0 }, 1, &(struct timespec){ 2 }, NULL));
	stream_pair(7234, pair);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	while (write(pair[0], block, sizeof(block)) > 0)
		;
	nap(50);
	while (write(pair[0], block, sizeof(block)) > 0)
		;
	fcntl(pair[0], F_SETFL, 0);
	ring_after(100, 0);
	count = write(pair[0], block, sizeof(block));
	CHECK(count > 0 || (count < 0 && errno == EINTR), "%ld written", count);
	set = watch(pair[1], EPOLLERR);
	ring_after(50, 0);
	SAME("epoll and a signal", epoll_wait(set, &(struct epoll_event){}, 1, 2000));
	close(set);
	close(pair[0]);
	close(pair[1]);
	close(l);
}

static void broken_pipe(void)
{
	int pair[2], status;
	pid_t child;

	stream_pair(7232, pair);
	close(pair[1]);
	nap(30);
	child = fork();
	if (!child) {
		signal(SIGPIPE, SIG_DFL);
		for (int i = 0; i < 5; i++, nap(20))
			send(pair[0], "x", 1, 0);
		_exit(0);
	}
	status = wait_for(child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
	close(pair[0]);
}

void signals(void)
{
	interrupted();
	restarted();
	broken_pipe();
}
