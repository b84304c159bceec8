/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * vhost_other --socket-path=PATH IMAGE
 *
 * A backend that is not ours: written from the protocol's text, for a raw file, with
 * no line of tools/vhost/ but the words. It takes all that is available, ends it
 * last first and a few at a time, and so leaves requests in the in-flight region
 * whenever it is killed. What it leaves our server must do, and the other way
 * round: that is what a server of another version is, too.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/serve/other_ring.h"

#define ANSWER_FLAGS 5u /* version 1, an answer */
#define WANTS_ANSWER 8u
#define CONFIG_LEN   60u

struct message {
	uint32_t number, flags, len;
	uint8_t payload[512];
	int fds[8];
};

/* False: the frontend has gone. */
static bool receive(int fd, struct message *m)
{
	char control[CMSG_SPACE(sizeof(m->fds))];
	struct iovec iov = { m, 12 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c;

	memset(m, 0, sizeof(*m));
	memset(m->fds, -1, sizeof(m->fds));
	if (recvmsg(fd, &msg, MSG_WAITALL) != 12 || m->len > sizeof(m->payload))
		return false;
	c = CMSG_FIRSTHDR(&msg);
	if (c)
		memcpy(m->fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return !m->len || recv(fd, m->payload, m->len, MSG_WAITALL) == (ssize_t)m->len;
}

static void answer(int fd, struct message *m, uint32_t len, int with_fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { m, 12 + len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	m->flags = ANSWER_FLAGS;
	m->len = len;
	if (with_fd >= 0) {
		struct cmsghdr *c = (void *)control;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &with_fd, sizeof(int));
	}
	sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static void answer_u64(int fd, struct message *m, uint64_t value)
{
	memcpy(m->payload, &value, sizeof(value));
	answer(fd, m, sizeof(value), -1);
}

static void set_table(struct other *o, const struct message *m)
{
	struct vhost_table_message table;

	memcpy(&table, m->payload, sizeof(table));
	for (unsigned i = 0; i < o->n_regions; i++)
		munmap(o->regions[i].host, o->regions[i].len);
	o->n_regions = table.n;
	for (unsigned i = 0; i < table.n; i++) {
		const struct vhost_region_message *r = &table.regions[i];

		o->regions[i] = (struct other_region){
			.guest_addr = r->guest_addr,
			.user_addr = r->user_addr,
			.len = r->len,
			.host = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fds[i],
				     (off_t)r->mmap_off),
		};
	}
}

static void get_inflight(int fd, struct message *m)
{
	struct vhost_inflight_message a; /* a payload is aligned to 4 bytes only */
	int region = memfd_create("other", 0);

	memcpy(&a, m->payload, sizeof(a));
	a.mmap_len = a.n_queues * other_region_len(a.queue_size);
	a.mmap_off = 0;
	if (ftruncate(region, (off_t)a.mmap_len))
		exit(1);
	memcpy(m->payload, &a, sizeof(a));
	answer(fd, m, m->len, region);
	close(region);
}

static void set_inflight(struct other *o, const struct message *m)
{
	struct vhost_inflight_message a;

	memcpy(&a, m->payload, sizeof(a));
	o->inflight = mmap(NULL, a.mmap_off + a.mmap_len, PROT_READ | PROT_WRITE, MAP_SHARED,
			   m->fds[0], 0);
	o->inflight += a.mmap_off;
	o->inflight_size = a.queue_size;
}

static struct other_queue *queue_of(struct other *o, const struct message *m)
{
	return &o->queues[m->payload[0] % OTHER_MAX_QUEUES];
}

static void get_base(struct other *o, int fd, struct message *m)
{
	struct other_queue *q = queue_of(o, m);
	struct vhost_ring_state *state = (void *)m->payload;

	other_end_all(o, q);
	state->num = q->last_avail;
	q->is_started = q->is_prepared = false;
	answer(fd, m, sizeof(*state), -1);
}

/* True: the message has an answer of its own. */
static bool ask(struct other *o, int fd, struct message *m)
{
	switch (m->number) {
	case VHOST_GET_FEATURES: answer_u64(fd, m, OTHER_FEATURES); return true;
	case VHOST_GET_PROTOCOL_FEATURES: answer_u64(fd, m, OTHER_PROTOCOL); return true;
	case VHOST_GET_QUEUE_NUM: answer_u64(fd, m, OTHER_MAX_QUEUES); return true;
	case VHOST_GET_CONFIG: answer(fd, m, 12 + CONFIG_LEN, -1); return true;
	case VHOST_GET_INFLIGHT_FD: get_inflight(fd, m); return true;
	case VHOST_GET_VRING_BASE: get_base(o, fd, m); return true;
	default: return false;
	}
}

static void tell(struct other *o, const struct message *m)
{
	const struct vhost_ring_state *state = (const void *)m->payload;
	struct other_queue *q = queue_of(o, m);

	switch (m->number) {
	case VHOST_SET_FEATURES: memcpy(&o->features, m->payload, 8); break;
	case VHOST_SET_MEM_TABLE: set_table(o, m); break;
	case VHOST_SET_INFLIGHT_FD: set_inflight(o, m); break;
	case VHOST_SET_VRING_NUM: q->size = state->num; break;
	case VHOST_SET_VRING_BASE: q->last_avail = state->num; break;
	case VHOST_SET_VRING_ENABLE: q->is_enabled = state->num; break;
	case VHOST_SET_VRING_ADDR: memcpy(&q->addr, m->payload, sizeof(q->addr)); break;
	case VHOST_SET_VRING_KICK: q->is_started = true; break;
	case VHOST_SET_VRING_CALL: q->call_fd = dup(m->fds[0]); break;
	default: break;
	}
}

static bool handle(struct other *o, int fd)
{
	struct message m;
	bool wants;

	if (!receive(fd, &m))
		return false;
	wants = m.flags & WANTS_ANSWER;
	if (!ask(o, fd, &m)) {
		tell(o, &m);
		if (wants)
			answer_u64(fd, &m, 0);
	}
	for (unsigned i = 0; i < 8; i++)
		if (m.fds[i] >= 0)
			close(m.fds[i]);
	return true;
}

static void serve(struct other *o, int fd)
{
	struct pollfd said = { .fd = fd, .events = POLLIN };

	for (;;) {
		/* A nap leaves the processor to others, and more in flight at a kill. */
		if (poll(&said, 1, 1) == 1 && !handle(o, fd))
			exit(0);
		for (unsigned i = 0; i < OTHER_MAX_QUEUES; i++)
			other_work(o, &o->queues[i]);
	}
}

static void end(int number)
{
	(void)number;
	_exit(0);
}

int main(int argc, char **argv)
{
	static const char option[] = "--socket-path=";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct other other = { .file = open(argv[argc - 1], O_RDWR) };
	int listening = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc != 3 || strncmp(argv[1], option, sizeof(option) - 1) != 0 || other.file < 0)
		return 2;
	signal(SIGTERM, end);
	memccpy(address.sun_path, argv[1] + sizeof(option) - 1, 0, sizeof(address.sun_path) - 1);
	unlink(address.sun_path);
	if (bind(listening, (void *)&address, sizeof(address)) || listen(listening, 1))
		return 1;
	for (unsigned i = 0; i < OTHER_MAX_QUEUES; i++)
		other.queues[i].call_fd = -1;
	serve(&other, accept(listening, NULL, NULL));
}
