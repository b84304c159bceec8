/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From a chain's mapping to copy runs. Runs, not clusters: a run goes on while
 * every cluster has something to read, whichever layers hold it, and its parts
 * are as long as source and destination stay contiguous. Planning cluster by
 * cluster was rejected: a dense chain would cost a request per cluster.
 */
#include "engine/copy/walk/plan.h"

#include <errno.h>

#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "io/base.h"

/* Compressed clusters are padded to sectors by some writers: a gap shorter than this is read
 * too. */
#define COMP_GAP 512u

/* A link to another file is to stay. */
static bool is_partial(const struct chain *chain)
{
	return chain->pull_to < chain->n_layers;
}

int plan_next(struct chain *chain, uint64_t guest_off, uint64_t end, enum plan_action *action,
	      uint64_t *len, struct table_need *need)
{
	const struct layer *overlay = chain->layers[0];
	struct extent own, below;
	int rc = layer_map_backed(chain->layers[0], guest_off, end - guest_off, &own, need);

	if (rc)
		return rc;
	*action = PLAN_PRESENT;
	*len = own.len;
	if (own.kind != EXTENT_UNALLOCATED)
		return 0;
	rc = chain_map_pulled(chain, guest_off, own.len, &below, need);
	if (rc)
		return rc;
	*action = PLAN_COPY;
	if (below.kind != EXTENT_ZERO && below.kind != EXTENT_UNALLOCATED)
		return 0;
	if (below.kind == EXTENT_ZERO && is_partial(chain) && !overlay->has_zero_entries)
		return 0;
	/* Zeros up to the end, or for whole granules: data may begin inside the last one. */
	if (guest_off + below.len < overlay->backed_len)
		below.len = round_down(below.len, overlay->granule_len);
	if (!below.len)
		return 0;
	*action = below.kind == EXTENT_ZERO && is_partial(chain) ? PLAN_ZERO : PLAN_SKIP;
	*len = below.len;
	return 0;
}

/* For a partial pull. *leave: the piece at guest_off needs no copy, although it would have to be
 * read. A piece is copied whole where any of it is to be pulled. *held_len: for how many bytes from
 * guest_off on this answer holds. 0, TABLE_NEED or -errno. */
static int leave_piece(struct chain *chain, uint64_t guest_off, uint64_t len, uint32_t piece_len,
		       bool *leave, uint64_t *held_len, struct table_need *need)
{
	struct extent e;
	int rc = chain_map_pulled(chain, guest_off, len, &e, need);

	if (rc)
		return rc;
	*held_len = round_up(e.len, piece_len);
	*leave = e.len >= MIN(len, (uint64_t)piece_len) &&
		 (e.kind == EXTENT_UNALLOCATED ||
		  (e.kind == EXTENT_ZERO && chain->layers[0]->has_zero_entries));
	return 0;
}

/* Continues the last part if source and destination both go on contiguously. */
static bool extend_part(struct plan *plan, const struct extent *e)
{
	struct plan_part *last = plan->n_parts ? &plan->parts[plan->n_parts - 1] : NULL;

	if (!last || last->kind != e->kind || e->kind == EXTENT_COMPRESSED)
		return false;
	if (e->kind == EXTENT_DATA &&
	    (last->depth != e->depth || last->host_off + last->len != e->host_off))
		return false;
	last->len += e->len;
	return true;
}

/* Links the part just added to the last one of the same compressed cluster. */
static void link_repeat(struct plan *plan)
{
	struct plan_part *part = &plan->parts[plan->n_parts - 1];

	for (unsigned i = plan->n_parts - 1; i-- > 0;) {
		struct plan_part *before = &plan->parts[i];

		if (before->kind == EXTENT_COMPRESSED && before->depth == part->depth &&
		    before->host_off == part->host_off) {
			before->same = plan->n_parts - 1;
			part->is_repeat = true;
			return;
		}
	}
}

void plan_begin(struct plan *plan, uint64_t guest_off)
{
	plan->guest_off = guest_off;
	plan->len = 0;
	plan->n_parts = plan->data_len = 0;
}

void plan_add(struct plan *plan, uint32_t buf_off, const struct extent *e)
{
	if (extend_part(plan, e))
		return;
	plan->parts[plan->n_parts++] = (struct plan_part){
		.kind = e->kind,
		.buf_off = buf_off,
		.len = e->len,
		.depth = e->depth,
		.host_off = e->host_off,
		.host_len = e->host_len,
		.skip = e->skip,
	};
	if (e->kind == EXTENT_COMPRESSED)
		link_repeat(plan);
}

void plan_end(struct plan *plan, uint32_t len)
{
	plan->data_len = 0;
	while (plan->n_parts && plan->parts[plan->n_parts - 1].buf_off >= len)
		plan->n_parts--;
	for (unsigned i = 0; i < plan->n_parts; i++) {
		struct plan_part *part = &plan->parts[i];

		part->len = MIN(part->len, len - part->buf_off);
		if (part->kind != EXTENT_ZERO)
			plan->data_len += part->len;
		if (part->same >= plan->n_parts)
			part->same = 0;
	}
}

int plan_run(struct chain *chain, uint64_t guest_off, uint64_t end, uint32_t max_len,
	     uint32_t piece_len, struct plan *plan, struct table_need *need)
{
	uint32_t at = 0, limit = MIN((uint64_t)max_len, end - guest_off);
	uint64_t asked_to = piece_len; /* the caller has judged the first piece */

	plan_begin(plan, guest_off);
	while (at < limit) {
		struct extent e;
		int rc;

		/* The plan is full within a piece: end behind the last whole one. The first piece
		 * always fits, unless a file system reports holes finer than a sector. */
		if (plan->n_parts == PLAN_MAX_PARTS) {
			if (at < piece_len)
				return -E2BIG;
			at = round_down(at, piece_len);
			break;
		}
		if (is_partial(chain) && at >= asked_to && is_aligned(at, piece_len)) {
			bool leave;

			rc = leave_piece(chain, guest_off + at, limit - at, piece_len, &leave,
					 &asked_to, need);
			if (rc)
				return rc;
			if (leave)
				break;
			asked_to += at;
		}
		rc = chain_map(chain, 1, guest_off + at, limit - at, &e, need);
		if (rc)
			return rc;
		if (is_partial(chain)) /* not beyond the piece that was judged */
			e.len = MIN(e.len, round_up(at + 1, piece_len) - at);
		/* A whole piece of zeros ends the run: the cursor skips it without I/O. */
		if (e.kind == EXTENT_ZERO && at && !is_partial(chain) &&
		    at + e.len >= round_up(at, piece_len) + (uint64_t)piece_len) {
			at = round_up(at, piece_len);
			break;
		}
		plan_add(plan, at, &e);
		at += e.len;
	}
	plan_end(plan, at);
	plan->len = round_up(at, piece_len);
	return 0;
}

unsigned plan_neighbours(const struct plan *plan, unsigned i, uint32_t *in_len)
{
	const struct plan_part *first = &plan->parts[i];
	uint64_t end = first->host_off + first->host_len;
	unsigned n = 1;

	for (; i + n < plan->n_parts; n++) {
		const struct plan_part *next = &plan->parts[i + n];

		if (next->kind != EXTENT_COMPRESSED || next->is_repeat || next->is_fed ||
		    next->depth != first->depth || next->host_off < first->host_off ||
		    next->host_off > end + COMP_GAP)
			break;
		end = MAX(end, next->host_off + next->host_len);
	}
	*in_len = end - first->host_off;
	return n;
}

unsigned plan_count_reads(const struct plan *plan)
{
	unsigned n_reads = 0;
	uint32_t in_len;

	for (unsigned i = 0, n_taken; i < plan->n_parts; i += n_taken) {
		const struct plan_part *part = &plan->parts[i];

		n_taken = 1;
		if (part->kind == EXTENT_ZERO || part->is_repeat)
			continue;
		if (part->kind == EXTENT_COMPRESSED)
			n_taken = plan_neighbours(plan, i, &in_len);
		n_reads++;
	}
	return n_reads;
}
