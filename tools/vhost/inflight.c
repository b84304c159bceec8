/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The layout is the protocol's ("Inflight I/O tracking"), with version 1. The
 * order of stores is what makes it survive: the processor keeps it, and the
 * compiler is told to.
 *
 *   take      counter, then inflight = 1
 *   end       next = last_batch_head, then last_batch_head = head
 *   (ring)    used->idx
 *   publish   inflight = 0 for each of the batch, then used_idx
 *
 * A process that dies between used->idx and used_idx leaves a batch whose
 * length is the difference of the two, listed from last_batch_head on. Of a new
 * region that list says nothing, and its used_idx is not the ring's: so it is
 * set to the ring's first, or descriptor 0 would count as ended.
 */
#include "tools/vhost/inflight.h"

#include <errno.h>
#include <stdlib.h>

#define VERSION 1
#define ALIGN   64u

struct inflight_desc {
	uint8_t inflight, padding[5];
	uint16_t next;
	uint64_t counter;
};

struct inflight_queue {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct inflight_desc desc[];
};

/* Behind the queues' parts; other backends have no use for it. */
struct inflight_tail {
	uint32_t magic, version;
	uint8_t write_back, padding[7];
};
#define TAIL_MAGIC 0x6c6c7062u

#define BARRIER() __atomic_thread_fence(__ATOMIC_RELEASE)

static size_t inflight_queue_len(unsigned queue_size)
{
	size_t len = sizeof(struct inflight_queue) + queue_size * sizeof(struct inflight_desc);

	return (len + ALIGN - 1) / ALIGN * ALIGN;
}

size_t inflight_min_len(unsigned n_queues, unsigned queue_size)
{
	return n_queues * inflight_queue_len(queue_size);
}

size_t inflight_len(unsigned n_queues, unsigned queue_size)
{
	return inflight_min_len(n_queues, queue_size) + sizeof(struct inflight_tail);
}

void inflight_open(struct inflight *inflight, void *region, unsigned index, unsigned queue_size)
{
	*inflight = (struct inflight){
		.queue = (void *)((uint8_t *)region + index * inflight_queue_len(queue_size)),
		.size = queue_size,
	};
}

/* NULL: the region is as small as the protocol wants it. */
static struct inflight_tail *inflight_tail(void *region, size_t len, unsigned n_queues,
					   unsigned queue_size)
{
	return len < inflight_len(n_queues, queue_size)
		       ? NULL
		       : (void *)((uint8_t *)region + inflight_min_len(n_queues, queue_size));
}

bool inflight_load_cache(const void *region, size_t len, unsigned n_queues, unsigned queue_size,
			 bool *write_back)
{
	const struct inflight_tail *tail = inflight_tail((void *)region, len, n_queues, queue_size);

	if (!tail || tail->magic != TAIL_MAGIC)
		return false;
	/* Of a newer server's nothing is known: without a cache nothing can be lost. */
	*write_back = tail->version == VERSION && tail->write_back;
	return true;
}

void inflight_save_cache(void *region, size_t len, unsigned n_queues, unsigned queue_size,
			 bool write_back)
{
	struct inflight_tail *tail = inflight_tail(region, len, n_queues, queue_size);

	if (!tail)
		return;
	tail->write_back = write_back;
	tail->version = VERSION;
	BARRIER();
	tail->magic = TAIL_MAGIC;
}

/* False: the list leads out of the ring, or is shorter than it says. */
static bool inflight_end_batch(struct inflight *inflight, uint16_t n)
{
	volatile struct inflight_queue *q = inflight->queue;
	uint16_t head = q->last_batch_head;

	for (; n; n--) {
		if (head >= inflight->size)
			return false;
		q->desc[head].inflight = 0;
		head = q->desc[head].next;
	}
	return true;
}

static void inflight_begin(struct inflight *inflight, uint16_t used_idx)
{
	volatile struct inflight_queue *q = inflight->queue;

	for (unsigned i = 0; i < inflight->size; i++)
		q->desc[i].inflight = 0;
	q->desc_num = inflight->size;
	q->used_idx = used_idx;
	BARRIER();
	q->version = VERSION;
}

struct inflight_age {
	uint64_t counter;
	uint16_t head;
};

static int inflight_compare(const void *a, const void *b)
{
	const struct inflight_age *x = a, *y = b;

	if (x->counter != y->counter)
		return x->counter < y->counter ? -1 : 1;
	return (int)x->head - y->head;
}

/* What is marked, by age. Each word is read once. */
static int inflight_sort(struct inflight *inflight, uint16_t *heads)
{
	volatile struct inflight_queue *q = inflight->queue;
	struct inflight_age *ages = calloc(inflight->size, sizeof(*ages));
	int n = 0;

	if (!ages)
		return -ENOMEM;
	for (unsigned i = 0; i < inflight->size; i++)
		if (q->desc[i].inflight == 1)
			ages[n++] = (struct inflight_age){ q->desc[i].counter, i };
	qsort(ages, n, sizeof(*ages), inflight_compare);
	for (int i = 0; i < n; i++)
		heads[i] = ages[i].head;
	if (n)
		inflight->counter = ages[n - 1].counter + 1;
	free(ages);
	return n;
}

int inflight_recover(struct inflight *inflight, uint16_t used_idx, uint16_t *heads)
{
	volatile struct inflight_queue *q = inflight->queue;
	uint16_t n_batch = used_idx - q->used_idx;

	inflight->n_batch = 0;
	inflight->counter = 0;
	if (q->version != VERSION || q->desc_num != inflight->size || n_batch > inflight->size ||
	    !inflight_end_batch(inflight, n_batch)) {
		inflight_begin(inflight, used_idx);
		return -ENOENT;
	}
	BARRIER();
	q->used_idx = used_idx;
	return inflight_sort(inflight, heads);
}

void inflight_take(struct inflight *inflight, uint16_t head)
{
	volatile struct inflight_queue *q = inflight->queue;

	if (!q)
		return;
	q->desc[head].counter = inflight->counter++;
	BARRIER();
	q->desc[head].inflight = 1;
}

void inflight_end(struct inflight *inflight, uint16_t head)
{
	volatile struct inflight_queue *q = inflight->queue;

	if (!q)
		return;
	q->desc[head].next = q->last_batch_head;
	BARRIER();
	q->last_batch_head = head;
	inflight->n_batch++;
}

void inflight_publish(struct inflight *inflight, uint16_t used_idx)
{
	volatile struct inflight_queue *q = inflight->queue;

	if (!q || !inflight->n_batch)
		return;
	BARRIER();
	inflight_end_batch(inflight, inflight->n_batch);
	inflight->n_batch = 0;
	BARRIER();
	q->used_idx = used_idx;
}
