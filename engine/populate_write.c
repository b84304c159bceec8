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
#include "engine/proof.h"
#include "engine/zero.h"
#include "io/base.h"

/* Appends to an array of mappings; one that goes on where the last one ends makes that one longer. */
static int append(struct mapping **list, size_t *n, size_t *cap, const struct mapping *map)
{
	struct mapping *last = *n ? &(*list)[*n - 1] : NULL;

	if (last && !last->comp_len && !map->comp_len && last->copy == map->copy &&
	    last->for_snapshots == map->for_snapshots && last->is_zero == map->is_zero &&
	    last->guest_off + last->len == map->guest_off &&
	    (map->is_zero || last->host_off + last->len == map->host_off)) {
		last->len += map->len;
		return 0;
	}
	if (array_reserve(list, *n, 1, cap, sizeof(**list)))
		return -ENOMEM;
	(*list)[(*n)++] = *map;
	return 0;
}

int populate_add_map(struct populate *p, const struct mapping *map)
{
	return append(&p->maps, &p->n_maps, &p->maps_cap, map);
}

int populate_add_zero(struct populate *p, uint64_t guest_off, uint64_t len)
{
	return populate_add_map(
		p, &(struct mapping){ .guest_off = guest_off, .len = len, .is_zero = true });
}

bool populate_keeps_zeros(const struct populate *p)
{
	return p->op.disk->base_name;
}

bool populate_is_data(const struct populate *p, const uint8_t *bytes, uint32_t len)
{
	if (populate_keeps_zeros(p) && !disk_overlay(p->op.disk)->has_zero_entries)
		return true;
	return !zero_is(bytes, len);
}

/* Space that the run has reserved for this copy of guest_off's cluster, or NULL. */
static const struct mapping *find_space(const struct populate *p, uint64_t guest_off, unsigned copy)
{
	for (size_t i = p->n_spaces; i-- > 0;) {
		const struct mapping *space = &p->spaces[i];

		if (space->copy == copy && guest_off - space->guest_off < space->len)
			return space;
	}
	return NULL;
}

/* Whole clusters for one copy of [guest_off, guest_off + len). */
static int reserve_space(struct populate *p, uint64_t guest_off, uint64_t len, unsigned copy)
{
	struct layer *overlay = disk_overlay(p->op.disk);
	uint64_t end = round_up(guest_off + len, overlay->cluster_len);
	struct mapping space = { .guest_off = round_down(guest_off, overlay->cluster_len),
				 .copy = copy };
	int rc = overlay->ops->reserve(overlay, end - space.guest_off, &space.host_off, &space.len);

	if (rc)
		return rc;
	rc = append(&p->spaces, &p->n_spaces, &p->spaces_cap, &space);
	if (rc)
		overlay->ops->release(overlay, space.host_off, space.len);
	return rc;
}

/* Where one copy of [guest_off, guest_off + *len) goes; *len may get shorter. -ENOENT: no such copy
 * is needed. */
static int place_copy(struct populate *p, uint64_t guest_off, uint64_t *len, unsigned copy,
		      struct mapping *map)
{
	struct layer *overlay = disk_overlay(p->op.disk);
	const struct mapping *space;
	struct destination to = { .len = *len };
	int rc = copy ? -ENOENT : 0;

	if (overlay->ops->destination)
		rc = overlay->ops->destination(overlay, guest_off, *len, copy, &to, &p->need);
	if (rc)
		return rc;
	*len = to.len;
	if (!to.has_space) {
		space = find_space(p, guest_off, copy);
		rc = space ? 0 : reserve_space(p, guest_off, *len, copy);
		if (rc)
			return rc;
		space = find_space(p, guest_off, copy);
		to.host_off = space->host_off + (guest_off - space->guest_off);
		*len = MIN(*len, space->guest_off + space->len - guest_off);
	}
	*map = (struct mapping){
		.guest_off = guest_off,
		.len = *len,
		.host_off = to.host_off,
		.copy = copy,
		.for_snapshots = to.for_snapshots,
	};
	return 0;
}

/* All copies of as much of [guest_off, guest_off + len) as lies together in each: *len. What was
 * reserved and is too long for the others stays the run's, for what comes next. */
static int place(struct populate *p, uint64_t guest_off, uint64_t *len)
{
	struct mapping map = { 0 }, last;
	unsigned n_copies = 0;
	size_t n_maps;
	int rc;

	while ((rc = place_copy(p, guest_off, len, n_copies, &map)) == 0)
		n_copies++;
	if (rc != -ENOENT || !n_copies)
		return rc;
	/* All or none: what has to wait for a table is asked for again as a whole. */
	n_maps = p->n_maps;
	last = n_maps ? p->maps[n_maps - 1] : map;
	rc = 0;
	for (unsigned copy = 0; !rc && copy < n_copies; copy++) {
		rc = place_copy(p, guest_off, len, copy, &map);
		if (!rc)
			rc = append(&p->maps, &p->n_maps, &p->maps_cap, &map);
	}
	if (!rc)
		return 0;
	p->n_maps = n_maps;
	if (n_maps)
		p->maps[n_maps - 1] = last;
	return rc;
}

int populate_reserve(struct populate *p, uint32_t off, uint32_t len)
{
	struct layer *overlay = disk_overlay(p->op.disk);
	int rc = overlay->ops->link(overlay, p->guest_off + off, len, &p->need);

	while (!rc && len) {
		uint64_t got = len;

		rc = place(p, p->guest_off + off, &got);
		if (rc)
			break;
		off += got;
		len -= got;
		/* What is placed stays so when the rest must wait. */
		p->reserved_to = off;
	}
	return rc;
}

uint64_t populate_guest_bytes(const struct populate *p, uint64_t off, uint64_t len)
{
	uint64_t pull_len = disk_overlay(p->op.disk)->pull_len, at = p->guest_off + off;

	return at >= pull_len ? 0 : MIN(len, pull_len - at);
}

int populate_leave_zeros(struct populate *p, uint32_t off, uint32_t len)
{
	uint64_t lo = p->guest_off + off;
	int rc = 0;

	if (populate_keeps_zeros(p))
		rc = populate_add_zero(p, lo, len);
	else
		proof_settle(p->op.disk, lo, lo + len);
	if (!rc)
		p->zero_len += populate_guest_bytes(p, off, len);
	return rc;
}

/* Reserves for every stretch of granules that hold something; the others stay unallocated, since
 * they will read as zeros without a backing file too. */
static int reserve_stretches(struct populate *p)
{
	uint32_t end;

	/* Resumed behind what is reserved already, after waiting for a commit. */
	for (uint32_t off = p->reserved_to; off < p->plan.len; off = end) {
		bool zero = !populate_is_data(p, p->buf + off, p->granule_len);
		int rc = 0;

		for (end = off + p->granule_len; end < p->plan.len; end += p->granule_len)
			if (populate_is_data(p, p->buf + end, p->granule_len) == zero)
				break;
		if (!zero) {
			rc = populate_reserve(p, off, end - off);
		} else {
			rc = populate_leave_zeros(p, off, end - off);
		}
		if (rc)
			return rc;
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
		rc = commit_stall_error(p->op.disk);
	if (rc == -EAGAIN && commit_is_running(p->op.disk)) {
		commit_wait(p->op.disk, &p->op);
		return STEP_WAIT;
	}
	op_set_error(&p->op, rc, disk_overlay(p->op.disk)->file, 0, false);
	return STEP_NEXT;
}

uint64_t disk_write_len(const struct bpull_disk *disk, uint64_t host_off, uint64_t len)
{
	const struct layer *overlay = disk_overlay(disk);
	uint64_t end = MAX(overlay->guest_len, overlay->data->len);

	if (!disk_has_data_file(disk))
		return len;
	return host_off < end ? MIN(len, end - host_off) : 0;
}

static enum step submit_writes(struct populate *p)
{
	struct file *file = disk_overlay(p->op.disk)->data;
	size_t n = 0;

	for (size_t i = 0; i < p->n_maps; i++)
		if (!p->maps[i].copy && !p->maps[i].is_zero)
			p->copied_len += populate_guest_bytes(
				p, p->maps[i].guest_off - p->guest_off, p->maps[i].len);

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

		if (m->is_zero)
			continue;
		if (populate_digest(p, m, 0, m->len, p->buf + (m->guest_off - p->guest_off)))
			op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		io_req_write(&p->reqs[n], file, p->buf + (m->guest_off - p->guest_off),
			     disk_write_len(p->op.disk, m->host_off, m->len), m->host_off);
		p->reqs[n].uncached = true;
		merge_write(&p->op, &p->reqs[n++]);
	}
	return n ? STEP_WAIT : STEP_NEXT;
}

static enum step write_run(struct populate *p)
{
	int rc = reserve_stretches(p);

	return rc ? populate_hold(p, rc) : submit_writes(p);
}

/* The piece in the buffer, to every copy of the cluster. */
static enum step write_piece_of_all(struct populate *p, unsigned piece)
{
	struct file *file = disk_overlay(p->op.disk)->data;
	unsigned n = 0;

	populate_free_requests(p);
	p->reqs = calloc(p->n_maps, sizeof(*p->reqs));
	if (!p->reqs) {
		op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	p->written_pieces |= UINT64_C(1) << piece;
	for (size_t i = 0; i < p->n_maps; i++) {
		uint64_t host_off = p->maps[i].host_off + (uint64_t)piece * p->unit;
		uint64_t len = disk_write_len(p->op.disk, host_off, p->unit);

		if (!len)
			continue;
		if (populate_digest(p, &p->maps[i], piece * p->unit, p->unit, p->buf))
			op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		io_req_write(&p->reqs[n], file, p->buf, len, host_off);
		p->reqs[n].uncached = true;
		op_submit(&p->op, &p->reqs[n++]);
	}
	return n ? STEP_WAIT : STEP_NEXT;
}

/* A data file may have held anything before. */
static bool all_known_zero(const struct populate *p)
{
	if (disk_has_data_file(p->op.disk))
		return false;
	for (size_t i = 0; i < p->n_maps; i++)
		if (p->maps[i].host_off < disk_overlay(p->op.disk)->zero_from)
			return false;
	return true;
}

/* A piece of one large cluster: space is reserved when the first piece that holds something comes;
 * pieces of zeros before and behind it are left to populate_fill(). */
static enum step write_piece(struct populate *p)
{
	unsigned piece = p->piece_off / p->unit;
	bool zero = !p->plan.n_parts || !populate_is_data(p, p->buf, p->unit);

	if (!zero && !p->n_maps) {
		int rc = populate_reserve(p, 0, p->granule_len);

		if (rc)
			return populate_hold(p, rc);
		p->known_zero = all_known_zero(p);
	}
	p->piece_off += p->unit;
	p->phase = p->piece_off < p->granule_len ? POPULATE_MAP : POPULATE_FILL;
	if (zero)
		return STEP_NEXT;
	return write_piece_of_all(p, piece);
}

/* Pieces that were left as the zeros they are. */
static int digest_unwritten(struct populate *p)
{
	int rc = 0;

	if (!populate_digests(p))
		return 0;
	memset(p->buf, 0, p->unit);
	for (unsigned i = 0; i < p->granule_len / p->unit; i++)
		for (size_t k = 0; !rc && k < p->n_maps; k++)
			if (!(p->written_pieces & UINT64_C(1) << i))
				rc = populate_digest(p, &p->maps[k], i * p->unit, p->unit, p->buf);
	return rc;
}

/* Pieces of zeros in a cluster that is kept: they must be written where the file may hold something
 * else, and the last one always, so that the file has the whole cluster. */
enum step populate_fill(struct populate *p)
{
	unsigned n_pieces = p->granule_len / p->unit;

	if (!p->n_maps) {
		p->phase = POPULATE_PUBLISH;
		op_set_error(&p->op, populate_leave_zeros(p, 0, p->granule_len), NULL, p->guest_off,
			     false);
		return STEP_NEXT;
	}
	for (unsigned i = p->known_zero ? n_pieces - 1 : 0; i < n_pieces; i++)
		if (!(p->written_pieces & UINT64_C(1) << i)) {
			memset(p->buf, 0, p->unit);
			return write_piece_of_all(p, i);
		}
	p->copied_len = populate_guest_bytes(p, 0, p->granule_len);
	p->phase = POPULATE_PUBLISH;
	op_set_error(&p->op, digest_unwritten(p), NULL, 0, false);
	return STEP_NEXT;
}

enum step populate_write(struct populate *p)
{
	if (p->op.disk->poisoned) { /* I7 */
		op_set_error(&p->op, p->op.disk->poisoned, NULL, p->guest_off, false);
		return STEP_NEXT;
	}
	if (p->compress)
		return populate_write_compressed(p);
	return populate_in_pieces(p) ? write_piece(p) : write_run(p);
}
