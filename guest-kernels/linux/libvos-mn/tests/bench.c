/* SPDX-License-Identifier: Apache-2.0
 *
 * bench LIBVOS-MN LIBVOS DOUBLE FILE: hand-overs between two threads, births of threads, and calls
 * over libvos, with user-level threads on one kernel thread and with kernel threads (on one
 * processor, and wherever they like), in one run; JSON on standard output. FILE lies on a mount of
 * libvos's; DOUBLE may be empty where there is vos.ko. Each figure is the best of five.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HANDOVERS 200000
#define BIRTHS 20000
#define CALL_SECONDS 0.3
#define ROUNDS 5

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static sem_t ping, pong;
static void *other_side(void *unused)
{
	for (int i = 0; i < HANDOVERS / 2; i++) {
		sem_wait(&ping);
		sem_post(&pong);
	}
	return unused;
}
static double handover_ns(void)
{
	pthread_t thread;

	sem_init(&ping, 0, 0);
	sem_init(&pong, 0, 0);
	pthread_create(&thread, NULL, other_side, NULL);
	double start = now();
	for (int i = 0; i < HANDOVERS / 2; i++) {
		sem_post(&ping);
		sem_wait(&pong);
	}
	double end = now();
	pthread_join(thread, NULL);
	return (end - start) * 1e9 / HANDOVERS;
}

static void *yields(void *unused)
{
	for (int i = 0; i < HANDOVERS; i++)
		sched_yield();
	return unused;
}
static double yield_ns(void)
{
	pthread_t one, two;
	double start = now();

	pthread_create(&one, NULL, yields, NULL);
	pthread_create(&two, NULL, yields, NULL);
	pthread_join(one, NULL);
	pthread_join(two, NULL);
	return (now() - start) * 1e9 / (2.0 * HANDOVERS);
}

static void *nothing(void *argument) { return argument; }
static double birth_ns(void)
{
	double start = now();

	for (int i = 0; i < BIRTHS; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, nothing, NULL))
			exit(1);
		pthread_join(thread, NULL);
	}
	return (now() - start) * 1e9 / BIRTHS;
}

static int file;
static volatile int done;
static void *calls(void *argument)
{
	long count = 0, number = (intptr_t)argument;
	char line[16];

	while (!done) {
		if (pread(file, line, 16, number % 1000 * 16) != 16)
			exit(1);
		number += 37;
		count++;
	}
	return (void *)count;
}
static double calls_per_second(const char *path, int threads)
{
	pthread_t all[256];
	char line[16];
	long sum = 0;

	if ((file = open(path, O_RDONLY)) < 0 || pread(file, line, 16, 0) != 16)
		exit(1);
	double start = now();
	for (intptr_t i = 0; i < threads; i++)
		pthread_create(&all[i], NULL, calls, (void *)i);
	struct timespec span = {0, CALL_SECONDS * 1e9};
	nanosleep(&span, NULL);
	done = 1;
	double end = now();
	for (int i = 0; i < threads; i++) {
		void *count;

		pthread_join(all[i], &count);
		sum += (long)count;
	}
	return sum / (end - start);
}

static void on_one_processor(void)
{
	cpu_set_t set, one;

	sched_getaffinity(0, sizeof(set), &set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set)) {
			CPU_ZERO(&one);
			CPU_SET(i, &one);
			sched_setaffinity(0, sizeof(one), &one);
			return;
		}
}

enum form { USER, KERNEL_ONE, KERNEL };

/* What this program prints when it runs as `what` in another process. */
static double once(char **arguments, enum form form, const char *what, int threads)
{
	char preload[4096], text[64] = "", count[16];
	int ends[2], status;

	snprintf(preload, sizeof(preload), "%s %s %s", form == USER ? arguments[1] : "",
		 arguments[2], arguments[3]);
	snprintf(count, sizeof(count), "%d", threads);
	if (pipe(ends))
		exit(1);
	pid_t child = fork();
	if (!child) {
		dup2(ends[1], 1);
		if (form != KERNEL)
			on_one_processor();
		setenv("LD_PRELOAD", preload, 1);
		setenv("VOS_MN_THREADS", "1", 1);
		execl("/proc/self/exe", "bench", what, arguments[4], count, NULL);
		_exit(1);
	}
	close(ends[1]);
	ssize_t length = read(ends[0], text, sizeof(text) - 1);
	close(ends[0]);
	if (waitpid(child, &status, 0) != child || status || length <= 0) {
		fprintf(stderr, "bench: %s ended with %#x\n", what, status);
		exit(1);
	}
	return atof(text);
}

/* The best of some rounds: the machine may do other things too. */
static double run(char **arguments, enum form form, const char *what, int threads)
{
	double best = 0;

	for (int i = 0; i < ROUNDS; i++) {
		double now = once(arguments, form, what, threads);

		if (!i || (threads ? now > best : now < best))
			best = now;
	}
	return best;
}

static int child(char **arguments)
{
	const char *what = arguments[1];
	double value = !strcmp(what, "handover") ? handover_ns() :
		       !strcmp(what, "yield")	 ? yield_ns() :
		       !strcmp(what, "birth")	 ? birth_ns() :
						   calls_per_second(arguments[2], atoi(arguments[3]));

	printf("%.1f\n", value);
	return 0;
}

int main(int count, char **arguments)
{
	static const char *const names[] = {"yield", "handover", "birth"};

	if (count == 4)
		return child(arguments);
	if (count != 5)
		return 2;
	printf("{");
	for (int i = 0; i < 3; i++)
		printf("\"%s_ns\":{\"user\":%.1f,\"kernel_one_processor\":%.1f,\"kernel\":%.1f},",
		       names[i], run(arguments, USER, names[i], 0),
		       run(arguments, KERNEL_ONE, names[i], 0), run(arguments, KERNEL, names[i], 0));
	printf("\"calls_per_second\":[");
	for (int threads = 1; threads <= 16; threads *= 2)
		printf("%s{\"threads\":%d,\"user\":%.0f,\"kernel_one_processor\":%.0f,\"kernel\":%.0f}",
		       threads > 1 ? "," : "", threads, run(arguments, USER, "calls", threads),
		       run(arguments, KERNEL_ONE, "calls", threads),
		       run(arguments, KERNEL, "calls", threads));
	printf("]}\n");
	return 0;
}
