// SPDX-License-Identifier: Apache-2.0
/*
 * What a program sees of a file system, in many small named checks.
 *
 *   cc -O1 -static -o storage storage.c
 *   ./storage DIRECTORY [CHECK...]
 *
 * Prints a line for each check: its name, then what was observed (errnos, sizes, contents). It
 * knows no right answers: run it once on a local file system and once on /storage, and compare the
 * lines. docs/storage.md lists the lines that may differ, and why. Needs root, and a directory on a
 * file system of its own that others leave alone (one check fills it).
 *
 * Each check is a process of its own in a fresh directory, which is its working directory.
 */
#define _GNU_SOURCE 1
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <grp.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* ---- the frame ---- */

static struct {
	unsigned length;
	char text[16000];
} * result; /* shared with the children of a check */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	va_list list;
	unsigned room = sizeof(result->text) - result->length;

	va_start(list, format);
	int count = vsnprintf(result->text + result->length, room, format, list);
	va_end(list);
	if (count > 0)
		result->length += (unsigned)count < room ? (unsigned)count : room - 1;
}

/* Says what became of a call: its name, and "ok" or an errno. Its result is given on. */
#define TRY(call) said(#call, (long)(call))
static long said(const char *what, long value)
{
	int error = errno;
	int name = (int)strcspn(what, "( ");

	say(" %.*s=%s", name, what, value != -1 ? "ok" : strerrorname_np(error));
	return value;
}
/* Says a number by the name of what gave it. */
#define SAY(value) say(" %.*s=%lld", (int)strcspn(#value, "( ,"), #value, (long long)(value))
/* A step of the check's own that must succeed. */
#define MUST(call) must(#call, (long)(call), __LINE__)
static long must(const char *what, long value, int line)
{
	if (value == -1) {
		say(" [line %d: %s: %s]", line, what, strerrorname_np(errno));
		_exit(1);
	}
	return value;
}

/* CHILD { … } runs the block in a child and waits for it; a signal that ends it is said. */
#define CHILD for (int once_ = begin_child(); once_; _exit(0))
static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		say(" SIG%s", sigabbrev_np(WTERMSIG(status)));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
static int begin_child(void)
{
	pid_t pid = fork();

	if (pid != 0)
		wait_for(pid);
	return pid == 0;
}

/* Becomes somebody else for good. */
static void become(uid_t uid, gid_t gid, int group)
{
	gid_t groups[1] = { (gid_t)group };

	MUST(setgroups(group != 0, groups));
	MUST(setresgid(gid, gid, gid));
	MUST(setresuid(uid, uid, uid));
}

struct check {
	const char *name;
	void (*body)(void);
};
static struct check checks[200];
static int check_count;
static const char *top; /* the directory under test */
static const char *self_path;

#define CHECK(name)                                                         \
	static void name(void);                                             \
	__attribute__((constructor)) static void add_##name(void)           \
	{                                                                   \
		checks[check_count++] = (struct check){ #name, name };      \
	}                                                                   \
	static void name(void)

/* ---- helpers of checks ---- */

static int make(const char *path, const char *text)
{
	int fd = (int)MUST(open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

	MUST(write(fd, text, strlen(text)));
	return fd;
}
static void put(const char *path, const char *text)
{
	close(make(path, text));
}
static const char *get(const char *path)
{
	static char text[200];
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		return strerrorname_np(errno);
	long count = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (count < 0)
		return strerrorname_np(errno);
	text[count] = 0;
	return text;
}
static struct stat look(const char *path)
{
	struct stat status;

	MUST(lstat(path, &status));
	return status;
}
static struct stat flook(int fd)
{
	struct stat status;

	MUST(fstat(fd, &status));
	return status;
}
static void nap(int milliseconds)
{
	poll(NULL, 0, milliseconds);
}
static int later(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}
static void nothing(int number)
{
	(void)number;
}
static void on_signal(int number, int flags)
{
	struct sigaction action = { .sa_handler = nothing, .sa_flags = flags };

	MUST(sigaction(number, &action, NULL));
}
static void signal_after(int number, int milliseconds)
{
	pid_t parent = getpid();

	if (fork() == 0) {
		nap(milliseconds);
		kill(parent, number);
		_exit(0);
	}
}
/* Children that are ready say so through this pipe. */
static int ready[2];
static void get_ready(void)
{
	MUST(pipe2(ready, O_CLOEXEC));
}
static void tell(void)
{
	MUST(write(ready[1], "r", 1));
}
static void hear(void)
{
	char byte;

	MUST(read(ready[0], &byte, 1));
}
static void forever(void)
{
	for (;;)
		pause();
}
static int all(const char *bytes, size_t count, char value)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != value)
			return 0;
	return 1;
}
static char *room(size_t bytes)
{
	return aligned_alloc(4096, (bytes + 4095) & ~4095ul);
}
static int stash[4096];
static char *long_name(size_t length)
{
	static char name[PATH_MAX + 10];

	memset(name, 'n', length);
	name[length] = 0;
	return name;
}

/* ---- mapping ---- */

CHECK(mmap_shared)
{
	int fd = make("f", "");
	char buffer[6] = "";

	MUST(ftruncate(fd, 12288));
	char *map = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memcpy(map + 4096, "store", 5);
	MUST(pread(fd, buffer, 5, 4096));
	say(" read=%s", buffer);
	MUST(pwrite(fd, "write", 5, 8192));
	say(" map=%.5s", map + 8192);
	TRY(msync(map, 12288, MS_SYNC));
	TRY(munmap(map, 12288));
	say(" after=%ld", (long)pread(fd, buffer, 5, 4096));
}

CHECK(mmap_private)
{
	int fd = make("f", "original");
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	memcpy(map, "changed!", 8);
	say(" map=%.8s file=%s", map, get("f"));
}

CHECK(mmap_of_two_processes)
{
	put("f", "0000");
	get_ready();
	pid_t pid = fork();
	if (pid == 0) {
		int fd = (int)MUST(open("f", O_RDWR));
		char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		map[1] = '1';
		tell();
		while (__atomic_load_n(&map[2], __ATOMIC_ACQUIRE) == '0')
			nap(1);
		map[3] = '3';
		_exit(0);
	}
	int fd = (int)MUST(open("f", O_RDWR));
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	hear();
	say(" before=%.4s", map);
	__atomic_store_n(&map[2], '2', __ATOMIC_RELEASE);
	wait_for(pid);
	say(" after=%.4s read=%s", map, get("f"));
}

CHECK(mmap_and_writes_of_another_process)
{
	put("f", "00000000");
	get_ready();
	int fd = (int)MUST(open("f", O_RDWR));
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say(" at-first=%.8s", map);
	CHILD
	{
		int mine = (int)MUST(open("f", O_RDWR));
		MUST(pwrite(mine, "write", 5, 0));
	}
	say(" written=%.8s", map);
	memcpy(map + 5, "map", 3);
	CHILD
	{
		say(" read=%s", get("f"));
	}
}

CHECK(mmap_after_close_and_unlink)
{
	int fd = make("f", "kept");
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	unlink("f");
	say(" map=%.4s", map);
	map[4095] = 'x';
	TRY(msync(map, 4096, MS_SYNC));
}

CHECK(mmap_exec_program)
{
	int from = (int)MUST(open(self_path, O_RDONLY));
	int to = (int)MUST(open("program", O_WRONLY | O_CREAT, 0755));

	while (sendfile(to, from, NULL, 1 << 20) > 0)
		;
	close(to);
	pid_t pid = fork();
	if (pid == 0) {
		execl("./program", "program", "--exit-with-7", NULL);
		_exit(errno);
	}
	say(" exit=%d", wait_for(pid));
}

CHECK(mmap_exec_pages)
{
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov eax, 42; ret */
	int fd = make("code", "");

	MUST(write(fd, code, sizeof(code)));
	for (int kind = MAP_SHARED; kind <= MAP_PRIVATE; kind++) {
		void *map = mmap(NULL, 4096, PROT_READ | PROT_EXEC, kind, fd, 0);
		say(" %d", map == MAP_FAILED ? -errno : ((int (*)(void))map)());
	}
}

CHECK(mmap_refused)
{
	int readable, writable, both;

	put("f", "text");
	readable = (int)MUST(open("f", O_RDONLY));
	writable = (int)MUST(open("f", O_WRONLY));
	both = (int)MUST(open("f", O_RDWR));
	TRY(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, readable, 0) == MAP_FAILED ? -1 : 0);
	TRY(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, readable, 0) == MAP_FAILED ? -1 : 0);
	TRY(mmap(NULL, 4096, PROT_READ, MAP_SHARED, writable, 0) == MAP_FAILED ? -1 : 0);
	TRY(mmap(NULL, 4096, PROT_READ, MAP_SHARED, both, 1) == MAP_FAILED ? -1 : 0);
}

CHECK(mmap_beyond_the_end)
{
	int fd = make("f", "short");
	char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	say(" rest-is-zero=%d", all(map + 5, 4091, 0));
	CHILD
	{
		say(" byte=%d", map[4096]);
	}
}

CHECK(mmap_and_truncate)
{
	int fd = make("f", "");
	char byte = 'q';

	MUST(ftruncate(fd, 12288));
	char *map = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(map, 'x', 12288);
	MUST(ftruncate(fd, 5000));
	CHILD
	{
		map[8192] = 1;
	}
	MUST(ftruncate(fd, 12288));
	say(" cut=%d%d", all(map, 5000, 'x'), all(map + 5000, 12288 - 5000, 0));
	MUST(pread(fd, &byte, 1, 5000));
	SAY(byte);
}

CHECK(mmap_many_pages)
{
	int fd = make("f", "");
	size_t bytes = 8 << 20, wrong = 0;
	uint32_t value;

	MUST(ftruncate(fd, (off_t)bytes));
	uint32_t *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (size_t i = 0; i < bytes / 4; i += 257)
		map[i] = (uint32_t)i;
	MUST(msync(map, bytes, MS_SYNC));
	for (size_t i = 0; i < bytes / 4; i += 257)
		wrong += pread(fd, &value, 4, (off_t)i * 4) != 4 || value != i;
	SAY(wrong);
}

CHECK(text_is_busy)
{
	int from = (int)MUST(open(self_path, O_RDONLY));
	int to = (int)MUST(open("program", O_WRONLY | O_CREAT, 0755));

	while (sendfile(to, from, NULL, 1 << 20) > 0)
		;
	CHILD
	{
		TRY(execl("./program", "program", "--exit-with-7", NULL));
	}
	close(to);
	get_ready();
	pid_t pid = fork();
	if (pid == 0) {
		MUST(dup2(ready[1], 1));
		execl("./program", "program", "--wait", NULL);
		_exit(1);
	}
	hear();
	TRY(open("program", O_WRONLY));
	TRY(truncate("program", 0));
	TRY(unlink("program"));
	kill(pid, SIGKILL);
	wait_for(pid);
}

/* ---- locks ---- */

CHECK(flock_excludes)
{
	int a = make("f", ""), b = (int)MUST(open("f", O_RDWR));

	TRY(flock(a, LOCK_EX | LOCK_NB));
	TRY(flock(b, LOCK_EX | LOCK_NB));
	TRY(flock(b, LOCK_SH | LOCK_NB));
	TRY(flock(a, LOCK_SH | LOCK_NB));
	TRY(flock(b, LOCK_SH | LOCK_NB));
	TRY(flock(a, LOCK_EX | LOCK_NB));
	TRY(flock(b, LOCK_UN));
	TRY(flock(a, LOCK_EX | LOCK_NB));
	CHILD
	{
		int c = (int)MUST(open("f", O_RDONLY));
		TRY(flock(c, LOCK_SH | LOCK_NB));
		TRY(flock(a, LOCK_UN)); /* inherited: the same lock */
		TRY(flock(c, LOCK_SH | LOCK_NB));
	}
	TRY(flock(b, LOCK_EX | LOCK_NB));
}

static long lock(int fd, int command, int type, off_t start, off_t length)
{
	struct flock what = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };

	return fcntl(fd, command, &what);
}
static void who_locks(int fd, off_t start, off_t length, pid_t expected)
{
	struct flock what = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length };

	MUST(fcntl(fd, F_GETLK, &what));
	say(" type%d@%lld+%lld/%d", what.l_type, (long long)what.l_start, (long long)what.l_len,
	    what.l_pid == expected);
}

CHECK(posix_locks)
{
	int fd = make("f", "0123456789");
	pid_t parent = getpid();

	TRY(lock(fd, F_SETLK, F_WRLCK, 0, 10));
	TRY(lock(fd, F_SETLK, F_UNLCK, 4, 2)); /* splits it */
	TRY(lock(fd, F_SETLK, F_RDLCK, 6, 4));
	CHILD
	{
		who_locks(fd, 0, 10, parent);
		who_locks(fd, 4, 6, parent);
		TRY(lock(fd, F_SETLK, F_WRLCK, 0, 1));
		TRY(lock(fd, F_SETLK, F_WRLCK, 4, 2));
		TRY(lock(fd, F_SETLK, F_RDLCK, 6, 1));
		TRY(lock(fd, F_SETLK, F_RDLCK, 3, 1));
	}
	close(MUST(open("f", O_RDONLY))); /* closing any descriptor gives all of them up */
	CHILD
	{
		TRY(lock(fd, F_SETLK, F_WRLCK, 0, 0));
	}
	int readable = (int)MUST(open("f", O_RDONLY));
	TRY(lock(readable, F_SETLK, F_WRLCK, 0, 1));
	TRY(lock(fd, F_SETLK, F_WRLCK, 1LL << 40, 5));
}

CHECK(ofd_locks)
{
	int a = make("f", "0123456789"), b = (int)MUST(open("f", O_RDWR));

	TRY(lock(a, F_OFD_SETLK, F_WRLCK, 0, 5));
	TRY(lock(b, F_OFD_SETLK, F_WRLCK, 4, 2));
	TRY(lock(b, F_OFD_SETLK, F_WRLCK, 5, 2));
	close(MUST(open("f", O_RDWR)));
	TRY(lock(b, F_OFD_SETLK, F_WRLCK, 4, 1));
	struct flock what = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	MUST(fcntl(b, F_OFD_GETLK, &what));
	SAY(what.l_pid);
	close(a);
	TRY(lock(b, F_OFD_SETLK, F_WRLCK, 0, 0));
}

CHECK(locks_interrupted)
{
	int fd = make("f", "");

	get_ready();
	pid_t pid = fork();
	if (pid == 0) {
		int mine = (int)MUST(open("f", O_RDWR));
		MUST(lock(fd, F_SETLK, F_WRLCK, 0, 0));
		MUST(flock(mine, LOCK_EX));
		tell();
		forever();
	}
	hear();
	on_signal(SIGALRM, 0);
	signal_after(SIGALRM, 30);
	TRY(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
	signal_after(SIGALRM, 30);
	TRY(flock(fd, LOCK_EX));
	/* With SA_RESTART the wait goes on, until the holder is killed. */
	on_signal(SIGALRM, SA_RESTART);
	signal_after(SIGALRM, 20);
	pid_t killer = fork();
	if (killer == 0) {
		nap(80);
		kill(pid, SIGKILL);
		_exit(0);
	}
	TRY(lock(fd, F_SETLKW, F_WRLCK, 0, 0));
	TRY(flock(fd, LOCK_EX));
}

CHECK(lock_deadlock)
{
	int fd = make("f", "");

	get_ready();
	MUST(lock(fd, F_SETLK, F_WRLCK, 0, 1));
	pid_t pid = fork();
	if (pid == 0) {
		MUST(lock(fd, F_SETLK, F_WRLCK, 1, 1));
		tell();
		lock(fd, F_SETLKW, F_WRLCK, 0, 1);
		_exit(0);
	}
	hear();
	nap(50);
	TRY(lock(fd, F_SETLKW, F_WRLCK, 1, 1));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

CHECK(locks_end_with_kill)
{
	int fd = make("f", "");

	get_ready();
	for (int kind = 0; kind < 3; kind++) {
		pid_t pid = fork();
		if (pid == 0) {
			int mine = (int)MUST(open("f", O_RDWR));
			if (kind == 0)
				MUST(flock(mine, LOCK_EX));
			else
				MUST(lock(mine, kind == 1 ? F_SETLK : F_OFD_SETLK, F_WRLCK, 0, 0));
			tell();
			forever();
		}
		hear();
		long held = kind == 0 ? flock(fd, LOCK_EX | LOCK_NB) :
					lock(fd, kind == 1 ? F_SETLK : F_OFD_SETLK, F_WRLCK, 0, 0);
		TRY(held);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		long now = kind == 0 ? flock(fd, LOCK_EX | LOCK_NB) :
				       lock(fd, kind == 1 ? F_SETLK : F_OFD_SETLK, F_WRLCK, 0, 0);
		TRY(now);
		flock(fd, LOCK_UN);
		lock(fd, F_SETLK, F_UNLCK, 0, 0);
		lock(fd, F_OFD_SETLK, F_UNLCK, 0, 0);
	}
}

CHECK(locks_count)
{
	/* Many processes add to a number under a lock. */
	int fd = make("f", "");
	long total = 0;
	pid_t pids[4];

	MUST(pwrite(fd, &total, sizeof(total), 0));
	for (int i = 0; i < 4; i++) {
		if ((pids[i] = fork()) != 0)
			continue;
		int mine = (int)MUST(open("f", O_RDWR));
		for (int k = 0; k < 25; k++) {
			MUST(i % 2 ? flock(mine, LOCK_EX) | lock(mine, F_SETLKW, F_WRLCK, 0, 0) :
				     flock(mine, LOCK_EX) | lock(mine, F_SETLKW, F_WRLCK, 0, 0));
			MUST(pread(mine, &total, sizeof(total), 0));
			total++;
			MUST(pwrite(mine, &total, sizeof(total), 0));
			MUST(lock(mine, F_SETLK, F_UNLCK, 0, 0) | flock(mine, LOCK_UN));
		}
		_exit(0);
	}
	for (int i = 0; i < 4; i++)
		wait_for(pids[i]);
	MUST(pread(fd, &total, sizeof(total), 0));
	SAY(total);
}

CHECK(leases)
{
	int fd = make("f", "");

	close(fd);
	fd = (int)MUST(open("f", O_RDONLY));
	TRY(fcntl(fd, F_SETLEASE, F_RDLCK));
	SAY(fcntl(fd, F_GETLEASE));
	on_signal(SIGIO, 0);
	CHILD
	{
		TRY(open("f", O_WRONLY | O_NONBLOCK));
	}
	TRY(fcntl(fd, F_SETLEASE, F_UNLCK));
	CHILD
	{
		TRY(open("f", O_WRONLY | O_NONBLOCK));
	}
}

/* ---- extended attributes ---- */

CHECK(xattr_calls)
{
	char value[100] = "";
	int fd = make("f", "");

	TRY(setxattr("f", "user.colour", "blue", 4, 0));
	TRY(setxattr("f", "user.colour", "red", 3, XATTR_CREATE));
	TRY(setxattr("f", "user.taste", "red", 3, XATTR_REPLACE));
	TRY(fsetxattr(fd, "user.colour", "red", 3, XATTR_REPLACE));
	SAY(getxattr("f", "user.colour", value, sizeof(value)));
	say(" value=%s", value);
	SAY(getxattr("f", "user.colour", NULL, 0));
	TRY(getxattr("f", "user.colour", value, 2));
	TRY(fgetxattr(fd, "user.taste", value, 2));
	TRY(setxattr("f", "user.empty", "", 0, 0));
	SAY(lgetxattr("f", "user.empty", value, sizeof(value)));
	SAY(listxattr("f", NULL, 0));
	TRY(listxattr("f", value, 5));
	SAY(flistxattr(fd, value, sizeof(value)));
	TRY(removexattr("f", "user.colour"));
	TRY(fremovexattr(fd, "user.colour"));
	SAY(listxattr("f", value, sizeof(value)));
	say(" list=%s", value);
	TRY(setxattr("f", "nonsense", "x", 1, 0));
	TRY(setxattr("f", "user.", "x", 1, 0));
	TRY(setxattr("f", "user.x", "x", 1, 7));
	TRY(setxattr("none", "user.x", "x", 1, 0));
	TRY(setxattr("f", long_name(256), "x", 1, 0));
}

CHECK(xattr_sizes)
{
	char *value = room(1 << 17);
	char *back = room(1 << 17);

	put("f", "");
	memset(value, 'v', 1 << 17);
	TRY(setxattr("f", "user.large", value, 3000, 0));
	SAY(getxattr("f", "user.large", back, 1 << 16));
	SAY(memcmp(value, back, 3000));
	TRY(setxattr("f", "user.large", value, 20000, 0));
	TRY(setxattr("f", "user.large", value, 65536, 0));
	TRY(setxattr("f", "user.large", value, 65537, 0));
	SAY(getxattr("f", "user.large", back, 1 << 16));
	char name[300] = "user.";
	memset(name + 5, 'n', 250);
	TRY(setxattr("f", name, "x", 1, 0));
	SAY(getxattr("f", name, back, 100));
}

CHECK(xattr_of_other_objects)
{
	MUST(mkdir("d", 0755) | symlink("d", "l") | mkfifo("p", 0644));
	TRY(setxattr("d", "user.x", "1", 1, 0));
	TRY(lsetxattr("l", "user.x", "1", 1, 0));
	TRY(lsetxattr("l", "trusted.x", "1", 1, 0));
	SAY(lgetxattr("l", "trusted.x", NULL, 0));
	TRY(setxattr("p", "user.x", "1", 1, 0));
	TRY(setxattr("p", "trusted.x", "1", 1, 0));
	SAY(llistxattr("d", NULL, 0));
}

CHECK(xattr_namespaces)
{
	char list[200] = "";

	put("f", "");
	TRY(chmod("f", 0666));
	TRY(setxattr("f", "trusted.x", "1", 1, 0));
	TRY(setxattr("f", "security.x", "1", 1, 0));
	TRY(setxattr("f", "user.x", "1", 1, 0));
	TRY(setxattr("f", "system.x", "1", 1, 0));
	TRY(getxattr("f", "system.x", NULL, 0));
	SAY(listxattr("f", list, sizeof(list)));
	CHILD
	{
		become(1234, 1234, 0);
		SAY(listxattr("f", list, sizeof(list)));
		TRY(getxattr("f", "trusted.x", NULL, 0));
		TRY(getxattr("f", "security.x", NULL, 0));
		TRY(setxattr("f", "trusted.y", "1", 1, 0));
		TRY(setxattr("f", "security.y", "1", 1, 0));
		TRY(setxattr("f", "user.y", "1", 1, 0));
		TRY(removexattr("f", "trusted.x"));
	}
	TRY(chmod("f", 0444));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(getxattr("f", "user.x", NULL, 0));
		TRY(setxattr("f", "user.y", "2", 1, 0));
		TRY(removexattr("f", "user.x"));
	}
	TRY(chmod("f", 0));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(getxattr("f", "user.x", NULL, 0));
		SAY(listxattr("f", NULL, 0));
	}
}

/* version 2, then tag, permissions, id: linux/posix_acl_xattr.h */
struct acl_entry {
	uint16_t tag, permissions;
	uint32_t id;
};
struct acl {
	uint32_t version;
	struct acl_entry entries[5];
};
static struct acl acl_for(uint32_t uid, int permissions, int group, int mask)
{
	return (struct acl){ 2,
			     { { 0x01, 6, ~0u },
			       { 0x02, (uint16_t)permissions, uid },
			       { 0x04, (uint16_t)group, ~0u },
			       { 0x10, (uint16_t)mask, ~0u },
			       { 0x20, 0, ~0u } } };
}
#define ACCESS_LIST "system.posix_acl_access"
#define DEFAULT_LIST "system.posix_acl_default"

CHECK(acl_access)
{
	struct acl list = acl_for(1234, 6, 0, 6), back;

	put("f", "text");
	TRY(getxattr("f", ACCESS_LIST, NULL, 0));
	TRY(setxattr("f", ACCESS_LIST, &list, sizeof(list), 0));
	say(" mode=%o", look("f").st_mode);
	SAY(getxattr("f", ACCESS_LIST, &back, sizeof(back)));
	SAY(memcmp(&list, &back, sizeof(list)));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(open("f", O_RDWR));
		TRY(access("f", X_OK));
		TRY(setxattr("f", ACCESS_LIST, &list, sizeof(list), 0));
	}
	CHILD
	{
		become(1235, 1235, 0);
		TRY(open("f", O_RDONLY));
	}
	TRY(chmod("f", 0640)); /* the group's bits are the mask */
	CHILD
	{
		become(1234, 1234, 0);
		TRY(open("f", O_RDWR));
		TRY(open("f", O_RDONLY));
	}
	TRY(removexattr("f", ACCESS_LIST));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(open("f", O_RDONLY));
	}
	say(" mode=%o", look("f").st_mode);
	TRY(setxattr("f", ACCESS_LIST, &list, 13, 0));
	TRY(setxattr("f", DEFAULT_LIST, &list, sizeof(list), 0));
	SAY(listxattr("f", NULL, 0));
}

CHECK(acl_default)
{
	struct acl list = acl_for(1234, 7, 5, 7), back;

	MUST(mkdir("d", 0755));
	umask(077);
	put("d/before", "");
	TRY(setxattr("d", DEFAULT_LIST, &list, sizeof(list), 0));
	int fd = (int)MUST(open("d/f", O_CREAT | O_RDWR, 0666));
	close(fd);
	MUST(mkdir("d/sub", 0777));
	MUST(mkfifo("d/p", 0666));
	MUST(symlink("x", "d/l"));
	say(" before=%o file=%o folder=%o fifo=%o", look("d/before").st_mode, look("d/f").st_mode,
	    look("d/sub").st_mode, look("d/p").st_mode);
	SAY(getxattr("d/f", ACCESS_LIST, &back, sizeof(back)));
	say(" user=%d mask=%d", back.entries[1].permissions, back.entries[3].permissions);
	SAY(getxattr("d/sub", DEFAULT_LIST, &back, sizeof(back)));
	TRY(getxattr("d/f", DEFAULT_LIST, &back, sizeof(back)));
	TRY(chmod("d", 0777));
	CHILD
	{
		become(1234, 1234, 0);
		umask(077);
		TRY(open("d/f", O_RDWR));
		TRY(open("d/mine", O_RDWR | O_CREAT, 0666));
		say(" mine=%o", look("d/mine").st_mode);
	}
	TRY(removexattr("d", DEFAULT_LIST));
	close(MUST(open("d/after", O_CREAT | O_RDWR, 0666)));
	say(" after=%o", look("d/after").st_mode);
}

/* ---- space ---- */

CHECK(fallocate_modes)
{
	int fd = make("f", "");
	char *bytes = room(65536);

	TRY(fallocate(fd, 0, 0, 100000));
	say(" size=%lld has-blocks=%d", (long long)flook(fd).st_size, flook(fd).st_blocks * 512 >= 100000);
	TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1 << 20));
	say(" size=%lld has-blocks=%d", (long long)flook(fd).st_size, flook(fd).st_blocks * 512 >= 1 << 20);
	memset(bytes, 'x', 65536);
	MUST(pwrite(fd, bytes, 65536, 0));
	MUST(fsync(fd));
	long before = flook(fd).st_blocks;
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 16384));
	say(" freed=%ld", (before - (long)flook(fd).st_blocks) / 8);
	MUST(pread(fd, bytes, 65536, 0));
	say(" punched=%d%d%d", all(bytes, 8192, 'x'), all(bytes + 8192, 16384, 0), all(bytes + 24576, 40960, 'x'));
	TRY(fallocate(fd, FALLOC_FL_ZERO_RANGE, 30000, 10000));
	MUST(pread(fd, bytes, 65536, 0));
	say(" zeroed=%d%d", all(bytes + 30000, 10000, 0), all(bytes + 40000, 25536, 'x'));
	SAY(flook(fd).st_size);
}

CHECK(fallocate_mapped)
{
	int fd = make("f", "");

	MUST(ftruncate(fd, 16384));
	char *map = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(map, 'x', 16384);
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
	say(" %d%d%d", all(map, 4096, 'x'), all(map + 4096, 4096, 0), all(map + 8192, 8192, 'x'));
}

CHECK(fallocate_collapse)
{
	int fd = make("f", "");

	MUST(ftruncate(fd, 65536));
	TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
	SAY(flook(fd).st_size);
}

CHECK(fallocate_insert)
{
	int fd = make("f", "");

	MUST(ftruncate(fd, 65536));
	TRY(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, 4096));
	SAY(flook(fd).st_size);
}

CHECK(fallocate_refused)
{
	int fd = make("f", ""), readable = (int)MUST(open("f", O_RDONLY));
	int folder = (int)MUST(open(".", O_RDONLY));

	TRY(fallocate(fd, 0, 0, 0));
	TRY(fallocate(fd, 0, -1, 10));
	TRY(fallocate(readable, 0, 0, 10));
	TRY(fallocate(folder, 0, 0, 10));
	TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
	TRY(fallocate(fd, 0, INT64_MAX - 5, 10));
	TRY(fallocate(fd, 0, 1LL << 50, 10));
	TRY(fallocate(fd, 0x100, 0, 10));
	SAY(posix_fallocate(fd, 5, 5));
	SAY(flook(fd).st_size);
}

CHECK(copy_file_ranges)
{
	int from = make("from", "0123456789"), to = make("to", "");
	loff_t in = 2, out = 3;

	SAY(copy_file_range(from, &in, to, &out, 5, 0));
	SAY(in);
	SAY(out);
	say(" size=%lld", (long long)flook(to).st_size);
	char text[20] = "";
	MUST(pread(to, text, 19, 3));
	say(" text=%s", text);
	in = 8;
	SAY(copy_file_range(from, &in, to, NULL, 100, 0));
	SAY(lseek(to, 0, SEEK_CUR));
	in = 100;
	SAY(copy_file_range(from, &in, to, NULL, 5, 0));
	in = 0, out = 5;
	SAY(copy_file_range(from, &in, from, &out, 5, 0));
	say(" same=%s", get("from"));
	in = 0, out = 3;
	TRY(copy_file_range(from, &in, from, &out, 5, 0));
	TRY(copy_file_range(from, NULL, to, NULL, 5, 1));
	int append = (int)MUST(open("to", O_WRONLY | O_APPEND)), folder = (int)MUST(open(".", O_RDONLY));
	in = 0;
	TRY(copy_file_range(from, &in, append, NULL, 5, 0));
	TRY(copy_file_range(folder, NULL, to, NULL, 5, 0));
	int readable = (int)MUST(open("to", O_RDONLY));
	in = 0;
	TRY(copy_file_range(from, &in, readable, NULL, 5, 0));
}

CHECK(copy_file_range_large)
{
	int from = make("from", ""), to = make("to", "");
	size_t bytes = 5 << 20;
	char *a = room(bytes), *b = room(bytes);
	size_t done = 0;

	for (size_t i = 0; i < bytes; i++)
		a[i] = (char)(i * 7 >> 3);
	MUST(pwrite(from, a, bytes, 0));
	MUST(pread(to, b, 1, 0));
	while (done < bytes) {
		long count = copy_file_range(from, NULL, to, NULL, bytes - done, 0);
		if (count <= 0)
			break;
		done += (size_t)count;
	}
	SAY(done);
	SAY(pread(to, b, bytes, 0));
	SAY(memcmp(a, b, bytes));
}

CHECK(sparse_files)
{
	int fd = make("f", "");

	MUST(pwrite(fd, "data", 4, 1 << 20));
	MUST(pwrite(fd, "data", 4, 8 << 20));
	MUST(ftruncate(fd, 16 << 20));
	MUST(fsync(fd));
	SAY(lseek(fd, 0, SEEK_HOLE));
	SAY(lseek(fd, 0, SEEK_DATA));
	SAY(lseek(fd, 1 << 20, SEEK_DATA));
	SAY(lseek(fd, 1 << 20, SEEK_HOLE));
	SAY(lseek(fd, 2 << 20, SEEK_DATA));
	TRY(lseek(fd, 9 << 20, SEEK_DATA));
	SAY(lseek(fd, 9 << 20, SEEK_HOLE));
	TRY(lseek(fd, 16 << 20, SEEK_HOLE));
	TRY(lseek(fd, -1, SEEK_DATA));
	SAY(flook(fd).st_blocks / 8);
}

CHECK(beyond_four_gibibytes)
{
	int fd = make("f", "");
	off_t far = 5LL << 30;
	char text[10] = "";

	SAY(pwrite(fd, "far away", 8, far));
	SAY(flook(fd).st_size);
	SAY(flook(fd).st_blocks / 8);
	SAY(pread(fd, text, 8, far));
	say(" text=%s", text);
	SAY(lseek(fd, -3, SEEK_END));
	SAY(lseek(fd, 0, SEEK_DATA));
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, far);
	say(" map=%.8s", map);
	map[4] = 'A';
	MUST(pread(fd, text, 8, far));
	say(" text=%s", text);
	TRY(ftruncate(fd, 3LL << 31));
	SAY(flook(fd).st_size);
	TRY(truncate("f", (1LL << 32) + 1));
	SAY(look("f").st_size);
	TRY(lock(fd, F_SETLK, F_WRLCK, far, 1));
}

CHECK(largest_file)
{
	int fd = make("f", "");

	TRY(ftruncate(fd, 1LL << 50));
	TRY(pwrite(fd, "x", 1, 1LL << 50));
	TRY(pwrite(fd, "x", 1, INT64_MAX));
	TRY(ftruncate(fd, -1));
	SAY(flook(fd).st_size);
}

CHECK(seek_beyond_the_largest_file)
{
	int fd = make("f", "");

	TRY(lseek(fd, 1LL << 50, SEEK_SET));
}

CHECK(size_limit)
{
	struct rlimit limit = { 5000, 5000 };
	char *bytes = room(8192);
	int fd = make("f", "");

	MUST(setrlimit(RLIMIT_FSIZE, &limit));
	CHILD
	{
		TRY(pwrite(fd, "x", 1, 5000));
	}
	CHILD
	{
		TRY(ftruncate(fd, 6000));
	}
	signal(SIGXFSZ, SIG_IGN);
	SAY(pwrite(fd, bytes, 8192, 0));
	TRY(pwrite(fd, bytes, 1, 5000));
	TRY(ftruncate(fd, 6000));
	TRY(fallocate(fd, 0, 0, 6000));
	SAY(flook(fd).st_size);
}

/* Fills the disk as root, then as somebody else, for whom a part of it is reserved. */
static long fill(int fd)
{
	long bytes = 0, step = 16 << 20;
	static char block[65536];

	while (step >= 65536) {
		if (fallocate(fd, 0, bytes, step) == 0)
			bytes += step;
		else if (errno == ENOSPC)
			step /= 2;
		else
			break;
	}
	say(" fallocate=%s", strerrorname_np(errno));
	long count;
	while ((count = pwrite(fd, block, sizeof(block), bytes)) > 0)
		bytes += count;
	say(" write=%s", strerrorname_np(errno));
	return bytes;
}

CHECK(no_space)
{
	struct statvfs before, after;
	long users = 0;

	MUST(chmod(".", 0777));
	MUST(statvfs(".", &before));
	int fd = make("f", "");
	int pipes[2];
	MUST(pipe(pipes));
	CHILD
	{
		become(1234, 1234, 0);
		int mine = (int)MUST(open("mine", O_RDWR | O_CREAT, 0644));
		users = fill(mine);
		MUST(write(pipes[1], &users, sizeof(users)));
		TRY(ftruncate(mine, users + (1 << 20)));
		TRY(fsync(mine));
	}
	MUST(read(pipes[0], &users, sizeof(users)));
	say(" root:");
	long roots = fill(fd);
	MUST(statvfs(".", &after));
	/* As much as statvfs said, to within what the file system needs for itself. */
	say(" user-got-available=%d root-got-more=%d left=%lu",
	    users >> 20 >= (long)(before.f_bavail * before.f_frsize >> 20) - 2 &&
		    users >> 20 <= (long)(before.f_bavail * before.f_frsize >> 20),
	    roots > 1 << 20, after.f_bavail);
	TRY(unlink("mine"));
	MUST(ftruncate(fd, 0));
	TRY(pwrite(fd, "room", 4, 0));
}

CHECK(no_space_for_a_mapped_hole)
{
	int fd = make("hole", ""), filler = make("f", "");
	char *map;

	MUST(ftruncate(fd, 1 << 20));
	map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fill(filler);
	CHILD
	{
		map[512 << 10] = 1;
		TRY(msync(map, 1 << 20, MS_SYNC));
	}
	syncfs(fd); /* takes note of the error, if there was one */
	MUST(unlink("f"));
}

CHECK(statvfs_says)
{
	struct statvfs what;

	MUST(statvfs(".", &what));
	SAY(what.f_bsize);
	SAY(what.f_frsize);
	SAY(what.f_namemax);
	say(" blocks=%d files=%d free=%d", what.f_blocks > 1000, what.f_files > 1000, what.f_bfree > what.f_bavail);
	put("f", "");
	int fd = (int)MUST(open("f", O_RDONLY));
	TRY(fstatvfs(fd, &what));
}

/* ---- status and times ---- */

CHECK(statx_fields)
{
	struct statx what;
	int fd = make("f", "text");

	TRY(statx(AT_FDCWD, "f", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &what));
	say(" mask=%x nlink=%u size=%llu blksize=%u ino=%d mode=%o", what.stx_mask & 0x7ff, what.stx_nlink,
	    (unsigned long long)what.stx_size, what.stx_blksize, what.stx_ino == look("f").st_ino, what.stx_mode);
	TRY(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &what));
	TRY(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_SIZE, &what));
	TRY(statx(AT_FDCWD, "f", AT_STATX_DONT_SYNC, STATX_SIZE, &what));
	TRY(statx(AT_FDCWD, "none", 0, STATX_SIZE, &what));
	TRY(statx(AT_FDCWD, "f", 0x40000000, STATX_SIZE, &what));
}

CHECK(statx_birth)
{
	struct statx what;

	put("f", "");
	MUST(statx(AT_FDCWD, "f", 0, STATX_BTIME, &what));
	say(" has-birth=%d sensible=%d", (what.stx_mask & STATX_BTIME) != 0,
	    llabs(what.stx_btime.tv_sec - time(NULL)) < 100);
}

CHECK(times_far_away)
{
	static const struct timespec times[] = {
		{ 4102444800, 123456789 }, /* 2100 */
		{ 2147483648, 999999999 }, /* 2038 */
		{ 8589934592, 1 }, /* 2242 */
		{ -631152000, 500000000 }, /* 1950 */
		{ -1, 999999999 },
		{ 0, 0 },
	};

	put("f", "");
	for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct timespec both[2] = { times[i], times[i] };
		MUST(utimensat(AT_FDCWD, "f", both, 0));
		struct stat now = look("f");
		say(" %lld.%09ld/%lld.%09ld", (long long)now.st_atim.tv_sec, now.st_atim.tv_nsec,
		    (long long)now.st_mtim.tv_sec, now.st_mtim.tv_nsec);
	}
}

CHECK(times_set)
{
	struct timespec both[2] = { { 1000, 5 }, { 2000, 6 } };

	put("f", "");
	MUST(symlink("f", "l"));
	MUST(utimensat(AT_FDCWD, "f", both, 0));
	both[0].tv_nsec = UTIME_OMIT, both[1].tv_nsec = 7;
	TRY(utimensat(AT_FDCWD, "f", both, 0));
	say(" atime=%ld.%ld mtime=%ld.%ld", look("f").st_atim.tv_sec, look("f").st_atim.tv_nsec,
	    look("f").st_mtim.tv_sec, look("f").st_mtim.tv_nsec);
	both[0].tv_nsec = 8, both[1].tv_nsec = UTIME_NOW;
	TRY(utimensat(AT_FDCWD, "f", both, 0));
	say(" atime=%ld.%ld now=%d", look("f").st_atim.tv_sec, look("f").st_atim.tv_nsec,
	    labs(look("f").st_mtim.tv_sec - time(NULL)) < 100);
	both[1].tv_nsec = 9;
	TRY(utimensat(AT_FDCWD, "l", both, AT_SYMLINK_NOFOLLOW));
	say(" link=%ld.%ld", look("l").st_mtim.tv_sec, look("l").st_mtim.tv_nsec);
	both[1].tv_nsec = 1000000000;
	TRY(utimensat(AT_FDCWD, "f", both, 0));
	int fd = (int)MUST(open("f", O_RDONLY));
	TRY(futimens(fd, NULL));
	MUST(chmod("f", 0666));
	CHILD
	{
		become(1234, 1234, 0);
		both[1].tv_nsec = 9;
		TRY(utimensat(AT_FDCWD, "f", both, 0));
		TRY(utimensat(AT_FDCWD, "f", NULL, 0));
	}
}

/* What an operation moves: m(time), c(hange time) of the file, M, C of its directory. */
#define MOVES(operation)                                                               \
	do {                                                                           \
		nap(12); /* beyond a tick of the clock */                              \
		struct stat f0 = flook(fd), d0 = look(".");                            \
		operation;                                                             \
		struct stat f1 = flook(fd), d1 = look(".");                            \
		say(" %.*s:%s%s%s%s", (int)strcspn(#operation, "("), #operation,       \
		    later(f1.st_mtim, f0.st_mtim) ? "m" : "",                          \
		    later(f1.st_ctim, f0.st_ctim) ? "c" : "",                          \
		    later(d1.st_mtim, d0.st_mtim) ? "M" : "",                          \
		    later(d1.st_ctim, d0.st_ctim) ? "C" : "");                         \
	} while (0)

CHECK(times_moved)
{
	int fd = make("f", "text");
	struct timespec both[2] = { { 1, 1 }, { 2, 2 } };
	char byte;

	MOVES(pwrite(fd, "x", 1, 0));
	MOVES(pread(fd, &byte, 1, 0));
	MOVES(ftruncate(fd, 100));
	MOVES(ftruncate(fd, 100));
	MOVES(truncate("f", 50));
	MOVES(fchmod(fd, 0600));
	MOVES(fchown(fd, 5, 5));
	MOVES(futimens(fd, both));
	MOVES(setxattr("f", "user.x", "1", 1, 0));
	MOVES(removexattr("f", "user.x"));
	MOVES(link("f", "g"));
	MOVES(rename("g", "h"));
	MOVES(unlink("h"));
	MOVES(mkdir("d", 0755));
	MOVES(rmdir("d"));
	MOVES(symlink("x", "s"));
	MOVES(fallocate(fd, 0, 0, 5000));
	MOVES(close(open("f", O_WRONLY | O_TRUNC)));
	MOVES(close(open("new", O_WRONLY | O_CREAT, 0600)));
	MOVES(rename("f", "g"));
	MOVES(unlink("g"));
	MOVES(fsync(fd));
}

CHECK(time_of_a_mapped_store)
{
	int fd = make("f", "text");
	struct timespec old = flook(fd).st_mtim;
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	nap(12);
	map[0] = 'x';
	MUST(msync(map, 4096, MS_SYNC));
	say(" moved=%d", later(flook(fd).st_mtim, old));
}

/* Under relatime a read moves an access time that is older than a day. */
static int atime_moves(const char *path, int flags)
{
	struct timespec both[2] = { { time(NULL) - 200000, 0 }, { time(NULL) - 300000, 0 } };
	char byte;

	MUST(utimensat(AT_FDCWD, path, both, 0));
	int fd = (int)MUST(open(path, O_RDONLY | flags));
	if (flags & O_DIRECTORY)
		MUST(syscall(SYS_getdents64, fd, stash, sizeof(stash)));
	else
		MUST(read(fd, &byte, 1));
	close(fd);
	return look(path).st_atim.tv_sec != both[0].tv_sec;
}

CHECK(access_time)
{
	put("f", "text");
	MUST(mkdir("d", 0755));
	SAY(atime_moves("f", 0));
	SAY(atime_moves("f", 0));
	SAY(atime_moves("f", O_NOATIME));
	SAY(atime_moves("d", O_DIRECTORY));
	int fd = (int)MUST(open("f", O_RDONLY));
	struct timespec both[2] = { { 1000, 0 }, { 900, 0 } };
	MUST(futimens(fd, both));
	char *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	say(" mapped=%d%d", map[0] == 't', flook(fd).st_atim.tv_sec != 1000);
	CHILD
	{
		become(1234, 1234, 0);
		TRY(open("f", O_RDONLY | O_NOATIME));
	}
}

CHECK(access_time_of_cached_pages)
{
	struct timespec both[2] = { { 1000, 0 }, { 900, 0 } };
	char byte;
	int fd = make("f", "text");

	MUST(pread(fd, &byte, 1, 0));
	MUST(futimens(fd, both));
	MUST(pread(fd, &byte, 1, 0));
	say(" moved=%d", flook(fd).st_atim.tv_sec != 1000);
}

/* ---- names ---- */

CHECK(rename_calls)
{
	MUST(mkdir("d", 0755) | mkdir("full", 0755));
	put("a", "A"), put("b", "B"), put("full/x", "");
	ino_t inode = look("a").st_ino;
	TRY(rename("a", "b"));
	say(" b=%s inode=%d", get("b"), look("b").st_ino == inode);
	TRY(rename("a", "c"));
	TRY(rename("b", "d"));
	TRY(rename("d", "b"));
	TRY(rename("d", "full"));
	TRY(rename("full", "d"));
	TRY(rename("d", "d/inside"));
	TRY(rename("d/x", "./d/x"));
	TRY(rename(".", "e"));
	TRY(rename("b", "none/e"));
	TRY(rename("b", "e/"));
	TRY(rename("b", "b/e"));
	MUST(link("b", "b2"));
	TRY(rename("b", "b2")); /* two names of one file: nothing happens */
	say(" both=%d%d", access("b", F_OK), access("b2", F_OK));
	int fd = (int)MUST(open("b", O_RDONLY));
	TRY(rename("b", "moved"));
	char path[100], target[300] = "";
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	MUST(readlink(path, target, sizeof(target) - 1));
	say(" name=%s", strrchr(target, '/'));
}

CHECK(renameat2_flags)
{
	MUST(mkdir("d", 0755));
	put("a", "A"), put("b", "B"), put("d/x", "X");
	TRY(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
	TRY(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	TRY(renameat2(AT_FDCWD, "c", AT_FDCWD, "b", RENAME_EXCHANGE));
	say(" b=%s", get("b"));
	say(" c=%s", get("c"));
	TRY(renameat2(AT_FDCWD, "c", AT_FDCWD, "d", RENAME_EXCHANGE));
	say(" d=%s", get("d"));
	say(" c/x=%s", get("c/x"));
	TRY(renameat2(AT_FDCWD, "c", AT_FDCWD, "none", RENAME_EXCHANGE));
	TRY(renameat2(AT_FDCWD, "b", AT_FDCWD, "d", RENAME_EXCHANGE | RENAME_NOREPLACE));
	TRY(renameat2(AT_FDCWD, "b", AT_FDCWD, "d", 0x80));
	TRY(renameat2(AT_FDCWD, "c", AT_FDCWD, "c/x", RENAME_EXCHANGE));
}

CHECK(rename_whiteout)
{
	put("a", "A");
	TRY(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_WHITEOUT));
	if (access("a", F_OK) == 0)
		say(" mode=%o rdev=%lx", look("a").st_mode, look("a").st_rdev);
}

CHECK(hard_links)
{
	put("a", "text");
	MUST(mkdir("d", 0755) | symlink("a", "s"));
	TRY(link("a", "b"));
	TRY(link("a", "b"));
	TRY(link("d", "d2"));
	TRY(link("none", "b3"));
	TRY(link("a", "none/b"));
	TRY(link("s", "s2"));
	TRY(linkat(AT_FDCWD, "s", AT_FDCWD, "s3", AT_SYMLINK_FOLLOW));
	say(" nlink=%lu s2=%o s3=%o", look("a").st_nlink, look("s2").st_mode, look("s3").st_mode);
	say(" same=%d", look("a").st_ino == look("b").st_ino);
	TRY(link("a", "/proc/x"));
	TRY(link("/proc/self/status", "x"));
	MUST(chmod(".", 0777));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(link("a", "mine"));
	}
	TRY(unlink("a"));
	say(" nlink=%lu b=%s", look("b").st_nlink, get("b"));
}

CHECK(symbolic_links)
{
	char text[PATH_MAX + 1], *target = long_name(4095);

	put("f", "text");
	MUST(symlink("f", "l") | symlink("none", "dangling") | symlink("loop2", "loop1") |
	     symlink("loop1", "loop2"));
	say(" text=%s size=%lld", get("l"), (long long)look("l").st_size);
	TRY(open("dangling", O_RDONLY));
	TRY(open("loop1", O_RDONLY));
	TRY(open("l", O_RDONLY | O_NOFOLLOW));
	TRY(open("l", O_PATH | O_NOFOLLOW));
	TRY(open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600));
	TRY(open("dangling", O_CREAT | O_WRONLY, 0600));
	TRY(access("none", F_OK));
	TRY(symlink("x", "l"));
	TRY(symlink("", "empty"));
	target[4095] = 0;
	TRY(symlink(target, "long"));
	SAY(readlink("long", text, sizeof(text)));
	SAY(look("long").st_size);
	SAY(readlink("l", text, 1));
	TRY(readlink("f", text, 10));
	TRY(readlink("l", text, 0));
	TRY(stat("long", &(struct stat){ 0 }));
	/* One after the other: forty are followed. */
	char name[20], next[20];
	for (int i = 0; i < 45; i++) {
		snprintf(name, sizeof(name), "c%d", i), snprintf(next, sizeof(next), "c%d", i + 1);
		MUST(symlink(i == 44 ? "f" : next, name));
	}
	TRY(open("c0", O_RDONLY));
	TRY(open("c6", O_RDONLY));
	TRY(chmod("l", 0600));
	TRY(lchown("l", 1, 1));
	say(" owner=%u", look("l").st_uid);
}

CHECK(names_too_long)
{
	char path[PATH_MAX + 100];

	TRY(mkdir(long_name(255), 0755));
	TRY(mkdir(long_name(256), 0755));
	TRY(open(long_name(256), O_CREAT | O_WRONLY, 0644));
	TRY(open(long_name(1000), O_RDONLY));
	TRY(open(long_name(1100), O_RDONLY));
	TRY(stat(long_name(300), &(struct stat){ 0 }));
	TRY(symlink("x", long_name(256)));
	TRY(rename(long_name(255), "short"));
	TRY(rename("short", long_name(256)));
	TRY(link("short", long_name(256)));
	TRY(unlink(long_name(256)));
	memset(path, '/', sizeof(path));
	memcpy(path + 4097, "x", 2);
	path[0] = '.';
	TRY(open(path, O_RDONLY));
	TRY(open("", O_RDONLY));
}

CHECK(odd_names)
{
	static const char *names[] = { " ", "\n", "\xff\xfe", "-rf", "*", "a\\b", "...", "\"'`$(x)", "\xc3\xa4", ".x." };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		put(names[i], names[i]);
	int seen = 0;
	DIR *folder = opendir(".");
	for (struct dirent *entry; (entry = readdir(folder));)
		for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			seen += strcmp(entry->d_name, names[i]) == 0 && strcmp(get(names[i]), names[i]) == 0;
	SAY(seen);
}

CHECK(wrong_kinds)
{
	put("f", "");
	MUST(mkdir("d", 0755) | mkdir("d/sub", 0755));
	TRY(open("f/x", O_RDONLY));
	TRY(open("none/x", O_RDONLY | O_CREAT, 0600));
	TRY(mkdir("f/x", 0755));
	TRY(open("d", O_WRONLY));
	TRY(open("d", O_RDWR | O_CREAT, 0600));
	TRY(open("new/", O_RDWR | O_CREAT, 0600));
	TRY(open("f/", O_RDONLY));
	TRY(open("f", O_RDONLY | O_DIRECTORY));
	TRY(open("f", O_RDWR | O_CREAT | O_EXCL, 0600));
	TRY(open("d/.", O_RDWR | O_CREAT | O_EXCL, 0600));
	TRY(mkdir("d", 0755));
	TRY(mkdir("f", 0755));
	TRY(mkdir("d/.", 0755));
	TRY(mkdir("new/", 0755));
	TRY(rmdir("f"));
	TRY(rmdir("d"));
	TRY(rmdir("d/."));
	TRY(rmdir("d/.."));
	TRY(rmdir("none"));
	TRY(unlink("d"));
	TRY(unlink("none"));
	TRY(unlink("f/"));
	TRY(truncate("d", 0));
	TRY(truncate("none", 0));
	TRY(mknod("f", S_IFIFO | 0600, 0));
	TRY(chmod("none", 0600));
	TRY(chown("none", 0, 0));
	int folder = (int)MUST(open("d", O_RDONLY)), file = (int)MUST(open("f", O_RDWR));
	char byte;
	TRY(read(folder, &byte, 1));
	TRY(pread(folder, &byte, 1, 0));
	TRY(write(folder, &byte, 1));
	TRY(ftruncate(folder, 0));
	TRY(syscall(SYS_getdents64, file, stash, sizeof(stash)));
	TRY(syscall(SYS_getdents64, folder, stash, 10));
	TRY(chdir("f"));
	TRY(openat(file, "x", O_RDONLY));
	TRY(lseek(file, -1, SEEK_SET));
	TRY(lseek(file, 0, 99));
	TRY(pread(file, &byte, 1, -1));
	TRY(syscall(SYS_write, file, 16, 1));
}

/* ---- kinds of objects ---- */

CHECK(nodes)
{
	const dev_t devices[] = { makedev(1, 3), makedev(0, 0), makedev(259, 70000), makedev(4095, 1048575) };
	char name[10];

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		TRY(mknod(name, S_IFCHR | 0666, devices[i]));
		say(" %o/%d", look(name).st_mode, look(name).st_rdev == devices[i]);
	}
	TRY(mknod("b", S_IFBLK | 0660, devices[2]));
	say(" %o/%d", look("b").st_mode, look("b").st_rdev == devices[2]);
	TRY(open("c0", O_RDWR)); /* nodev */
	TRY(mknod("r", S_IFREG | 0640, 0));
	say(" %o", look("r").st_mode);
	TRY(mknod("d", S_IFDIR | 0640, 0));
	TRY(mknod("s", S_IFSOCK | 0640, 0));
	say(" %o", look("s").st_mode);
	MUST(chmod(".", 0777));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(mknod("c", S_IFCHR | 0666, devices[0]));
		TRY(mkfifo("p", 0644));
	}
}

CHECK(fifo)
{
	MUST(mkfifo("p", 0644));
	TRY(open("p", O_WRONLY | O_NONBLOCK));
	pid_t pid = fork();
	if (pid == 0) {
		int fd = (int)MUST(open("p", O_WRONLY));
		MUST(write(fd, "through", 7));
		_exit(0);
	}
	say(" read=%s", get("p"));
	wait_for(pid);
	SAY(look("p").st_size);
	TRY(truncate("p", 0));
	int fd = (int)MUST(open("p", O_RDWR));
	TRY(lseek(fd, 0, SEEK_SET));
}

CHECK(sockets)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "s" };
	int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	char text[10] = "";

	TRY(bind(server, (struct sockaddr *)&name, sizeof(name)));
	TRY(connect(client, (struct sockaddr *)&name, sizeof(name)));
	TRY(listen(server, 5));
	TRY(connect(client, (struct sockaddr *)&name, sizeof(name)));
	int end = (int)MUST(accept(server, NULL, NULL));
	MUST(write(end, "hello", 5));
	MUST(read(client, text, 5));
	say(" text=%s mode=%o", text, look("s").st_mode);
	TRY(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&name, sizeof(name)));
	TRY(open("s", O_RDWR));
	MUST(chmod("s", 0600));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&name, sizeof(name)));
	}
	MUST(rename("s", "t"));
	strcpy(name.sun_path, "t");
	TRY(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&name, sizeof(name)));
	TRY(unlink("t"));
}

/* ---- directories ---- */

static int many = 100000;

/* MANY is what the caller chose; said, so that both runs are of one size. */
CHECK(directory_of_many)
{
	char name[40];
	int fd = (int)MUST(open(".", O_RDONLY | O_DIRECTORY)), seen = 0, twice = 0, unknown = 0;
	unsigned char *was = calloc(1, (size_t)many);

	SAY(many);
	for (int i = 0; i < many; i++) {
		snprintf(name, sizeof(name), "entry-with-a-number-%06d", i);
		MUST(mknodat(fd, name, S_IFREG | 0644, 0));
	}
	DIR *folder = fdopendir(fd);
	for (struct dirent *entry; (entry = readdir(folder));) {
		int number;
		if (entry->d_name[0] == '.')
			continue;
		if (sscanf(entry->d_name, "entry-with-a-number-%06d", &number) != 1)
			continue;
		unknown += entry->d_type != DT_REG;
		twice += was[number]++;
		seen++;
	}
	say(" seen=%d twice=%d unknown=%d", seen, twice, unknown);
	/* Names and attributes, in order. */
	long size = 0;
	for (int i = 0; i < many; i += 997) {
		snprintf(name, sizeof(name), "entry-with-a-number-%06d", i);
		size += look(name).st_size + 1;
	}
	SAY(size);
	/* Removal during listing. */
	int removed = 0;
	rewinddir(folder);
	for (struct dirent *entry; (entry = readdir(folder));) {
		if (entry->d_name[0] == '.')
			continue;
		MUST(unlink(entry->d_name));
		removed++;
	}
	SAY(removed);
	TRY(rmdir("../directory_of_many"));
}

CHECK(directory_places)
{
	char name[20], first[256];
	long places[64];
	int count = 0, wrong = 0;

	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		put(name, "");
	}
	DIR *folder = opendir(".");
	static char names[64][256];
	for (;;) {
		places[count] = telldir(folder);
		struct dirent *entry = readdir(folder);
		if (!entry)
			break;
		strcpy(names[count++], entry->d_name);
	}
	SAY(count);
	for (int i = count - 1; i >= 0; i -= 7) {
		seekdir(folder, places[i]);
		struct dirent *entry = readdir(folder);
		wrong += !entry || strcmp(entry->d_name, names[i]);
	}
	SAY(wrong);
	seekdir(folder, places[count]);
	say(" end=%d", readdir(folder) == NULL);
	/* A place outlives the removal of what stood before and after it. */
	int kept = 30;
	while (names[kept][0] == '.')
		kept++;
	strcpy(first, names[kept]);
	for (int i = 0; i < count; i++)
		if (i != kept && names[i][0] != '.')
			MUST(unlink(names[i]));
	int found = 0;
	seekdir(folder, places[kept]);
	for (struct dirent *entry; (entry = readdir(folder));)
		found += strcmp(entry->d_name, first) == 0;
	SAY(found);
	rewinddir(folder);
	put("new", "");
	rewinddir(folder);
	count = 0;
	for (struct dirent *entry; (entry = readdir(folder));)
		count++;
	SAY(count);
}

CHECK(directory_entries)
{
	MUST(mkdir("d", 0755) | symlink("x", "l") | mkfifo("p", 0600));
	put("f", "");
	put(long_name(255), "");
	DIR *folder = opendir(".");
	int types = 0, inodes = 0, count = 0;
	for (struct dirent *entry; (entry = readdir(folder)); count++) {
		struct stat status = look(entry->d_name);
		types += IFTODT(status.st_mode) == entry->d_type;
		inodes += status.st_ino == entry->d_ino || strcmp(entry->d_name, "..") == 0;
	}
	say(" count=%d types=%d inodes=%d nlink=%lu", count, types, inodes, look(".").st_nlink);
	SAY(look("d").st_size);
}

CHECK(working_directory)
{
	char path[PATH_MAX], start[PATH_MAX];

	MUST(mkdir("d", 0755) | mkdir("d/e", 0755));
	MUST(getcwd(start, sizeof(start)) ? 0 : -1);
	TRY(chdir("d/e"));
	MUST(getcwd(path, sizeof(path)) ? 0 : -1);
	say(" cwd=%s", path + strlen(start));
	put("f", "here");
	say(" f=%s", get("f"));
	MUST(rename("../../d", "../../moved"));
	MUST(getcwd(path, sizeof(path)) ? 0 : -1);
	say(" cwd=%s", path + strlen(start));
	MUST(unlink("f"));
	TRY(rmdir("../e"));
	TRY(getcwd(path, sizeof(path)) ? 0 : -1);
	TRY(open("f", O_CREAT | O_WRONLY, 0600));
	TRY(mkdir("x", 0700));
	TRY(open(".", O_RDONLY));
	TRY(open("..", O_RDONLY));
	SAY(look(".").st_nlink);
	int fd = (int)MUST(open(start, O_RDONLY));
	TRY(fchdir(fd));
	say(" inside=%s", get("moved/none"));
	CHILD
	{
		TRY(chroot("moved"));
		TRY(chdir("/"));
		TRY(open("/d", O_RDONLY));
	}
}

CHECK(removed_directory)
{
	MUST(mkdir("d", 0755));
	put("d/f", "");
	int fd = (int)MUST(open("d", O_RDONLY));
	MUST(unlinkat(fd, "f", 0));
	MUST(rmdir("d"));
	TRY(openat(fd, "x", O_CREAT | O_WRONLY, 0600));
	SAY(syscall(SYS_getdents64, fd, stash, sizeof(stash)));
	SAY(flook(fd).st_nlink);
	TRY(linkat(AT_FDCWD, "/proc/self/exe", fd, "x", 0));
}

CHECK(opened_relative)
{
	struct open_how how = { .flags = O_RDONLY, .resolve = RESOLVE_BENEATH };

	MUST(mkdir("d", 0755) | symlink("/etc", "d/out") | symlink("f", "d/in"));
	put("d/f", "text");
	int fd = (int)MUST(open("d", O_PATH));
	TRY(syscall(SYS_openat2, fd, "in", &how, sizeof(how)));
	TRY(syscall(SYS_openat2, fd, "out/passwd", &how, sizeof(how)));
	TRY(syscall(SYS_openat2, fd, "../d/f", &how, sizeof(how)));
	how.resolve = RESOLVE_NO_SYMLINKS;
	TRY(syscall(SYS_openat2, fd, "in", &how, sizeof(how)));
	TRY(faccessat(fd, "f", R_OK, AT_EACCESS));
	TRY(fchmodat(fd, "f", 0600, 0));
	TRY(unlinkat(fd, "f", AT_REMOVEDIR));
	TRY(mkdirat(fd, "sub", 0700));
	TRY(unlinkat(fd, "sub", AT_REMOVEDIR));
	TRY(symlinkat("x", fd, "y"));
	TRY(fchownat(fd, "y", 7, 7, AT_SYMLINK_NOFOLLOW));
	TRY(fchownat(fd, "", 8, 8, AT_EMPTY_PATH));
	say(" owner=%u", look("d").st_uid);
}

/* ---- open files ---- */

CHECK(direct_io)
{
	char *buffer = room(8192);
	int fd = (int)TRY(open("f", O_RDWR | O_CREAT | O_DIRECT, 0644));

	memset(buffer, 'd', 8192);
	SAY(pwrite(fd, buffer, 8192, 0));
	SAY(pread(fd, buffer, 4096, 4096));
	say(" %d", all(buffer, 4096, 'd'));
	SAY(pread(fd, buffer, 4096, 8192));
	int plain = (int)MUST(open("f", O_RDWR));
	MUST(pwrite(plain, "plain", 5, 0));
	MUST(pread(fd, buffer, 4096, 0));
	say(" direct-sees=%.5s", buffer);
	memcpy(buffer, "direct", 6);
	MUST(pwrite(fd, buffer, 4096, 0));
	MUST(pread(plain, buffer, 6, 0));
	say(" plain-sees=%.6s", buffer);
	TRY(fcntl(fd, F_SETFL, 0));
	TRY(fcntl(fd, F_SETFL, O_DIRECT));
}

CHECK(direct_io_unaligned)
{
	char *buffer = room(8192);
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT | O_DIRECT, 0644));

	MUST(pwrite(fd, buffer, 4096, 0));
	TRY(pread(fd, buffer, 100, 0));
	TRY(pread(fd, buffer, 4096, 3));
	TRY(pwrite(fd, buffer + 1, 4096, 0));
}

CHECK(unnamed_files)
{
	char path[40];
	int fd = (int)TRY(open(".", O_TMPFILE | O_RDWR, 0640));

	if (fd < 0)
		return;
	MUST(write(fd, "unnamed", 7));
	say(" nlink=%lu mode=%o", flook(fd).st_nlink, flook(fd).st_mode);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TRY(linkat(AT_FDCWD, path, AT_FDCWD, "f", AT_SYMLINK_FOLLOW));
	say(" nlink=%lu text=%s", flook(fd).st_nlink, get("f"));
	TRY(linkat(fd, "", AT_FDCWD, "g", AT_EMPTY_PATH));
	say(" nlink=%lu", look("g").st_nlink);
	int closed = (int)TRY(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0640));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", closed);
	TRY(linkat(AT_FDCWD, path, AT_FDCWD, "h", AT_SYMLINK_FOLLOW));
	TRY(open(".", O_TMPFILE | O_RDONLY, 0640));
	TRY(open("f", O_TMPFILE | O_RDWR, 0640));
	MUST(chmod(".", 0777));
	umask(027);
	CHILD
	{
		become(1234, 1234, 0);
		int mine = (int)TRY(open(".", O_TMPFILE | O_RDWR, 0666));
		say(" owner=%u mode=%o", flook(mine).st_uid, flook(mine).st_mode);
	}
	/* Its space is given back. */
	struct statvfs before, after;
	int big = (int)MUST(open(".", O_TMPFILE | O_RDWR, 0640));
	MUST(fallocate(big, 0, 0, 8 << 20));
	MUST(statvfs(".", &before));
	close(big);
	for (int i = 0; i < 100; i++) {
		MUST(statvfs(".", &after));
		if (after.f_bfree > before.f_bfree + 1900)
			break;
		nap(10);
	}
	say(" given-back=%d", after.f_bfree > before.f_bfree + 1900);
}

CHECK(unlinked_while_open)
{
	char text[20] = "", path[40], target[400] = "";
	int fd = make("f", "still here");

	MUST(unlink("f"));
	TRY(pread(fd, text, 10, 0));
	say(" text=%s nlink=%lu", text, flook(fd).st_nlink);
	SAY(pwrite(fd, "written", 7, 0));
	TRY(ftruncate(fd, 7));
	TRY(fchmod(fd, 0600));
	say(" mode=%o size=%lld", flook(fd).st_mode, (long long)flook(fd).st_size);
	TRY(fsetxattr(fd, "user.x", "1", 1, 0));
	SAY(fgetxattr(fd, "user.x", text, 20));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	MUST(readlink(path, target, sizeof(target) - 1));
	say(" name=%s", strrchr(target, '/'));
	int again = (int)TRY(open(path, O_RDONLY));
	MUST(pread(again, text, 7, 0));
	say(" text=%s", text);
	TRY(linkat(AT_FDCWD, path, AT_FDCWD, "g", AT_SYMLINK_FOLLOW));
	put("f", "another");
	MUST(pread(fd, text, 7, 0));
	say(" text=%s f=%s", text, get("f"));
	CHILD
	{
		MUST(pread(fd, text, 7, 0));
		say(" text=%s", text);
	}
	TRY(fsync(fd));
}

CHECK(replaced_while_open)
{
	char text[20] = "";

	put("a", "first"), put("b", "second");
	int fd = (int)MUST(open("a", O_RDONLY));
	MUST(rename("b", "a"));
	MUST(pread(fd, text, 10, 0));
	say(" text=%s a=%s nlink=%lu", text, get("a"), flook(fd).st_nlink);
}

/* Two processes append records of theirs to one file; counts each one's, returns how many are torn. */
static int append_both(int records, int bytes, int counts[2])
{
	char *record = room(bytes);
	pid_t pids[2];
	int torn = 0;

	put("log", "");
	for (int who = 0; who < 2; who++) {
		if ((pids[who] = fork()) != 0)
			continue;
		int fd = (int)MUST(open("log", O_WRONLY | O_APPEND));
		memset(record, 'a' + who, bytes);
		for (int i = 0; i < records; i++)
			MUST(write(fd, record, bytes));
		_exit(0);
	}
	wait_for(pids[0]), wait_for(pids[1]);
	int fd = (int)MUST(open("log", O_RDONLY));
	while (read(fd, record, bytes) == bytes) {
		torn += !all(record, bytes, record[0]);
		counts[record[0] == 'b']++;
	}
	return torn;
}

CHECK(append_by_two)
{
	int counts[2] = { 0, 0 };
	int torn = append_both(150, 77, counts);

	say(" %d+%d torn=%d size=%lld", counts[0], counts[1], torn, (long long)look("log").st_size);
}

CHECK(append_large_by_two)
{
	int counts[2] = { 0, 0 };
	int torn = append_both(6, 700000, counts);

	say(" %d+%d torn=%d", counts[0], counts[1], torn);
}

CHECK(append_flag)
{
	put("f", "0123");
	int fd = (int)MUST(open("f", O_RDWR | O_APPEND));
	SAY(write(fd, "45", 2));
	SAY(lseek(fd, 0, SEEK_CUR));
	SAY(pwrite(fd, "67", 2, 0)); /* Linux appends this too */
	say(" f=%s", get("f"));
	MUST(fcntl(fd, F_SETFL, 0));
	SAY(pwrite(fd, "ab", 2, 0));
	say(" f=%s", get("f"));
	int plain = (int)MUST(open("f", O_RDWR));
	MUST(fcntl(plain, F_SETFL, O_APPEND));
	SAY(pwrite(plain, "89", 2, 0));
	say(" f=%s", get("f"));
	struct iovec piece = { "!!", 2 };
	MUST(fcntl(plain, F_SETFL, 0));
	SAY(pwritev2(plain, &piece, 1, 0, RWF_APPEND));
	SAY(pwritev2(plain, &piece, 1, 2, RWF_DSYNC));
	say(" f=%s", get("f"));
}

CHECK(append_and_map)
{
	put("f", "0123456789");
	int fd = (int)MUST(open("f", O_RDWR | O_APPEND));
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memcpy(map + 2, "map", 3);
	MUST(msync(map, 4096, MS_SYNC));
	MUST(write(fd, "end", 3));
	memcpy(map, "X", 1);
	MUST(munmap(map, 4096));
	MUST(fsync(fd));
	close(fd);
	say(" f=%s size=%lld", get("f"), (long long)look("f").st_size);
}

CHECK(append_sees_truncation)
{
	put("f", "0123456789");
	int fd = (int)MUST(open("f", O_WRONLY | O_APPEND));
	CHILD
	{
		MUST(truncate("f", 3));
	}
	MUST(write(fd, "end", 3));
	say(" f=%s", get("f"));
}

CHECK(offsets_shared)
{
	int fd = make("f", "0123456789"), copy;
	char text[10] = "";

	MUST(lseek(fd, 0, SEEK_SET));
	copy = (int)MUST(dup(fd));
	CHILD
	{
		MUST(read(fd, text, 3));
	}
	MUST(read(copy, text, 2));
	say(" text=%.2s at=%lld", text, (long long)lseek(fd, 0, SEEK_CUR));
	SAY(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	SAY(fcntl(copy, F_GETFD));
}

CHECK(descriptors_passed)
{
	int pair[2], fd = make("f", "passed");
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec piece = { "x", 1 };
	struct msghdr message = { .msg_iov = &piece,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	TRY(sendmsg(pair[0], &message, 0));
	close(fd);
	CHILD
	{
		char byte, text[10] = "";
		piece.iov_base = &byte;
		MUST(recvmsg(pair[1], &message, 0));
		memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
		MUST(pread(fd, text, 6, 0));
		say(" text=%s", text);
	}
}

CHECK(programs_and_redirection)
{
	MUST(setenv("PATH", "/usr/bin:/bin:/usr/sbin:/sbin", 1));
	SAY(system("exec > out; echo one; (echo two; echo three) >> out; cat < out > copy"));
	say(" %lld", (long long)look("copy").st_size);
	SAY(system("echo text | tee t1 > t2 && test -s t2 && test -s t1"));
	SAY(system("exec 3<> rw; echo 12345 >&3; echo ab >&3; exec 3<&-; test \"$(cat rw)\" = \"12345\nab\""));
	SAY(system("printf '#!/bin/sh\\nexit 9\\n' > script; chmod +x script; ./script") >> 8);
	SAY(system("cat /proc/self/fd/0 < t1 > t3 && test -s t3"));
}

CHECK(vectors_and_splices)
{
	int fd = make("f", ""), to = make("to", ""), pipes[2];
	char a[4] = "", b[8] = "";
	struct iovec out[3] = { { "ab", 2 }, { "", 0 }, { "cdefg", 5 } }, in[2] = { { a, 3 }, { b, 7 } };

	MUST(pipe(pipes));
	SAY(writev(fd, out, 3));
	SAY(preadv(fd, in, 2, 1));
	say(" %s/%s", a, b);
	SAY(preadv2(fd, in, 2, 0, RWF_HIPRI));
	SAY(pwritev(fd, out, 3, 5));
	off_t at = 1;
	SAY(sendfile(to, fd, &at, 100));
	say(" to=%s", get("to"));
	loff_t from = 2;
	SAY(splice(fd, &from, pipes[1], NULL, 5, 0));
	SAY(splice(pipes[0], NULL, to, NULL, 5, 0));
	say(" to=%s", get("to"));
	SAY(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	TRY(readahead(fd, 0, 100));
	MUST(lseek(fd, 0, SEEK_SET));
	SAY(pread(fd, b, 0, 0));
	SAY(pread(fd, b, 5, 100));
}

CHECK(truncation)
{
	int fd = make("f", "0123456789");
	char text[30] = "";

	TRY(ftruncate(fd, 4));
	TRY(ftruncate(fd, 8));
	SAY(pread(fd, text, 20, 0));
	say(" %.4s zeros=%d", text, all(text + 4, 4, 0));
	int readable = (int)MUST(open("f", O_RDONLY));
	TRY(ftruncate(readable, 0));
	close(MUST(open("f", O_WRONLY | O_TRUNC)));
	SAY(flook(fd).st_size);
	SAY(pwrite(fd, "x", 1, 100));
	SAY(flook(fd).st_size);
	MUST(chmod("f", 0444));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(truncate("f", 0));
		TRY(ftruncate(fd, 50)); /* opened for writing: may be cut */
	}
	SAY(flook(fd).st_size);
}

CHECK(synchronous)
{
	int fd = make("f", "text"), folder = (int)MUST(open(".", O_RDONLY)), readable = (int)MUST(open("f", O_RDONLY));

	TRY(fsync(fd));
	TRY(fdatasync(fd));
	TRY(fsync(readable));
	TRY(fsync(folder));
	TRY(fdatasync(folder));
	TRY(syncfs(fd));
	TRY(syncfs(folder));
	TRY(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
	TRY(sync_file_range(fd, 0, 0, 0x80));
	for (int flag = 0; flag < 2; flag++) {
		int sync = (int)MUST(open("f", O_WRONLY | (flag ? O_SYNC : O_DSYNC)));
		SAY(write(sync, "more", 4));
		say(" flag=%d", (fcntl(sync, F_GETFL) & O_SYNC) == (flag ? O_SYNC : O_DSYNC));
	}
	MUST(mkfifo("p", 0600));
	int fifo = (int)MUST(open("p", O_RDWR));
	TRY(fsync(fifo));
}

CHECK(inode_flags)
{
	int flags = 0, fd = make("f", "text");

	TRY(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	flags |= FS_APPEND_FL;
	TRY(ioctl(fd, FS_IOC_SETFLAGS, &flags));
	int other = (int)TRY(open("f", O_WRONLY));
	TRY(unlink("f"));
	close(other);
	flags &= ~FS_APPEND_FL;
	TRY(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

CHECK(other_ioctls)
{
	int fd = make("f", "text"), count = 0;

	MUST(lseek(fd, 1, SEEK_SET));
	TRY(ioctl(fd, FIONREAD, &count));
	SAY(count);
	TRY(ioctl(fd, 0x5401, stash)); /* TCGETS */
	TRY(ioctl(fd, 0x12345678, stash));
	TRY(ioctl(fd, FICLONE, fd));
	TRY(fcntl(fd, F_ADD_SEALS, 0));
	TRY(fcntl(fd, F_SETPIPE_SZ, 4096));
}

CHECK(file_handles)
{
	union {
		struct file_handle head;
		char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} handle = { .head = { .handle_bytes = MAX_HANDLE_SZ } };
	int mount;
	char text[10] = "";

	put("f", "by handle");
	int folder = (int)MUST(open(".", O_RDONLY));
	TRY(name_to_handle_at(AT_FDCWD, "f", &handle.head, &mount, 0));
	int fd = (int)TRY(open_by_handle_at(folder, &handle.head, O_RDONLY));
	pread(fd, text, 9, 0);
	say(" text=%s", text);
}

CHECK(readiness)
{
	int file = make("f", "text"), folder = (int)MUST(open(".", O_RDONLY));
	struct pollfd both[2] = { { file, POLLIN | POLLOUT | POLLPRI, 0 }, { folder, POLLIN, 0 } };
	fd_set reads, urgent;

	TRY(poll(both, 2, -1));
	say(" file=%x folder=%x", both[0].revents, both[1].revents);
	FD_ZERO(&reads);
	FD_ZERO(&urgent);
	FD_SET(file, &reads);
	FD_SET(file, &urgent);
	TRY(select(file + 1, &reads, NULL, &urgent, NULL));
	say(" reads=%d urgent=%d", !!FD_ISSET(file, &reads), !!FD_ISSET(file, &urgent));
	make("r", "text");
	int empty = (int)MUST(open("r", O_RDONLY | O_NONBLOCK));
	TRY(read(empty, stash, 10));
	TRY(read(empty, stash, 10));
}

CHECK(readiness_of_regular_files)
{
	int set = epoll_create1(0), file = make("f", "text"), folder = (int)MUST(open(".", O_RDONLY));
	struct epoll_event event = { .events = EPOLLIN };

	TRY(epoll_ctl(set, EPOLL_CTL_ADD, file, &event));
	TRY(epoll_ctl(set, EPOLL_CTL_ADD, folder, &event));
}

CHECK(notifications)
{
	int watch = inotify_init1(IN_NONBLOCK);
	static char events[8192];

	MUST(inotify_add_watch(watch, ".", IN_ALL_EVENTS));
	put("f", "text");
	MUST(chmod("f", 0600));
	get("f");
	MUST(rename("f", "g"));
	MUST(mkdir("d", 0700));
	MUST(truncate("g", 1));
	MUST(link("g", "h"));
	MUST(unlink("g"));
	MUST(rmdir("d"));
	CHILD
	{
		put("child", "x");
	}
	long count = read(watch, events, sizeof(events));
	for (long at = 0; at < count;) {
		struct inotify_event *event = (struct inotify_event *)(events + at);
		say(" %x:%s", event->mask, event->len ? event->name : "");
		at += (long)sizeof(*event) + event->len;
	}
}

/* ---- identity ---- */

CHECK(umask_and_modes)
{
	umask(027);
	close(MUST(open("f", O_CREAT | O_WRONLY, 0777)));
	MUST(mkdir("d", 0777) | mkfifo("p", 0666) | mknod("n", S_IFREG | 0666, 0));
	say(" %o %o %o %o", look("f").st_mode, look("d").st_mode, look("p").st_mode, look("n").st_mode);
	umask(0);
	close(MUST(open("g", O_CREAT | O_WRONLY, 07777)));
	MUST(mkdir("e", 01777));
	say(" %o %o", look("g").st_mode, look("e").st_mode);
	/* The mode does not count for the descriptor that makes the file. */
	int fd = (int)TRY(open("w", O_CREAT | O_RDWR, 0));
	TRY(write(fd, "x", 1));
	MUST(chmod(".", 0777));
	CHILD
	{
		become(1234, 1234, 0);
		int mine = (int)TRY(open("m", O_CREAT | O_RDWR, 0400));
		TRY(write(mine, "x", 1));
		TRY(open("m", O_RDWR));
	}
	TRY(chmod("f", 07777));
	say(" %o", look("f").st_mode);
}

CHECK(permissions)
{
	put("secret", "text");
	MUST(chmod("secret", 0600) | mkdir("shut", 0700) | mkdir("open", 0755) | mkdir("blind", 0711) |
	     mkdir("listed", 0744));
	put("shut/f", ""), put("open/f", "text"), put("blind/f", "text"), put("listed/f", "");
	CHILD
	{
		become(1234, 1234, 0);
		TRY(open("secret", O_RDONLY));
		TRY(open("open/f", O_RDONLY));
		TRY(open("open/f", O_RDWR));
		TRY(open("open/new", O_CREAT | O_WRONLY, 0600));
		TRY(mkdir("open/new", 0600));
		TRY(symlink("x", "open/new"));
		TRY(mkfifo("open/new", 0600));
		TRY(link("open/f", "open/g"));
		TRY(unlink("open/f"));
		TRY(rename("open/f", "open/g"));
		TRY(stat("shut/f", &(struct stat){ 0 }));
		TRY(chdir("shut"));
		TRY(open("shut", O_RDONLY));
		TRY(open("blind/f", O_RDONLY));
		TRY(open("blind", O_RDONLY));
		TRY(open("listed", O_RDONLY));
		TRY(stat("listed/f", &(struct stat){ 0 }));
		TRY(chmod("open/f", 0777));
		TRY(chown("open/f", 1234, 1234));
		TRY(chown("open/f", -1, -1));
		TRY(truncate("open/f", 0));
		TRY(utimensat(AT_FDCWD, "open/f", NULL, 0));
		TRY(access("secret", F_OK));
		TRY(access("secret", R_OK));
		TRY(access("open/f", R_OK));
		TRY(access("open/f", W_OK));
		TRY(open("open", O_TMPFILE | O_RDWR, 0600));
		TRY(setxattr("open/f", "user.x", "1", 1, 0));
		TRY(removexattr("open/f", "user.x"));
	}
}

CHECK(identity_of_threads)
{
	/* The file system's identity is the calling thread's, effective or of its own. */
	MUST(chmod(".", 0777));
	MUST(setresuid(-1, 1234, -1));
	close(MUST(open("effective", O_CREAT | O_WRONLY, 0600)));
	MUST(setresuid(-1, 0, -1));
	setfsgid(77);
	setfsuid(4321);
	close(MUST(open("fs", O_CREAT | O_WRONLY, 0600)));
	TRY(open("effective", O_RDONLY));
	setfsuid(0);
	setfsgid(0);
	say(" %u %u/%u", look("effective").st_uid, look("fs").st_uid, look("fs").st_gid);
	/* access() asks for the real identity. */
	CHILD
	{
		MUST(setresuid(1234, 0, 0));
		TRY(access("fs", R_OK));
		TRY(faccessat(AT_FDCWD, "fs", R_OK, AT_EACCESS));
	}
}

CHECK(supplementary_groups)
{
	umask(0);
	put("f", "text");
	MUST(chown("f", 0, 4321) | chmod("f", 0640) | mkdir("d", 0770) | chown("d", 0, 4321));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(open("f", O_RDONLY));
		TRY(open("d/x", O_CREAT | O_WRONLY, 0600));
	}
	CHILD
	{
		become(1234, 1234, 4321);
		TRY(open("f", O_RDONLY));
		TRY(open("f", O_RDWR));
		TRY(open("d/x", O_CREAT | O_WRONLY, 0600));
		say(" %u:%u", look("d/x").st_uid, look("d/x").st_gid);
		TRY(chown("d/x", -1, 4321));
		TRY(chown("d/x", -1, 5555));
		TRY(chown("d/x", 1235, -1));
	}
}

CHECK(set_group_id_directories)
{
	umask(0);
	MUST(mkdir("d", 0777) | chown("d", 0, 4321) | chmod("d", 02777));
	MUST(mkdir("d/sub", 0755));
	put("d/f", "");
	say(" %o/%u %u", look("d/sub").st_mode, look("d/sub").st_gid, look("d/f").st_gid);
	for (int member = 0; member < 2; member++)
		CHILD
		{
			become(1234, 1234, member ? 4321 : 0);
			char name[20];
			snprintf(name, sizeof(name), "d/f%d", member);
			close(MUST(open(name, O_CREAT | O_WRONLY, 02775)));
			say(" file=%o/%u", look(name).st_mode, look(name).st_gid);
			MUST(chmod(name, 02775));
			say(" chmod=%o", look(name).st_mode);
			snprintf(name, sizeof(name), "d/d%d", member);
			MUST(mkdir(name, 0755));
			say(" folder=%o/%u", look(name).st_mode, look(name).st_gid);
			snprintf(name, sizeof(name), "d/n%d", member);
			MUST(mknod(name, S_IFREG | 02775, 0));
			say(" node=%o", look(name).st_mode);
			int fd = open("d", O_TMPFILE | O_RDWR, 02775);
			if (fd >= 0)
				say(" unnamed=%o/%u", flook(fd).st_mode, flook(fd).st_gid);
		}
}

static void privileged(const char *path, uid_t uid)
{
	put(path, "text");
	MUST(chown(path, uid, 4321) | chmod(path, 06777));
}

CHECK(set_user_id_cleared)
{
	privileged("written", 1), privileged("cut", 1), privileged("mapped", 1), privileged("given", 1234);
	privileged("opened", 1), privileged("allocated", 1), privileged("copied", 1), privileged("root", 1);
	privileged("plain", 1), MUST(chmod("plain", 06766));
	privileged("moved", 1), privileged("listed", 1);
	CHILD
	{
		become(1234, 1234, 4321);
		int fd = (int)MUST(open("written", O_RDWR));
		MUST(write(fd, "x", 1));
		MUST(truncate("cut", 1));
		close(MUST(open("opened", O_WRONLY | O_TRUNC)));
		fd = (int)MUST(open("mapped", O_RDWR));
		char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		map[0] = 'y';
		MUST(msync(map, 4096, MS_SYNC));
		MUST(chown("given", 1234, 4321));
		fd = (int)MUST(open("allocated", O_RDWR));
		MUST(fallocate(fd, 0, 0, 100));
		fd = (int)MUST(open("plain", O_RDWR));
		MUST(write(fd, "x", 1));
		fd = (int)MUST(open("copied", O_RDWR));
		copy_file_range((int)MUST(open("plain", O_RDONLY)), NULL, fd, NULL, 2, 0);
	}
	int fd = (int)MUST(open("root", O_RDWR));
	MUST(write(fd, "x", 1));
	static const char *names[] = { "written", "cut", "opened", "mapped", "given", "allocated", "plain", "copied", "root" };
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		say(" %s=%o", names[i], look(names[i]).st_mode & 07777);
	MUST(chown("root", 2, 2));
	say(" chown=%o", look("root").st_mode & 07777);
	MUST(mkdir("d", 0777) | chmod("d", 06777) | chown("d", 2, 2));
	say(" folder=%o", look("d").st_mode & 07777);
	MUST(rename("moved", "d/moved") | link("listed", "d/listed"));
	say(" moved=%o listed=%o", look("d/moved").st_mode & 07777, look("listed").st_mode & 07777);
}

CHECK(file_capabilities)
{
	/* VFS_CAP_REVISION_2, CAP_NET_RAW permitted and effective */
	static const uint32_t value[5] = { 0x02000001, 1 << 13 };

	put("f", "text");
	MUST(chmod("f", 0777));
	TRY(setxattr("f", "security.capability", value, sizeof(value), 0));
	SAY(getxattr("f", "security.capability", NULL, 0));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(setxattr("f", "security.capability", value, sizeof(value), 0));
		int fd = (int)MUST(open("f", O_WRONLY));
		MUST(write(fd, "x", 1));
	}
	TRY(getxattr("f", "security.capability", NULL, 0));
}

CHECK(sticky_directories)
{
	MUST(mkdir("d", 0777) | chmod("d", 01777));
	put("d/root", ""), put("d/mine", ""), put("d/other", ""), MUST(chown("d/mine", 1234, 1234));
	MUST(chmod("d/root", 0666));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(unlink("d/root"));
		TRY(rename("d/root", "d/x"));
		TRY(rename("d/mine", "d/root"));
		TRY(open("d/root", O_WRONLY));
		TRY(unlink("d/mine"));
		TRY(chmod("d", 0777));
	}
	MUST(chown("d", 1234, 0));
	CHILD
	{
		become(1234, 1234, 0);
		TRY(unlink("d/root"));
	}
}

CHECK(owner_rights)
{
	MUST(chmod(".", 0777));
	CHILD
	{
		become(1234, 1234, 4321);
		put("f", "text");
		TRY(chmod("f", 0));
		TRY(open("f", O_RDONLY));
		TRY(chmod("f", 0400));
		TRY(open("f", O_RDONLY));
		TRY(utimensat(AT_FDCWD, "f", (struct timespec[2]){ { 1, 0 }, { 2, 0 } }, 0));
		TRY(setxattr("f", "user.x", "1", 1, 0));
		TRY(chmod("f", 02755));
		say(" %o", look("f").st_mode);
		TRY(chown("f", -1, 4321));
		TRY(chmod("f", 02755));
		say(" %o", look("f").st_mode);
		TRY(chown("f", 0, -1));
		TRY(unlink("f"));
	}
}

CHECK(capabilities_of_the_caller)
{
	/* Root without rights over others' files is anybody. */
	MUST(mkdir("d", 0700) | chown("d", 1234, 1234));
	put("f", "text");
	MUST(chown("f", 1234, 1234) | chmod("f", 0600));
	CHILD
	{
		MUST(prctl(PR_SET_SECUREBITS, 0x2f)); /* SECBIT_NO_SETUID_FIXUP and others: keep none */
		struct {
			uint32_t version;
			int pid;
		} head = { 0x20080522, 0 };
		uint32_t none[6] = { 0 };
		MUST(syscall(SYS_capset, &head, none));
		TRY(open("f", O_RDONLY));
		TRY(open("d/x", O_CREAT | O_WRONLY, 0600));
		TRY(chown("f", 0, 0));
		TRY(chmod("f", 0666));
		TRY(mknod("c", S_IFCHR | 0600, makedev(1, 3)));
		TRY(setxattr("f", "trusted.x", "1", 1, 0));
	}
}

/* ---- running them ---- */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status, (void)type, (void)where;
	return remove(path);
}
static void clear(const char *path)
{
	nftw(path, remove_one, 20, FTW_DEPTH | FTW_PHYS);
}

static void run(const struct check *check)
{
	int status;

	result->length = 0;
	result->text[0] = 0;
	clear(check->name);
	if (mkdir(check->name, 0755) < 0)
		say(" [mkdir: %s]", strerrorname_np(errno));
	pid_t pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		alarm(300);
		if (chdir(check->name) < 0)
			_exit(1);
		umask(022);
		check->body();
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	kill(-pid, SIGKILL);
	if (WIFSIGNALED(status))
		say(" SIG%s", sigabbrev_np(WTERMSIG(status)));
	printf("%s:%s\n", check->name, result->text);
	fflush(stdout);
	clear(check->name);
}

int main(int count, char **words)
{
	if (count == 2 && strcmp(words[1], "--exit-with-7") == 0)
		return 7;
	if (count == 2 && strcmp(words[1], "--wait") == 0)
		return write(1, "r", 1) == 1 ? pause() : 1;
	if (count < 2) {
		fprintf(stderr, "usage: %s DIRECTORY [CHECK...]\n", words[0]);
		return 2;
	}
	if (getenv("MANY"))
		many = atoi(getenv("MANY"));
	self_path = realpath("/proc/self/exe", NULL);
	top = words[1];
	result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (result == MAP_FAILED || chdir(top) < 0) {
		perror(top);
		return 2;
	}
	/* Whoever started us may hold signals back. */
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	for (int i = 0; i < check_count; i++) {
		int wanted = count == 2;
		for (int k = 2; k < count; k++)
			wanted |= strcmp(words[k], checks[i].name) == 0;
		if (wanted)
			run(&checks[i]);
	}
	return 0;
}
