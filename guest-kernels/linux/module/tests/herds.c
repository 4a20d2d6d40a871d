// SPDX-License-Identifier: GPL-2.0-only
/* vos: checks of those who wait exclusively: each event wakes one of them. */
#define _GNU_SOURCE
#include "tests.h"

enum { HERD = 4, CONNECTIONS = 10 };

struct herd {
	int listener, woken[2], taken[2];
	pid_t child[HERD];
};

/* The bytes that are there, waiting for @wanted of them up to 5 s. */
static int count_bytes(int from, int wanted)
{
	struct pollfd look = { from, POLLIN, 0 };
	char bytes[200];
	int count = 0, got;

	while (poll(&look, 1, count < wanted ? 5000 : 0) == 1) {
		got = read(from, bytes, sizeof(bytes));
		if (got <= 0)
			break;
		count += got;
	}
	return count;
}

/* Waits by epoll, a set of its own, and takes what it is woken for. */
static void wait_by_epoll(struct herd *herd)
{
	int set = watch(herd->listener, EPOLLIN | EPOLLEXCLUSIVE), s;

	for (;;) {
		told(set, -1);
		write(herd->woken[1], "w", 1);
		s = accept(herd->listener, NULL, NULL);
		if (s >= 0 && write(herd->taken[1], "t", 1))
			close(s);
	}
}

static void wait_by_accept(struct herd *herd)
{
	for (int s;;) {
		s = accept(herd->listener, NULL, NULL);
		if (s >= 0 && write(herd->taken[1], "t", 1))
			close(s);
	}
}

static void gather(struct herd *herd, int port, void (*wait)(struct herd *))
{
	herd->listener = listener(port);
	CHECK(!pipe(herd->woken) && !pipe(herd->taken));
	if (wait == wait_by_epoll)
		fcntl(herd->listener, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < HERD; i++) {
		herd->child[i] = fork();
		if (!herd->child[i])
			wait(herd);
	}
	nap(100);
}

static void end(struct herd *herd, int one)
{
	if (!herd->child[one])
		return;
	kill(herd->child[one], SIGKILL);
	waitpid(herd->child[one], NULL, 0);
	herd->child[one] = 0;
}

static void part(struct herd *herd)
{
	for (int i = 0; i < HERD; i++)
		end(herd, i);
	for (int i = 0; i < 2; i++) {
		close(herd->woken[i]);
		close(herd->taken[i]);
	}
	close(herd->listener);
}

/* All connections are taken, each once. */
static void all_taken(struct herd *herd)
{
	int count = count_bytes(herd->taken[0], CONNECTIONS);

	CHECK(count == CONNECTIONS, "%d taken", count);
	nap(50);
	CHECK(count_bytes(herd->taken[0], 0) == 0);
}

/* One after another: as many wake-ups as connections, but for one told twice. */
static void one_by_one(void)
{
	struct herd herd;
	int woken;

	gather(&herd, 7208, wait_by_epoll);
	for (int i = 0; i < CONNECTIONS; i++, nap(20))
		close(dial(7208));
	all_taken(&herd);
	woken = count_bytes(herd.woken[0], 0);
	CHECK(woken >= CONNECTIONS / 2 && woken <= CONNECTIONS + HERD, "%d woken", woken);
	part(&herd);
}

/* All at once: fewer events than connections, and nobody is forgotten. */
static void at_once(int port, void (*wait)(struct herd *))
{
	int s[CONNECTIONS];
	struct herd herd;

	gather(&herd, port, wait);
	for (int i = 0; i < CONNECTIONS; i++)
		s[i] = dial(port);
	all_taken(&herd);
	for (int i = 0; i < CONNECTIONS; i++)
		close(s[i]);
	part(&herd);
}

/* Who was woken and died leaves the rest to others. */
static void one_dies(void)
{
	struct herd herd;
	int s, count;

	gather(&herd, 7210, wait_by_accept);
	end(&herd, 0);
	for (int i = 0; i < CONNECTIONS; i++) {
		s = dial(7210);
		if (i == 3)
			end(&herd, 1);
		close(s);
	}
	/* One may have been taken by the one that was killed. */
	count = count_bytes(herd.taken[0], CONNECTIONS - 1);
	CHECK(count >= CONNECTIONS - 1, "%d taken", count);
	part(&herd);
}

void herds(void)
{
	one_by_one();
	at_once(7208, wait_by_epoll);
	at_once(7209, wait_by_accept);
	one_dies();
}
