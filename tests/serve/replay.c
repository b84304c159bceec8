/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Rings are full, and go around, so that each of their descriptors is used: a
 * size that one side takes for another shows there.
 */
#include "tests/serve/replay.h"

static void replay_start(struct storm *s, const char *socket)
{
	struct front *front = &s->front;

	if (!front_connect(front, socket, FRONT_PATIENCE_MS) || !order_connect(front, s->order) ||
	    !order_start(front, s->order))
		front_fail("%s: the backend refuses", s->order->name);
}

/* Where the backend says a ring stopped, all that was made of it has ended. */
static void replay_stop(struct storm *s)
{
	if (!order_stop(&s->front, s->order))
		front_fail("%s: the backend does not stop", s->order->name);
	for (unsigned i = 0; i < s->front.n_queues; i++) {
		const struct front_queue *q = &s->front.queues[i];

		if (q->base != q->avail_idx)
			front_fail("%s: queue %u stops at %u, and was at %u", s->order->name, i,
				   q->base, q->avail_idx);
	}
}

void replay(struct storm *s, const struct order_shape *shape)
{
	const struct front_shape *queues = &shape->shape;
	uint64_t n = (uint64_t)queues->n_queues * queues->ring_size;

	s->order = order_find(shape->order);
	front_open(&s->front, queues);
	s->depth = queues->n_queues * (queues->ring_size / 3);
	replay_start(s, s->backend.socket);
	storm_some(s, n * 5 / 8);
	replay_stop(s);
	if (!order_start(&s->front, s->order))
		front_fail("%s: the backend does not start again", s->order->name);
	storm_some(s, n * 5 / 8);
	replay_stop(s);
	/* Its next connection begins with other messages. */
	front_disconnect(&s->front);
	replay_start(s, s->backend.socket);
	storm_read_all(s);
	replay_stop(s);
	front_close(&s->front);
}
