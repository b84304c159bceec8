/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A request's place is its head's: a guest that uses a head twice breaks its
 * ring. Data goes from guest memory to the library and back without a copy.
 *
 * When a frontend leaves, what is in flight is waited for, but its end is not
 * given to the guest: the frontend, or the next process, does it again from the
 * in-flight region, or from the ring.
 */
#include "tools/serve/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vhost/queue.h"

#define MAX_EVENTS 64

/* How many requests are taken from a queue in one go, where they end at once: the guest sees the
 * first ends while the server does the next. */
#define PORTION 4u

struct port_slots;

struct port_request {
	struct port_slots *slots;
	struct iovec *logged; /* what of guest memory it writes, while that is logged */
	unsigned n_logged;
	uint8_t *status_at;
	uint64_t off, len, epoch;
	uint32_t used_len;
	uint16_t n_pending; /* the library's requests */
	uint8_t act;        /* enum blk_act */
	uint8_t status;     /* enum blk_status */
	bool is_durable;    /* a write that is when it ends */
};

/* What a queue has here. */
struct port_slots {
	struct vhost_queue *queue;
	unsigned n, n_in_flight;
	struct port_request requests[]; /* by head; n_pending 0: free */
};

static struct port_slots *port_slots(struct vhost_queue *q)
{
	struct port_slots *slots = q->owner;

	if (slots && (slots->n >= q->ring.size || slots->n_in_flight))
		return slots;
	free(slots);
	slots = calloc(1, sizeof(*slots) + q->ring.size * sizeof(slots->requests[0]));
	if (slots) {
		slots->queue = q;
		slots->n = q->ring.size;
	}
	q->owner = slots;
	return slots;
}

/* ---- the end ---- */

static void port_log(struct port *port, struct port_request *r)
{
	struct vhost_session *s = &port->session;

	for (unsigned i = 0; i < r->n_logged; i++)
		vhost_log_write(s, vhost_memory_addr_of(&s->memory, r->logged[i].iov_base),
				r->logged[i].iov_len);
	if (r->status_at)
		vhost_log_write(s, vhost_memory_addr_of(&s->memory, r->status_at), 1);
}

static void port_note_durable(struct port *port, const struct port_request *r)
{
	if (r->act == BLK_DISCARD || r->act == BLK_ZEROES)
		durable_clear_end(&port->durable);
	else if (r->act == BLK_WRITE && r->is_durable && r->status == BLK_OK)
		durable_add(&port->durable, r->epoch, r->off, r->len);
}

static void port_end(struct port *port, struct port_request *r)
{
	struct port_slots *slots = r->slots;

	port_note_durable(port, r);
	slots->n_in_flight--;
	port->n_in_flight--;
	if (!port->is_gone && slots->queue->ring.desc) {
		if (r->status_at)
			*(volatile uint8_t *)r->status_at = r->status;
		if (port->session.features & VHOST_BIT(VHOST_LOG_ALL))
			port_log(port, r);
		vhost_queue_end(slots->queue, r - slots->requests, r->used_len);
	}
	free(r->logged);
	r->logged = NULL;
	r->n_logged = 0;
}

/* One of the library's requests is over. */
static void port_take_result(struct port *port, struct port_request *r, int error)
{
	if (error == -ENOTSUP)
		r->status = BLK_UNSUPP;
	else if (error)
		r->status = BLK_IOERR;
	if (!--r->n_pending)
		port_end(port, r);
}

/* NULL: the request is the guest's. */
static struct port_own *port_own(struct port *port, const void *user_data)
{
	if (user_data == &port->resize)
		return &port->resize;
	return user_data == &port->flush ? &port->flush : NULL;
}

static void port_take_event(struct port *port, const struct bpull_event *event)
{
	struct port_own *own = port_own(port, event->user_data);

	if (event->type != BPULL_EVENT_IO) {
		port->other_event(port->opaque, event);
	} else if (own) {
		own->is_over = true;
		own->error = event->error;
	} else {
		port_take_result(port, event->user_data, event->error);
	}
}

bool port_take_events(struct port *port)
{
	struct bpull_event events[MAX_EVENTS];
	int n = bpull_engine_poll(port->engine, events, MAX_EVENTS);

	for (int i = 0; i < n; i++)
		port_take_event(port, &events[i]);
	if (port->has_taken)
		port->is_slow = n <= 0;
	port->has_taken = false;
	return n > 0;
}

void port_wait(struct port *port, int timeout_ms)
{
	struct bpull_event events[MAX_EVENTS];
	int n = bpull_engine_wait(port->engine, events, MAX_EVENTS, timeout_ms);

	for (int i = 0; i < n; i++)
		port_take_event(port, &events[i]);
}

/* ---- the beginning ---- */

/* A write is durable when it ends if the guest has no cache to flush, or if it changes tables that
 * would be lost with this process while the frontend counts on its return. */
static bool port_must_be_durable(const struct port *port, uint64_t off, uint64_t len)
{
	const struct vhost_session *s = &port->session;

	return blk_writes_through(s->features, s->write_back) ||
	       (s->inflight && !durable_has(&port->durable, off, len));
}

static void port_write(struct port *port, struct port_request *r, const struct blk_request *blk)
{
	r->off = blk->off;
	r->is_durable = port_must_be_durable(port, blk->off, blk->len);
	r->epoch = durable_epoch(&port->durable);
	bpull_write(port->disk, blk->iov, blk->n_iov, blk->off, r->is_durable ? BPULL_IO_FUA : 0,
		    r);
}

static void port_clear(struct port *port, struct port_request *r, const struct blk_request *blk)
{
	durable_clear_begin(&port->durable);
	r->n_pending = blk->n_ranges;
	for (unsigned i = 0; i < blk->n_ranges; i++) {
		const struct blk_range *range = &blk->ranges[i];
		uint32_t flags = range->unmap ? BPULL_IO_UNMAP : 0;

		durable_clear(&port->durable, range->off, range->len);
		if (port_must_be_durable(port, range->off, range->len))
			flags |= BPULL_IO_FUA;
		if (blk->act == BLK_DISCARD)
			bpull_discard(port->disk, range->off, range->len, r);
		else
			bpull_write_zeroes(port->disk, range->off, range->len, flags, r);
	}
}

static void port_submit(struct port *port, struct port_request *r, const struct blk_request *blk)
{
	r->n_pending = 1;
	switch (blk->act) {
	case BLK_READ:
		recorder_read(port->record.recorder, blk->off, blk->len);
		bpull_read(port->disk, blk->iov, blk->n_iov, blk->off, r);
		return;
	case BLK_WRITE:
		recorder_write(port->record.recorder, blk->off, blk->len);
		port_write(port, r, blk);
		return;
	case BLK_FLUSH:
		if (port->geometry.read_only)
			break;
		bpull_flush(port->disk, r);
		return;
	case BLK_DISCARD:
	case BLK_ZEROES: port_clear(port, r, blk); return;
	case BLK_ID: blk_put_id(blk, port->serial); break;
	case BLK_ANSWER: r->status = blk->status; break;
	}
	r->n_pending = 0;
	port_end(port, r);
}

/* What a request writes can be told to the log only by what is kept of it. False: no memory. */
static bool port_keep_logged(struct port *port, struct port_request *r,
			     const struct blk_request *blk)
{
	if (!(port->session.features & VHOST_BIT(VHOST_LOG_ALL)) ||
	    (blk->act != BLK_READ && blk->act != BLK_ID) || !blk->n_iov)
		return true;
	r->logged = malloc(blk->n_iov * sizeof(*r->logged));
	if (!r->logged)
		return false;
	memcpy(r->logged, blk->iov, blk->n_iov * sizeof(*r->logged));
	r->n_logged = blk->n_iov;
	return true;
}

static void port_begin(struct port *port, struct vhost_queue *q, uint16_t head)
{
	struct vhost_session *s = &port->session;
	const struct blk_disk disk = { .len = port->geometry.len,
				       .features = s->features,
				       .read_only = port->geometry.read_only,
				       .max_sectors = BLK_MAX_SECTORS };
	struct port_slots *slots = port_slots(q);
	struct port_request *r = slots ? &slots->requests[head] : NULL;
	struct blk_request blk;

	if (!r || head >= slots->n || r->n_pending ||
	    vhost_chain_read(&q->ring, &s->memory, head, &port->chain)) {
		vhost_queue_break(q);
		return;
	}
	blk_decode(&disk, &port->chain, &blk);
	*r = (struct port_request){
		.slots = slots,
		.status_at = blk.status_at,
		.used_len = blk.used_len,
		.len = blk.act == BLK_READ || blk.act == BLK_WRITE ? blk.len : 0,
		.act = blk.act,
	};
	slots->n_in_flight++;
	port->n_in_flight++;
	if (!port_keep_logged(port, r, &blk)) {
		blk.act = r->act = BLK_ANSWER;
		blk.status = BLK_IOERR;
	}
	port_submit(port, r, &blk);
}

/* What the last process left comes first, and all of it: it was taken already. */
static bool port_take_again(struct port *port, struct vhost_queue *q)
{
	bool any = false;
	uint16_t head;

	while (!q->is_broken && q->n_again && vhost_queue_take_again(q, &head)) {
		port_begin(port, q, head);
		any = true;
	}
	return any;
}

static bool port_take_from(struct port *port, struct vhost_queue *q)
{
	/* One round of the ring at most: other queues wait. */
	unsigned max = port->is_slow ? q->ring.size : PORTION;
	bool any = port_take_again(port, q);
	uint16_t head;

	for (unsigned n = 0; n < max && !q->is_broken; n++) {
		if (vhost_queue_take(q, &head) <= 0)
			break;
		port_begin(port, q, head);
		any = true;
	}
	return any;
}

bool port_take_requests(struct port *port)
{
	bool any = false;

	if (port->is_inactive || !port->is_connected)
		return false;
	for (unsigned i = 0; i < port->geometry.n_queues; i++) {
		struct vhost_queue *q = &port->session.queues[i];

		if (q->is_started && vhost_queue_make_ready(&port->session, q))
			any |= port_take_from(port, q);
	}
	port->has_taken |= any;
	return any;
}

bool port_must_hold(struct port *port, const struct vhost_message *message)
{
	struct vhost_queue *q = vhost_session_stops(&port->session, message);

	return port->is_inactive && q && vhost_queue_find_owed(q);
}

bool port_wants_disk(const struct port *port)
{
	if (port->is_connected && port->is_held)
		return true;
	for (unsigned i = 0; port->is_connected && i < port->geometry.n_queues; i++)
		if (vhost_queue_is_up(&port->session, &port->session.queues[i]))
			return true;
	return false;
}

/* Requests of a queue (NULL: of all) that are with the library. */
static unsigned port_n_in_flight(const struct port *port, const struct vhost_queue *q)
{
	const struct port_slots *slots = q ? q->owner : NULL;

	return q ? (slots ? slots->n_in_flight : 0) : port->n_in_flight;
}

void port_publish(struct port *port)
{
	for (unsigned i = 0; port->is_connected && !port->is_gone && i < port->geometry.n_queues;
	     i++)
		if (port->session.queues[i].is_prepared)
			vhost_queue_publish(&port->session, &port->session.queues[i],
					    port_n_in_flight(port, &port->session.queues[i]));
}

/* ---- waiting ---- */

void port_drain(struct port *port, struct vhost_queue *queue)
{
	if (queue && queue->is_prepared && queue->ring.desc && !port->is_gone && !port->is_inactive)
		port_take_again(port, queue);
	while (port_n_in_flight(port, queue))
		port_wait(port, -1);
	port_publish(port);
	port_tell(port);
}

void port_disconnect(struct port *port)
{
	for (unsigned i = 0; i < port->geometry.n_queues; i++) {
		free(port->session.queues[i].owner);
		port->session.queues[i].owner = NULL;
	}
}
