/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The part of a guest's write that gets new entries: whole granules or clusters
 * (`fresh`). The request covers some of their bytes; the rest, head and tail, is
 * read through the chain.
 *
 *   PLACE -> [FILL -> STORE] a piece at a time -> PUBLISH -> back to MAP
 *
 * As in a copy run the data is written before the entry is visible (I1). Until
 * then no entry leads to it, so a failure gives the space back. Head, request
 * and tail go in one write, from three buffers: one buffer was rejected, as the
 * guest's bytes would have to be copied into it.
 */
#include "engine/guest/new_clusters.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/core/ranges/iov.h"
#include "engine/guest/chain_read.h"
#include "engine/guest/request.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "io/base.h"
#include "io/file.h"
#include "io/io.h"

/* Bytes, a page: what store_sparse() writes at the end of new space, so that the file is long
 * enough. */
#define END_LEN 4096u

/* ---- PLACE ---- */

/* Reserves whole clusters for the range from s->off on. If there is less space together, to->len is
 * cut to it. */
static int reserve(struct guest *g, struct destination *to)
{
	struct layer *overlay = g->overlay;
	struct guest_new *s = &g->fresh;
	uint64_t off = round_down(s->off, overlay->cluster_len);
	uint64_t end = round_up(s->off + to->len, overlay->cluster_len);
	uint64_t got;
	int rc = layer_reserve(overlay, end - off, &to->host_off, &got);

	if (rc)
		return rc;
	s->space_off = to->host_off;
	s->space_len = got;
	to->host_off += s->off - off;
	to->len = MIN(to->len, off + got - s->off);
	return 0;
}

enum step guest_place(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;
	struct layer *overlay = g->overlay;
	struct guest_new *s = &g->fresh;
	struct destination to = { .len = s->end - s->off };
	int rc;

	/* Too many changed tables are in memory: wait for a commit before changing more. Not if all
	 * of them are other disks': a commit of this disk would end at once, and the request would
	 * ask for one again and again. */
	if (commit_is_overdue(disk) && commit_makes_room(disk))
		return guest_retry_later(g, -EAGAIN);
	/* In an image with snapshots guest_unshare() has made tables that only the guest uses. */
	rc = overlay->has_copies ? 0
				 : layer_alloc_tables(overlay, s->off, s->end - s->off, &g->need);
	if (rc)
		return guest_retry_later(g, rc);
	if (s->is_zero)
		return guest_go(g, GUEST_PUBLISH);
	rc = layer_write_target(overlay, s->off, to.len, &to, &g->need);
	if (!rc && !to.has_space)
		rc = reserve(g, &to);
	if (rc)
		return guest_retry_later(g, rc);
	s->host_off = to.host_off;
	s->end = s->off + to.len;
	s->piece_off = s->piece_end = s->off;
	return guest_go(g, GUEST_FILL);
}

static int discard_fresh_work(struct io_req *req)
{
	const struct guest *g = guest_of(req->owner);

	file_discard(g->overlay->file, g->fresh.space_off, g->fresh.space_len);
	return 0;
}

enum step guest_give_up(struct guest *g)
{
	if (!g->fresh.space_len || g->op.disk->poisoned)
		return STEP_NEXT;
	guest_free_reqs(g);
	g->writes.reqs = calloc(1, sizeof(*g->writes.reqs));
	if (!g->writes.reqs) /* no memory: the file system does not get it back, and no more */
		return STEP_NEXT;
	io_req_work(g->writes.reqs, discard_fresh_work);
	op_submit(&g->op, g->writes.reqs);
	return STEP_WAIT;
}

void guest_release_space(struct guest *g)
{
	struct layer *overlay = g->overlay;
	struct guest_new *s = &g->fresh;

	if (s->space_len)
		layer_release(overlay, s->space_off, s->space_len);
	s->space_len = 0;
}

/* ---- FILL ---- */

/* Moves on to the next piece, and finds its head and tail, which the request does not cover. 0 or
 * -ENOMEM. */
static int next_piece(struct guest *g)
{
	struct guest_new *s = &g->fresh;
	uint64_t from, to, end = g->guest_off + g->len;

	s->piece_off = s->piece_end;
	s->piece_end = MIN(s->piece_off + RUN_MAX_LEN, s->end);
	from = MIN(MAX(g->at, s->piece_off), s->piece_end);
	to = MAX(MIN(end, s->piece_end), from);
	s->head_len = from - s->piece_off;
	s->tail_len = s->piece_end - to;
	s->head_done = s->tail_done = s->fill_has_data = false;
	free(s->fill);
	s->fill = NULL;
	if (s->head_len + s->tail_len) {
		s->fill = malloc(s->head_len + s->tail_len);
		if (!s->fill)
			return -ENOMEM;
	}
	return 0;
}

static void chain_read_fill(struct guest *g, uint8_t *buf, uint64_t guest_off, uint32_t len)
{
	g->fresh.fill_iov = (struct iovec){ buf, len };
	chain_read_begin(&g->chain_read, &g->op, &g->fresh.fill_iov, 1, guest_off, len);
}

enum step guest_fill(struct guest *g)
{
	struct guest_new *s = &g->fresh;

	if (s->piece_off == s->piece_end || s->tail_done) {
		int rc = next_piece(g);

		if (rc)
			return guest_error(g, rc);
		chain_read_fill(g, s->fill, s->piece_off, s->head_len);
	}
	for (;;) {
		if (chain_read_step(&g->chain_read) == STEP_WAIT)
			return STEP_WAIT;
		chain_read_end(&g->chain_read);
		s->fill_has_data |= g->chain_read.has_data;
		if (g->op.error)
			return STEP_NEXT;
		if (s->head_done)
			break;
		s->head_done = true;
		chain_read_fill(g, s->tail_len ? s->fill + s->head_len : NULL,
				s->piece_end - s->tail_len, s->tail_len);
	}
	s->tail_done = true;
	return guest_go(g, GUEST_STORE);
}

/* ---- STORE ---- */

/* Head, request and tail of the piece as a vector. Returns the number of its entries. */
static unsigned piece_iov(const struct guest *g, struct iovec *out)
{
	const struct guest_new *s = &g->fresh;
	uint64_t from = s->piece_off + s->head_len, to = s->piece_end - s->tail_len;
	unsigned n = 0;

	if (s->head_len)
		out[n++] = (struct iovec){ s->fill, s->head_len };
	n += guest_iov_part(g, from, to - from, out + n);
	if (s->tail_len)
		out[n++] = (struct iovec){ s->fill + s->head_len, s->tail_len };
	return n;
}

/* Only the request's own bytes need be written: head and tail are zeros, and the image has never
 * used the new space, which reads as zeros. A guest's page is a sixteenth of a 64 KiB cluster. */
static bool is_sparse(const struct guest *g, uint64_t host_off)
{
	const struct layer *overlay = g->overlay;
	const struct guest_new *s = &g->fresh;

	return !s->fill_has_data && s->fill && s->piece_off == s->off && s->piece_end == s->end &&
	       !disk_has_data_file(g->op.disk) && s->space_len && host_off >= overlay->zero_from &&
	       overlay->data->io_align <= 1;
}

/* Writes the request's bytes, and the last bytes of the space if the file ends before them: an
 * entry must lead to bytes inside the file. */
static enum step store_sparse(struct guest *g, uint64_t host_off)
{
	const struct guest_new *s = &g->fresh;
	struct file *data = g->overlay->data;
	uint64_t from = s->piece_off + s->head_len, to = s->piece_end - s->tail_len;
	uint64_t host_end = host_off + (s->end - s->off);
	uint32_t end_len = MIN(s->tail_len, END_LEN);

	g->writes.reqs = calloc(2, sizeof(*g->writes.reqs));
	g->writes.iovs = calloc(guest_n_slices(g, to - from), sizeof(*g->writes.iovs));
	if (!g->writes.reqs || !g->writes.iovs)
		return guest_error(g, -ENOMEM);
	io_req_write(g->writes.reqs, data, NULL, to - from, host_off + s->head_len);
	g->writes.reqs->iov = g->writes.iovs;
	g->writes.reqs->n_iov = guest_iov_part(g, from, to - from, g->writes.iovs);
	op_submit(&g->op, g->writes.reqs);
	if (end_len && data->len < host_end) {
		io_req_write(g->writes.reqs + 1, data,
			     s->fill + s->head_len + s->tail_len - end_len, end_len,
			     host_end - end_len);
		op_submit(&g->op, g->writes.reqs + 1);
	}
	return STEP_WAIT;
}

enum step guest_store(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;
	struct guest_new *s = &g->fresh;
	uint64_t len = s->piece_end - s->piece_off;
	uint64_t host_off = s->host_off + (s->piece_off - s->off);
	uint64_t write_len = disk_write_len(disk, host_off, len);
	struct iovec *whole;
	unsigned n = guest_n_slices(g, len) + 2;

	guest_free_reqs(g);
	if (disk->poisoned) /* I7 */
		return guest_error(g, -EIO);
	g->phase = s->piece_end < s->end ? GUEST_FILL : GUEST_PUBLISH;
	if (!write_len)
		return STEP_NEXT;
	if (is_sparse(g, host_off))
		return store_sparse(g, host_off);
	g->writes.reqs = calloc(1, sizeof(*g->writes.reqs));
	g->writes.iovs = whole = calloc(2 * n, sizeof(*whole));
	if (!g->writes.reqs || !whole)
		return guest_error(g, -ENOMEM);
	n = piece_iov(g, whole);
	io_req_write(g->writes.reqs, g->overlay->data, NULL, write_len, host_off);
	g->writes.reqs->uncached = g->waits.op; /* as what a job writes itself */
	g->writes.reqs->iov = whole + n;
	g->writes.reqs->n_iov = iov_slice(whole, n, 0, write_len, whole + n);
	op_submit(&g->op, g->writes.reqs);
	return STEP_WAIT;
}

/* ---- PUBLISH ---- */

enum step guest_publish(struct guest *g)
{
	struct bpull_disk *disk = g->op.disk;
	struct layer *overlay = g->overlay;
	struct guest_new *s = &g->fresh;
	struct mapping map = {
		.guest_off = s->off,
		.len = s->end - s->off,
		.host_off = s->host_off,
		.is_zero = s->is_zero,
		.keep_space = s->is_zero && g->kind == GUEST_ZEROES && !(g->flags & BPULL_IO_UNMAP),
	};
	int rc;

	guest_free_reqs(g);
	if (disk->poisoned) /* I7 */
		return guest_error(g, -EIO);
	if (!s->is_zero) {
		struct file *data = overlay->data;

		data->len =
			MAX(data->len, s->host_off + disk_write_len(disk, s->host_off, map.len));
		disk_wrote(disk, DISK_DATA); /* I1: a barrier must come before what points at it */
	}
	disk_wrote(disk, DISK_IMAGE);
	rc = layer_publish_write(overlay, &map, 1, &g->need);
	if (rc)
		return guest_retry_later(g, rc);
	commit_note_published(disk, s->is_zero ? 0 : map.len);
	s->space_len = 0;
	free(STEAL(s->fill));
	g->at = MIN(s->end, g->guest_off + g->len);
	return guest_go(g, GUEST_MAP);
}
