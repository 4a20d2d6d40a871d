// SPDX-License-Identifier: GPL-2.0-only
/* vos: checks of rights, slices, namespaces, and a service that dies. */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/mman.h>

#include "slices.h"

static const unsigned char hop_by_hop[8] = { 0, 0, 1, 4, 0, 0, 0, 0 };

static int send_with(int s, struct sockaddr *to, socklen_t length, int level, int type,
		     const void *data, size_t size)
{
	_Alignas(8) char control[CMSG_SPACE(8)] = { 0 };
	struct iovec part = { "x", 1 };
	struct msghdr message = { to, length, &part, 1, control, CMSG_SPACE(size), 0 };
	struct cmsghdr *item = CMSG_FIRSTHDR(&message);

	*item = (struct cmsghdr){ CMSG_LEN(size), level, type };
	memcpy(CMSG_DATA(item), data, size);
	return sendmsg(s, &message, 0);
}

/* The errno of each privileged thing; 0: it may. */
static void try_rights(int result[8])
{
	struct sockaddr_in low = at(98), other = { .sin_port = htons(97) }, to = at(9);
	struct sockaddr_in6 to6 = at6(9);
	int six = socket(AF_INET6, SOCK_DGRAM, 0), four = socket(AF_INET, SOCK_DGRAM, 0);
	int mark = 7, n = 0;

#define TRY(call) result[n++] = (call) < 0 ? errno : 0
	TRY(setsockopt(six, IPPROTO_IPV6, IPV6_HOPOPTS, hop_by_hop, 8));
	TRY(send_with(six, ADDRESS(to6), IPPROTO_IPV6, IPV6_HOPOPTS, hop_by_hop, 8));
	TRY(send_with(four, ADDRESS(to), SOL_SOCKET, SO_MARK, &mark, sizeof(mark)));
	TRY(set_option(four, IPPROTO_IP, IP_TRANSPARENT, 1));
	TRY(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	TRY(bind(socket(AF_INET, SOCK_STREAM, 0), ADDRESS(other)));
	TRY(bind(socket(AF_INET, SOCK_STREAM, 0), ADDRESS(low)));
	TRY(set_option(four, SOL_SOCKET, SO_MARK, 7));
#undef TRY
}

void rights(void)
{
	static const int refusals[8] = { EPERM, EPERM, EPERM, EPERM, EPERM, EACCES, EACCES, EPERM };
	int result[8], ways[2], status = 1;

	try_rights(result);
	for (int i = 0; i < 8; i++)
		CHECK(result[i] == 0, "right %d: %d", i, result[i]);
	CHECK(!pipe(ways));
	if (!fork()) {
		if (setuid(1000))
			_exit(1);
		try_rights(result);
		write(ways[1], result, sizeof(result));
		_exit(0);
	}
	CHECK(read(ways[0], result, sizeof(result)) == sizeof(result));
	wait(&status);
	for (int i = 0; i < 8; i++)
		CHECK(result[i] == refusals[i], "right %d: %d", i, result[i]);
	close(ways[0]);
	close(ways[1]);
}

static void post(struct slice *slice, int index, int call, uint64_t object, uint32_t length)
{
	struct vos_slot *slot = (void *)(slice->map + slice->info.slots_offset + 64 * index);

	slot->call = call;
	slot->flags = 0;
	slot->object = object;
	slot->argument[0] = 0;
	slot->data_offset = 0;
	slot->data_length = length;
	slot->data_capacity = 0;
	__atomic_store_n(&slot->state, VOS_SLOT_SUBMITTED | ++slice->sequence << 8,
			 __ATOMIC_SEQ_CST);
	if (((struct vos_slice_header *)slice->map)->sleeping)
		ioctl(slice->device, VOS_IOC_DOORBELL, VOS_PEER_SERVICE);
}

/* A call by slot; @sleep: through VOS_IOC_WAIT. */
int64_t slot_call(struct slice *slice, int index, int call, uint64_t object,
			 uint32_t length, bool sleep)
{
	struct vos_slot *slot = (void *)(slice->map + slice->info.slots_offset + 64 * index);
	uint32_t word;

	post(slice, index, call, object, length);
	word = VOS_SLOT_SUBMITTED | slice->sequence << 8;
	while (sleep && (slot->state & VOS_SLOT_PHASE_MASK) != VOS_SLOT_DONE) {
		struct vos_ioc_wait wait = { index, word | VOS_SLOT_WAITER, 5000, 0 };
		uint32_t expected = word;

		__atomic_compare_exchange_n(&slot->state, &expected, wait.state, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		if (ioctl(slice->device, VOS_IOC_WAIT, &wait))
			return -errno;
	}
	while ((__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) & VOS_SLOT_PHASE_MASK) !=
	       VOS_SLOT_DONE)
		;
	((struct vos_slice_header *)slice->map)->fast_calls++;
	return slot->result;
}

void take(struct slice *slice)
{
	slice->device = open("/dev/vos/network", O_RDWR | O_CLOEXEC);
	CHECK(!ioctl(slice->device, VOS_IOC_TAKE_SLICE, &slice->info));
	slice->map = mmap(NULL, slice->info.map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			  slice->device, 0);
	CHECK(slice->map != MAP_FAILED);
}

bool maps(int device, size_t bytes, int protection, off_t offset)
{
	void *map = mmap(NULL, bytes, protection, MAP_SHARED, device, offset);

	return map != MAP_FAILED && !munmap(map, bytes);
}

static bool is_zero(const struct slice *slice)
{
	for (size_t i = sizeof(struct vos_slice_header); i < slice->info.map_bytes; i++)
		if (slice->map[i])
			return false;
	return true;
}

static void boundaries(struct slice *slice)
{
	const int both = PROT_READ | PROT_WRITE;
	int device = slice->device;
	size_t bytes = slice->info.map_bytes;

	CHECK(ioctl(device, VOS_IOC_TAKE_SLICE, &slice->info) < 0);
	CHECK(!maps(device, bytes + 4096, both, 0));
	CHECK(!maps(device, bytes, both, bytes)); /* the next one's */
	CHECK(!maps(device, 4096, both, 4096));
	CHECK(!maps(device, 4096, both, VOS_MAP_SERVICE_PAGE));
	CHECK(maps(device, 4096, PROT_READ, VOS_MAP_SERVICE_PAGE));
	CHECK(is_zero(slice));
}

/* VOS_WAIT_ANY: the count moves with each slot that was marked, whichever it is. */
static void any_slot(struct slice *slice, uint64_t object)
{
	struct vos_ioc_wait wait = { VOS_WAIT_ANY, UINT32_MAX, 1000, 0 };
	int seen = ioctl(slice->device, VOS_IOC_WAIT, &wait), now;

	CHECK(seen >= 0);
	wait.timeout_ms = 200;
	for (now = seen; now >= 0; now = ioctl(slice->device, VOS_IOC_WAIT, &wait))
		wait.state = now; /* an event of a call before may be late */
	CHECK(errno == ETIMEDOUT);
	wait.timeout_ms = 5000;
	for (int i = 0, marked = 0; i < 100 && marked < 3; i++) {
		struct vos_slot *slot =
			(void *)(slice->map + slice->info.slots_offset + 64 * (i % 2));
		uint32_t word;

		post(slice, i % 2, VOS_CALL_WRITE, object, 5);
		word = VOS_SLOT_SUBMITTED | slice->sequence << 8;
		if (__atomic_compare_exchange_n(&slot->state, &word, word | VOS_SLOT_WAITER, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			now = ioctl(slice->device, VOS_IOC_WAIT, &wait);
			CHECK(now > (int)wait.state, "count %d after %u", now, wait.state);
			wait.state = now;
			marked++;
		}
		while ((__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) & VOS_SLOT_PHASE_MASK) !=
		       VOS_SLOT_DONE)
			;
		CHECK(slot->result == 5);
	}
}

static void granted(struct slice *slice)
{
	char buffer[10];
	int pair[2];
	pid_t child;
	long object;

	stream_pair(7501, pair);
	CHECK(ioctl(pair[0], VOS_IOC_ATTACH, slice->info.slice + 1) < 0 && errno == EPERM);
	CHECK(ioctl(pair[0], VOS_IOC_ATTACH, 0) < 0 && errno == EPERM);
	object = ioctl(pair[0], VOS_IOC_ATTACH, slice->info.slice);
	CHECK(object > 0);
	memcpy(slice->map + slice->info.arena_offset, "fast!", 5);
	CHECK(slot_call(slice, 0, VOS_CALL_WRITE, object, 5, false) == 5);
	CHECK(read(pair[1], buffer, 10) == 5);
	CHECK(slot_call(slice, 1, VOS_CALL_WRITE, object, 5, true) == 5);
	CHECK(read(pair[1], buffer, 10) == 5 && !memcmp(buffer, "fast!", 5));
	any_slot(slice, object);
	CHECK(slot_call(slice, 2, VOS_CALL_WRITE, object + 1, 5, false) == -EBADF);
	CHECK(slot_call(slice, 2, VOS_CALL_SOCKET, 0, 0, false) == -EPERM);
	child = fork();
	if (!child) { /* has neither the mapping nor a right to it */
		signal(SIGSEGV, SIG_DFL);
		if (ioctl(pair[0], VOS_IOC_ATTACH, slice->info.slice) >= 0)
			_exit(1);
		if (maps(slice->device, slice->info.map_bytes, PROT_READ, 0))
			_exit(2);
		_exit(((volatile unsigned char *)slice->map)[0] ? 3 : 4);
	}
	CHECK(WTERMSIG(wait_for(child)) == SIGSEGV);
	CHECK(!ioctl(pair[0], VOS_IOC_DETACH));
	CHECK(slot_call(slice, 2, VOS_CALL_WRITE, object, 5, false) == -EBADF);
	close(pair[0]);
	close(pair[1]);
}

/* Processes take slices until there are none, and give them back by dying. */
static void exhaust(int limit)
{
	pid_t child[64];
	int count = 0, error = 0, ways[2], pair[2];

	CHECK(!pipe(ways));
	while (!error && count < limit) {
		child[count] = fork();
		if (!child[count]) {
			struct slice mine;

			mine.device = open("/dev/vos/network", O_RDWR);
			error = ioctl(mine.device, VOS_IOC_TAKE_SLICE, &mine.info) ? errno : 0;
			write(ways[1], &error, sizeof(error));
			pause();
		}
		read(ways[0], &error, sizeof(error));
		count++;
	}
	CHECK(error == EAGAIN, "%d slices, then %d", count - 1, error);
	stream_pair(7502, pair); /* who has none stays on the kernel path */
	CHECK(write(pair[0], "x", 1) == 1 && read(pair[1], &error, 1) == 1);
	close(pair[0]);
	close(pair[1]);
	for (int i = 0; i < count; i++) {
		kill(child[i], SIGKILL);
		waitpid(child[i], NULL, 0);
	}
	close(ways[0]);
	close(ways[1]);
}

void slices(void)
{
	struct vos_ioc_counters counters = {};
	struct slice slice = {}, again = {};

	slice.device = open("/dev/vos/network", O_RDWR);
	CHECK(!maps(slice.device, 4096, PROT_READ, 0));
	CHECK(ioctl(slice.device, VOS_IOC_DOORBELL, 1) < 0 && errno == EPERM);
	close(slice.device);
	take(&slice);
	boundaries(&slice);
	((struct vos_slice_header *)slice.map)->slot_limit = 4;
	granted(&slice);
	memset(slice.map + slice.info.arena_offset, 0x55, 1000);
	munmap(slice.map, slice.info.map_bytes);
	close(slice.device);
	nap(500);
	take(&again);
	CHECK(again.info.slice == slice.info.slice &&
	      again.info.generation == slice.info.generation + 1);
	CHECK(is_zero(&again));
	CHECK(!ioctl(again.device, VOS_IOC_COUNTERS, &counters) && counters.fast_calls >= 5);
	munmap(again.map, again.info.map_bytes);
	close(again.device);
	nap(500);
	exhaust(64);
	nap(500);
	take(&again);
	munmap(again.map, again.info.map_bytes); /* each alone would hold the slice */
	close(again.device);
}

/* Another network namespace has this kernel's own sockets. */
void namespaces(void)
{
	struct sockaddr_in nowhere = at(7511);
	int l = listener(7511), s;
	pid_t child = fork();

	if (!child) {
		if (unshare(CLONE_NEWNET))
			_exit(1);
		s = socket(AF_INET, SOCK_STREAM, 0);
		_exit(s >= 0 && connect(s, ADDRESS(nowhere)) < 0 ? 0 : 2);
	}
	CHECK(wait_for(child) == 0);
	close(l);
}

static bool wait_dying(int kind, int s, int l)
{
	struct epoll_event event = { EPOLLIN | EPOLLET, {} };
	struct pollfd look = { s, POLLIN, 0 };
	int other;
	char byte;

	switch (kind) {
	case 0:
		return read(s, &byte, 1) < 0 && errno == ECONNRESET;
	case 1:
		return accept(l, NULL, NULL) < 0;
	case 2:
		return poll(&look, 1, -1) == 1 && look.revents & POLLERR;
	case 3:
		other = epoll_create1(0);
		epoll_ctl(other, EPOLL_CTL_ADD, s, &event);
		return epoll_wait(other, &event, 1, -1) == 1 && event.events & EPOLLERR;
	case 4:
		other = socket(AF_INET, SOCK_DGRAM, 0);
		return recv(other, &byte, 1, 0) < 0 && errno == ENETDOWN;
	}
	while ((other = socket(AF_INET, SOCK_STREAM, 0)) >= 0)
		close(other);
	return errno == ENETDOWN;
}

/* Port 99 of the service domain is the one that kills its daemon, see init. */
void death(void)
{
	int pair[2], l = listener(7521), s, killer = dial(99);
	pid_t child[6];
	char byte;

	CHECK(killer >= 0);
	stream_pair(7522, pair);
	for (int i = 0; i < 6; i++) {
		child[i] = fork();
		if (!child[i])
			_exit(!wait_dying(i, pair[1], l));
	}
	nap(300);
	write(killer, "die\n", 4);
	for (int i = 0; i < 6; i++)
		CHECK(wait_for(child[i]) == 0, "waiter %d", i);
	CHECK(read(pair[1], &byte, 1) < 0 && errno == ECONNRESET);
	CHECK(write(pair[0], "x", 1) < 0);
	for (int i = 0; i < 50 && (s = socket(AF_INET, SOCK_STREAM, 0)) < 0; i++)
		nap(200);
	CHECK(s >= 0); /* the next daemon serves */
	close(s);
	stream_pair(7523, pair);
	CHECK(write(pair[0], "y", 1) == 1 && read(pair[1], &byte, 1) == 1);
}
