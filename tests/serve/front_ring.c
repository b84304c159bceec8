/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The driver's side of a ring: three descriptors a request, or a table of three. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/serve/block.h"
#include "tests/serve/front.h"

#define END_LEN   32u
#define STATUS_AT 16u
#define NO_STATUS 0xee
#define POLL_US   100

int front_slot(struct front_queue *q)
{
	for (unsigned i = 0; i < q->n_slots; i++) {
		unsigned slot = (q->next_slot + i) % q->n_slots;

		if (!q->slots[slot].is_busy) {
			q->next_slot = slot + 1;
			return slot;
		}
	}
	return -1;
}

uint8_t *front_data(const struct front_queue *q, int slot)
{
	return q->data + (size_t)slot * q->data_len;
}

/* Where a slot's indirect table lies: in the last bytes of its data, which no request is so long as
 * to need. */
static struct vring_desc *ring_table(const struct front_queue *q, int slot)
{
	return (void *)(front_data(q, slot) + q->data_len - 3 * sizeof(struct vring_desc));
}

static void ring_describe(struct front *front, struct front_queue *q, int slot, uint32_t type,
			  uint32_t len)
{
	uint8_t *end = q->ends + slot * END_LEN;
	struct vring_desc *table = q->indirect ? ring_table(q, slot) : q->desc + 3 * slot;
	uint16_t first = q->indirect ? 0 : 3 * slot, n = 0;
	uint16_t flags = type == BLOCK_READ || type == BLOCK_ID ? VRING_WRITE : 0;

	table[n++] = (struct vring_desc){ front_guest_addr(front, end), STATUS_AT, VRING_NEXT,
					  first + 1 };
	if (len) {
		table[n] = (struct vring_desc){ front_guest_addr(front, front_data(q, slot)), len,
						flags | VRING_NEXT, first + n + 1 };
		n++;
	}
	table[n++] =
		(struct vring_desc){ front_guest_addr(front, end + STATUS_AT), 1, VRING_WRITE, 0 };
	if (q->indirect)
		q->desc[3 * slot] = (struct vring_desc){ front_guest_addr(front, table),
							 n * sizeof(*table), VRING_INDIRECT, 0 };
}

void front_submit(struct front *front, struct front_queue *q, int slot, uint32_t type,
		  uint64_t sector, uint32_t len)
{
	uint8_t *end = q->ends + slot * END_LEN;
	const struct block_header header = { type, 0, sector };

	memcpy(end, &header, sizeof(header));
	end[STATUS_AT] = NO_STATUS;
	ring_describe(front, q, slot, type, len);
	q->slots[slot] = (struct front_slot){ .is_busy = true,
					      .type = type,
					      .sector = sector,
					      .len = len,
					      .tag = q->slots[slot].tag,
					      .began_ns = front_now_ns() };
	q->avail->heads[q->avail_idx & (q->size - 1)] = 3 * slot;
	__atomic_store_n(&q->avail->idx, ++q->avail_idx, __ATOMIC_RELEASE);
}

/* True: the device wants to be told of what was made since it was told last. */
static bool ring_wants_kick(struct front_queue *q)
{
	uint16_t before = q->kicked_idx, now = q->avail_idx, event;

	q->kicked_idx = now;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->event_idx)
		return !(__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED) & VRING_NO_NOTIFY);
	event = __atomic_load_n((uint16_t *)&q->used->elems[q->size], __ATOMIC_RELAXED);
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

void front_kick(struct front_queue *q)
{
	uint64_t one = 1;

	if (ring_wants_kick(q) && !q->polled)
		(void)!write(q->kick_fd, &one, sizeof(one));
}

void front_end(struct front_queue *q, int slot, uint8_t status)
{
	uint16_t at = q->used->idx;

	q->ends[slot * END_LEN + STATUS_AT] = status;
	q->used->elems[at & (q->size - 1)] = (struct vring_used_elem){ 3 * slot, 1 };
	__atomic_store_n(&q->used->idx, at + 1, __ATOMIC_RELEASE);
}

int front_take(struct front_queue *q, uint8_t *status)
{
	volatile struct vring_used_elem *elem = &q->used->elems[q->used_idx & (q->size - 1)];
	int slot;

	if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->used_idx)
		return -1;
	slot = elem->head / 3;
	if (elem->head % 3 || slot >= (int)q->n_slots || !q->slots[slot].is_busy)
		front_fail("queue %u: head %u is given back, and is not in flight", q->index,
			   elem->head);
	q->used_idx++;
	*status = q->ends[slot * END_LEN + STATUS_AT];
	if (*status == NO_STATUS)
		front_fail("queue %u: slot %d has no status", q->index, slot);
	q->slots[slot].is_busy = false;
	return slot;
}

/* used_event: behind the avail ring; without EVENT_IDX no backend looks at it. */
static void ring_ask_for_call(struct front_queue *q)
{
	__atomic_store_n(&q->avail->heads[q->size], q->used_idx, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

int front_wait(struct front_queue *q, uint8_t *status, int timeout_ms)
{
	uint64_t until = front_now_ns() + timeout_ms * UINT64_C(1000000), now;
	struct pollfd called = { .fd = q->call_fd, .events = POLLIN };
	uint64_t count;
	int slot;

	while ((slot = front_take(q, status)) < 0) {
		now = front_now_ns();
		if (now >= until)
			return -1;
		ring_ask_for_call(q);
		if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) != q->used_idx)
			continue;
		if (q->polled)
			usleep(POLL_US);
		else if (poll(&called, 1, (until - now) / 1000000 + 1) == 1)
			(void)!read(q->call_fd, &count, sizeof(count));
	}
	return slot;
}

int front_do(struct front *front, struct front_queue *q, uint32_t type, uint64_t sector, void *data,
	     uint32_t len)
{
	int slot = front_slot(q);
	bool reads = type == BLOCK_READ || type == BLOCK_ID;
	uint8_t status;

	if (slot < 0)
		front_fail("no free slot");
	if (len && !reads)
		memcpy(front_data(q, slot), data, len);
	front_submit(front, q, slot, type, sector, len);
	front_kick(q);
	if (front_wait(q, &status, FRONT_PATIENCE_MS) != slot)
		return -1;
	if (len && reads)
		memcpy(data, front_data(q, slot), len);
	return status;
}
