/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A ring's life: STARTED by its kick descriptor, ENABLED by a message (or from
 * the start, where the frontend did not acknowledge protocol features), PLACED
 * where its addresses lead to memory. It runs while it is all three, in whatever
 * order they came. A kick that comes before is not lost: a queue that begins to
 * run is looked at once.
 */
#include "tools/vhost/queue.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_PAGE 4096u

/* Addresses that are no multiples of these are no ring's. */
#define DESC_ALIGN  16u
#define AVAIL_ALIGN 2u
#define USED_ALIGN  4u

static void *queue_find(const struct vhost_session *s, uint64_t user_addr, uint64_t len,
			unsigned align)
{
	void *place = vhost_memory_user(&s->memory, user_addr, len);

	return (uintptr_t)place % align ? NULL : place;
}

void vhost_queue_place(struct vhost_session *s, struct vhost_queue *q)
{
	struct vring *ring = &q->ring;
	bool event_idx = s->features & VHOST_BIT(VIRTIO_EVENT_IDX);

	ring->event_idx = event_idx;
	ring->desc = NULL;
	if (!q->has_addr || !ring->size)
		return;
	ring->avail =
		queue_find(s, q->addr.avail, vring_avail_len(ring->size, event_idx), AVAIL_ALIGN);
	ring->used = queue_find(s, q->addr.used, vring_used_len(ring->size, event_idx), USED_ALIGN);
	if (ring->avail && ring->used)
		ring->desc = queue_find(s, q->addr.desc, vring_desc_len(ring->size), DESC_ALIGN);
}

/* ---- the start ---- */

/* What the last process left, as far as it makes sense; 0 or -errno. */
static int queue_recover(struct vhost_queue *q)
{
	uint16_t used_idx = vring_used_idx(&q->ring), *heads;
	int n;

	if (!q->inflight.queue)
		return 0;
	if (q->inflight.size < q->ring.size)
		return -EPROTO;
	heads = calloc(q->inflight.size, sizeof(*heads));
	if (!heads)
		return -ENOMEM;
	n = inflight_recover(&q->inflight, used_idx, heads);
	if (n == -ENOENT || n == -ENOMEM) {
		free(heads);
		return n == -ENOENT ? 0 : n;
	}
	for (int i = 0; i < n; i++)
		if (heads[i] >= q->ring.size) {
			free(heads);
			return -EPROTO;
		}
	q->again = heads;
	q->n_again = n;
	/* Exactly these were taken since, whatever the frontend believes. */
	q->ring.last_avail = used_idx + n;
	return 0;
}

static void queue_forget_again(struct vhost_queue *q)
{
	free(q->again);
	q->again = NULL;
	q->n_again = q->again_at = 0;
}

static void queue_prepare(struct vhost_queue *q)
{
	q->is_prepared = true;
	queue_forget_again(q);
	q->ring.next_used = q->ring.signalled = vring_used_idx(&q->ring);
	q->must_signal = true;
	if (queue_recover(q))
		vhost_queue_break(q);
}

bool vhost_queue_is_up(const struct vhost_session *s, const struct vhost_queue *q)
{
	bool is_enabled = q->is_enabled || !(s->features & VHOST_BIT(VHOST_PROTOCOL_FEATURES));

	return q->is_started && is_enabled && !q->is_broken && q->ring.desc;
}

bool vhost_queue_any_started(const struct vhost_session *s)
{
	for (unsigned i = 0; i < s->geometry->n_queues; i++)
		if (s->queues[i].is_started)
			return true;
	return false;
}

bool vhost_queue_make_ready(struct vhost_session *s, struct vhost_queue *q)
{
	if (!vhost_queue_is_up(s, q))
		return false;
	if (!q->is_prepared)
		queue_prepare(q);
	return !q->is_broken;
}

bool vhost_queue_find_owed(struct vhost_queue *q)
{
	if (!q->is_started || q->is_broken || !q->ring.desc || !q->inflight.queue)
		return false;
	if (!q->is_prepared)
		queue_prepare(q);
	return !q->is_broken && q->again_at < q->n_again;
}

/* ---- requests ---- */

int vhost_queue_take(struct vhost_queue *q, uint16_t *head)
{
	int rc = vring_take(&q->ring, head);

	if (rc < 0)
		vhost_queue_break(q);
	else if (rc)
		inflight_take(&q->inflight, *head);
	return rc;
}

bool vhost_queue_take_again(struct vhost_queue *q, uint16_t *head)
{
	if (q->again_at == q->n_again) {
		queue_forget_again(q);
		return false;
	}
	*head = q->again[q->again_at++];
	return true;
}

void vhost_queue_end(struct vhost_queue *q, uint16_t head, uint32_t len)
{
	vring_fill(&q->ring, head, len);
	inflight_end(&q->inflight, head);
}

static void queue_write_fd(int fd)
{
	uint64_t one = 1;

	if (fd >= 0)
		(void)!write(fd, &one, sizeof(one));
}

void vhost_queue_publish(struct vhost_session *s, struct vhost_queue *q, unsigned n_begun)
{
	struct vring *ring = &q->ring;

	if (!ring->desc || (ring->signalled == ring->next_used && !q->must_signal))
		return;
	vring_publish(ring);
	inflight_publish(&q->inflight, ring->next_used);
	if (q->addr.flags & VHOST_RING_LOGS)
		vhost_log_write(s, q->addr.log, vring_used_len(ring->size, ring->event_idx));
	if (q->must_signal || !vring_tells_later(ring, n_begun))
		vhost_queue_tell(q);
}

void vhost_queue_tell(struct vhost_queue *q)
{
	if (!q->ring.desc)
		return; /* it is told when it is placed again */
	if (vring_claim_signal(&q->ring) || q->must_signal)
		queue_write_fd(q->call_fd);
	q->must_signal = false;
}

/* ---- the end ---- */

void vhost_queue_break(struct vhost_queue *q)
{
	q->is_broken = true;
	queue_write_fd(q->err_fd);
}

static void queue_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void vhost_queue_stop(struct vhost_session *s, struct vhost_queue *q)
{
	if (q->kick_fd >= 0)
		s->ops->unwatch(s->opaque, q);
	queue_close_fd(&q->kick_fd);
	queue_close_fd(&q->call_fd);
	queue_close_fd(&q->err_fd);
	queue_forget_again(q);
	q->is_started = q->is_polled = q->is_prepared = q->is_broken = false;
}

/* ---- the log of changed pages ---- */

void vhost_log_write(struct vhost_session *s, uint64_t guest_addr, uint64_t len)
{
	uint64_t page = guest_addr / LOG_PAGE, last;

	if (!s->log || !(s->features & VHOST_BIT(VHOST_LOG_ALL)) || !len ||
	    guest_addr + len < guest_addr)
		return;
	last = (guest_addr + len - 1) / LOG_PAGE;
	for (; page <= last && page / 8 < s->log_len; page++)
		__atomic_fetch_or(&s->log[page / 8], 1u << page % 8, __ATOMIC_RELAXED);
}
