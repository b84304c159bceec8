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

#define ANSWER_MS 20000

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

static void front_open_queue(struct front *front, unsigned index, uint8_t *place, uint8_t *data)
{
	struct front_queue *q = &front->queues[index];
	unsigned size = front->queue_size;

	*q = (struct front_queue){ .index = index,
				   .size = size,
				   .n_slots = size / 3,
				   .desc = (void *)place,
				   .avail = (void *)(place + size * 16),
				   .used = (void *)(place + size * 16 + 4096),
				   .ends = place + FRONT_QUEUE_LEN / 2,
				   .data = data,
				   .kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				   .call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				   .slots = calloc(size / 3, sizeof(*q->slots)) };
	if (!q->slots || q->kick_fd < 0 || q->call_fd < 0)
		front_fail("no memory");
}

void front_open(struct front *front, unsigned n_queues, unsigned queue_size)
{
	size_t data_len = (size_t)queue_size / 3 * FRONT_DATA_LEN, len = 1u << 20;

	*front = (struct front){ .fd = -1,
				 .inflight_fd = -1,
				 .log_fd = -1,
				 .n_queues = n_queues,
				 .queue_size = queue_size };
	while (len < n_queues * (FRONT_QUEUE_LEN + data_len))
		len *= 2;
	front->memory_len = len;
	front->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	if (front->memory_fd < 0 || ftruncate(front->memory_fd, len))
		front_fail("no memory");
	front->memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, front->memory_fd, 0);
	if (front->memory == MAP_FAILED)
		front_fail("no memory");
	for (unsigned i = 0; i < n_queues; i++)
		front_open_queue(front, i, front->memory + i * FRONT_QUEUE_LEN,
				 front->memory + n_queues * FRONT_QUEUE_LEN + i * data_len);
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
	front->fd = -1;
	front->has_regions = false;
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

		if (poll(&readable, 1, ANSWER_MS) != 1)
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
