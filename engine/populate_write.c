/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy run's output: zeros are found a cluster at a time, space is reserved
 * for the rest only, contiguously, and written with one request a stretch.
 * Reserving before reading was rejected: what turns out to be zero would leave
 * gaps in the file.
 */
#include <errno.h>

#include "engine/commit.h"
#include "engine/engine.h"
#include "engine/populate.h"
#include "engine/zero.h"
#include "io/base.h"

int populate_add_map(struct populate *p, uint64_t guest_off, uint64_t len, uint64_t host_off)
{
	if (p->n_maps == p->maps_cap) {
		size_t cap = p->maps_cap ? p->maps_cap * 2 : 8;
		struct mapping *maps = reallocarray(p->maps, cap, sizeof(*maps));

		if (!maps)
			return -ENOMEM;
		p->maps = maps;
		p->maps_cap = cap;
	}
	p->maps[p->n_maps++] = (struct mapping){ guest_off, len, host_off, false, 0 };
	return 0;
}

/* Reserves space for [off, off + len) of the run and remembers where. A format gives less than
 * asked at the end of a refcount block's range: then in more than one stretch. */
int populate_reserve(struct populate *p, uint32_t off, uint32_t len)
{
	struct layer *overlay = disk_overlay(p->op.disk);
	int rc = overlay->ops->link(overlay, p->guest_off + off, len, &p->need);

	if (rc)
		return rc;
	while (len) {
		uint64_t host_off, got;

		rc = overlay->ops->reserve(overlay, len, &host_off, &got);
		if (rc)
			return rc;
		rc = populate_add_map(p, p->guest_off + off, got, host_off);
		if (rc) {
			overlay->ops->release(overlay, host_off, got);
			return rc;
		}
		off += got;
		len -= got;
		/* What is reserved stays so when the rest must wait. */
		p->reserved_to = off;
	}
	return 0;
}

uint64_t populate_guest_bytes(const struct populate *p, uint64_t off, uint64_t len)
{
	uint64_t guest_len = disk_overlay(p->op.disk)->guest_len, at = p->guest_off + off;

	return at >= guest_len ? 0 : MIN(len, guest_len - at);
}

/* Reserves for every stretch of clusters that hold something; the others stay unallocated, since
 * they will read as zeros without a backing file too. */
static int reserve_stretches(struct populate *p)
{
	uint32_t end;

	/* Resumed behind what is reserved already, after waiting for a commit. */
	for (uint32_t off = p->reserved_to; off < p->plan.len; off = end) {
		bool zero = zero_is(p->buf + off, p->cluster_len);
		int rc;

		for (end = off + p->cluster_len; end < p->plan.len; end += p->cluster_len)
			if (zero_is(p->buf + end, p->cluster_len) != zero)
				break;
		if (zero) {
			p->zero_len += populate_guest_bytes(p, off, end - off);
			p->left_out_len += plan_data_in(&p->plan, off, end - off);
		} else {
			rc = populate_reserve(p, off, end - off);
			if (rc)
				return rc;
		}
		p->reserved_to = end;
	}
	return 0;
}

enum step populate_hold(struct populate *p, int rc)
{
	if (rc == TABLE_NEED)
		return op_wait_table(&p->op, &p->need);
	/* A stalled commit waits for the runs itself. */
	if (rc == -EAGAIN && commit_is_stalled(p->op.disk))
		rc = -ENOSPC;
	if (rc == -EAGAIN && commit_is_running(p->op.disk)) {
		commit_wait(p->op.disk, &p->op);
		return STEP_WAIT;
	}
	op_set_error(&p->op, rc, disk_overlay(p->op.disk)->file, 0, false);
	return STEP_NEXT;
}

static enum step submit_writes(struct populate *p)
{
	struct file *file = disk_overlay(p->op.disk)->file;

	for (size_t i = 0; i < p->n_maps; i++)
		p->copied_len += populate_guest_bytes(p, p->maps[i].guest_off - p->guest_off,
						      p->maps[i].len);

	p->phase = POPULATE_PUBLISH;
	if (!p->n_maps)
		return STEP_NEXT;
	populate_free_requests(p);
	p->reqs = calloc(p->n_maps, sizeof(*p->reqs));
	if (!p->reqs) {
		op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	for (size_t i = 0; i < p->n_maps; i++) {
		const struct mapping *m = &p->maps[i];

		io_req_write(&p->reqs[i], file, p->buf + (m->guest_off - p->guest_off), m->len,
			     m->host_off);
		p->reqs[i].uncached = true;
		op_submit(&p->op, &p->reqs[i]);
	}
	return STEP_WAIT;
}

static enum step write_run(struct populate *p)
{
	int rc = reserve_stretches(p);

	return rc ? populate_hold(p, rc) : submit_writes(p);
}

static enum step write_one(struct populate *p, uint64_t host_off)
{
	populate_free_requests(p);
	p->reqs = calloc(1, sizeof(*p->reqs));
	if (!p->reqs) {
		op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	io_req_write(p->reqs, disk_overlay(p->op.disk)->file, p->buf, p->unit, host_off);
	p->reqs->uncached = true;
	op_submit(&p->op, p->reqs);
	return STEP_WAIT;
}

/* A piece of one large cluster: space is reserved when the first piece that holds something comes;
 * pieces of zeros before and behind it are left to populate_fill(). */
static enum step write_piece(struct populate *p)
{
	unsigned piece = p->piece_off / p->unit;
	bool zero = !p->plan.n_parts || zero_is(p->buf, p->unit);

	if (!zero && !p->n_maps) {
		int rc = populate_reserve(p, 0, p->cluster_len);

		if (rc)
			return populate_hold(p, rc);
		p->known_zero = p->maps[0].host_off >= disk_overlay(p->op.disk)->zero_from;
	}
	p->left_out_len += p->plan.data_len;
	p->piece_off += p->unit;
	p->phase = p->piece_off < p->cluster_len ? POPULATE_MAP : POPULATE_FILL;
	if (zero)
		return STEP_NEXT;
	p->written_pieces |= UINT64_C(1) << piece;
	return write_one(p, p->maps[0].host_off + piece * p->unit);
}

/* Pieces of zeros in a cluster that is kept: they must be written where the file may hold something
 * else, and the last one always, so that the file has the whole cluster. */
enum step populate_fill(struct populate *p)
{
	unsigned n_pieces = p->cluster_len / p->unit;

	if (!p->n_maps) {
		p->zero_len = populate_guest_bytes(p, 0, p->cluster_len);
		p->phase = POPULATE_PUBLISH;
		return STEP_NEXT;
	}
	for (unsigned i = p->known_zero ? n_pieces - 1 : 0; i < n_pieces; i++)
		if (!(p->written_pieces & UINT64_C(1) << i)) {
			p->written_pieces |= UINT64_C(1) << i;
			memset(p->buf, 0, p->unit);
			return write_one(p, p->maps[0].host_off + i * p->unit);
		}
	p->left_out_len = 0;
	p->copied_len = populate_guest_bytes(p, 0, p->cluster_len);
	p->phase = POPULATE_PUBLISH;
	return STEP_NEXT;
}

enum step populate_write(struct populate *p)
{
	if (p->op.disk->poisoned) { /* I7 */
		op_set_error(&p->op, p->op.disk->poisoned, NULL, p->guest_off, false);
		return STEP_NEXT;
	}
	if (p->op.disk->job.compress)
		return populate_write_compressed(p);
	return populate_in_pieces(p) ? write_piece(p) : write_run(p);
}
