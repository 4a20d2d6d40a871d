/* SPDX-License-Identifier: Apache-2.0
 *
 * calls FILE THREADS ROUNDS: every thread reads its own places of a file of 16-byte
 * lines that hold their number. Prints what was read, and how long it took on
 * standard error.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int file, rounds;
static long lines;
static volatile int done;
static long computed;

static void *reads(void *argument)
{
	long number = (intptr_t)argument, sum = 0;
	char line[17] = "";

	for (int i = 0; i < rounds; i++, number += 37) {
		if (pread(file, line, 16, number % lines * 16) != 16 ||
		    atol(line) != number % lines) {
			printf("wrong at %ld: %s\n", number, line);
			exit(1);
		}
		sum += atol(line);
	}
	return (void *)sum;
}

/* What runs while the others' calls are under way. */
static void *computes(void *unused)
{
	while (!done) {
		for (int i = 0; i < 1000; i++)
			__asm__ volatile("");
		__atomic_fetch_add(&computed, 1, __ATOMIC_RELAXED);
		sched_yield();
	}
	return unused;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
	int threads = count > 3 ? atoi(arguments[2]) : 0;
	pthread_t *all = calloc(threads + 1, sizeof(*all)), other;
	struct stat status;
	long sum = 0;

	if (!threads || (file = open(arguments[1], O_RDONLY)) < 0 || fstat(file, &status))
		return 2;
	rounds = atoi(arguments[3]);
	lines = status.st_size / 16;
	reads((void *)0); /* the first call finds the channel */
	pthread_create(&other, NULL, computes, NULL);
	double start = now();
	for (intptr_t i = 0; i < threads; i++)
		pthread_create(&all[i], NULL, reads, (void *)i);
	for (int i = 0; i < threads; i++) {
		void *part;

		pthread_join(all[i], &part);
		sum += (long)part;
	}
	double end = now();
	done = 1;
	pthread_join(other, NULL);
	printf("%d threads, sum %ld, computed meanwhile %d\n", threads, sum, computed > 0);
	fprintf(stderr, "%.1f ms, computed %ld\n", (end - start) * 1e3, computed);
}
