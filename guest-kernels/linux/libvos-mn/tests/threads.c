/* SPDX-License-Identifier: Apache-2.0
 *
 * threads NAME: one program about POSIX threads; with kernel threads and with
 * libvos-mn it must print the same.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(what)                                                                      \
	do {                                                                             \
		if (!(what)) {                                                           \
			printf("%s:%d: not so: %s (errno %d)\n", __func__, __LINE__, #what, errno); \
			exit(1);                                                         \
		}                                                                        \
	} while (0)

typedef void *(*routine)(void *);
static pthread_t run(routine f, void *argument)
{
	pthread_t thread;
	int result = pthread_create(&thread, NULL, f, argument);

	CHECK(result == 0);
	return thread;
}
static void *end(pthread_t thread)
{
	void *value = NULL;

	CHECK(pthread_join(thread, &value) == 0);
	return value;
}
static struct timespec in_ms(clockid_t clock, long ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	if (t.tv_nsec >= 1000000000)
		t.tv_sec++, t.tv_nsec -= 1000000000;
	return t;
}

/* Thousands at once; each has its own errno and thread-local storage. */
static __thread int mine = 7;
static __thread char large[3000];
static pthread_barrier_t all_there;
static void *own_storage(void *argument)
{
	CHECK(mine == 7 && large[0] == 0 && large[2999] == 0 && errno == 0);
	mine = (int)(intptr_t)argument;
	errno = mine;
	memset(large, mine & 127, sizeof(large));
	pthread_barrier_wait(&all_there);
	CHECK(mine == (int)(intptr_t)argument && errno == mine && large[1500] == (mine & 127));
	CHECK(pthread_equal(pthread_self(), pthread_self()));
	return (void *)((intptr_t)argument * 2);
}
static void storage(void)
{
	enum { N = 3000 };
	static pthread_t threads[N];

	pthread_barrier_init(&all_there, NULL, N);
	for (intptr_t round = 0; round < 2; round++) {
		for (intptr_t i = 0; i < N; i++)
			threads[i] = run(own_storage, (void *)(i + 1));
		for (intptr_t i = 0; i < N; i++)
			CHECK(end(threads[i]) == (void *)((i + 1) * 2));
	}
	printf("storage of %d threads, twice\n", N);
}

/* Mutexes of each kind under contention. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, recursive, checking;
static long counters[4];
static void *count(void *unused)
{
	for (int i = 0; i < 20000; i++) {
		pthread_mutex_lock(&mutex);
		long seen = counters[0];
		if (i % 64 == 0)
			sched_yield();
		counters[0] = seen + 1;
		pthread_mutex_unlock(&mutex);
		pthread_mutex_lock(&recursive);
		pthread_mutex_lock(&recursive);
		counters[1]++;
		pthread_mutex_unlock(&recursive);
		CHECK(pthread_mutex_trylock(&recursive) == 0);
		pthread_mutex_unlock(&recursive);
		pthread_mutex_unlock(&recursive);
		CHECK(pthread_mutex_lock(&checking) == 0);
		CHECK(pthread_mutex_lock(&checking) == EDEADLK);
		counters[2]++;
		CHECK(pthread_mutex_unlock(&checking) == 0);
	}
	return unused;
}
static void *try_mutex(void *unused)
{
	struct timespec soon = in_ms(CLOCK_REALTIME, 30);

	CHECK(pthread_mutex_trylock(&mutex) == EBUSY);
	CHECK(pthread_mutex_unlock(&checking) == EPERM);
	CHECK(pthread_mutex_timedlock(&mutex, &soon) == ETIMEDOUT);
	return unused;
}
static void mutexes(void)
{
	pthread_mutexattr_t kind;
	pthread_t threads[12];

	pthread_mutexattr_init(&kind);
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&recursive, &kind);
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&checking, &kind);
	for (int i = 0; i < 12; i++)
		threads[i] = run(count, NULL);
	for (int i = 0; i < 12; i++)
		end(threads[i]);
	pthread_mutex_lock(&mutex);
	pthread_mutex_lock(&checking);
	end(run(try_mutex, NULL));
	pthread_mutex_unlock(&mutex);
	pthread_mutex_unlock(&checking);
	CHECK(pthread_mutex_destroy(&mutex) == 0);
	printf("mutexes %ld %ld %ld\n", counters[0], counters[1], counters[2]);
}

/* A bounded queue between producers and consumers; time limits; broadcast. */
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER, not_empty = PTHREAD_COND_INITIALIZER;
static int queue[8], queued;
static void *produce(void *argument)
{
	for (int i = 1; i <= 5000; i++) {
		pthread_mutex_lock(&queue_lock);
		while (queued == 8)
			pthread_cond_wait(&not_full, &queue_lock);
		queue[queued++] = i;
		pthread_cond_signal(&not_empty);
		pthread_mutex_unlock(&queue_lock);
	}
	return argument;
}
static void *consume(void *unused)
{
	long sum = 0;

	for (int i = 0; i < 5000; i++) {
		pthread_mutex_lock(&queue_lock);
		while (queued == 0)
			pthread_cond_wait(&not_empty, &queue_lock);
		sum += queue[--queued];
		pthread_cond_signal(&not_full);
		pthread_mutex_unlock(&queue_lock);
	}
	return (void *)sum;
}
static int go;
static void *wait_for_go(void *argument)
{
	pthread_mutex_lock(&queue_lock);
	while (!go)
		pthread_cond_wait(&not_empty, &queue_lock);
	pthread_mutex_unlock(&queue_lock);
	return argument;
}
static void conditions(void)
{
	pthread_t threads[400];
	pthread_condattr_t attribute;
	pthread_cond_t monotonic;
	long sum = 0;

	for (int i = 0; i < 8; i++)
		threads[i] = run(i % 2 ? consume : produce, NULL);
	for (int i = 0; i < 8; i++)
		sum += (long)end(threads[i]);
	for (int i = 0; i < 400; i++)
		threads[i] = run(wait_for_go, NULL);
	usleep(20000);
	pthread_mutex_lock(&queue_lock);
	go = 1;
	pthread_cond_broadcast(&not_empty);
	pthread_mutex_unlock(&queue_lock);
	for (int i = 0; i < 400; i++)
		end(threads[i]);
	pthread_mutex_lock(&queue_lock);
	struct timespec soon = in_ms(CLOCK_REALTIME, 40), before = in_ms(CLOCK_MONOTONIC, 39);
	CHECK(pthread_cond_timedwait(&not_full, &queue_lock, &soon) == ETIMEDOUT);
	struct timespec after = in_ms(CLOCK_MONOTONIC, 0);
	CHECK(after.tv_sec > before.tv_sec ||
	      (after.tv_sec == before.tv_sec && after.tv_nsec >= before.tv_nsec));
	CHECK(pthread_cond_timedwait(&not_full, &queue_lock, &soon) == ETIMEDOUT);
	soon.tv_nsec = 1000000000;
	CHECK(pthread_cond_timedwait(&not_full, &queue_lock, &soon) == EINVAL);
	pthread_condattr_init(&attribute);
	pthread_condattr_setclock(&attribute, CLOCK_MONOTONIC);
	pthread_cond_init(&monotonic, &attribute);
	soon = in_ms(CLOCK_MONOTONIC, 20);
	CHECK(pthread_cond_timedwait(&monotonic, &queue_lock, &soon) == ETIMEDOUT);
	pthread_mutex_unlock(&queue_lock);
	CHECK(pthread_cond_destroy(&monotonic) == 0 && pthread_cond_destroy(&not_empty) == 0);
	printf("conditions %ld\n", sum);
}

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static sem_t sem_a, sem_b;
static long shared_pair[2], reads;
static void *read_pair(void *unused)
{
	for (int i = 0; i < 5000; i++) {
		pthread_rwlock_rdlock(&rw);
		CHECK(shared_pair[0] == shared_pair[1]);
		if (i % 100 == 0)
			sched_yield();
		__atomic_fetch_add(&reads, 1, __ATOMIC_RELAXED);
		pthread_rwlock_unlock(&rw);
	}
	return unused;
}
static void *write_pair(void *unused)
{
	for (int i = 0; i < 2000; i++) {
		pthread_rwlock_wrlock(&rw);
		shared_pair[0]++;
		if (i % 100 == 0)
			sched_yield();
		shared_pair[1]++;
		pthread_rwlock_unlock(&rw);
	}
	return unused;
}
static void *pong(void *unused)
{
	for (int i = 0; i < 20000; i++) {
		sem_wait(&sem_a);
		sem_post(&sem_b);
	}
	return unused;
}
static void *serial(void *total)
{
	if (pthread_barrier_wait(&all_there) == PTHREAD_BARRIER_SERIAL_THREAD)
		__atomic_fetch_add((int *)total, 1, __ATOMIC_RELAXED);
	if (pthread_barrier_wait(&all_there) == PTHREAD_BARRIER_SERIAL_THREAD)
		__atomic_fetch_add((int *)total, 1, __ATOMIC_RELAXED);
	return NULL;
}
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int initialised;
static void initialise(void)
{
	usleep(10000);
	initialised++;
}
static void *use_once(void *unused)
{
	pthread_once(&once, initialise);
	CHECK(initialised == 1);
	return unused;
}
static void others(void)
{
	pthread_t threads[50];
	int serials = 0, value;

	for (int i = 0; i < 10; i++)
		threads[i] = run(i < 7 ? read_pair : write_pair, NULL);
	for (int i = 0; i < 10; i++)
		end(threads[i]);
	pthread_rwlock_wrlock(&rw);
	CHECK(pthread_rwlock_rdlock(&rw) == EDEADLK && pthread_rwlock_tryrdlock(&rw) == EBUSY);
	pthread_rwlock_unlock(&rw);
	sem_init(&sem_a, 0, 0);
	sem_init(&sem_b, 0, 0);
	pthread_t other = run(pong, NULL);
	for (int i = 0; i < 20000; i++) {
		sem_post(&sem_a);
		sem_wait(&sem_b);
	}
	end(other);
	struct timespec soon = in_ms(CLOCK_REALTIME, 20);
	CHECK(sem_timedwait(&sem_a, &soon) == -1 && errno == ETIMEDOUT);
	CHECK(sem_trywait(&sem_a) == -1 && errno == EAGAIN);
	sem_post(&sem_a);
	CHECK(sem_getvalue(&sem_a, &value) == 0 && value == 1 && sem_trywait(&sem_a) == 0);
	pthread_barrier_init(&all_there, NULL, 50);
	for (int i = 0; i < 50; i++)
		threads[i] = run(serial, &serials);
	for (int i = 0; i < 50; i++)
		end(threads[i]);
	for (int i = 0; i < 20; i++)
		threads[i] = run(use_once, NULL);
	for (int i = 0; i < 20; i++)
		end(threads[i]);
	printf("others %ld %ld %d %d\n", reads, shared_pair[1], serials, initialised);
}

/* Ends: destructors, cleanup handlers, pthread_exit, cancellation, detach. */
static pthread_key_t keys[3];
static atomic_int destroyed, cleaned, detached_done;
static void destroy(void *value)
{
	destroyed += (int)(intptr_t)value;
	if ((intptr_t)value > 100) /* once more */
		pthread_setspecific(keys[2], (void *)((intptr_t)value - 100));
}
static void clean(void *value) { cleaned += (int)(intptr_t)value; }
static void deep_exit(int depth)
{
	pthread_cleanup_push(clean, (void *)1);
	if (depth)
		deep_exit(depth - 1);
	else
		pthread_exit((void *)77);
	pthread_cleanup_pop(0);
}
static void *exits(void *unused)
{
	pthread_setspecific(keys[0], (void *)1);
	pthread_setspecific(keys[2], (void *)201);
	CHECK(pthread_getspecific(keys[1]) == NULL);
	deep_exit(9);
	return unused;
}
static void *waits_for_ever(void *how)
{
	pthread_cleanup_push(clean, (void *)1000);
	switch ((intptr_t)how) {
	case 0:
		for (;;)
			sleep(1000);
	case 1:
		sem_wait(&sem_a);
	case 2:
		pthread_mutex_lock(&queue_lock);
		pthread_cleanup_push((void (*)(void *))pthread_mutex_unlock, &queue_lock);
		for (;;)
			pthread_cond_wait(&not_full, &queue_lock);
		pthread_cleanup_pop(1);
	case 3:
		for (;;) {
			pthread_testcancel();
			sched_yield();
		}
	case 4: {
		int state;

		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
		usleep(50000);
		atomic_fetch_add(&cleaned, 10000);
		pthread_setcancelstate(state, NULL);
		pthread_testcancel();
	}
	}
	pthread_cleanup_pop(0);
	return NULL;
}
static void *detached_thread(void *unused)
{
	usleep(1000);
	detached_done++;
	return unused;
}
static void *joins_late(void *thread) { return end((pthread_t)thread); }
static void ends(void)
{
	pthread_attr_t attribute;
	pthread_t thread;

	for (int i = 0; i < 3; i++)
		pthread_key_create(&keys[i], destroy);
	sem_init(&sem_a, 0, 0);
	for (int i = 0; i < 50; i++)
		CHECK(end(run(exits, NULL)) == (void *)77);
	CHECK(destroyed == 50 * (1 + 201 + 101 + 1) && cleaned == 500);
	for (intptr_t how = 0; how < 5; how++) {
		thread = run(waits_for_ever, (void *)how);
		usleep(10000);
		CHECK(pthread_cancel(thread) == 0);
		CHECK(end(thread) == PTHREAD_CANCELED);
	}
	CHECK(pthread_mutex_trylock(&queue_lock) == 0);
	pthread_attr_init(&attribute);
	pthread_attr_setdetachstate(&attribute, PTHREAD_CREATE_DETACHED);
	for (int i = 0; i < 200; i++)
		CHECK(pthread_create(&thread, &attribute, detached_thread, NULL) == 0);
	for (int i = 0; i < 200; i++)
		CHECK(pthread_detach(run(detached_thread, NULL)) == 0);
	while (detached_done < 400)
		usleep(1000);
	thread = run(detached_thread, NULL);
	struct timespec soon = in_ms(CLOCK_REALTIME, 1000);
	CHECK(pthread_timedjoin_np(thread, NULL, &soon) == 0);
	CHECK(pthread_join(pthread_self(), NULL) == EDEADLK);
	CHECK(end(run(joins_late, (void *)run(detached_thread, NULL))) == NULL);
	printf("ends %d %d %d\n", destroyed, cleaned, detached_done);
}

/* stdio from many threads: every line whole; a lock held over a switch. */
static FILE *out;
static void *print_lines(void *argument)
{
	for (int i = 0; i < 200; i++) {
		fprintf(out, "thread %03d line %03d of a file that all write\n",
			(int)(intptr_t)argument, i);
		if (i % 50 == 0) {
			flockfile(out);
			fputs("one ", out);
			usleep(100);
			fputs("line of two halves, not cut in between by any\n", out);
			funlockfile(out);
		}
	}
	return NULL;
}
static void stdio_lines(void)
{
	pthread_t threads[40];
	char line[100];
	int lines = 0;

	out = tmpfile();
	setvbuf(out, NULL, _IOFBF, 300);
	for (intptr_t i = 0; i < 40; i++)
		threads[i] = run(print_lines, (void *)i);
	for (int i = 0; i < 40; i++)
		end(threads[i]);
	rewind(out);
	while (fgets(line, sizeof(line), out)) {
		CHECK(strlen(line) == 50 || strlen(line) == 45);
		lines++;
	}
	printf("stdio %d lines\n", lines);
}

/* Sockets and pipes between threads: who waits does not keep the others. */
static int pipes[200][2], sockets[200][2];
static void *echo(void *argument)
{
	intptr_t i = (intptr_t)argument;
	char text[64];

	for (int round = 0; round < 20; round++) {
		ssize_t got = round % 2 ? read(sockets[i][1], text, sizeof(text)) :
					  recv(sockets[i][1], text, sizeof(text), 0);
		CHECK(got > 0);
		CHECK(write(pipes[i][1], text, got) == got);
	}
	return NULL;
}
static void *ask(void *argument)
{
	intptr_t i = (intptr_t)argument;
	char text[64], answer[64];

	for (int round = 0; round < 20; round++) {
		int length = snprintf(text, sizeof(text), "%d question %d", (int)i, round);

		CHECK(send(sockets[i][0], text, length, 0) == length);
		CHECK(read(pipes[i][0], answer, sizeof(answer)) == length);
		CHECK(!memcmp(text, answer, length));
	}
	return NULL;
}
static void descriptors(void)
{
	static pthread_t threads[400];

	for (intptr_t i = 0; i < 200; i++) {
		CHECK(pipe(pipes[i]) == 0);
		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets[i]) == 0);
		threads[2 * i] = run(echo, (void *)i);
	}
	for (intptr_t i = 0; i < 200; i++)
		threads[2 * i + 1] = run(ask, (void *)i);
	for (int i = 0; i < 400; i++)
		end(threads[i]);
	printf("descriptors\n");
}

/* What sleeps in the kernel, or computes, does not keep the others. */
static atomic_int released;
static void *spins(void *unused)
{
	while (!released)
		;
	return unused;
}
static void *blocks(void *argument)
{
	char byte;

	return (void *)(intptr_t)read(((int *)argument)[0], &byte, 1);
}
static void *releases(void *argument)
{
	usleep(5000);
	CHECK(write(((int *)argument)[1], "x", 1) == 1);
	released = 1;
	return NULL;
}
static void stuck(void)
{
	pthread_t threads[6];
	int ends[2];

	CHECK(pipe(ends) == 0);
	for (int i = 0; i < 4; i++)
		threads[i] = run(spins, NULL);
	threads[4] = run(blocks, ends);
	threads[5] = run(releases, ends);
	for (int i = 0; i < 6; i++)
		end(threads[i]);
	printf("stuck\n");
}

/* Signals: a handler posts a semaphore; masks are each thread's own. */
static atomic_int handled;
static void handle(int number)
{
	handled++;
	sem_post(&sem_a);
	(void)number;
}
static void *waits_for_signals(void *unused)
{
	for (int i = 0; i < 50; i++)
		sem_wait(&sem_a);
	return unused;
}
static void *has_mask(void *argument)
{
	sigset_t set, now;
	int number = (int)(intptr_t)argument % 8 + 34;

	sigemptyset(&set);
	sigaddset(&set, number);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 100; i++) {
		sched_yield();
		pthread_sigmask(SIG_BLOCK, NULL, &now);
		for (int other = 34; other < 42; other++)
			CHECK(sigismember(&now, other) == (other == number));
	}
	return NULL;
}
static void *sigwaits(void *set)
{
	int number = 0;

	CHECK(sigwait(set, &number) == 0);
	return (void *)(intptr_t)number;
}
static void signals(void)
{
	struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART}, old;
	pthread_t threads[40], waiter;
	sigset_t set;

	sem_init(&sem_a, 0, 0);
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	CHECK(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == handle);
	CHECK(signal(SIGUSR2, SIG_IGN) == SIG_DFL && signal(SIGUSR2, SIG_DFL) == SIG_IGN);
	waiter = run(waits_for_signals, NULL);
	for (int i = 0; i < 50; i++) {
		kill(getpid(), SIGUSR1);
		while (handled <= i)
			usleep(100);
	}
	end(waiter);
	for (intptr_t i = 0; i < 40; i++)
		threads[i] = run(has_mask, (void *)i);
	for (int i = 0; i < 40; i++)
		end(threads[i]);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	waiter = run(sigwaits, &set);
	usleep(20000);
	kill(getpid(), SIGTERM);
	CHECK(end(waiter) == (void *)SIGTERM);
	printf("signals %d\n", handled);
}

/* fork from a thread: the child has that thread, and makes threads of its own. */
static void *forks(void *unused)
{
	for (int i = 0; i < 3; i++) {
		int status;
		pid_t child = fork();

		CHECK(child >= 0);
		if (!child) {
			pthread_t threads[50];

			mine = 9;
			pthread_barrier_init(&all_there, NULL, 50);
			for (intptr_t t = 0; t < 50; t++)
				threads[t] = run(own_storage, (void *)(t + 1));
			for (int t = 0; t < 50; t++)
				end(threads[t]);
			usleep(2000);
			_exit(mine);
		}
		CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
		CHECK(WEXITSTATUS(status) == 9);
	}
	return unused;
}
static void *computes(void *unused)
{
	while (!released)
		sched_yield();
	return unused;
}
static void forking(void)
{
	pthread_t busy[2], threads[4];

	for (int i = 0; i < 2; i++)
		busy[i] = run(computes, NULL);
	for (int i = 0; i < 4; i++)
		threads[i] = run(forks, NULL);
	for (int i = 0; i < 4; i++)
		end(threads[i]);
	released = 1;
	for (int i = 0; i < 2; i++)
		end(busy[i]);
	printf("forking\n");
}

/* The first thread ends before the others: the process lives on. */
static void *outlives(void *first)
{
	CHECK(pthread_join((pthread_t)first, NULL) == 0);
	printf("outlived, cleaned %d\n", cleaned);
	fflush(stdout);
	return NULL;
}
static void first_ends(void)
{
	run(outlives, (void *)pthread_self());
	deep_exit(3);
}

/* What a thread is told of itself. */
static void *looks_at_itself(void *unused)
{
	pthread_attr_t attribute;
	void *stack;
	size_t bytes;
	char name[16], local;

	CHECK(pthread_getattr_np(pthread_self(), &attribute) == 0);
	CHECK(pthread_attr_getstack(&attribute, &stack, &bytes) == 0);
	CHECK((char *)stack <= &local && &local < (char *)stack + bytes);
	CHECK(pthread_setname_np(pthread_self(), "somebody") == 0);
	sched_yield();
	CHECK(pthread_getname_np(pthread_self(), name, 16) == 0 && !strcmp(name, "somebody"));
	CHECK(pthread_kill(pthread_self(), 0) == 0);
	CHECK(sched_getcpu() >= 0);
	CHECK(raise(SIGUSR1) == 0 && handled == 1);
	memset(alloca(bytes / 2), 1, bytes / 2);
	return unused;
}
static char own_stack[1 << 18] __attribute__((aligned(4096)));
static void itself(void)
{
	pthread_attr_t attribute;
	pthread_t thread;

	sem_init(&sem_a, 0, 0);
	signal(SIGUSR1, handle);
	end(run(looks_at_itself, NULL));
	handled = 0;
	pthread_attr_init(&attribute);
	pthread_attr_setstack(&attribute, own_stack, sizeof(own_stack));
	CHECK(pthread_create(&thread, &attribute, looks_at_itself, NULL) == 0);
	end(thread);
	handled = 0;
	pthread_attr_init(&attribute);
	pthread_attr_setstacksize(&attribute, 1 << 17);
	for (int i = 0; i < 100; i++, handled = 0) {
		CHECK(pthread_create(&thread, &attribute, looks_at_itself, NULL) == 0);
		end(thread);
	}
	printf("itself\n");
}

static void *nothing_at_all(void *unused) { return unused; }

/* A library loaded while threads run has its storage in each of them. */
static int (*late_value)(void);
static void *uses_late(void *unused)
{
	pthread_barrier_wait(&all_there);
	pthread_barrier_wait(&all_there);
	CHECK(late_value() == 57 && late_value() == 58);
	return unused;
}
static void late(void)
{
	pthread_t threads[100];
	char path[4096] = "";

	CHECK(readlink("/proc/self/exe", path, sizeof(path) - 8) > 0);
	strcpy(strrchr(path, '/'), "/late.so");
	pthread_barrier_init(&all_there, NULL, 101);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 100; i++)
			threads[i] = run(uses_late, NULL);
		pthread_barrier_wait(&all_there);
		void *library = dlopen(path, RTLD_NOW);
		CHECK(library != NULL);
		late_value = (int (*)(void))dlsym(library, "late_value");
		pthread_barrier_wait(&all_there);
		for (int i = 0; i < 100; i++)
			end(threads[i]);
	}
	printf("late\n");
}

/* Only with libvos-mn: what it refuses, and with which errno. */
static void *is_refused(void *first)
{
	struct sched_param priority = {.sched_priority = 1};
	pthread_mutexattr_t mutex_kind;
	pthread_mutex_t robust;
	pthread_attr_t attribute;
	pthread_t thread = (pthread_t)first;
	cpu_set_t set;
	clockid_t clock;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	pthread_mutexattr_init(&mutex_kind);
	printf("kill %d", pthread_kill(thread, SIGUSR1));
	printf(" affinity %d", pthread_setaffinity_np(thread, sizeof(set), &set));
	printf(" policy %d", pthread_setschedparam(thread, SCHED_FIFO, &priority));
	printf(" clock %d", pthread_getcpuclockid(thread, &clock));
	printf(" robust %d", pthread_mutexattr_setrobust(&mutex_kind, PTHREAD_MUTEX_ROBUST));
	printf(" inherit %d", pthread_mutexattr_setprotocol(&mutex_kind, PTHREAD_PRIO_INHERIT));
	pthread_mutexattr_setpshared(&mutex_kind, PTHREAD_PROCESS_SHARED);
	printf(" shared %d", pthread_mutex_init(&robust, &mutex_kind));
	pthread_mutexattr_settype(&mutex_kind, PTHREAD_MUTEX_RECURSIVE);
	printf(" shared recursive %d", pthread_mutex_init(&robust, &mutex_kind));
	pthread_attr_init(&attribute);
	pthread_attr_setinheritsched(&attribute, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attribute, SCHED_RR);
	printf(" create %d", pthread_create(&thread, &attribute, nothing_at_all, NULL));
	printf(" setuid %d", setuid(getuid()));
	printf(" %d\n", errno);
	return NULL;
}
static void refused(void) { end(run(is_refused, (void *)pthread_self())); }

static const struct {
	const char *name;
	void (*body)(void);
} programs[] = {
	{"storage", storage},	{"mutexes", mutexes},	  {"conditions", conditions},
	{"others", others},	{"ends", ends},		  {"stdio", stdio_lines},
	{"descriptors", descriptors}, {"stuck", stuck},   {"signals", signals},
	{"forking", forking},	{"first", first_ends},	  {"itself", itself},
	{"late", late},		{"refused", refused},
};

int main(int count, char **arguments)
{
	alarm(60);
	for (unsigned i = 0; i < sizeof(programs) / sizeof(*programs); i++)
		if (count == 1 || !strcmp(arguments[1], programs[i].name))
			programs[i].body();
	return 0;
}
