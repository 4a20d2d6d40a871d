/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A statically linked program: nothing of it can be preloaded. static FOLDER ADDRESS PORT
 *
 * Fetches a file by HTTP, writes it below FOLDER by several system calls, reads it back by others, also
 * from a child that inherited descriptors, and prints one line for each that agreed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void demand(int held, const char *what)
{
	if (held) {
		printf("%s\n", what);
		fflush(stdout);
		return;
	}
	fprintf(stderr, "static: %s: %s\n", what, strerror(errno));
	exit(1);
}

static size_t fetch(const char *address, int port, char **body)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	static const char request[] = "GET /random HTTP/1.0\r\n\r\n";
	size_t length = 0, room = 32 << 20;
	char *text = malloc(room);
	int connection = socket(AF_INET, SOCK_STREAM, 0);
	ssize_t got;

	inet_pton(AF_INET, address, &to.sin_addr);
	demand(!connect(connection, (struct sockaddr *)&to, sizeof(to)), "connect");
	demand(write(connection, request, sizeof(request) - 1) == sizeof(request) - 1, "request");
	while ((got = read(connection, text + length, room - length)) > 0)
		length += got;
	demand(got == 0 && length > 0, "answer");
	close(connection);
	*body = memmem(text, length, "\r\n\r\n", 4);
	demand(*body != NULL, "end of the head");
	*body += 4;
	return length - (*body - text);
}

static int same(const char *path, const char *data, size_t length)
{
	int file = open(path, O_RDONLY);
	struct stat status;
	char *map;
	int result;

	if (file < 0 || fstat(file, &status) || (size_t)status.st_size != length)
		return 0;
	map = mmap(NULL, length, PROT_READ, MAP_PRIVATE, file, 0);
	result = map != MAP_FAILED && !memcmp(map, data, length);
	munmap(map, length);
	close(file);
	return result;
}

static void files(const char *data, size_t length)
{
	struct iovec parts[2] = { { (void *)data, length / 2 },
				  { (void *)(data + length / 2), length - length / 2 } };
	int file = open("whole", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *map;

	demand(file >= 0 && writev(file, parts, 2) == (ssize_t)length, "writev");
	demand(!fsync(file), "fsync");
	demand(same("whole", data, length), "the file as mapped");
	demand(!ftruncate(file, 0) && !fallocate(file, 0, 0, length), "fallocate");
	map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	demand(map != MAP_FAILED, "shared mapping");
	memcpy(map, data, length);
	demand(!msync(map, length, MS_SYNC) && !munmap(map, length), "msync");
	demand(same("whole", data, length), "the file as written by a mapping");
	demand(!renameat2(AT_FDCWD, "whole", AT_FDCWD, "renamed", RENAME_NOREPLACE), "renameat2");
	demand(!unlink("renamed") && pread(file, (char[1]){ 0 }, 1, 0) == 1, "a file without a name");
	close(file);
}

static void child(const char *data, size_t length)
{
	int file = open("inherited", O_RDWR | O_CREAT | O_TRUNC, 0600), status = -1;
	pid_t process = fork();

	if (process == 0)
		_exit(write(file, data, length / 2) == (ssize_t)(length / 2) ? 7 : 1);
	demand(waitpid(process, &status, 0) == process && WEXITSTATUS(status) == 7, "child");
	demand(lseek(file, 0, SEEK_CUR) == (off_t)(length / 2), "the offset that the child moved");
	demand(write(file, data + length / 2, length - length / 2) > 0, "parent's half");
	close(file);
	demand(same("inherited", data, length), "the file of both");
	unlink("inherited");
}

static void loopback(void)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(own);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN };
	char text[6] = "";
	int accepted, client;

	demand(!bind(listener, (struct sockaddr *)&own, size) && !listen(listener, 4), "listen");
	demand(!getsockname(listener, (struct sockaddr *)&own, &size) && own.sin_port, "getsockname");
	demand(!epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event), "epoll_ctl");
	demand(epoll_wait(epoll, &event, 1, 0) == 0, "nobody has come");
	client = socket(AF_INET, SOCK_STREAM, 0);
	demand(!connect(client, (struct sockaddr *)&own, size), "connect by loopback");
	demand(epoll_wait(epoll, &event, 1, 5000) == 1, "somebody has come");
	accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	demand(accepted >= 0 && send(client, "hello", 5, MSG_NOSIGNAL) == 5, "accept, send");
	demand(recv(accepted, text, 5, MSG_WAITALL) == 5 && !strcmp(text, "hello"), "receive");
	close(accepted);
	close(client);
	close(listener);
}

int main(int count, char **words)
{
	char *data = NULL;
	size_t length;

	if (count != 4 || chdir(words[1]))
		return 2;
	length = fetch(words[2], atoi(words[3]), &data);
	files(data, length);
	child(data, length);
	loopback();
	FILE *copy = fopen("fetched-by-c", "w");
	demand(copy && fwrite(data, 1, length, copy) == length && !fclose(copy), "stdio");
	return 0;
}
