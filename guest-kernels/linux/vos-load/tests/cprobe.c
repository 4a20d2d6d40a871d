/* SPDX-License-Identifier: Apache-2.0
 *
 * A static C program: cprobe FOLDER prints what it sees. Under vos-load it must print the same.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char name[PATH_MAX];

static void ended(pid_t process, const char *what)
{
	int status = -1;

	waitpid(process, &status, 0);
	printf("%s ended %d\n", what, status);
}

static void streams(void)
{
	char line[100];
	FILE *file = fopen(name, "w+");

	for (int i = 0; i < 20000; i++)
		fprintf(file, "line %d\n", i);
	fseek(file, 100000, SEEK_SET);
	printf("line %s", fgets(line, sizeof(line), file));
	printf("stream at %ld, under it %ld\n", ftell(file), lseek(fileno(file), 0, SEEK_CUR));
	fclose(file);
}

/* Registers and memory that a system call leaves alone must be left alone: the red zone, too. */
static void registers(void)
{
	int file = open(name, O_RDONLY);
	char room[64];
	long kept = 0;

	for (int i = 0; i < 3; i++) {
		unsigned long got = 0, wide[4] = { 1, 2, 3, 4 }, after[4];
		register long r8 __asm__("r8") = 0x808, r9 __asm__("r9") = 0x909, r10 __asm__("r10") = 0xa0a;
		unsigned long di = file, si = (unsigned long)room, dx = sizeof(room);

		unsigned long below = 0;

		__asm__ volatile("movups (%7), %%xmm15; movups 16(%7), %%xmm0\n\t"
				 "movq $77, -8(%%rsp); movq $88, -64(%%rsp); movq $99, -128(%%rsp)\n\t"
				 "movl $0, %%eax\n\tsyscall\n\tmovups %%xmm15, (%8); movups %%xmm0, 16(%8)\n\t"
				 "addq -8(%%rsp), %6; addq -64(%%rsp), %6; addq -128(%%rsp), %6"
				 : "=&a"(got), "+D"(di), "+S"(si), "+d"(dx), "+r"(r8), "+r"(r9), "+r"(below)
				 : "r"(wide), "r"(after), "r"(r10)
				 : "rcx", "r11", "memory", "xmm0", "xmm15", "cc");
		kept += di == (unsigned long)file && si == (unsigned long)room && dx == sizeof(room) &&
			below == 77 + 88 + 99 && r8 == 0x808 && r9 == 0x909 && r10 == 0xa0a && !memcmp(wide, after, sizeof(wide));
		printf("got %lu %.6s\n", got, room);
	}
	printf("kept %ld\n", kept);
	close(file);
}

static void *reader(void *file)
{
	char room[512];
	long total = 0;

	for (ssize_t got; (got = read((int)(long)file, room, sizeof(room))) > 0;)
		total += got;
	return (void *)total;
}

static void threads(void)
{
	pthread_attr_t small;
	pthread_t all[8];
	long total = 0;
	int file = open(name, O_RDONLY);

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN + 8192);
	for (int i = 0; i < 8; i++)
		pthread_create(&all[i], &small, reader, (void *)(long)file);
	for (int i = 0; i < 8; i++) {
		void *one;

		pthread_join(all[i], &one);
		total += (long)one;
	}
	printf("threads read %ld at %ld\n", total, lseek(file, 0, SEEK_CUR));
	close(file);
}

static int run_child(void *file)
{
	_exit(write((int)(long)file, "clone", 5) == 5 ? 4 : 5);
}

static void children(void)
{
	static char stack[65536];
	char number[20];
	char *words[] = { "sh", "-c", "dd bs=5 count=2 status=none <&$F | od -An -c", NULL };
	posix_spawn_file_actions_t actions;
	pid_t process;
	int file = open(name, O_RDWR);

	snprintf(number, sizeof(number), "%d", file);
	setenv("F", number, 1);
	fflush(stdout);
	lseek(file, 14, SEEK_SET);
	if (!(process = fork())) {
		read(file, number, 7);
		_exit(3);
	}
	ended(process, "fork");
	printf("at %ld\n", lseek(file, 0, SEEK_CUR));
	fflush(stdout);
	read(file, number, 7);
	if (!(process = vfork())) {
		execv("/bin/sh", words);
		_exit(9);
	}
	ended(process, "vfork");
	read(file, number, 7);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, file, 0);
	words[2] = "head -c 7; exit 2";
	posix_spawn(&process, "/bin/sh", &actions, NULL, words, environ);
	ended(process, "spawn");
	printf("%s", "");
	fflush(stdout);
	ended(clone(run_child, stack + sizeof(stack), SIGCHLD, (void *)(long)file), "clone");
	printf("at %ld, system %d\n", lseek(file, 0, SEEK_CUR), system("exit 6"));
	read(file, number, 7);
	printf("read %.7s", number);
	close(file);
}

static volatile int signals;
static int stack_file;
static void handle(int number)
{
	char room[16];

	(void)number;
	if (stack_file)
		read(stack_file, room, sizeof(room));
	signals++;
}

/* EINTR and SA_RESTART of what waits in the kernel; handlers on a stack of their own. */
static void interruptions(void)
{
	static char other[65536];
	stack_t stack = { .ss_sp = other, .ss_size = sizeof(other) };
	struct sigaction action = { .sa_handler = handle, .sa_flags = SA_ONSTACK };
	int ends[2];
	char byte;
	pid_t process, parent = getpid();

	pipe(ends);
	sigaltstack(&stack, NULL);
	stack_file = open(name, O_RDONLY);
	for (int restart = 0; restart < 2; restart++) {
		action.sa_flags = SA_ONSTACK | (restart ? SA_RESTART : 0);
		sigaction(SIGUSR1, &action, NULL);
		fflush(stdout);
		if (!(process = fork())) {
			usleep(30000);
			kill(parent, SIGUSR1);
			usleep(30000);
			write(ends[1], "x", 1);
			_exit(0);
		}
		errno = 0;
		long got = read(ends[0], &byte, 1);

		printf("read %ld %d\n", got, got < 0 ? errno : 0);
		ended(process, "signaller");
		if (got < 0)
			read(ends[0], &byte, 1);
	}
	signal(SIGUSR1, SIG_DFL);
	struct pollfd one = { .fd = ends[0], .events = POLLIN };

	printf("poll %d, signals %d, offset %ld\n", poll(&one, 1, 1), signals,
	       lseek(stack_file, 0, SEEK_CUR));
	close(stack_file);
}

static void *endless(void *file)
{
	char byte;

	while (read((int)(long)file, &byte, 1) >= 0)
		;
	return NULL;
}

/* A thread that sleeps in a call is cancelled there. */
static void cancellation(void)
{
	int ends[2];
	pthread_t thread;
	void *result = NULL;

	pipe(ends);
	pthread_create(&thread, NULL, endless, (void *)(long)ends[0]);
	usleep(20000);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("cancelled %d\n", result == PTHREAD_CANCELED);
}

static void rules(void)
{
	char room[32];
	int file = open(name, O_RDWR), copy, flags;
	struct rlimit limit;

	read(file, room, 7);
	copy = dup(file);
	read(copy, room, 7);
	printf("copy at %ld %ld\n", lseek(file, 0, SEEK_CUR), lseek(copy, 0, SEEK_CUR));
	syscall(SYS_close, copy);
	copy = open(name, O_RDONLY);
	printf("again %zd at %ld\n", read(copy, room, 5), lseek(copy, 0, SEEK_CUR));
	close_range(copy, copy, 0);
	printf("closed %zd %d\n", read(copy, room, 5), errno);
	flags = fcntl(file, F_GETFL);
	lseek(file, 0, SEEK_SET);
	fcntl(file, F_SETFL, flags | O_APPEND);
	write(file, "end\n", 4);
	printf("appended at %ld\n", lseek(file, 0, SEEK_CUR));
	close(file);
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = 10;
	signal(SIGXFSZ, SIG_IGN);
	file = open(name, O_RDWR);
	setrlimit(RLIMIT_FSIZE, &limit);
	lseek(file, 4, SEEK_SET);
	printf("limited %zd\n", write(file, "1234567890", 10));
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	close(file);
}

int main(int count, char **words)
{
	if (count < 2)
		return 2;
	snprintf(name, sizeof(name), "%s/cprobe-file", words[1]);
	streams();
	registers();
	threads();
	children();
	interruptions();
	cancellation();
	rules();
	unlink(name);
	return 0;
}
