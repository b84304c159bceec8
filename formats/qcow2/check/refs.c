/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Counted references and stored refcounts. Refcount blocks are read twice a
 * pass: before it to know which clusters have a refcount of exactly one (what
 * the COPIED flags must agree with), after it to compare. Keeping the stored
 * values instead was rejected: they are up to 64 bits wide.
 *
 * Clusters behind the end of the file are not compared: a refcount there is
 * neither a leak nor a danger, only room that allocation will pass over.
 */
#include "formats/qcow2/check/refs.h"

#include <inttypes.h>
#include <string.h>

#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/report.h"
#include "formats/qcow2/check/state.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/blocking.h"

/* Clusters that are looked at between two calls of blocking_pause(). */
#define MAX_RANGE 65536

static void count_one(uint32_t *counter, uint32_t use, uint32_t weight)
{
	uint32_t count = *counter & CHECK_COUNT_MAX;

	count = weight > CHECK_COUNT_MAX - count ? CHECK_COUNT_MAX : count + weight;
	*counter = (*counter & ~CHECK_COUNT_MAX) | use | count;
}

bool check_count(struct qcow2_check *c, uint64_t host_off, uint64_t len, uint32_t use,
		 uint32_t weight)
{
	const struct check_window *window = &c->target;
	uint64_t end, from, last;

	if (add_u64(host_off, len, &end) || end >= c->file->len + qcow2_cluster_len(c->q))
		return false;
	if (!len)
		return true;
	c->refs_end = MAX(c->refs_end, ((end - 1) >> c->q->cluster_bits) + 1);
	from = MAX(host_off >> c->q->cluster_bits, window->first);
	last = MIN((end - 1) >> c->q->cluster_bits, window->first + window->n - 1);
	for (uint64_t idx = from; idx <= last; idx++)
		count_one(&window->counts[idx - window->first], use, weight);
	return true;
}

/* Offset of the refcount block for block index idx; 0: absent, or in no state to be used, which
 * check_count_metadata() reports. */
static int block_off(struct qcow2_check *c, uint64_t idx, uint64_t *host_off)
{
	uint8_t entry[8];
	int rc = check_read(c, "the refcount table", entry, sizeof(entry),
			    c->q->hdr.reftable_off + 8 * idx);

	*host_off = be64(entry) & QCOW2_REFTABLE_OFF_MASK;
	if (!is_aligned(*host_off, qcow2_cluster_len(c->q)) || *host_off >= c->file->len)
		*host_off = 0;
	return rc;
}

/* Hands the refcounts of clusters [at, end), all of one block at `off`, to `each`. */
static int each_in_block(struct qcow2_check *c, uint64_t off, uint64_t at, uint64_t end,
			 check_ref_fn each)
{
	unsigned order = c->q->hdr.refcount_order;
	uint64_t per_block = c->q->refs_per_block;
	uint64_t per_piece = MIN((CHECK_PIECE_LEN * UINT64_C(8)) >> order, per_block);

	while (at < end) {
		uint64_t in_block = at % per_block, piece = round_down(in_block, per_piece);
		struct ref_range range = {
			.first = at,
			.n = MIN(end - at, piece + per_piece - in_block),
			.bytes = c->ref_piece,
			.idx = in_block - piece,
			.piece_off = off + (piece << order) / 8,
			.piece_len = (per_piece << order) / 8,
		};
		int rc = check_read(c, "a refcount block", c->ref_piece, range.piece_len,
				    range.piece_off);

		if (rc)
			return rc;
		each(c, &range);
		at += range.n;
	}
	return 0;
}

/* The same for any clusters; those without a block come in one range for each missing block. */
int check_each_refcount(struct qcow2_check *c, uint64_t at, uint64_t end, check_ref_fn each)
{
	uint64_t per_block = c->q->refs_per_block, off = 0;
	uint64_t n_blocks = ((uint64_t)c->q->hdr.reftable_clusters << c->q->cluster_bits) / 8;
	int rc = 0;

	while (!rc && at < end) {
		uint64_t block = at / per_block;
		struct ref_range none = { .first = at, .n = end - at };

		blocking_pause();
		if (block < n_blocks) {
			none.n = MIN(none.n, per_block - at % per_block);
			rc = block_off(c, block, &off);
		}
		if (!rc && block < n_blocks && off) {
			rc = each_in_block(c, off, at, at + none.n, each);
		} else if (!rc) {
			none.n = MIN(none.n, (uint64_t)MAX_RANGE);
			each(c, &none);
		}
		at += none.n;
	}
	return rc;
}

static void mark_ones(struct qcow2_check *c, const struct ref_range *range)
{
	uint64_t at = range->first - c->target.first;

	if (!range->bytes)
		return;
	for (uint64_t i = 0; i < range->n; i++, at++)
		if (qcow2_refcount_get(range->bytes, range->idx + i, c->q->hdr.refcount_order) == 1)
			c->refcount_is_one[at / 8] |= 1u << (at % 8);
}

int check_load_refcounts(struct qcow2_check *c)
{
	memset(c->refcount_is_one, 0, div_round_up(c->target.n, 8));
	return check_each_refcount(c, c->target.first, c->target.first + c->target.n, mark_ones);
}

/* Reports a cluster that must have one owner and has two: whatever the refcounts say, one owner has
 * overwritten the other, or will. Only compressed clusters share host clusters, with each other. */
static void judge_overlap(struct qcow2_check *c, uint64_t host_off, uint32_t counter)
{
	const uint32_t both = CHECK_PLAIN | CHECK_PACKED;
	uint32_t count = counter & CHECK_COUNT_MAX;

	if (counter & CHECK_EXCLUSIVE && count > 1)
		check_error(c,
			    "metadata at offset %#" PRIx64
			    " is used %u times; it must have one owner",
			    host_off, count);
	else if (counter & CHECK_L2 && counter & CHECK_DATA)
		check_error(c, "the L2 table at offset %#" PRIx64 " is guest data, too", host_off);
	else if ((counter & both) == both)
		check_error(c,
			    "compressed data lies inside the cluster at offset %#" PRIx64
			    ", which is the data of another guest cluster",
			    host_off);
	else
		return;
	if (!c->result->n_overlaps++)
		c->result->overlap_off = host_off;
}

void check_overlaps(struct qcow2_check *c)
{
	for (uint64_t i = 0; i < c->target.n; i++) {
		if (i % MAX_RANGE == 0)
			blocking_pause();
		if (c->target.counts[i])
			judge_overlap(c, (c->target.first + i) << c->q->cluster_bits,
				      c->target.counts[i]);
	}
}

static void compare_one(struct qcow2_check *c, uint64_t idx, uint64_t stored, uint32_t counter)
{
	uint64_t host_off = idx << c->q->cluster_bits;
	uint32_t count = counter & CHECK_COUNT_MAX;

	if (stored || count)
		c->result->image_end_off = host_off + qcow2_cluster_len(c->q);
	if (counter)
		judge_overlap(c, host_off, counter);
	/* A counter at its limit only says "at least". */
	if (stored == count || (count == CHECK_COUNT_MAX && stored > count))
		return;
	/* The guest's disk and each snapshot's may have one entry that leads here. For more there
	 * is no reason. Compressed clusters share host clusters by design. */
	c->result->n_crossed += counter & CHECK_DATA && !(counter & CHECK_PACKED) &&
				count > UINT64_C(1) + c->q->hdr.n_snapshots && stored < count;
	if (stored < count)
		check_error(c,
			    "cluster at offset %#" PRIx64 ": refcount %" PRIu64
			    " is too low, it is used %u times",
			    host_off, stored, count);
	else
		check_leak(c,
			   "cluster at offset %#" PRIx64 ": refcount %" PRIu64
			   ", but it is used %u times",
			   host_off, stored, count);
}

static void compare_range(struct qcow2_check *c, const struct ref_range *range)
{
	const uint32_t *counters = c->target.counts + (range->first - c->target.first);

	for (uint64_t i = 0; i < range->n; i++) {
		uint64_t idx = range->first + i, stored = 0;

		if (range->bytes)
			stored = qcow2_refcount_get(range->bytes, range->idx + i,
						    c->q->hdr.refcount_order);
		if ((idx << c->q->cluster_bits) >= c->file->len && !counters[i])
			continue;
		compare_one(c, idx, stored, counters[i]);
	}
}

int check_compare_refcounts(struct qcow2_check *c)
{
	return check_each_refcount(c, c->target.first, c->target.first + c->target.n,
				   compare_range);
}

static void unreferenced_range(struct qcow2_check *c, const struct ref_range *range)
{
	if (!range->bytes)
		return;
	for (uint64_t i = 0; i < range->n; i++) {
		uint64_t stored =
			qcow2_refcount_get(range->bytes, range->idx + i, c->q->hdr.refcount_order);

		if (stored && (range->first + i) << c->q->cluster_bits < c->file->len)
			compare_one(c, range->first + i, stored, 0);
	}
}

int check_unreferenced(struct qcow2_check *c, uint64_t first)
{
	return check_each_refcount(c, first, c->n_host, unreferenced_range);
}
