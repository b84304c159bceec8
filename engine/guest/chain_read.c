/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Reading a range of the guest's disk: map as far as cached tables allow, read
 * all of that at once straight into the caller's buffers, decode compressed
 * clusters on the workers, and go on. Nothing is locked: a range that is being
 * written reads old or new bytes. Space that a write let go is kept until
 * every request submitted before has ended (I5).
 *
 * Reading through the copy runs' plan was rejected: a plan has whole
 * granules in one buffer, and most guest reads are 4 KiB of one extent.
 */
#include "engine/guest/chain_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/core/iov.h"
#include "engine/core/load.h"
#include "engine/core/op.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/io.h"

/* Parts in flight at once: bounds what one request takes of the submission queue. */
#define MAX_PARTS 32

/* One part is allocated for so many guest bytes: a read of one page needs one. */
#define PART_LEN 4096

struct chain_read_part {
	struct io_req req;
	struct chain_read *g;
	const struct layer *layer;
	uint64_t at;  /* offset in the range */
	uint64_t len; /* guest bytes */
	struct iovec *iov;
	/* Of a compressed cluster: its input, and the part's offset in the decoded cluster. */
	uint8_t *comp;
	uint32_t comp_len, skip;
};

void chain_read_begin(struct chain_read *g, struct op *op, const struct iovec *iov, unsigned n_iov,
		      uint64_t guest_off, uint64_t len)
{
	*g = (struct chain_read){
		.op = op, .iov = iov, .n_iov = n_iov, .guest_off = guest_off, .len = len
	};
}

static void free_parts(struct chain_read *g)
{
	for (unsigned i = 0; i < g->n_parts; i++) {
		free(g->parts[i].iov);
		free(g->parts[i].comp);
	}
	g->n_parts = 0;
}

void chain_read_end(struct chain_read *g)
{
	free_parts(g);
	free(g->parts);
	g->parts = NULL;
}

/* Doesn't ask the file system for holes of a raw disk that the guest writes to: its writes turn
 * them into data. */
int chain_read_map(struct bpull_disk *disk, uint64_t at, uint64_t len, struct extent *e,
		   struct table_need *need)
{
	struct layer *top = disk_overlay(disk);

	if (at >= top->guest_len) {
		*e = (struct extent){ .kind = EXTENT_ZERO, .guest_off = at, .len = len };
		return 0;
	}
	len = MIN(len, top->guest_len - at);
	if (disk_is_raw(disk) && !(disk->flags & BPULL_DISK_READ_ONLY)) {
		*e = (struct extent){
			.kind = EXTENT_DATA, .guest_off = at, .len = len, .host_off = at
		};
		return 0;
	}
	return chain_map(disk->chain, 0, at, len, e, need);
}

static void note_below(struct chain_read *g, const struct extent *e)
{
	if (!e->depth)
		return;
	if (g->below_lo == g->below_hi)
		g->below_lo = e->guest_off;
	g->below_hi = e->guest_off + e->len;
}

/* 0 or -ENOMEM. */
static int add_gather_part(struct chain_read *g, const struct extent *e)
{
	struct chain_read_part *part = &g->parts[g->n_parts];

	*part = (struct chain_read_part){ .g = g, .at = g->done, .len = e->len, .skip = e->skip };
	part->layer = g->op->disk->chain->layers[e->depth];
	if (e->kind == EXTENT_COMPRESSED) {
		part->comp_len = e->host_len;
		part->comp = malloc(e->host_len);
		if (!part->comp)
			return -ENOMEM;
		io_req_read(&part->req, part->layer->file, part->comp, e->host_len, e->host_off);
	} else {
		unsigned n;

		part->iov = calloc(g->n_iov, sizeof(*part->iov));
		if (!part->iov)
			return -ENOMEM;
		n = iov_slice(g->iov, g->n_iov, part->at, part->len, part->iov);
		io_req_read(&part->req, part->layer->data, part->iov[0].iov_base, part->len,
			    e->host_off);
		part->req.iov = part->iov;
		part->req.n_iov = n;
	}
	g->n_parts++;
	return 0;
}

/* Maps until all parts are used or a table is missing. 0, TABLE_NEED or -errno. */
static int map_parts(struct chain_read *g, struct table_need *need)
{
	while (g->done < g->len && g->n_parts < g->max_parts) {
		struct extent e;
		int rc = chain_read_map(g->op->disk, g->guest_off + g->done, g->len - g->done, &e,
					need);

		if (rc)
			return rc;
		if (e.kind == EXTENT_ZERO || e.kind == EXTENT_UNALLOCATED) {
			iov_zero(g->iov, g->n_iov, g->done, e.len);
		} else {
			note_below(g, &e);
			g->has_read = true;
			rc = add_gather_part(g, &e);
			if (rc)
				return rc;
		}
		g->done += e.len;
	}
	return 0;
}

static enum step map_and_read(struct chain_read *g)
{
	struct table_need need;
	int rc;

	if (!g->parts) {
		g->max_parts = (unsigned)MIN(div_round_up(g->len, PART_LEN), (uint64_t)MAX_PARTS);
		g->parts = calloc(g->max_parts, sizeof(*g->parts));
	}
	rc = g->parts ? map_parts(g, &need) : -ENOMEM;
	/* Read first what is mapped. The missing table is asked for again afterwards. */
	if (rc == TABLE_NEED && !g->n_parts)
		return op_wait_table(g->op, &need);
	if (rc < 0) {
		op_set_error(g->op, rc, NULL, g->guest_off + g->done, true);
		return STEP_NEXT;
	}
	for (unsigned i = 0; i < g->n_parts; i++)
		op_submit(g->op, &g->parts[i].req);
	return g->n_parts ? STEP_WAIT : STEP_NEXT;
}

/* Runs on a worker. */
static int decode_part(struct io_req *req)
{
	struct chain_read_part *part = (struct chain_read_part *)req;
	uint8_t *cluster = malloc(part->layer->cluster_len);
	int rc;

	if (!cluster)
		return -ENOMEM;
	rc = layer_decode(part->layer, part->comp, part->comp_len, cluster);
	if (!rc)
		iov_fill(part->g->iov, part->g->n_iov, part->at, cluster + part->skip, part->len);
	free(cluster);
	return rc;
}

/* All reads have completed: clears what lies behind a file's end, submits the decoding. */
static enum step decode(struct chain_read *g)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->n_parts; i++) {
		struct chain_read_part *part = &g->parts[i];
		uint64_t got = part->req.result, host_off = part->req.off;

		if (!part->comp) {
			iov_zero(g->iov, g->n_iov, part->at + got, part->len - got);
			continue;
		}
		memset(part->comp + got, 0, part->comp_len - got);
		io_req_work(&part->req, decode_part);
		part->req.file = part->layer->file;
		part->req.off = host_off;
		op_submit(g->op, &part->req);
		n++;
	}
	return n ? STEP_WAIT : STEP_NEXT;
}

enum step chain_read_step(struct chain_read *g)
{
	for (;;) {
		enum step step;

		if (g->n_parts && !g->decoding) {
			g->decoding = true;
			step = decode(g);
		} else {
			g->decoding = false;
			free_parts(g);
			if (g->done == g->len)
				return STEP_NEXT;
			step = map_and_read(g);
		}
		if (step == STEP_WAIT || g->op->error)
			return step;
	}
}
