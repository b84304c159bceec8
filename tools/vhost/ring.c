/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guest may change any word at any moment. Of what is read here nothing is
 * believed but after a comparison with the ring's size, on a copy.
 */
#include "tools/vhost/ring.h"

#include <errno.h>
#include <stddef.h>

#define MAX_UNTOLD 64 /* the guest is told when so many have ended, even if more are coming */

uint64_t vring_desc_len(unsigned size)
{
	return (uint64_t)size * sizeof(struct vring_desc);
}

uint64_t vring_avail_len(unsigned size, bool event_idx)
{
	return offsetof(struct vring_avail, heads) + 2u * (size + event_idx);
}

uint64_t vring_used_len(unsigned size, bool event_idx)
{
	return offsetof(struct vring_used, elems) + sizeof(struct vring_used_elem) * size +
	       2u * event_idx;
}

/* Behind the used ring: from which avail->idx on the device wants kicks. */
static uint16_t *ring_avail_event(const struct vring *ring)
{
	return (uint16_t *)&ring->used->elems[ring->size];
}

/* Behind the avail ring: from which used->idx on the guest wants to be told. */
static uint16_t ring_used_event(const struct vring *ring)
{
	return __atomic_load_n(&ring->avail->heads[ring->size], __ATOMIC_RELAXED);
}

static uint16_t ring_avail_idx(const struct vring *ring)
{
	return __atomic_load_n(&ring->avail->idx, __ATOMIC_ACQUIRE);
}

/* There is a head to take, or something is wrong. */
static bool has_more(const struct vring *ring)
{
	return ring_avail_idx(ring) != ring->last_avail;
}

int vring_take(struct vring *ring, uint16_t *head)
{
	uint16_t n = ring_avail_idx(ring) - ring->last_avail;

	if (!n)
		return 0;
	if (n > ring->size)
		return -EPROTO;
	*head = __atomic_load_n(&ring->avail->heads[ring->last_avail & (ring->size - 1)],
				__ATOMIC_RELAXED);
	if (*head >= ring->size)
		return -EPROTO;
	ring->last_avail++;
	return 1;
}

struct vring_desc vring_read_desc(const struct vring *ring, uint16_t index)
{
	const volatile struct vring_desc *desc = &ring->desc[index];

	return (struct vring_desc){ desc->addr, desc->len, desc->flags, desc->next };
}

void vring_fill(struct vring *ring, uint16_t head, uint32_t len)
{
	volatile struct vring_used_elem *elem =
		&ring->used->elems[ring->next_used++ & (ring->size - 1)];

	elem->head = head;
	elem->len = len;
}

void vring_publish(struct vring *ring)
{
	__atomic_store_n(&ring->used->idx, ring->next_used, __ATOMIC_RELEASE);
}

uint16_t vring_used_idx(const struct vring *ring)
{
	return __atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE);
}

bool vring_claim_signal(struct vring *ring)
{
	uint16_t before = ring->signalled, now = ring->next_used;

	ring->signalled = now;
	if (before == now)
		return false;
	/* The guest sets what it wants, then looks at used->idx; we do it the other way round. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!ring->event_idx)
		return !(__atomic_load_n(&ring->avail->flags, __ATOMIC_RELAXED) &
			 VRING_NO_INTERRUPT);
	return (uint16_t)(now - ring_used_event(ring) - 1) < (uint16_t)(now - before);
}

/* Waking a guest costs as much as several requests. A guest that is told after a few ends wakes for
 * each few. One that is told after all have ended leaves the server without work until it has made
 * new requests. So the guest is told when three fifths have ended, 20 of 32, and the server does
 * the rest while it wakes. */
bool vring_tells_later(const struct vring *ring, unsigned n_begun)
{
	uint16_t n_ended = ring->next_used - ring->signalled;
	uint16_t n_left = ring_avail_idx(ring) - ring->last_avail;

	if (n_left > ring->size)
		return false;
	return n_left + n_begun && n_ended < MAX_UNTOLD && 2 * n_ended < 3 * (n_left + n_begun);
}

bool vring_listen(struct vring *ring)
{
	if (ring->event_idx)
		__atomic_store_n(ring_avail_event(ring), ring->last_avail, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&ring->used->flags, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return has_more(ring);
}

void vring_ignore(struct vring *ring)
{
	/* With event_idx the guest's next kick is already behind what it was asked for. */
	if (!ring->event_idx)
		__atomic_store_n(&ring->used->flags, VRING_NO_NOTIFY, __ATOMIC_RELAXED);
}
