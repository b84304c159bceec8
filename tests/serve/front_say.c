/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The messages as VMMs fill them. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/serve/front.h"

#define CONFIG_LEN 60
#define CACHE_AT   32 /* the byte `writeback` */

static bool say_ask(struct front *front, uint32_t number, const void *payload, uint32_t len,
		    struct vhost_message *answer, int *fd)
{
	return front_send(front, number, 0, payload, len, NULL, 0) &&
	       front_receive(front, number, answer, fd);
}

/* What has no answer of its own. */
static bool say_tell(struct front *front, uint32_t number, const void *payload, uint32_t len,
		     const int *fds, unsigned n_fds)
{
	bool wants = front->asks;
	struct vhost_message answer;

	if (!front_send(front, number, wants ? VHOST_NEED_REPLY : 0, payload, len, fds, n_fds))
		return false;
	return !wants || (front_receive(front, number, &answer, NULL) && answer.header.len == 8 &&
			  !answer.payload.u64);
}

static bool say_u64(struct front *front, uint32_t number, uint64_t value)
{
	return say_tell(front, number, &value, sizeof(value), NULL, 0);
}

static bool say_state(struct front *front, uint32_t number, unsigned queue, uint32_t num)
{
	const struct vhost_ring_state state = { queue, num };

	return say_tell(front, number, &state, sizeof(state), NULL, 0);
}

bool front_enable(struct front *front, unsigned queue, bool on)
{
	return say_state(front, VHOST_SET_VRING_ENABLE, queue, on);
}

static bool say_ask_u64(struct front *front, uint32_t number, uint64_t *value)
{
	struct vhost_message answer;

	if (!say_ask(front, number, NULL, 0, &answer, NULL) || answer.header.len != 8)
		return false;
	*value = answer.payload.u64;
	return true;
}

static struct vhost_region_message say_region(const struct front *front, unsigned i)
{
	uint64_t half = front->memory_len / 2;

	return (struct vhost_region_message){ .guest_addr = i ? half + FRONT_HOLE : 0,
					      .len = half,
					      .user_addr = (uintptr_t)front->memory + i * half,
					      .mmap_off = i * half };
}

static bool say_table(struct front *front)
{
	struct vhost_table_message table = { .n = 2 };
	const int fds[2] = { front->memory_fd, front->memory_fd };

	for (unsigned i = 0; i < 2; i++)
		table.regions[i] = say_region(front, i);
	return say_tell(front, VHOST_SET_MEM_TABLE, &table, 8 + 2 * sizeof(table.regions[0]), fds,
			2);
}

/* Once a connection: QEMU tells of what has changed. */
static bool say_regions(struct front *front)
{
	if (front->has_regions)
		return true;
	for (unsigned i = 0; i < 2; i++) {
		const struct vhost_single_region m = { 0, say_region(front, i) };

		if (!say_tell(front, VHOST_ADD_MEM_REG, &m, sizeof(m), &front->memory_fd, 1))
			return false;
	}
	front->has_regions = true;
	return true;
}

static bool say_addr(struct front *front, unsigned index)
{
	const struct front_queue *q = &front->queues[index];
	const struct vhost_ring_addr addr = { .index = index,
					      .flags = front->log ? VHOST_RING_LOGS : 0,
					      .desc = (uintptr_t)q->desc,
					      .used = (uintptr_t)q->used,
					      .avail = (uintptr_t)q->avail,
					      .log = front_guest_addr(front, q->used) };

	return say_tell(front, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
}

static bool say_fd(struct front *front, uint32_t number, unsigned queue, int fd)
{
	uint64_t word = queue;

	return say_tell(front, number, &word, sizeof(word), &fd, 1);
}

/* Of a ring that is polled there is none. */
static bool say_ring_fd(struct front *front, uint32_t number, unsigned queue, int fd)
{
	uint64_t word = queue | VHOST_FD_NONE;

	if (!front->queues[queue].polled)
		return say_fd(front, number, queue, fd);
	return say_tell(front, number, &word, sizeof(word), NULL, 0);
}

static bool say_get_base(struct front *front, unsigned index)
{
	const struct vhost_ring_state state = { index, 0 };
	struct vhost_message answer;

	if (!say_ask(front, VHOST_GET_VRING_BASE, &state, sizeof(state), &answer, NULL) ||
	    answer.header.len != sizeof(state))
		return false;
	front->queues[index].base = answer.payload.state.num;
	return answer.payload.state.index == index;
}

static bool say_get_config(struct front *front)
{
	struct vhost_config_message m = { .len = CONFIG_LEN };
	struct vhost_message answer;

	if (!say_ask(front, VHOST_GET_CONFIG, &m, VHOST_CONFIG_HEAD + CONFIG_LEN, &answer, NULL) ||
	    answer.header.len != VHOST_CONFIG_HEAD + CONFIG_LEN)
		return false;
	memcpy(front->config, answer.payload.config.bytes, CONFIG_LEN);
	return true;
}

bool front_set_cache(struct front *front, bool on)
{
	const struct vhost_config_message m = { .off = CACHE_AT, .len = 1, .bytes = { on } };

	return say_tell(front, VHOST_SET_CONFIG, &m, VHOST_CONFIG_HEAD + 1, NULL, 0);
}

/* Only the first time: afterwards the region is kept. */
static bool say_get_inflight(struct front *front)
{
	const struct vhost_inflight_message m = { .n_queues = front->n_queues,
						  .queue_size = front->queue_size };
	struct vhost_message answer;

	if (front->inflight_fd >= 0)
		return true;
	if (!say_ask(front, VHOST_GET_INFLIGHT_FD, &m, sizeof(m), &answer, &front->inflight_fd) ||
	    answer.header.len != sizeof(m))
		return false;
	front->inflight = answer.payload.inflight;
	return front->inflight_fd >= 0;
}

static bool say_log_base(struct front *front)
{
	struct vhost_log_message m = { .len = 0 };
	struct vhost_message answer;

	if (front->log_fd < 0) {
		if (!front->log_len)
			front->log_len = (front->memory_len + FRONT_HOLE) / 4096 / 8;
		front->log_fd = memfd_create("log", MFD_CLOEXEC);
		if (ftruncate(front->log_fd, front->log_len))
			front_fail("no memory");
		front->log = mmap(NULL, front->log_len, PROT_READ | PROT_WRITE, MAP_SHARED,
				  front->log_fd, 0);
	}
	m.len = front->log_len;
	return front_send(front, VHOST_SET_LOG_BASE, 0, &m, sizeof(m), &front->log_fd, 1) &&
	       front_receive(front, VHOST_SET_LOG_BASE, &answer, NULL);
}

static bool say_channel(struct front *front)
{
	int pair[2];
	bool is_said;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		front_fail("no socket");
	is_said = say_tell(front, VHOST_SET_BACKEND_REQ_FD, &(uint64_t){ 0 }, sizeof(uint64_t),
			   &pair[1], 1);
	close(pair[1]);
	if (front->channel_fd >= 0)
		close(front->channel_fd);
	front->channel_fd = pair[0];
	return is_said;
}

static bool say_about_device(struct front *front, uint32_t number)
{
	switch (number) {
	case VHOST_GET_FEATURES: return say_ask_u64(front, number, &front->features);
	case VHOST_SET_FEATURES: return say_u64(front, number, front->features);
	case VHOST_GET_PROTOCOL_FEATURES:
		return say_ask_u64(front, number, &front->protocol_features);
	case VHOST_SET_PROTOCOL_FEATURES: {
		uint64_t all = front->protocol_features;

		return front_send(front, number, 0, &all, sizeof(all), NULL, 0);
	}
	case VHOST_GET_MAX_MEM_SLOTS: return say_ask_u64(front, number, &front->n_regions);
	case VHOST_SET_BACKEND_REQ_FD: return say_channel(front);
	case VHOST_GET_QUEUE_NUM: return say_ask_u64(front, number, &front->queue_num);
	case VHOST_SET_OWNER:
	case VHOST_RESET_OWNER:
	case VHOST_RESET_DEVICE: return say_tell(front, number, NULL, 0, NULL, 0);
	case VHOST_GET_CONFIG: return say_get_config(front);
	case VHOST_SET_MEM_TABLE: return say_table(front);
	case VHOST_ADD_MEM_REG: return say_regions(front);
	case VHOST_SET_LOG_BASE: return say_log_base(front);
	case VHOST_GET_INFLIGHT_FD: return say_get_inflight(front);
	case VHOST_SET_INFLIGHT_FD:
		return say_tell(front, number, &front->inflight, sizeof(front->inflight),
				&front->inflight_fd, 1);
	default: front_fail("no such message here: %u", number);
	}
}

bool front_say(struct front *front, uint32_t number, unsigned queue)
{
	struct front_queue *q = &front->queues[queue];

	switch (number) {
	case VHOST_SET_VRING_NUM: return say_state(front, number, queue, q->size);
	case VHOST_SET_VRING_BASE: return say_state(front, number, queue, q->base);
	case VHOST_SET_VRING_ADDR: return say_addr(front, queue);
	case VHOST_SET_VRING_KICK: return say_ring_fd(front, number, queue, q->kick_fd);
	case VHOST_SET_VRING_CALL: return say_ring_fd(front, number, queue, q->call_fd);
	case VHOST_SET_VRING_ENABLE: return front_enable(front, queue, true);
	case VHOST_GET_VRING_BASE: return say_get_base(front, queue);
	default: return say_about_device(front, number);
	}
}
