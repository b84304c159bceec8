/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy run's output: zeros are found a cluster at a time, space is reserved
 * for the rest only, contiguously, and each range is written with one request.
 * Reserving before reading was rejected: what turns out to be zero would leave
 * gaps in the file.
 */
#include "engine/copy/phases/write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/copy/phases/compress_write.h"
#include "engine/copy/phases/digest.h"
#include "engine/copy/phases/space.h"
#include "engine/copy/walk/requests.h"
#include "engine/copy/walk/run_state.h"
#include "engine/core/disk.h"
#include "engine/core/merge.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "io/file.h"
#include "io/io.h"

/* Reserves for every range of granules that hold something; the others stay unallocated, since
 * they will read as zeros without a backing file too. */
static int reserve_ranges(struct copy_run *p)
{
	uint32_t end;

	/* After a wait for a commit it resumes behind what is reserved already. */
	for (uint32_t off = p->space.reserved_to; off < p->plan.len; off = end) {
		bool zero = !copy_run_is_data(p, p->buf + off, p->overlay->granule_len);
		int rc = 0;

		for (end = off + p->overlay->granule_len; end < p->plan.len;
		     end += p->overlay->granule_len)
			if (copy_run_is_data(p, p->buf + end, p->overlay->granule_len) == zero)
				break;
		if (!zero) {
			rc = run_space_reserve(p, off, end - off);
		} else {
			rc = run_space_leave_zeros(p, off, end - off);
		}
		if (rc)
			return rc;
		p->space.reserved_to = end;
	}
	return 0;
}

static enum step submit_writes(struct copy_run *p)
{
	struct file *file = p->overlay->data;
	size_t n = 0, n_writes = 0;

	for (size_t i = 0; i < p->space.n_maps; i++)
		if (!p->space.maps[i].copy && !p->space.maps[i].is_zero)
			p->counts.copied += copy_run_guest_bytes(
				p, p->space.maps[i].guest_off - p->guest_off, p->space.maps[i].len);

	p->phase = COPY_RUN_PUBLISH;
	if (!p->space.n_maps)
		return STEP_NEXT;
	copy_run_free_requests(p);
	p->reqs = calloc(p->space.n_maps, sizeof(*p->reqs));
	if (!p->reqs) {
		op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	for (size_t i = 0; i < p->space.n_maps; i++) {
		const struct mapping *m = &p->space.maps[i];

		if (m->is_zero)
			continue;
		if (copy_run_digest(p, m, 0, m->len, p->buf + (m->guest_off - p->guest_off)))
			op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		io_req_write(&p->reqs[n], file, p->buf + (m->guest_off - p->guest_off),
			     disk_write_len(p->op.disk, m->host_off, m->len), m->host_off);
		p->reqs[n].uncached = true;
		n_writes += !merge_write(&p->op, &p->reqs[n++]);
	}
	requests_note_writes(p, n_writes);
	return n ? STEP_WAIT : STEP_NEXT;
}

static enum step write_run(struct copy_run *p)
{
	int rc = reserve_ranges(p);

	return rc ? copy_run_retry_later(p, rc) : submit_writes(p);
}

/* Writes the piece in the buffer to every copy of the cluster. */
static enum step write_piece_of_all(struct copy_run *p, unsigned piece)
{
	struct file *file = p->overlay->data;
	unsigned n = 0;

	copy_run_free_requests(p);
	p->reqs = calloc(p->space.n_maps, sizeof(*p->reqs));
	if (!p->reqs) {
		op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	p->pieces.written |= UINT64_C(1) << piece;
	for (size_t i = 0; i < p->space.n_maps; i++) {
		uint64_t host_off = p->space.maps[i].host_off + (uint64_t)piece * p->piece_len;
		uint64_t len = disk_write_len(p->op.disk, host_off, p->piece_len);

		if (!len)
			continue;
		if (copy_run_digest(p, &p->space.maps[i], piece * p->piece_len, p->piece_len,
				    p->buf))
			op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		io_req_write(&p->reqs[n], file, p->buf, len, host_off);
		p->reqs[n].uncached = true;
		op_submit(&p->op, &p->reqs[n++]);
	}
	requests_note_writes(p, n);
	return n ? STEP_WAIT : STEP_NEXT;
}

/* A data file may have held anything before. */
static bool all_known_zero(const struct copy_run *p)
{
	if (disk_has_data_file(p->op.disk))
		return false;
	for (size_t i = 0; i < p->space.n_maps; i++)
		if (p->space.maps[i].host_off < p->overlay->zero_from)
			return false;
	return true;
}

/* A piece of one large cluster: space is reserved when the first piece that holds something comes;
 * pieces of zeros before and behind it are left to copy_run_fill(). */
static enum step write_piece(struct copy_run *p)
{
	unsigned piece = p->pieces.off / p->piece_len;
	bool zero = !p->plan.n_parts || !copy_run_is_data(p, p->buf, p->piece_len);

	if (!zero && !p->space.n_maps) {
		int rc = run_space_reserve(p, 0, p->overlay->granule_len);

		if (rc)
			return copy_run_retry_later(p, rc);
		p->pieces.known_zero = all_known_zero(p);
	}
	p->pieces.off += p->piece_len;
	p->phase = p->pieces.off < p->overlay->granule_len ? COPY_RUN_MAP : COPY_RUN_FILL;
	if (zero)
		return STEP_NEXT;
	return write_piece_of_all(p, piece);
}

/* Takes digests of the pieces that were not written, since they are zeros. */
static int digest_unwritten(struct copy_run *p)
{
	int rc = 0;

	if (!copy_run_digests(p))
		return 0;
	memset(p->buf, 0, p->piece_len);
	for (unsigned i = 0; i < p->overlay->granule_len / p->piece_len; i++)
		for (size_t k = 0; !rc && k < p->space.n_maps; k++)
			if (!(p->pieces.written & UINT64_C(1) << i))
				rc = copy_run_digest(p, &p->space.maps[k], i * p->piece_len,
						     p->piece_len, p->buf);
	return rc;
}

/* Pieces of zeros in a cluster that is kept: they must be written where the file may hold something
 * else, and the last one always, so that the file has the whole cluster. */
enum step copy_run_fill(struct copy_run *p)
{
	unsigned n_pieces = p->overlay->granule_len / p->piece_len;

	if (!p->space.n_maps) {
		p->phase = COPY_RUN_PUBLISH;
		op_set_error(&p->op, run_space_leave_zeros(p, 0, p->overlay->granule_len), NULL,
			     p->guest_off, false);
		return STEP_NEXT;
	}
	for (unsigned i = p->pieces.known_zero ? n_pieces - 1 : 0; i < n_pieces; i++)
		if (!(p->pieces.written & UINT64_C(1) << i)) {
			memset(p->buf, 0, p->piece_len);
			return write_piece_of_all(p, i);
		}
	p->counts.copied = copy_run_guest_bytes(p, 0, p->overlay->granule_len);
	p->phase = COPY_RUN_PUBLISH;
	op_set_error(&p->op, digest_unwritten(p), NULL, 0, false);
	return STEP_NEXT;
}

enum step copy_run_write(struct copy_run *p)
{
	if (p->op.disk->poisoned) { /* I7 */
		op_set_error(&p->op, p->op.disk->poisoned, NULL, p->guest_off, false);
		return STEP_NEXT;
	}
	if (p->compress.is_on)
		return copy_run_write_compressed(p);
	return copy_run_in_pieces(p) ? write_piece(p) : write_run(p);
}
