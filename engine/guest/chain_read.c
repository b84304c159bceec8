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
#include "engine/copy/walk/readers.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/load.h"
#include "engine/core/op.h"
#include "engine/core/ranges/iov.h"
#include "engine/core/ranges/range_set.h"
#include "engine/guest/on_read.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/io.h"

/* Parts in flight at once: bounds what one request takes of the submission queue. */
#define MAX_PARTS 32

/* After so many runs in a row that let the reader go it reads without one. A run that copies a
 * neighbourhood learns late that it ends before the wanted bytes. */
#define MAX_AGAIN 4u

/* One part is allocated for so many guest bytes: a read of one page needs one. */
#define PART_LEN 4096

struct chain_read_part {
	struct io_req req;
	struct chain_read *read;
	const struct layer *layer;
	uint64_t at;  /* offset in the range */
	uint64_t len; /* guest bytes */
	struct iovec *iov;
	bool is_joined; /* a copy run reads it, for `reader` */
	struct run_reader reader;
	/* Of a compressed cluster: its input, and the part's offset in the decoded cluster. */
	uint8_t *comp;
	uint32_t comp_len, skip;
};

void chain_read_begin(struct chain_read *read, struct op *op, const struct iovec *iov,
		      unsigned n_iov, uint64_t guest_off, uint64_t len)
{
	*read = (struct chain_read){
		.op = op,
		.iov = iov,
		.n_iov = n_iov,
		.guest_off = guest_off,
		.len = len,
		.again = { .to = len },
	};
}

static void free_parts(struct chain_read *read)
{
	for (unsigned i = 0; i < read->n_parts; i++) {
		free(read->parts[i].iov);
		free(read->parts[i].comp);
	}
	read->n_parts = 0;
}

void chain_read_end(struct chain_read *read)
{
	free_parts(read);
	free(read->parts);
	read->parts = NULL;
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

static void widen(struct range *range, const struct extent *e)
{
	if (range->lo == range->hi)
		range->lo = e->guest_off;
	range->hi = e->guest_off + e->len;
}

/* Sets what a run that is begun for the reader copies: whole clusters of the overlay, which a run
 * locks as a whole anyway (with extended L2 entries other reads want the rest), and all of a
 * compressed cluster, which is decoded whole anyway. After a run has let the reader go the bytes
 * before the extent are left out: the overlay may hold them by now. */
static void set_with(const struct chain_read *read, const struct layer *layer,
		     const struct extent *e, struct run_reader *r)
{
	uint32_t cluster_len = disk_overlay(read->op->disk)->cluster_len;
	uint64_t lo = round_down(e->guest_off, cluster_len), hi = e->guest_off + e->len;

	if (e->kind == EXTENT_COMPRESSED && e->skip <= e->guest_off) {
		lo = MIN(lo, e->guest_off - e->skip);
		hi = MAX(hi, e->guest_off - e->skip + layer->cluster_len);
	}
	r->with_lo = read->again.n ? e->guest_off : lo;
	r->with_hi = round_up(hi, cluster_len);
}

/* Takes the extent from a copy run, as far as the run goes: *e may get shorter. False: it must be
 * read without. */
static bool add_joined_part(struct chain_read *read, struct extent *e)
{
	struct chain_read_part *part = &read->parts[read->n_parts];
	const struct layer *layer = read->op->disk->chain->layers[e->depth];

	if (!read->may_join || !e->depth || read->again.is_alone || read->again.n >= MAX_AGAIN)
		return false;
	*part = (struct chain_read_part){ .read = read, .at = read->done, .is_joined = true };
	part->reader = (struct run_reader){
		.op = read->op,
		.iov = read->iov,
		.n_iov = read->n_iov,
		.at = read->done,
		.guest_off = e->guest_off,
		.len = e->len,
		.file = e->kind == EXTENT_COMPRESSED ? layer->file : layer->data,
	};
	set_with(read, layer, e, &part->reader);
	if (!on_read_join(read->op->disk, layer, &part->reader))
		return false;
	part->len = e->len = part->reader.len;
	read->is_late |= part->reader.is_late;
	read->n_parts++;
	return true;
}

/* 0 or -ENOMEM. */
static int add_own_part(struct chain_read *read, const struct extent *e)
{
	struct chain_read_part *part = &read->parts[read->n_parts];

	*part = (struct chain_read_part){
		.read = read, .at = read->done, .len = e->len, .skip = e->skip
	};
	part->layer = read->op->disk->chain->layers[e->depth];
	if (e->kind == EXTENT_COMPRESSED) {
		part->comp_len = e->host_len;
		part->comp = malloc(e->host_len);
		if (!part->comp)
			return -ENOMEM;
		io_req_read(&part->req, part->layer->file, part->comp, e->host_len, e->host_off);
	} else {
		unsigned n;

		part->iov = calloc(read->n_iov, sizeof(*part->iov));
		if (!part->iov)
			return -ENOMEM;
		n = iov_slice(read->iov, read->n_iov, part->at, part->len, part->iov);
		io_req_read(&part->req, part->layer->data, part->iov[0].iov_base, part->len,
			    e->host_off);
		part->req.iov = part->iov;
		part->req.n_iov = n;
	}
	if (e->depth)
		widen(&read->alone, e);
	read->n_parts++;
	return 0;
}

/* The guest needs this source: jobs leave the connection to it for a while. */
static void note_needs_source(const struct chain_read *read, const struct extent *e)
{
	const struct layer *layer = read->op->disk->chain->layers[e->depth];

	if (layer_is_of_source(layer))
		read->op->engine->guests.source_ns = engine_now_ns();
}

/* Maps until all parts are used or a table is missing. 0, TABLE_NEED or -errno. */
static int map_parts(struct chain_read *read, struct table_need *need)
{
	while (read->done < read->again.to && read->n_parts < read->max_parts) {
		struct extent e;
		int rc = chain_read_map(read->op->disk, read->guest_off + read->done,
					read->again.to - read->done, &e, need);

		if (rc)
			return rc;
		if (e.kind == EXTENT_ZERO || e.kind == EXTENT_UNALLOCATED) {
			iov_zero(read->iov, read->n_iov, read->done, e.len);
		} else {
			read->has_data = true;
			rc = add_joined_part(read, &e) ? 0 : add_own_part(read, &e);
			if (rc)
				return rc;
			if (e.depth) {
				widen(&read->below, &e);
				note_needs_source(read, &e);
			}
		}
		read->done += e.len;
	}
	return 0;
}

static enum step map_and_read(struct chain_read *read)
{
	struct table_need need;
	unsigned n_waits;
	int rc;

	if (!read->parts) {
		read->max_parts =
			(unsigned)MIN(div_round_up(read->len, PART_LEN), (uint64_t)MAX_PARTS);
		read->parts = calloc(read->max_parts, sizeof(*read->parts));
	}
	rc = read->parts ? map_parts(read, &need) : -ENOMEM;
	/* Read first what is mapped. The missing table is asked for again afterwards. */
	if (rc == TABLE_NEED && !read->n_parts)
		return op_wait_table(read->op, &need);
	if (rc < 0) {
		op_set_error(read->op, rc, NULL, read->guest_off + read->done, true);
		/* Runs may still write into the read's buffers. */
		return read->op->n_pending ? STEP_WAIT : STEP_NEXT;
	}
	n_waits = read->op->n_pending;
	for (unsigned i = 0; i < read->n_parts; i++) {
		if (read->parts[i].is_joined)
			continue;
		op_submit(read->op, &read->parts[i].req);
		n_waits++;
	}
	return n_waits ? STEP_WAIT : STEP_NEXT;
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
		iov_fill(part->read->iov, part->read->n_iov, part->at, cluster + part->skip,
			 part->len);
	free(cluster);
	return rc;
}

/* All reads have completed: fills in zeros behind a file's end, and submits the decoding. */
static enum step decode(struct chain_read *read)
{
	unsigned n = 0;

	for (unsigned i = 0; i < read->n_parts; i++) {
		struct chain_read_part *part = &read->parts[i];
		uint64_t got = part->req.result, host_off = part->req.off;

		if (part->is_joined)
			continue;
		if (!part->comp) {
			iov_zero(read->iov, read->n_iov, part->at + got, part->len - got);
			continue;
		}
		memset(part->comp + got, 0, part->comp_len - got);
		io_req_work(&part->req, decode_part);
		part->req.file = part->layer->file;
		part->req.off = host_off;
		op_submit(read->op, &part->req);
		n++;
	}
	return n ? STEP_WAIT : STEP_NEXT;
}

/* All parts have ended. Sets `done` back to those that runs have let go, which are mapped once
 * more: other runs, or the overlay, may have them now. */
static void look_after(struct chain_read *read)
{
	uint64_t lo = UINT64_MAX, hi = 0;

	for (unsigned i = 0; i < read->n_parts; i++) {
		const struct chain_read_part *part = &read->parts[i];

		if (!part->is_joined || part->reader.state == READER_SERVED)
			continue;
		lo = MIN(lo, part->at);
		hi = MAX(hi, part->at + part->len);
		read->again.is_alone |= part->reader.state == READER_FAILED;
	}
	if (lo < hi) {
		read->again.n++;
		if (read->again.to == read->len)
			read->again.resume = read->done;
		read->again.to = read->again.to == read->len ? hi : read->again.to;
		read->done = lo;
		return;
	}
	read->again.n = 0;
	if (read->done < read->again.to || read->again.to == read->len)
		return;
	read->again.is_alone = false;
	read->done = read->again.resume;
	read->again.to = read->len;
}

enum step chain_read_step(struct chain_read *read)
{
	for (;;) {
		enum step step;

		if (read->n_parts && !read->decoding) {
			read->decoding = true;
			step = decode(read);
		} else {
			read->decoding = false;
			look_after(read);
			free_parts(read);
			if (read->done == read->len)
				return STEP_NEXT;
			step = map_and_read(read);
		}
		if (step == STEP_WAIT || read->op->error)
			return step;
	}
}
