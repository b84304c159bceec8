/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/unit/tools/vhost_rig.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "tools/vhost/channel.h"
#include "tools/vhost/mapping.h"

static void rig_drain(void *opaque, struct vhost_queue *queue)
{
	(void)queue;
	((struct rig *)opaque)->n_drains++;
}

static void rig_watch(void *opaque, struct vhost_queue *queue)
{
	(void)queue;
	((struct rig *)opaque)->n_watched++;
}

static void rig_unwatch(void *opaque, struct vhost_queue *queue)
{
	cr_assert_neq(fcntl(queue->kick_fd, F_GETFD), -1, "it was closed before");
	((struct rig *)opaque)->n_watched--;
}

static void rig_all_stopped(void *opaque)
{
	((struct rig *)opaque)->n_stops++;
}

static const struct vhost_ops rig_ops = { rig_drain, rig_watch, rig_unwatch, rig_all_stopped };

void rig_open(struct rig *rig)
{
	*rig = (struct rig){ .geometry = { .len = 64 << 20,
					   .cluster_len = 65536,
					   .n_queues = 2,
					   .can_discard = true },
			     .answer_fd = -1,
			     .inflight_fd = -1 };
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, rig->ends), 0);
	rig->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(rig->memory_fd, RIG_MEMORY), 0);
	rig->memory = mmap(NULL, RIG_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, rig->memory_fd, 0);
	cr_assert_neq(rig->memory, MAP_FAILED);
	rig->desc = (void *)rig->memory;
	rig->avail = (void *)(rig->memory + 4096);
	rig->used = (void *)(rig->memory + 8192);
	rig->kick_fd = eventfd(0, EFD_NONBLOCK);
	rig->call_fd = eventfd(0, EFD_NONBLOCK);
	cr_assert_eq(vhost_session_open(&rig->session, &rig->geometry, &rig_ops, rig), 0);
}

void rig_close(struct rig *rig)
{
	vhost_session_close(&rig->session);
	cr_assert_eq(rig->n_watched, 0);
	munmap(rig->memory, RIG_MEMORY);
	close(rig->memory_fd);
	close(rig->ends[0]);
	close(rig->ends[1]);
	close(rig->kick_fd);
	close(rig->call_fd);
	if (rig->inflight_fd >= 0)
		close(rig->inflight_fd);
}

void rig_die(struct rig *rig)
{
	vhost_session_close(&rig->session);
	cr_assert_eq(vhost_session_open(&rig->session, &rig->geometry, &rig_ops, rig), 0);
}

struct vhost_queue *rig_queue(struct rig *rig)
{
	return &rig->session.queues[0];
}

static void rig_take_answer(struct rig *rig)
{
	struct vhost_channel channel = { .fd = rig->ends[1] };
	const char *why;

	memset(&rig->answer, 0, sizeof(rig->answer));
	/* The channel refuses answers, but reads their headers first. */
	if (vhost_channel_receive(&channel, &why) == VHOST_NOTHING)
		return;
	rig->answer = channel.message;
	cr_assert(rig->answer.header.flags & VHOST_REPLY);
	if (rig->answer.header.len)
		cr_assert_eq(recv(rig->ends[1], rig->answer.payload.bytes, rig->answer.header.len,
				  MSG_DONTWAIT),
			     rig->answer.header.len);
	rig->answer_fd = rig->answer.n_fds ? rig->answer.fds[0] : -1;
}

bool rig_say(struct rig *rig, uint32_t number, uint32_t flags, const void *payload, uint32_t len,
	     const int *fds, unsigned n_fds)
{
	struct vhost_channel channel = { .fd = -1 };
	struct vhost_message *m = &channel.message;
	enum vhost_outcome outcome;

	m->header = (struct vhost_header){ number, VHOST_VERSION | flags, len };
	if (len)
		memcpy(m->payload.bytes, payload, len);
	for (unsigned i = 0; i < n_fds; i++)
		m->fds[m->n_fds++] = dup(fds[i]);
	rig->why = NULL;
	outcome = vhost_session_handle(&rig->session, m, rig->ends[0], &rig->why);
	vhost_channel_done(&channel);
	rig_take_answer(rig);
	return outcome == VHOST_GO_ON;
}

bool rig_say_u64(struct rig *rig, uint32_t number, uint64_t value)
{
	return rig_say(rig, number, 0, &value, sizeof(value), NULL, 0);
}

bool rig_say_state(struct rig *rig, uint32_t number, uint32_t index, uint32_t num)
{
	const struct vhost_ring_state state = { index, num };

	return rig_say(rig, number, 0, &state, sizeof(state), NULL, 0);
}

bool rig_say_fd(struct rig *rig, uint32_t number, uint32_t index, int fd)
{
	uint64_t word = index;

	return rig_say(rig, number, 0, &word, sizeof(word), &fd, 1);
}

bool rig_features(struct rig *rig, uint64_t features)
{
	return rig_say_u64(rig, VHOST_SET_FEATURES, features);
}

bool rig_protocol(struct rig *rig, uint64_t features)
{
	return rig_say_u64(rig, VHOST_SET_PROTOCOL_FEATURES, features);
}

bool rig_table(struct rig *rig)
{
	const struct vhost_table_message table = { 1,
						   0,
						   { { RIG_GUEST, RIG_MEMORY, RIG_USER, 0 } } };

	return rig_say(rig, VHOST_SET_MEM_TABLE, 0, &table, 8 + sizeof(table.regions[0]),
		       &rig->memory_fd, 1);
}

bool rig_ring(struct rig *rig)
{
	const struct vhost_ring_addr addr = { .desc = RIG_USER,
					      .avail = RIG_USER + 4096,
					      .used = RIG_USER + 8192 };

	return rig_say_state(rig, VHOST_SET_VRING_NUM, 0, RIG_SIZE) &&
	       rig_say_state(rig, VHOST_SET_VRING_BASE, 0, 0) &&
	       rig_say(rig, VHOST_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0) &&
	       rig_say_fd(rig, VHOST_SET_VRING_CALL, 0, rig->call_fd);
}

bool rig_kick(struct rig *rig)
{
	return rig_say_fd(rig, VHOST_SET_VRING_KICK, 0, rig->kick_fd);
}

bool rig_enable(struct rig *rig, bool on)
{
	return rig_say_state(rig, VHOST_SET_VRING_ENABLE, 0, on);
}

bool rig_inflight(struct rig *rig)
{
	const struct vhost_inflight_message m = { .n_queues = 1, .queue_size = RIG_SIZE };

	if (rig->inflight_fd < 0) {
		if (!rig_say(rig, VHOST_GET_INFLIGHT_FD, 0, &m, VHOST_INFLIGHT_LEN, NULL, 0))
			return false;
		rig->inflight = rig->answer.payload.inflight;
		rig->inflight_fd = rig->answer_fd;
	}
	return rig_say(rig, VHOST_SET_INFLIGHT_FD, 0, &rig->inflight, VHOST_INFLIGHT_LEN,
		       &rig->inflight_fd, 1);
}

void rig_offer(struct rig *rig, uint16_t head)
{
	rig->avail->heads[rig->avail->idx % RIG_SIZE] = head;
	rig->avail->idx++;
}

int rig_take(struct rig *rig)
{
	uint16_t head;

	if (!vhost_queue_make_ready(&rig->session, rig_queue(rig)))
		return -1;
	return vhost_queue_take(rig_queue(rig), &head) == 1 ? head : -1;
}

int rig_take_again(struct rig *rig)
{
	uint16_t head;

	if (!vhost_queue_make_ready(&rig->session, rig_queue(rig)))
		return -1;
	return vhost_queue_take_again(rig_queue(rig), &head) ? head : -1;
}
