/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A bit for each block says that it is known. Ranges as the guest asks for them were
 * rejected: a disk that is read in pieces of 4 KiB has millions, and a pull
 * copies whole clusters anyway.
 *
 * A guest reads several files in turn, so a block may go on with one of the last few
 * ranges, not with the last one only.
 */
#include "tools/trace/recorder.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tools/clock/monotonic.h"
#include "tools/trace/trace.h"

#define RECORDER_BLOCK_LEN (64u << 10)
#define RECORDER_MAX_BITS  (UINT64_C(1) << 25) /* 4 MiB; longer disks have longer blocks */
#define RECORDER_LOOK_BACK 16                  /* ranges */

struct recorder {
	uint64_t disk_len, block_len, n_blocks;
	_Atomic uint64_t *known;
	uint64_t began_us;     /* of the first touch; 0: there was none */
	pthread_mutex_t mutex; /* of what follows */
	struct trace trace;
	bool is_new; /* something was touched since the last copy */
};

struct recorder *recorder_new(uint64_t disk_len)
{
	struct recorder *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->disk_len = disk_len;
	r->block_len = RECORDER_BLOCK_LEN;
	while (disk_len / r->block_len >= RECORDER_MAX_BITS)
		r->block_len *= 2;
	r->n_blocks = disk_len / r->block_len + (disk_len % r->block_len != 0);
	r->known = calloc(r->n_blocks / 64 + 1, sizeof(*r->known));
	if (!r->known || pthread_mutex_init(&r->mutex, NULL)) {
		free(r->known);
		free(r);
		return NULL;
	}
	return r;
}

static bool recorder_knows(struct recorder *r, uint64_t block)
{
	return atomic_load_explicit(&r->known[block / 64], memory_order_relaxed) >> block % 64 & 1;
}

/* The range goes on one of the last ones. */
static bool recorder_extend(struct trace *trace, const struct trace_range *range)
{
	for (size_t back = 1; back <= RECORDER_LOOK_BACK && back <= trace->n; back++) {
		struct trace_range *known = &trace->ranges[trace->n - back];

		if (known->off + known->len == range->off) {
			known->len += range->len;
			return true;
		}
	}
	return false;
}

/* Under the mutex. Without memory a block stays unknown, and its next touch is taken for the
 * first. */
static void recorder_note(struct recorder *r, uint64_t block, uint64_t now_us)
{
	uint64_t off = block * r->block_len, left = r->disk_len - off;
	struct trace_range range = { .off = off, .len = left < r->block_len ? left : r->block_len };
	bool was_full = r->trace.is_full;

	if (!r->began_us)
		r->began_us = now_us;
	range.us = now_us - r->began_us;
	if (!recorder_extend(&r->trace, &range) && trace_add(&r->trace, &range))
		return;
	r->is_new |= !was_full;
	atomic_fetch_or_explicit(&r->known[block / 64], UINT64_C(1) << block % 64,
				 memory_order_relaxed);
}

static void recorder_touch(struct recorder *r, uint64_t first, uint64_t last)
{
	uint64_t now_us = 0;

	while (first <= last && recorder_knows(r, first))
		first++;
	if (first > last)
		return;
	now_us = monotonic_ns() / 1000 + 1;
	pthread_mutex_lock(&r->mutex);
	for (; first <= last; first++)
		if (!recorder_knows(r, first))
			recorder_note(r, first, now_us);
	pthread_mutex_unlock(&r->mutex);
}

static bool recorder_is_inside(const struct recorder *r, uint64_t off, uint64_t len)
{
	return r && len && off < r->disk_len && len <= r->disk_len - off;
}

void recorder_read(struct recorder *r, uint64_t off, uint64_t len)
{
	if (recorder_is_inside(r, off, len))
		recorder_touch(r, off / r->block_len, (off + len - 1) / r->block_len);
}

void recorder_write(struct recorder *r, uint64_t off, uint64_t len)
{
	uint64_t first, last;

	if (!recorder_is_inside(r, off, len))
		return;
	first = off / r->block_len;
	last = (off + len - 1) / r->block_len;
	if (off % r->block_len || (first == last && len < r->block_len))
		recorder_touch(r, first, first);
	if (last != first && (off + len) % r->block_len)
		recorder_touch(r, last, last);
}

void recorder_take(struct recorder *r, struct trace *trace)
{
	*trace = r->trace;
	r->trace = (struct trace){ 0 };
}

int recorder_copy(struct recorder *r, struct trace *trace)
{
	size_t len;
	int rc = 0;

	*trace = (struct trace){ 0 };
	pthread_mutex_lock(&r->mutex);
	len = r->trace.n * sizeof(*trace->ranges);
	if (r->is_new)
		trace->ranges = malloc(len);
	if (r->is_new && !trace->ranges)
		rc = -ENOMEM;
	if (trace->ranges) {
		memcpy(trace->ranges, r->trace.ranges, len);
		trace->n = r->trace.n;
		trace->is_full = r->trace.is_full;
		r->is_new = false;
		rc = 1;
	}
	pthread_mutex_unlock(&r->mutex);
	return rc;
}

void recorder_forget_copy(struct recorder *r)
{
	pthread_mutex_lock(&r->mutex);
	r->is_new = r->trace.n;
	pthread_mutex_unlock(&r->mutex);
}

void recorder_free(struct recorder *r)
{
	if (!r)
		return;
	trace_free(&r->trace);
	pthread_mutex_destroy(&r->mutex);
	free(r->known);
	free(r);
}
