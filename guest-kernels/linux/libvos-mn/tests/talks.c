/* SPDX-License-Identifier: Apache-2.0
 *
 * talks PAIRS ROUNDS: threads that ask threads over TCP, one connection a pair; both sides wait for
 * each other in blocking calls. Prints what was said.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int rounds;
static struct sockaddr_in address = {.sin_family = AF_INET};

static void fail(const char *what, long number)
{
	printf("%s: %ld, errno %d\n", what, number, errno);
	exit(1);
}

static long whole(int s, char *buffer, size_t length)
{
	size_t got = 0;

	while (got < length) {
		ssize_t now = got % 2 ? read(s, buffer + got, length - got) :
					recv(s, buffer + got, length - got, 0);

		if (now < 0)
			fail("receive", now);
		if (now == 0)
			break;
		got += now;
	}
	return got;
}

/* Gives every 64 bytes back, turned round. */
static void *answers(void *argument)
{
	int s = (intptr_t)argument;
	char text[64], turned[64];

	while (whole(s, text, 64) == 64) {
		for (int i = 0; i < 64; i++)
			turned[i] = text[63 - i];
		if (write(s, turned, 64) != 64)
			fail("answer", s);
	}
	close(s);
	return NULL;
}

static void *accepts(void *argument)
{
	int listener = (intptr_t)argument, s;
	pthread_attr_t detached;
	pthread_t thread;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	while ((s = accept(listener, NULL, NULL)) >= 0)
		if (pthread_create(&thread, &detached, answers, (void *)(intptr_t)s))
			fail("create", s);
	return NULL;
}

static void *asks(void *argument)
{
	long number = (intptr_t)argument, sum = 0;
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	char text[64], answer[64];

	if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof(address)))
		fail("connect", number);
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (int i = 0; i < rounds; i++) {
		memset(text, 'a' + (number + i) % 26, 64);
		text[0] = i;
		if (send(s, text, 64, 0) != 64)
			fail("ask", number);
		if (i % 8 == 7) { /* with a time limit */
			struct pollfd look = {s, POLLIN, 0};

			if (poll(&look, 1, 20000) != 1 || !(look.revents & POLLIN))
				fail("poll", look.revents);
		}
		if (whole(s, answer, 64) != 64 || answer[63] != text[0] || answer[0] != text[63])
			fail("answered", number);
		sum += answer[0];
	}
	close(s);
	return (void *)sum;
}

int main(int count, char **arguments)
{
	int pairs = count > 2 ? atoi(arguments[1]) : 0, listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t length = sizeof(address);
	pthread_t *all = calloc(pairs + 1, sizeof(*all));
	struct timespec start, end;
	long sum = 0;

	if (!pairs)
		return 2;
	rounds = atoi(arguments[2]);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1000) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		fail("listen", listener);
	clock_gettime(CLOCK_MONOTONIC, &start);
	pthread_create(&all[pairs], NULL, accepts, (void *)(intptr_t)listener);
	for (intptr_t i = 0; i < pairs; i++)
		if (pthread_create(&all[i], NULL, asks, (void *)i))
			fail("create", i);
	for (int i = 0; i < pairs; i++) {
		void *part;

		pthread_join(all[i], &part);
		sum += (long)part;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%d pairs, sum %ld\n", pairs, sum);
	fprintf(stderr, "%.1f ms\n",
		(end.tv_sec - start.tv_sec) * 1e3 + (end.tv_nsec - start.tv_nsec) / 1e6);
}
