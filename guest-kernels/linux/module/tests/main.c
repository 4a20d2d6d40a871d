// SPDX-License-Identifier: GPL-2.0-only
/* vos: `tests local|remote [NAME...]`; the last line counts. */
#define _GNU_SOURCE
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <time.h>

#include "tests.h"

bool remote;
static int good_count, bad_count;

void check_result(bool good, const char *function, const char *text, int line,
		  const char *format, ...)
{
	int error = errno;
	va_list list;

	if (good) {
		good_count++;
		printf("ok   %s: %s\n", function, text);
		return;
	}
	bad_count++;
	printf("FAIL %s:%d: %s: errno %d ", function, line, text, error);
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	printf("\n");
}

void same(const char *name, long value)
{
	printf("same %s = %ld\n", name, value);
}

long outcome(long result)
{
	return result == -1 ? -errno : result;
}

double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

void nap(int milliseconds)
{
	usleep(milliseconds * 1000);
}

struct sockaddr_in at(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

struct sockaddr_in6 at6(int port)
{
	return (struct sockaddr_in6){ .sin6_family = AF_INET6,
				      .sin6_port = htons(port),
				      .sin6_addr = IN6ADDR_LOOPBACK_INIT };
}

int set_option(int s, int level, int name, int value)
{
	return setsockopt(s, level, name, &value, sizeof(value));
}

int get_option(int s, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(s, level, name, &value, &length) ? -errno : value;
}

int listener(int port)
{
	struct sockaddr_in address = at(port);
	int s = socket(AF_INET, SOCK_STREAM, 0);

	set_option(s, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(s, ADDRESS(address)) || listen(s, 64))
		perror("listener");
	return s;
}

int dial(int port)
{
	struct sockaddr_in address = at(port);
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(s, ADDRESS(address)) == 0)
		return s;
	close(s);
	return -1;
}

void stream_pair(int port, int pair[2])
{
	int l = listener(port);

	pair[0] = dial(port);
	pair[1] = accept(l, NULL, NULL);
	close(l);
}

int datagram(int port)
{
	struct sockaddr_in address = at(port);
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	if (bind(s, ADDRESS(address)))
		perror("datagram");
	return s;
}

int wait_for(pid_t child)
{
	double limit = now() + 20;
	int status;

	while (now() < limit) {
		if (waitpid(child, &status, WNOHANG) == child)
			return status;
		nap(5);
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return -1;
}

static const struct suite {
	const char *name;
	void (*run)(void);
	bool vos; /* of remote sockets alone */
	bool asked; /* only when named */
} suites[] = {
	{ "streams", streams },		{ "streams6", streams6 },
	{ "closing", closing },		{ "bulk", bulk },
	{ "datagrams", datagrams },	{ "messages", messages },
	{ "multicast", multicast },	{ "raw", raw },
	{ "options", options },		{ "controls", controls },
	{ "waiting", waiting },		{ "edges", edges },
	{ "hints", hints },
	{ "signals", signals },		{ "processes", processes },
	{ "netlink", netlink },		{ "packets", packets },
	{ "herds", herds },		{ "rights", rights },
	{ "idle", idle, true },		{ "slices", slices, true },
	{ "watches", watches, true },
	{ "secrets", secrets, true },	{ "freed", freed, true },
	{ "namespaces", namespaces, true }, { "crowd", crowd },
	{ "death", death, true, true },
};

static bool wanted(const struct suite *suite, int count, char **names)
{
	if (suite->vos && !remote)
		return false;
	for (int i = 0; i < count; i++)
		if (!strcmp(names[i], suite->name))
			return true;
	return !count && !suite->asked;
}

/* A namespace of our own, with its loopback interface up. */
static int go_local(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	if (unshare(CLONE_NEWNET))
		return -1;
	return ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &request);
}

int main(int count, char **words)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	remote = count > 1 && !strcmp(words[1], "remote");
	if (!remote && go_local()) {
		perror("no namespace for local sockets");
		return 2;
	}
	for (size_t i = 0; i < sizeof(suites) / sizeof(*suites); i++) {
		double start = now();

		if (!wanted(&suites[i], count - 2, words + 2))
			continue;
		suites[i].run();
		printf("== %s: %.2f s\n", suites[i].name, now() - start);
	}
	printf("checks: %d good, %d bad\n", good_count, bad_count);
	return bad_count != 0;
}
