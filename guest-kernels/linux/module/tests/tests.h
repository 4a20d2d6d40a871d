/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vos: named checks of sockets. The program runs twice in a client domain: in a
 * network namespace of its own, where sockets are Linux's (the reference), and in
 * the first one, where they are remote. What holds for one must hold for both.
 */
#ifndef VOS_TESTS_H
#define VOS_TESTS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* Sockets are remote: what only vos has, or refuses, is checked too. */
extern bool remote;

/* One check; a failure says the errno and what the format says. */
#define CHECK(condition, ...) \
	check_result(!!(condition), __func__, #condition, __LINE__, "" __VA_ARGS__)
void check_result(bool good, const char *function, const char *text, int line,
		  const char *format, ...) __attribute__((format(printf, 5, 6)));

/* A value that must be the same on local and on remote sockets; run compares them. */
void same(const char *name, long value);
/* The same of a call: its result, or minus its errno. */
#define SAME(name, call) same(name, outcome(call))
long outcome(long result);

double now(void); /* seconds */
/* What ends by itself ends before this; on a busy machine much is late. In seconds. */
#define SOON 15
void nap(int milliseconds);
struct sockaddr_in at(int port); /* 127.0.0.1 */
struct sockaddr_in6 at6(int port); /* ::1 */
int listener(int port);
int dial(int port); /* a connected socket, or -1 */
void stream_pair(int port, int pair[2]);
int datagram(int port);
pthread_t late(int s); /* writes 4 bytes after a while */
int watch(int s, unsigned int events); /* an epoll set of its own */
unsigned int told(int set, int milliseconds); /* its event; 0: none in time */
int send_descriptor(int to, int s); /* by SCM_RIGHTS */
int receive_descriptor(int from);
int wait_for(pid_t child); /* its status; -1: had to be killed after 20 s */

#define ADDRESS(a) ((struct sockaddr *)&(a)), sizeof(a)
int set_option(int s, int level, int name, int value);
int get_option(int s, int level, int name); /* minus an errno if it fails */

void streams(void);
void streams6(void);
void closing(void);
void bulk(void);
void datagrams(void);
void messages(void);
void multicast(void);
void raw(void);
void options(void);
void controls(void);
void waiting(void);
void herds(void);
void edges(void);
void hints(void);
void idle(void);
void signals(void);
void processes(void);
void crowd(void);
void rights(void);
void netlink(void);
void packets(void);
void slices(void);
void watches(void);
void secrets(void);
void freed(void);
void namespaces(void);
void death(void);

#endif /* VOS_TESTS_H */
