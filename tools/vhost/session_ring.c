/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Messages about one ring. They come in any order; what a ring needs is looked
 * for when it is to run (queue.c).
 */
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "tools/vhost/queue.h"
#include "tools/vhost/session_parts.h"

#define NO_QUEUE "there is no such queue"

static struct vhost_queue *ring_queue(struct vhost_session *s, uint32_t index)
{
	return index < s->geometry->n_queues ? &s->queues[index] : NULL;
}

struct vhost_queue *vhost_session_stops(struct vhost_session *s, const struct vhost_message *m)
{
	if (m->header.number != VHOST_GET_VRING_BASE ||
	    vhost_message_wrong(m, s->protocol_features))
		return NULL;
	return ring_queue(s, m->payload.state.index);
}

static const char *ring_set_num(struct vhost_session *s, struct vhost_call *call)
{
	const struct vhost_ring_state *state = &call->message->payload.state;
	struct vhost_queue *q = ring_queue(s, state->index);

	if (!q)
		return NO_QUEUE;
	if (q->is_started)
		return "the ring runs";
	if (!state->num || state->num > VRING_MAX_SIZE || state->num & (state->num - 1))
		return "a ring has no such size";
	q->ring.size = state->num;
	vhost_queue_place(s, q);
	return NULL;
}

/* Comes for a ring that runs, too, when its log is switched. */
static const char *ring_set_addr(struct vhost_session *s, struct vhost_call *call)
{
	struct vhost_queue *q = ring_queue(s, call->message->payload.addr.index);

	if (!q)
		return NO_QUEUE;
	if (q->is_started)
		s->ops->drain(s->opaque, q);
	q->addr = call->message->payload.addr;
	q->has_addr = true;
	vhost_queue_place(s, q);
	return NULL;
}

static const char *ring_set_base(struct vhost_session *s, struct vhost_call *call)
{
	const struct vhost_ring_state *state = &call->message->payload.state;
	struct vhost_queue *q = ring_queue(s, state->index);

	if (!q)
		return NO_QUEUE;
	if (q->is_started)
		return "the ring runs";
	q->ring.last_avail = state->num;
	return NULL;
}

static const char *ring_get_base(struct vhost_session *s, struct vhost_call *call)
{
	uint32_t index = call->message->payload.state.index;
	struct vhost_queue *q = ring_queue(s, index);
	bool was_started;

	if (!q)
		return NO_QUEUE;
	was_started = q->is_started;
	vhost_queue_find_owed(q); /* looks at the ring, so that draining begins what is owed */
	s->ops->drain(s->opaque, q);
	vhost_queue_stop(s, q);
	if (was_started && !vhost_queue_any_started(s))
		s->ops->all_stopped(s->opaque);
	call->answer.payload.state = (struct vhost_ring_state){ index, q->ring.last_avail };
	call->answer.header.len = sizeof(call->answer.payload.state);
	return NULL;
}

static const char *ring_set_enable(struct vhost_session *s, struct vhost_call *call)
{
	const struct vhost_ring_state *state = &call->message->payload.state;
	struct vhost_queue *q = ring_queue(s, state->index);

	if (!q)
		return NO_QUEUE;
	q->is_enabled = state->num;
	return NULL;
}

/* The message's descriptor, which is told never to let us wait; -1: it has none. */
static int ring_take_fd(struct vhost_call *call)
{
	int fd = vhost_take_fd(call->message, 0);

	if (fd >= 0)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* The queue of a message about a descriptor; NULL with *why. */
static struct vhost_queue *ring_fd_queue(struct vhost_session *s, struct vhost_call *call,
					 const char **why)
{
	uint64_t word = call->message->payload.u64;
	struct vhost_queue *q = ring_queue(s, word & VHOST_FD_INDEX);

	*why = NO_QUEUE;
	if (q && !(word & VHOST_FD_NONE) != (call->message->n_fds == 1)) {
		*why = "a descriptor is missing";
		return NULL;
	}
	return q;
}

static const char *ring_set_kick(struct vhost_session *s, struct vhost_call *call)
{
	const char *why;
	struct vhost_queue *q = ring_fd_queue(s, call, &why);

	if (!q)
		return why;
	if (q->kick_fd >= 0) {
		s->ops->unwatch(s->opaque, q);
		close(q->kick_fd);
	}
	q->kick_fd = ring_take_fd(call);
	q->is_polled = q->kick_fd < 0;
	q->is_started = true;
	if (q->kick_fd >= 0)
		s->ops->watch(s->opaque, q);
	return NULL;
}

static const char *ring_set_other_fd(struct vhost_session *s, struct vhost_call *call,
				     int *(*place)(struct vhost_queue *q))
{
	const char *why;
	struct vhost_queue *q = ring_fd_queue(s, call, &why);

	if (!q)
		return why;
	if (*place(q) >= 0)
		close(*place(q));
	*place(q) = ring_take_fd(call);
	return NULL;
}

static int *ring_call_place(struct vhost_queue *q)
{
	return &q->call_fd;
}

static int *ring_err_place(struct vhost_queue *q)
{
	return &q->err_fd;
}

/* Between two descriptors no signal is lost: one more does no harm. */
static const char *ring_set_call(struct vhost_session *s, struct vhost_call *call)
{
	const char *why = ring_set_other_fd(s, call, ring_call_place);

	if (!why) {
		struct vhost_queue *q = ring_queue(s, call->message->payload.u64 & VHOST_FD_INDEX);

		q->must_signal = q->is_prepared && q->call_fd >= 0;
	}
	return why;
}

static const char *ring_set_err(struct vhost_session *s, struct vhost_call *call)
{
	return ring_set_other_fd(s, call, ring_err_place);
}

vhost_part *const vhost_ring_parts[VHOST_N_NUMBERS] = {
	[VHOST_SET_VRING_NUM] = ring_set_num,   [VHOST_SET_VRING_ADDR] = ring_set_addr,
	[VHOST_SET_VRING_BASE] = ring_set_base, [VHOST_GET_VRING_BASE] = ring_get_base,
	[VHOST_SET_VRING_KICK] = ring_set_kick, [VHOST_SET_VRING_CALL] = ring_set_call,
	[VHOST_SET_VRING_ERR] = ring_set_err,   [VHOST_SET_VRING_ENABLE] = ring_set_enable,
};
