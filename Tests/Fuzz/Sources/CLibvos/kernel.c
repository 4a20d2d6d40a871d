/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel path of a process in which libvos is fuzzed. It does nothing, answers as a real one
 * might, and ends the run when a buffer is none that the call named, or not where the bytes before
 * it end, or when a descriptor is not open. The service acts while it is "in the kernel".
 */
#include "state.h"

#undef __builtin_memcpy

#define FD_COUNT 1024
#define FIRST_FD 3

enum kind { CLOSED, LIST, DEVICE, THING };
static struct {
	enum kind kind;
	uint8_t channel;
} descriptors[FD_COUNT];
static int listed;
static struct libvos_next libc;

enum { EINTR_ = 4, EIO_ = 5, EBADF_ = 9, EAGAIN_ = 11, EFAULT_ = 14, EINVAL_ = 22, ENOTSOCK_ = 88 };

/* include/uapi/asm-generic/ioctls.h */
#define FIONREAD_ 0x541b

static long failed(int error)
{
	*__errno_location() = error;
	return -1;
}

static long trouble(void)
{
	static const int errors[] = { EIO_, EAGAIN_, EINTR_, 28, 32, 104 };

	return failed(errors[fuzz_choose(6)]);
}

static bool is_open(int fd, enum kind kind)
{
	return fd >= 0 && fd < FD_COUNT && descriptors[fd].kind == kind;
}

/* A program may name any number; libvos only what is open. */
static bool is_thing(int fd)
{
	if (!is_open(fd, THING) && fd != fuzz_call.descriptor)
		fuzz_fail("libvos makes a call on a descriptor that is not open");
	return is_open(fd, THING);
}

static bool is_file(int fd)
{
	return is_thing(fd) && descriptors[fd].channel == LIBVOS_FUZZ_FILES;
}

static int make(enum kind kind, uint8_t channel, int lowest)
{
	for (int fd = lowest; fd < FD_COUNT; fd++)
		if (!descriptors[fd].kind) {
			descriptors[fd].kind = kind;
			descriptors[fd].channel = channel;
			return fd;
		}
	return (int)failed(24);
}

/* Transfers. */

/* What the program itself passed, with vectors or one buffer. */
static bool is_as_passed(const void *buffer, size_t bytes)
{
	return fuzz_call.count == 1 && fuzz_call.vectors && fuzz_call.vectors->base == buffer &&
	       fuzz_call.vectors->length == bytes;
}

static long moved(size_t bytes)
{
	if (fuzz_choose(4) == 3)
		return trouble();
	size_t result = fuzz_choose(2) ? bytes : fuzz_choose(bytes > 65535 ? 65536 : bytes + 1);
	if (fuzz_call.writes)
		fuzz_call.given += result;
	return (long)result;
}

static long transfer(int fd, const void *buffer, size_t bytes, int64_t offset)
{
	fuzz_let_act();
	if (!is_thing(fd))
		return failed(EBADF_);
	if (!fuzz_is_lent(buffer, bytes)) {
		if (is_as_passed(buffer, bytes))
			return failed(EFAULT_);
		fuzz_fail("the kernel gets a buffer that the program did not give");
	}
	fuzz_expect_allowed(buffer, bytes, "the kernel gets a buffer that the program did not give");
	if (offset >= 0 && fuzz_call.offset >= 0 &&
	    fuzz_place((size_t)(offset - fuzz_call.offset)) != buffer && bytes)
		fuzz_fail("the kernel gets bytes of another place of the file");
	if (fuzz_call.writes && fuzz_call.ordered && fuzz_place(fuzz_call.given) != buffer && bytes)
		fuzz_fail("the kernel writes to a wrong place");
	long result = moved(bytes);
	if (fuzz_call.writes)
		for (long i = 0; i < result; i++)
			((volatile uint8_t *)buffer)[i] = 'k';
	return result;
}

static long vectors(int fd, const struct libvos_vector *list, size_t count)
{
	size_t total = 0;

	fuzz_let_act();
	if (list != fuzz_call.vectors || count != fuzz_call.count)
		fuzz_fail("the kernel gets vectors that the program did not give");
	if (!is_thing(fd))
		return failed(EBADF_);
	if (!list || !count || count > 1024)
		return failed(EINVAL_);
	for (size_t i = 0; i < count; i++) {
		if (!fuzz_is_lent(list[i].base, list[i].length) && list[i].length)
			return failed(EFAULT_);
		total += list[i].length;
	}
	return moved(total);
}

static long k_read(int fd, void *buffer, size_t bytes) { return transfer(fd, buffer, bytes, -1); }
static long k_write(int fd, const void *buffer, size_t bytes)
{
	return transfer(fd, buffer, bytes, -1);
}
static long k_readv(int fd, const struct libvos_vector *list, int count)
{
	return vectors(fd, list, (size_t)count);
}
static long k_pread64(int fd, void *buffer, size_t bytes, long offset)
{
	return transfer(fd, buffer, bytes, offset);
}
static long k_pwrite64(int fd, const void *buffer, size_t bytes, long offset)
{
	return transfer(fd, buffer, bytes, offset);
}
static long k_preadv64(int fd, const struct libvos_vector *list, int count, long offset)
{
	(void)offset;
	return vectors(fd, list, (size_t)count);
}
static long k_preadv64v2(int fd, const struct libvos_vector *list, int count, long offset,
			 int flags)
{
	(void)offset, (void)flags;
	return vectors(fd, list, (size_t)count);
}
static long k_recv(int fd, void *buffer, size_t bytes, int flags)
{
	(void)flags;
	return is_file(fd) ? failed(ENOTSOCK_) : transfer(fd, buffer, bytes, -1);
}
static long k_send(int fd, const void *buffer, size_t bytes, int flags)
{
	(void)flags;
	return is_file(fd) ? failed(ENOTSOCK_) : transfer(fd, buffer, bytes, -1);
}
static long k_recvfrom(int fd, void *buffer, size_t bytes, int flags, void *name, void *length)
{
	(void)flags, (void)name, (void)length;
	return is_file(fd) ? failed(ENOTSOCK_) : transfer(fd, buffer, bytes, -1);
}
static long k_sendto(int fd, const void *buffer, size_t bytes, int flags, const void *name,
		     unsigned length)
{
	(void)flags, (void)name, (void)length;
	return is_file(fd) ? failed(ENOTSOCK_) : transfer(fd, buffer, bytes, -1);
}
static long k_recvmsg(int fd, struct libvos_message *message, int flags)
{
	(void)flags;
	return is_file(fd) ? failed(ENOTSOCK_) : vectors(fd, message->vectors, message->vector_count);
}
static long k_sendmsg(int fd, const struct libvos_message *message, int flags)
{
	(void)flags;
	return is_file(fd) ? failed(ENOTSOCK_) : vectors(fd, message->vectors, message->vector_count);
}
static int many(int fd, struct libvos_many_messages *list, unsigned count)
{
	fuzz_let_act();
	if (!is_thing(fd) || is_file(fd))
		return (int)failed(is_thing(fd) ? ENOTSOCK_ : EBADF_);
	fuzz_expect_allowed(list, count * sizeof(*list), "the kernel gets messages of nobody");
	return fuzz_choose(2) ? (int)fuzz_choose(count + 1) : (int)trouble();
}
static int k_recvmmsg(int fd, struct libvos_many_messages *list, unsigned count, int flags,
		      void *time)
{
	(void)flags, (void)time;
	return many(fd, list, count);
}
static int k_sendmmsg(int fd, struct libvos_many_messages *list, unsigned count, int flags)
{
	(void)flags;
	return many(fd, list, count);
}

/* Files, readiness, descriptors. */

static int done(int fd)
{
	fuzz_let_act();
	if (!is_thing(fd))
		return (int)failed(EBADF_);
	return fuzz_choose(4) == 3 ? (int)trouble() : 0;
}
static int k_fsync(int fd) { return done(fd); }
static int k_ftruncate64(int fd, long size) { return (void)size, done(fd); }
static int k_fallocate64(int fd, int mode, long offset, long length)
{
	(void)mode, (void)offset, (void)length;
	return done(fd);
}
static long k_lseek64(int fd, long offset, int whence)
{
	fuzz_let_act();
	if (!is_thing(fd))
		return failed(EBADF_);
	if (fuzz_choose(8) == 7)
		return trouble();
	return whence == 0 && offset >= 0 ? offset : (long)fuzz_choose(65536);
}

static int ready(void)
{
	fuzz_let_act();
	return fuzz_choose(2) ? (int)trouble() : 0;
}
static int k_poll(struct libvos_interest *list, unsigned long count, int time)
{
	(void)list, (void)count, (void)time;
	return ready();
}
static int k_ppoll(struct libvos_interest *list, unsigned long count,
		   const struct libvos_time *time, const void *signals)
{
	(void)list, (void)count, (void)time, (void)signals;
	return ready();
}
static int k_select(int limit, uint64_t *read, uint64_t *write, uint64_t *other, void *time)
{
	(void)limit, (void)read, (void)write, (void)other, (void)time;
	return ready();
}
static int k_pselect(int limit, uint64_t *read, uint64_t *write, uint64_t *other,
		     const struct libvos_time *time, const void *signals)
{
	(void)limit, (void)read, (void)write, (void)other, (void)time, (void)signals;
	return ready();
}

static bool is_same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static int k_open64(const char *path, int flags, unsigned mode)
{
	(void)flags, (void)mode;
	if (is_same(path, "/dev/vos/")) {
		listed = 0;
		return make(LIST, 0, FIRST_FD);
	}
	if (is_same(path, "/dev/vos/sockets"))
		return make(DEVICE, LIBVOS_FUZZ_SOCKETS, FIRST_FD);
	if (is_same(path, "/dev/vos/files"))
		return make(DEVICE, LIBVOS_FUZZ_FILES, FIRST_FD);
	return make(THING, LIBVOS_FUZZ_FILES, FIRST_FD);
}

/* libvos calls it by name. */
long getdents64(int fd, void *buffer, size_t bytes)
{
	static const struct {
		uint64_t inode;
		int64_t offset;
		uint16_t record;
		uint8_t type;
		char name[29];
	} entries[] = { { 1, 1, 48, 2, "sockets" }, { 2, 2, 48, 2, "files" } };

	if (!is_open(fd, LIST))
		fuzz_fail("libvos reads a folder that is not open");
	fuzz_expect_allowed(buffer, bytes, "libvos reads a folder into what is not its own");
	if (listed++ || bytes < sizeof(entries))
		return 0;
	for (size_t i = 0; i < sizeof(entries); i++)
		((volatile uint8_t *)buffer)[i] = ((const uint8_t *)entries)[i];
	return sizeof(entries);
}

static int k_close(int fd)
{
	fuzz_let_act();
	if (fd < 0 || fd >= FD_COUNT || !descriptors[fd].kind)
		return (int)failed(EBADF_);
	descriptors[fd].kind = CLOSED;
	return 0;
}

static int k_dup(int fd)
{
	return is_thing(fd) ? make(THING, descriptors[fd].channel, FIRST_FD) : (int)failed(EBADF_);
}
static int k_dup2(int fd, int copy)
{
	if (!is_thing(fd) || copy < 0 || copy >= FD_COUNT)
		return (int)failed(EBADF_);
	for (int i = 0; i < LIBVOS_CHANNELS; i++)
		if (libvos_settings.devices[i] == copy + 1)
			fuzz_fail("libvos takes a descriptor of the program's for its device");
	descriptors[copy] = descriptors[fd];
	return copy;
}
static int k_epoll_ctl(int epoll, int operation, int fd, void *event)
{
	(void)epoll, (void)operation, (void)event;
	return is_thing(fd) ? 0 : (int)failed(EBADF_);
}
static int k_socket(int family, int type, int protocol)
{
	(void)family, (void)type, (void)protocol;
	return make(THING, LIBVOS_FUZZ_SOCKETS, FIRST_FD);
}
static int k_fcntl64(int fd, int command, unsigned long argument)
{
	if (fd < 0 || fd >= FD_COUNT || !descriptors[fd].kind)
		return (int)failed(EBADF_);
	if (command == 1030 || command == 0)
		return make(descriptors[fd].kind, descriptors[fd].channel, (int)argument);
	return 0;
}

/* Devices. */

static void tell(int channel, struct vos_ioc_info *info)
{
	struct channel *c = &fuzz_channels[channel];

	*info = (struct vos_ioc_info){
		.role = VOS_PEER_CLIENT, .slice = 1 + (uint32_t)channel, .generation = 1,
		.slot_count = c->shape.slot_count, .slots_offset = c->shape.slots_offset,
		.arena_offset = c->shape.arena_offset, .arena_bytes = c->shape.arena_bytes,
		.map_bytes = FUZZ_SLICE_BYTES,
		.carries = channel == LIBVOS_FUZZ_SOCKETS ? VOS_CARRIES_SOCKETS : VOS_CARRIES_FILES,
	};
}

static int wait_in_kernel(int channel, const struct vos_ioc_wait *wait)
{
	if (wait->slot >= fuzz_channels[channel].shape.slot_count || wait->timeout_ms < 0 ||
	    !(fuzz_channels[channel].posted >> wait->slot & 1) ||
	    wait->state != (fuzz_channels[channel].words[wait->slot] | VOS_SLOT_WAITER))
		fuzz_fail("libvos sleeps where nobody wakes it");
	fuzz_wait();
	libvos_fuzz_pass_time(500000);
	return fuzz_choose(3) == 2 ? (int)failed(EINTR_) : 0;
}

static int k_ioctl(int fd, unsigned long command, unsigned long argument)
{
	int channel = fd >= 0 && fd < FD_COUNT ? descriptors[fd].channel : 0;

	if (command == VOS_IOC_ATTACH || command == VOS_IOC_DETACH) {
		fuzz_let_act();
		if (!is_thing(fd))
			return (int)failed(EBADF_);
		if (command == VOS_IOC_ATTACH && argument != 1ul + (unsigned long)channel)
			fuzz_fail("libvos attaches to a slice that is not its own");
		return fuzz_choose(8) == 7 ? (int)trouble() : 100 + fd;
	}
	if (command == FIONREAD_)
		return is_thing(fd) ? 0 : (int)failed(EBADF_);
	/* The program took its number when no other was free. */
	if (fd == -1)
		return (int)failed(EBADF_);
	if (!is_open(fd, DEVICE))
		fuzz_fail("libvos has no device where it looks for one");
	switch (command) {
	case VOS_IOC_INFO:
	case VOS_IOC_TAKE_SLICE:
		tell(channel, (struct vos_ioc_info *)argument);
		return 0;
	case VOS_IOC_DOORBELL:
		if (argument != VOS_PEER_SERVICE)
			fuzz_fail("libvos rings at somebody else's");
		fuzz_let_act();
		return 0;
	case VOS_IOC_WATCHED:
		if (!is_thing((int)argument))
			fuzz_fail("libvos asks who watches a descriptor that is not the program's");
		return fuzz_choose(4) == 3;
	case VOS_IOC_WAIT:
		return wait_in_kernel(channel, (const struct vos_ioc_wait *)argument);
	default:
		fuzz_fail("libvos asks its device for something unknown");
	}
}

static void *k_mmap64(void *address, size_t bytes, int protection, int flags, int fd, long offset)
{
	(void)address, (void)protection, (void)flags;
	if (!is_open(fd, DEVICE))
		fuzz_fail("libvos maps what is no device");
	struct channel *c = &fuzz_channels[descriptors[fd].channel];
	if (offset == (long)VOS_MAP_SERVICE_PAGE && bytes == VOS_PAGE_BYTES)
		return c->page;
	if (offset == (long)VOS_MAP_SUPERBLOCK && bytes == VOS_PAGE_BYTES)
		return c->superblock;
	if (offset || bytes != FUZZ_SLICE_BYTES)
		fuzz_fail("libvos maps something unknown");
	return c->slice;
}

/* libvos calls it by name, where it waits. */
int sched_yield(void)
{
	libvos_fuzz_pass_time(200);
	fuzz_wait();
	return 0;
}

/* Also by name: to measure the time of a trap, which is set here. */
long libvos_system_call(long number, long a, long b, long c, long d, long e, long f)
{
	(void)number, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
	fuzz_fail("libvos makes a system call of its own");
}

/* No function is entered through a thunk here. */
__attribute__((section("libvos_table"))) struct libvos_thunk libvos_thunks[0], libvos_thunks_end[0];

/* The waiter. */

static int park(const struct vos_pending *pending)
{
	if (pending->device == -1) {
		fuzz_wait();
		return fuzz_choose(4) != 0;
	}
	if (!is_open(pending->device, DEVICE))
		fuzz_fail("a thread is parked at no device");
	struct channel *c = &fuzz_channels[descriptors[pending->device].channel];
	uint8_t *slots = c->slice + c->shape.slots_offset;
	if (pending->slot >= c->shape.slot_count || !(c->posted >> pending->slot & 1) ||
	    pending->submitted != c->words[pending->slot] ||
	    pending->state != &((struct vos_slot *)slots)[pending->slot].state)
		fuzz_fail("a thread is parked where nobody wakes it");
	fuzz_wait();
	return fuzz_choose(4) != 0;
}
static int is_readable(int descriptor, int events)
{
	(void)events;
	if (!is_thing(descriptor))
		return 0;
	fuzz_let_act();
	return fuzz_choose(3) == 1;
}
static int full(const uint64_t *busy, uint64_t seen)
{
	(void)busy, (void)seen;
	fuzz_let_act();
	return fuzz_choose(4) == 1;
}
static void freed(const uint64_t *busy) { (void)busy; }

void libvos_fuzz_set_waiter(int on)
{
	static const struct vos_waiter waiter = { VOS_WAITER_VERSION, park, is_readable, full, freed };

	if (vos_set_waiter(on ? &waiter : NULL))
		fuzz_fail("libvos does not know this version of a waiter");
}

/* A process. */

static void unexpected(void) { fuzz_fail("libvos makes a call that nobody asked for"); }

#define FROM(name, function) libvos_next.name = (void *)function

static void install(void)
{
	void **all = (void **)&libvos_next;

	for (size_t i = 0; i < sizeof(libvos_next) / sizeof(*all); i++)
		all[i] = (void *)unexpected;
	FROM(read, k_read), FROM(write, k_write), FROM(readv, k_readv), FROM(writev, k_readv);
	FROM(__read_nocancel, k_read), FROM(__write_nocancel, k_write), FROM(__close_nocancel, k_close);
	FROM(pread64, k_pread64), FROM(pwrite64, k_pwrite64), FROM(lseek64, k_lseek64);
	FROM(preadv64, k_preadv64), FROM(pwritev64, k_preadv64);
	FROM(preadv64v2, k_preadv64v2), FROM(pwritev64v2, k_preadv64v2);
	FROM(recv, k_recv), FROM(send, k_send), FROM(recvfrom, k_recvfrom), FROM(sendto, k_sendto);
	FROM(recvmsg, k_recvmsg), FROM(sendmsg, k_sendmsg);
	FROM(recvmmsg, k_recvmmsg), FROM(sendmmsg, k_sendmmsg);
	FROM(poll, k_poll), FROM(ppoll, k_ppoll), FROM(select, k_select), FROM(pselect, k_pselect);
	FROM(fsync, k_fsync), FROM(fdatasync, k_fsync);
	FROM(ftruncate64, k_ftruncate64), FROM(fallocate64, k_fallocate64);
	FROM(open64, k_open64), FROM(socket, k_socket), FROM(close, k_close), FROM(dup, k_dup);
	FROM(dup2, k_dup2), FROM(epoll_ctl, k_epoll_ctl);
	FROM(fcntl64, k_fcntl64), FROM(ioctl, k_ioctl), FROM(mmap64, k_mmap64);
}

void libvos_start(int count, const void *arguments, const char *const *environment);

void fuzz_kernel_begin(void)
{
	static const char *const environment[] = { "VOS_MOUNTS=/storage", NULL };

	/* The first time for what the fuzzer itself needs between two inputs. */
	if (!libc.read) {
		libvos_start(0, NULL, environment);
		libc = libvos_next;
	}
	__builtin_memset(descriptors, 0, sizeof(descriptors));
	__builtin_memset(&libvos_pages.process, 0, sizeof(libvos_pages.process));
	__builtin_memset(libvos_pages.entries, 0, FD_COUNT * sizeof(*libvos_pages.entries));
	libvos_settings = (struct libvos_settings){ .resolved = 1 };
	install();
	libvos_start(0, NULL, environment);
	/* Time is the input's; it is not measured. */
	static const uint64_t times[] = { 0, 100, 1000, 100000 };
	libvos_settings.tick_rate = 1;
	libvos_settings.spin_ticks = times[fuzz_choose(4)];
	libvos_settings.yield_ticks = times[fuzz_choose(4)];
	libvos_settings.sleep_ticks = 1000;
}

/* Nothing is remote to what runs between two inputs. */
void fuzz_kernel_finish(void)
{
	__builtin_memset(libvos_pages.entries, 0, FD_COUNT * sizeof(*libvos_pages.entries));
	libvos_settings = (struct libvos_settings){ .resolved = 1 };
	libvos_next = libc;
}
