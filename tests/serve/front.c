/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/serve/front.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define END_LEN 32u /* of memory, for a request's header and status */
#define PAGE    4096u

void front_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("frontend: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

uint64_t front_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

uint64_t front_guest_addr(const struct front *front, const void *place)
{
	uint64_t off = (const uint8_t *)place - front->memory;

	return off < front->memory_len / 2 ? off : off + FRONT_HOLE;
}

/* ---- memory and rings ---- */

static size_t front_up(size_t len, size_t align)
{
	return (len + align - 1) / align * align;
}

/* Where the parts of a ring lie behind its descriptors, as Linux puts them: the used ring in a page
 * of its own. */
struct front_places {
	size_t avail, used, ends, len;
};

static struct front_places front_places(unsigned size)
{
	struct front_places at = { .avail = 16 * (size_t)size };

	at.used = front_up(at.avail + 6 + 2 * (size_t)size, PAGE);
	at.ends = front_up(at.used + 6 + 8 * (size_t)size, PAGE);
	at.len = front_up(at.ends + size / 3 * END_LEN, PAGE);
	return at;
}

bool front_is_size(unsigned size)
{
	return size >= 4 && size <= VRING_MAX_SIZE && !(size & (size - 1));
}

static void front_open_queue(struct front *front, unsigned index, const struct front_shape *shape,
			     uint8_t *place, uint8_t *data)
{
	struct front_queue *q = &front->queues[index];
	unsigned size = shape->ring_size;
	struct front_places at = front_places(size);

	*q = (struct front_queue){ .index = index,
				   .size = size,
				   .n_slots = size / 3,
				   .desc = (void *)place,
				   .avail = (void *)(place + at.avail),
				   .used = (void *)(place + at.used),
				   .ends = place + at.ends,
				   .len = at.len,
				   .data = data,
				   .data_len = shape->data_len,
				   .kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				   .call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				   .slots = calloc(size / 3, sizeof(*q->slots)) };
	if (!q->slots || q->kick_fd < 0 || q->call_fd < 0)
		front_fail("no memory");
}

void front_open(struct front *front, const struct front_shape *shape)
{
	size_t ring_len = front_places(shape->ring_size).len, len = 1u << 20;
	size_t data_len = shape->ring_size / 3 * shape->data_len;
	unsigned n_queues = shape->n_queues;
	/* So that no slot's data lies across the two regions. */
	size_t data_at = front_up(n_queues * ring_len, shape->data_len);

	*front = (struct front){ .fd = -1,
				 .channel_fd = -1,
				 .inflight_fd = -1,
				 .log_fd = -1,
				 .n_queues = n_queues,
				 .queue_size = shape->queue_size };
	while (len < data_at + n_queues * data_len)
		len *= 2;
	front->memory_len = len;
	front->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	if (front->memory_fd < 0 || ftruncate(front->memory_fd, len))
		front_fail("no memory");
	front->memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, front->memory_fd, 0);
	if (front->memory == MAP_FAILED)
		front_fail("no memory");
	for (unsigned i = 0; i < n_queues; i++)
		front_open_queue(front, i, shape, front->memory + i * ring_len,
				 front->memory + data_at + i * data_len);
}

void front_close(struct front *front)
{
	front_disconnect(front);
	for (unsigned i = 0; i < front->n_queues; i++) {
		close(front->queues[i].kick_fd);
		close(front->queues[i].call_fd);
		free(front->queues[i].slots);
	}
	munmap(front->memory, front->memory_len);
	close(front->memory_fd);
	if (front->inflight_fd >= 0)
		close(front->inflight_fd);
	if (front->log_fd >= 0)
		close(front->log_fd);
}

/* ---- the connection ---- */

bool front_connect(struct front *front, const char *path, int timeout_ms)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint64_t until = front_now_ns() + timeout_ms * UINT64_C(1000000);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	do {
		front->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (!connect(front->fd, (void *)&address, sizeof(address)))
			return true;
		close(front->fd);
		front->fd = -1;
		usleep(2000);
	} while (front_now_ns() < until);
	return false;
}

void front_disconnect(struct front *front)
{
	if (front->fd >= 0)
		close(front->fd);
	if (front->channel_fd >= 0)
		close(front->channel_fd);
	front->fd = front->channel_fd = -1;
	front->has_regions = front->asks = false;
}

bool front_send(struct front *front, uint32_t number, uint32_t flags, const void *payload,
		uint32_t len, const int *fds, unsigned n_fds)
{
	struct vhost_header header = { number, flags | VHOST_VERSION, len };
	struct iovec iov[2] = { { &header, VHOST_HEADER_LEN }, { (void *)payload, len } };
	char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (n_fds) {
		struct cmsghdr *c = (void *)control;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	return sendmsg(front->fd, &msg, MSG_NOSIGNAL) == (ssize_t)(VHOST_HEADER_LEN + len);
}

/* Of a stream: exactly so many bytes. */
static bool front_read(int fd, void *out, size_t len, int *with_fd)
{
	uint8_t *to = out;

	while (len) {
		char control[CMSG_SPACE(sizeof(int))];
		struct iovec iov = { to, len };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control,
				      .msg_controllen = sizeof(control) };
		struct pollfd readable = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (poll(&readable, 1, FRONT_PATIENCE_MS) != 1)
			front_fail("no answer");
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return false;
		if (msg.msg_controllen >= CMSG_LEN(sizeof(int)) && with_fd)
			memcpy(with_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
		to += n;
		len -= n;
	}
	return true;
}

bool front_receive(struct front *front, uint32_t number, struct vhost_message *answer, int *fd)
{
	if (fd)
		*fd = -1;
	memset(answer, 0, sizeof(*answer));
	return front_read(front->fd, &answer->header, VHOST_HEADER_LEN, fd) &&
	       answer->header.number == number && answer->header.flags & VHOST_REPLY &&
	       answer->header.len <= sizeof(answer->payload) &&
	       front_read(front->fd, answer->payload.bytes, answer->header.len, fd);
}
