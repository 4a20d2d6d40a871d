/* SPDX-License-Identifier: Apache-2.0
 *
 * What libvos takes from the C library, for a process that has none of ours: system calls. They
 * return minus an errno; nothing here knows threads.
 */
#include "libvos_c.h"
#define VOSLOAD_SWIFT
#include "vosload_c.h"

uint32_t vosload_pooled;
uint64_t vosload_stacks, vosload_stacks_half, vosload_stacks_end;
char vosload_program[VOSLOAD_PATH];

/* asm/unistd_64.h has the numbers. */
const uint8_t vosload_calls[VOSLOAD_CALLS] = {
	/* Data of a descriptor. */
	[0] = VOSLOAD_FIRST | VOSLOAD_MUST,    /* read */
	[1] = VOSLOAD_FIRST | VOSLOAD_MUST,    /* write */
	[8] = VOSLOAD_FIRST | VOSLOAD_MUST,    /* lseek */
	[17] = VOSLOAD_FIRST | VOSLOAD_MUST,   /* pread64 */
	[18] = VOSLOAD_FIRST | VOSLOAD_MUST,   /* pwrite64 */
	[19] = VOSLOAD_FIRST | VOSLOAD_MUST,   /* readv */
	[20] = VOSLOAD_FIRST | VOSLOAD_MUST,   /* writev */
	[44] = VOSLOAD_FIRST | VOSLOAD_MUST,   /* sendto */
	[45] = VOSLOAD_FIRST | VOSLOAD_MUST,   /* recvfrom */
	[46] = VOSLOAD_ALWAYS | VOSLOAD_MUST,  /* sendmsg: may pass descriptors */
	[47] = VOSLOAD_FIRST | VOSLOAD_MUST,   /* recvmsg */
	[295] = VOSLOAD_FIRST | VOSLOAD_MUST,  /* preadv */
	[296] = VOSLOAD_FIRST | VOSLOAD_MUST,  /* pwritev */
	[299] = VOSLOAD_FIRST | VOSLOAD_MUST,  /* recvmmsg */
	[307] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* sendmmsg */
	[327] = VOSLOAD_FIRST | VOSLOAD_MUST,  /* preadv2 */
	[328] = VOSLOAD_FIRST | VOSLOAD_MUST,  /* pwritev2 */
	/* What keeps it. */
	[74] = VOSLOAD_FIRST,                  /* fsync */
	[75] = VOSLOAD_FIRST,                  /* fdatasync */
	[77] = VOSLOAD_FIRST,                  /* ftruncate */
	[285] = VOSLOAD_FIRST,                 /* fallocate */
	/* Readiness. */
	[7] = VOSLOAD_ALWAYS,                  /* poll */
	[23] = VOSLOAD_ALWAYS,                 /* select */
	[270] = VOSLOAD_ALWAYS,                /* pselect6 */
	[271] = VOSLOAD_ALWAYS,                /* ppoll */
	[233] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* epoll_ctl */
	/* What makes descriptors: not seen, they are local. */
	[2] = VOSLOAD_ALWAYS,                  /* open */
	[85] = VOSLOAD_ALWAYS,                 /* creat */
	[257] = VOSLOAD_ALWAYS,                /* openat */
	[41] = VOSLOAD_ALWAYS,                 /* socket */
	[43] = VOSLOAD_FIRST,                  /* accept */
	[288] = VOSLOAD_FIRST,                 /* accept4 */
	/* What copies and ends them. */
	[3] = VOSLOAD_ALWAYS | VOSLOAD_MUST,   /* close */
	[436] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* close_range */
	[32] = VOSLOAD_FIRST | VOSLOAD_MUST,   /* dup */
	[33] = VOSLOAD_ALWAYS | VOSLOAD_MUST,  /* dup2 */
	[292] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* dup3 */
	[72] = VOSLOAD_FIRST | VOSLOAD_MUST,   /* fcntl */
	[16] = VOSLOAD_FIRST | VOSLOAD_MUST,   /* ioctl */
	/* A second owner, or the kernel's own view. */
	[9] = VOSLOAD_FIFTH | VOSLOAD_MUST,    /* mmap */
	[40] = VOSLOAD_ALWAYS | VOSLOAD_MUST,  /* sendfile */
	[275] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* splice */
	[326] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* copy_file_range */
	[56] = VOSLOAD_ALWAYS | VOSLOAD_MUST,  /* clone */
	[57] = VOSLOAD_ALWAYS | VOSLOAD_MUST,  /* fork */
	[58] = VOSLOAD_ALWAYS | VOSLOAD_MUST,  /* vfork */
	[435] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* clone3 */
	[59] = VOSLOAD_ALWAYS | VOSLOAD_MUST,  /* execve */
	[322] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* execveat */
	[272] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* unshare */
	[160] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* setrlimit */
	[302] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* prlimit64 */
	[425] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* io_uring_setup */
	[426] = VOSLOAD_ALWAYS | VOSLOAD_MUST, /* io_uring_enter */
	/* The meaning of a path; all that is to be written back; the end. */
	[80] = VOSLOAD_ALWAYS | VOSLOAD_MUST,  /* chdir */
	[81] = VOSLOAD_ALWAYS | VOSLOAD_MUST,  /* fchdir */
	[89] = VOSLOAD_ALWAYS,                 /* readlink: /proc/self/exe */
	[267] = VOSLOAD_ALWAYS,                /* readlinkat */
	[162] = VOSLOAD_ALWAYS,                /* sync */
	[306] = VOSLOAD_ALWAYS,                /* syncfs */
	[231] = VOSLOAD_ALWAYS,                /* exit_group: VOS_DEBUG */
};

static long call(long number, long a, long b, long c, long d)
{
	return libvos_system_call(number, a, b, c, d, 0, 0);
}

/* libvos_c.h's functions of the C library. */
int getpid(void) { return (int)call(39, 0, 0, 0, 0); }
int sched_yield(void) { return (int)call(24, 0, 0, 0, 0); }
int fstat(int fd, struct libvos_status *status) { return (int)call(5, fd, (long)status, 0, 0); }
int munmap(void *address, size_t length) { return (int)call(11, (long)address, (long)length, 0, 0); }
int madvise(void *address, size_t length, int advice)
{
	return (int)call(28, (long)address, (long)length, advice, 0);
}
int sigprocmask(int how, const struct libvos_signals *set, struct libvos_signals *old)
{
	return (int)call(14, how, (long)set, (long)old, 8);
}
int clock_gettime(int clock, struct libvos_time *time)
{
	return (int)call(228, clock, (long)time, 0, 0);
}
int sched_getaffinity(int pid, size_t bytes, struct libvos_signals *mask)
{
	return call(204, pid, (long)bytes, (long)mask, 0) < 0 ? -1 : 0;
}
int getrlimit(int resource, struct libvos_limit *limit)
{
	return (int)call(97, resource, (long)limit, 0, 0);
}
long getdents64(int fd, void *buffer, size_t length)
{
	return call(217, fd, (long)buffer, (long)length, 0);
}
int dladdr(const void *address, struct libvos_dl_info *info)
{
	(void)address, (void)info;
	return 0;
}
size_t strlen(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

/* Nobody's: errors are results here, so it says nothing. */
static int unused_error;
int *__errno_location(void) { return &unused_error; }
long libvos_failed(long error) { return error; }

/*
 * The real functions. Those that are not in the list are not called: vosload_answer leaves such a
 * call to the program's own instruction.
 */
static long real_read(int f, void *b, size_t n) { return call(0, f, (long)b, (long)n, 0); }
static long real_write(int f, const void *b, size_t n) { return call(1, f, (long)b, (long)n, 0); }
static long real_pread64(int f, void *b, size_t n, long o) { return call(17, f, (long)b, (long)n, o); }
static long real_pwrite64(int f, const void *b, size_t n, long o)
{
	return call(18, f, (long)b, (long)n, o);
}
static long real_lseek64(int f, long o, int w) { return call(8, f, o, w, 0); }
static long real_send(int f, const void *b, size_t n, int flags)
{
	return libvos_system_call(44, f, (long)b, (long)n, flags, 0, 0);
}
static int real_recvmmsg(int f, void *list, unsigned n, int flags, void *time)
{
	return (int)libvos_system_call(299, f, (long)list, n, flags, (long)time, 0);
}
static int real_sendmmsg(int f, void *list, unsigned n, int flags)
{
	return (int)call(307, f, (long)list, n, flags);
}
static int real_fsync(int f) { return (int)call(74, f, 0, 0, 0); }
static void real_sync(void) { call(162, 0, 0, 0, 0); }
static int real_syncfs(int f) { return (int)call(306, f, 0, 0, 0); }
static int real_open64(const char *path, int flags, unsigned mode)
{
	return (int)call(2, (long)path, flags, mode, 0);
}
static int real_close(int f) { return (int)call(3, f, 0, 0, 0); }
static int real_close_range(unsigned first, unsigned last, int flags)
{
	return (int)call(436, first, last, flags, 0);
}
static int real_dup(int f) { return (int)call(32, f, 0, 0, 0); }
static int real_dup2(int f, int to) { return (int)call(33, f, to, 0, 0); }
static int real_dup3(int f, int to, int flags) { return (int)call(292, f, to, flags, 0); }
static int real_fcntl64(int f, int command, unsigned long argument)
{
	return (int)call(72, f, command, (long)argument, 0);
}
/* The tests put a double of the channel's device here. */
__attribute__((weak)) int vosload_ioctl(int f, unsigned long command, unsigned long argument)
{
	return (int)call(16, f, (long)command, (long)argument, 0);
}
__attribute__((weak)) void *vosload_mmap(void *at, size_t n, int protection, int flags, int f, long o)
{
	return (void *)libvos_system_call(9, (long)at, (long)n, protection, flags, f, o);
}
static void *real_mmap64(void *at, size_t n, int protection, int flags, int f, long o)
{
	long place = (long)vosload_mmap(at, n, protection, flags, f, o);

	return (void *)(place < 0 && place > -4096 ? -1 : place);
}

#define REAL(name) {#name, (void *)real_##name}
static const struct {
	const char *name;
	void *function;
} functions[] = {
	REAL(read), REAL(write), REAL(pread64), REAL(pwrite64), REAL(lseek64), REAL(send),
	REAL(recvmmsg), REAL(sendmmsg), REAL(fsync), REAL(sync), REAL(syncfs), REAL(open64), REAL(close),
	REAL(close_range), REAL(dup), REAL(dup2), REAL(dup3), REAL(fcntl64), REAL(mmap64),
	{"ioctl", (void *)vosload_ioctl}, {"syscall", (void *)libvos_system_call},
};

void *dlsym(void *handle, const char *name)
{
	(void)handle;
	for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++) {
		const char *a = functions[i].name, *b = name;

		while (*a && *a == *b)
			a++, b++;
		if (*a == *b)
			return functions[i].function;
	}
	return NULL;
}

/* Elf64_Dyn and Elf64_Rela. */
struct dynamic {
	int64_t tag;
	uint64_t value;
};
struct relocation {
	uint64_t place;
	uint64_t type;
	int64_t addend;
};
struct vosload_way {
	uint64_t entry;
	uint64_t stack;
};
extern uint64_t vosload_run(uint64_t *stack);

/*
 * First of all: nobody has moved our own addresses yet, so no table may be used before. Gives the
 * program's entry and stack.
 */
__attribute__((visibility("hidden"))) struct vosload_way vosload_start(
	uint64_t *stack, const struct dynamic *dynamic, char *base)
{
	const struct relocation *list = NULL;
	uint64_t bytes = 0;

	for (; dynamic->tag; dynamic++) {
		if (dynamic->tag == 7) /* DT_RELA */
			list = (const struct relocation *)(base + dynamic->value);
		else if (dynamic->tag == 8) /* DT_RELASZ */
			bytes = dynamic->value;
	}
	for (; bytes >= sizeof(*list); bytes -= sizeof(*list), list++)
		if (list->type == 8) /* R_X86_64_RELATIVE */
			*(uint64_t *)(base + list->place) = (uint64_t)(base + list->addend);
	/* Our own name and the program's path go: what follows is the program's own list. */
	uint64_t entry = vosload_run(stack);

	stack[2] = stack[0] - 2;
	return (struct vosload_way){entry, (uint64_t)(stack + 2)};
}
