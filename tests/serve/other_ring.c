/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* "Inflight I/O tracking" of the vhost-user protocol, split rings, as its text has it. */
#include "tests/serve/other_ring.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/serve/block.h"
#include "tests/support/inflight_region.h"

#define BATCH 3u /* ends that the guest sees at once */

size_t other_region_len(unsigned queue_size)
{
	return (sizeof(struct inflight_region) + queue_size * 16u + 63) / 64 * 64;
}

static volatile struct inflight_region *part_of(struct other *o, struct other_queue *q)
{
	size_t at = (size_t)(q - o->queues) * other_region_len(o->inflight_size);

	return o->inflight ? (void *)(o->inflight + at) : NULL;
}

static void *find(struct other *o, uint64_t addr, bool is_user)
{
	for (unsigned i = 0; i < o->n_regions; i++) {
		const struct other_region *r = &o->regions[i];
		uint64_t start = is_user ? r->user_addr : r->guest_addr;

		if (addr >= start && addr - start < r->len)
			return r->host + (addr - start);
	}
	abort();
}

/* ---- requests ---- */

static void clear(struct other *o, const uint8_t *range)
{
	static uint8_t zeros[1u << 20];
	uint64_t sector;
	uint32_t n;

	memcpy(&sector, range, sizeof(sector));
	memcpy(&n, range + 8, sizeof(n));
	if (pwrite(o->file, zeros, n * BLOCK_SECTOR, (off_t)(sector * BLOCK_SECTOR)) < 0)
		abort();
}

static void do_part(struct other *o, const struct block_header *h, uint8_t *data, uint32_t len)
{
	off_t at = (off_t)(h->sector * BLOCK_SECTOR);
	ssize_t n = len;

	if (h->type == BLOCK_READ)
		n = pread(o->file, data, len, at);
	else if (h->type == BLOCK_WRITE)
		n = pwrite(o->file, data, len, at);
	else if (h->type == BLOCK_DISCARD || h->type == BLOCK_ZEROES)
		clear(o, data);
	if (n != (ssize_t)len)
		abort();
}

/* Header, at most one piece of data, status: as our frontend makes them. */
static void do_request(struct other *o, struct other_queue *q, uint16_t head)
{
	const struct vring_desc *table = find(o, q->addr.desc, true), *d = &table[head];
	struct block_header h;

	if (d->flags & VRING_INDIRECT) {
		table = find(o, d->addr, false);
		d = table;
	}
	memcpy(&h, find(o, d->addr, false), sizeof(h));
	for (d = &table[d->next]; d->flags & VRING_NEXT; d = &table[d->next])
		do_part(o, &h, find(o, d->addr, false), d->len);
	if (h.type == BLOCK_FLUSH)
		fdatasync(o->file);
	*(volatile uint8_t *)find(o, d->addr, false) = 0;
}

/* ---- the ring ---- */

static void take(struct other *o, struct other_queue *q, uint16_t head)
{
	volatile struct inflight_region *part = part_of(o, q);

	if (part) {
		part->desc[head].counter = q->counter++;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		part->desc[head].inflight = 1;
	}
	q->taken[q->n_taken++] = head;
}

static void end_batch(struct other *o, struct other_queue *q, unsigned n)
{
	struct vring_used *used = find(o, q->addr.used, true);
	volatile struct inflight_region *part = part_of(o, q);
	uint16_t heads[BATCH];
	uint64_t one = 1;

	for (unsigned i = 0; i < n; i++) {
		heads[i] = q->taken[--q->n_taken];
		do_request(o, q, heads[i]);
		used->elems[(uint16_t)(used->idx + i) % q->size] =
			(struct vring_used_elem){ heads[i], 1 };
		if (part) {
			part->desc[heads[i]].next = part->last_batch_head;
			part->last_batch_head = heads[i];
		}
	}
	__atomic_store_n(&used->idx, used->idx + n, __ATOMIC_SEQ_CST);
	if (part) {
		for (unsigned i = 0; i < n; i++)
			part->desc[heads[i]].inflight = 0;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		part->used_idx = used->idx;
	}
	if (q->call_fd >= 0)
		(void)!write(q->call_fd, &one, sizeof(one));
}

void other_end_all(struct other *o, struct other_queue *q)
{
	while (q->n_taken)
		end_batch(o, q, 1);
}

/* The oldest last, as what was taken last is ended first. */
static void put_by_age(struct other_queue *q, volatile struct inflight_region *part, uint16_t head)
{
	unsigned at = q->n_taken++;

	for (; at && part->desc[q->taken[at - 1]].counter < part->desc[head].counter; at--)
		q->taken[at] = q->taken[at - 1];
	q->taken[at] = head;
	if (part->desc[head].counter >= q->counter)
		q->counter = part->desc[head].counter + 1;
}

/* What the process before this one left. */
static void prepare(struct other *o, struct other_queue *q)
{
	const struct vring_used *used = find(o, q->addr.used, true);
	volatile struct inflight_region *part = part_of(o, q);

	q->is_prepared = true;
	q->n_taken = 0;
	if (!part)
		return;
	if (!part->version) {
		part->version = 1;
		part->desc_num = o->inflight_size;
		part->used_idx = used->idx;
		return;
	}
	for (uint16_t head = part->last_batch_head; part->used_idx != used->idx; part->used_idx++) {
		part->desc[head].inflight = 0;
		head = part->desc[head].next;
	}
	for (unsigned i = 0; i < q->size; i++)
		if (part->desc[i].inflight)
			put_by_age(q, part, i);
	q->last_avail = used->idx + q->n_taken;
}

void other_work(struct other *o, struct other_queue *q)
{
	bool runs = q->is_enabled || !(o->features & VHOST_BIT(VHOST_PROTOCOL_FEATURES));
	const struct vring_avail *avail;

	if (!q->is_started || !runs)
		return;
	if (!q->is_prepared)
		prepare(o, q);
	avail = find(o, q->addr.avail, true);
	while (q->last_avail != __atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE))
		take(o, q, avail->heads[q->last_avail++ % q->size]);
	if (q->n_taken)
		end_batch(o, q, q->n_taken < BATCH ? q->n_taken : BATCH);
}
