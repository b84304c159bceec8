/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy run that is written compressed: between DECODE and WRITE the workers
 * compress each cluster that holds something, in its own place in the run's
 * buffer (a compressed cluster is shorter by a sector at least, or stays as it
 * is), so that a run needs no second buffer. A cluster larger than the run's
 * buffer is gathered piece by piece in one of its own length.
 *
 * The limiter is charged for guest bytes read, compressed or not: the rate is
 * there for the sake of the chain's disks and their readers.
 * Compressing in the backend's write path was rejected: space is reserved by
 * length, so the length must be known before.
 */
#include "engine/copy/compress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/copy/digest.h"
#include "engine/copy/run_state.h"
#include "engine/copy/walk.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/io.h"

/* Clusters are given to workers by so many bytes. */
#define ENCODE_LEN (64 * KiB)
#define SECTOR_LEN 512u
#define SLOW_LEVEL 10u /* of zstd: from here on it takes several times a cluster's length */

/* comp_lens[] */
#define COMP_ZERO UINT32_MAX       /* the cluster is all zeros */
#define COMP_TRY  (UINT32_MAX - 1) /* it is to be compressed */

struct encode {
	struct io_req req;
	struct copy_run *run;
	uint32_t first, n; /* clusters of the run */
};

static uint32_t run_len(const struct copy_run *p)
{
	return copy_run_in_pieces(p) ? p->cluster_len : p->plan.len;
}

/* With subclusters a run may begin and end inside a cluster: such a part is never compressed. */
static uint64_t first_cluster(const struct copy_run *p)
{
	return round_down(p->guest_off, p->cluster_len);
}

static uint32_t n_clusters(const struct copy_run *p)
{
	return div_round_up(p->guest_off + run_len(p) - first_cluster(p), p->cluster_len);
}

static uint32_t cluster_idx(const struct copy_run *p, uint32_t off)
{
	return (p->guest_off + off - first_cluster(p)) / p->cluster_len;
}

static bool is_whole(const struct copy_run *p, uint32_t idx)
{
	uint64_t guest_off = first_cluster(p) + (uint64_t)idx * p->cluster_len;

	return guest_off >= p->guest_off && guest_off + p->cluster_len <= p->guest_off + run_len(p);
}

static uint8_t *run_bytes(const struct copy_run *p)
{
	return p->whole ? p->whole : p->buf;
}

/* Of a whole cluster. */
static uint8_t *cluster_bytes(const struct copy_run *p, uint32_t idx)
{
	return run_bytes(p) + (first_cluster(p) + (uint64_t)idx * p->cluster_len - p->guest_off);
}

void copy_run_free_compress(struct copy_run *p)
{
	free(p->comp_lens);
	free(p->encodes);
	free(p->iovs);
	free(p->whole);
	p->op.engine->comp_len -= p->encode_held;
	p->encode_held = 0;
}

/* ---- COMPRESS ---- */

/* Compresses one cluster in its place. 0 or -errno. */
static int encode_cluster(const struct copy_run *p, uint32_t idx, uint8_t *scratch)
{
	struct layer *overlay = disk_overlay(p->op.disk);
	uint8_t *bytes = cluster_bytes(p, idx);
	uint32_t cap = p->cluster_len - SECTOR_LEN, len;
	int n;

	if (p->comp_lens[idx] != COMP_TRY)
		return 0;
	p->comp_lens[idx] = 0;
	if (!copy_run_is_data(p, bytes, p->cluster_len)) {
		p->comp_lens[idx] = COMP_ZERO;
		return 0;
	}
	copy_run_digest_cluster(p, idx, bytes);
	n = cap ? overlay->ops->encode(overlay, p->op.disk->walk->how.compression_level, bytes,
				       scratch, cap)
		: 0;
	if (n <= 0)
		return n;
	len = round_up((uint32_t)n, SECTOR_LEN);
	memcpy(bytes, scratch, n);
	memset(bytes + n, 0, len - n);
	p->comp_lens[idx] = len;
	return 0;
}

/* On a worker. */
static int encode_work(struct io_req *req)
{
	struct encode *e = (struct encode *)req;
	uint8_t *scratch = malloc(e->run->cluster_len);
	int rc = scratch ? 0 : -ENOMEM;

	for (uint32_t i = 0; !rc && i < e->n; i++)
		rc = encode_cluster(e->run, e->first + i, scratch);
	free(scratch);
	return rc;
}

/* A cluster is compressed only where one new copy serves all tables that lack it. */
static int choose_cluster(struct copy_run *p, uint32_t idx)
{
	uint64_t guest_off = first_cluster(p) + (uint64_t)idx * p->cluster_len;
	struct destination to;
	struct layer *overlay = disk_overlay(p->op.disk);
	int rc;

	if (!is_whole(p, idx))
		return 0;
	if (overlay->has_copies) {
		if (!copy_run_is_data(p, cluster_bytes(p, idx), p->cluster_len)) {
			p->comp_lens[idx] = COMP_ZERO;
			return 0;
		}
		rc = overlay->ops->alloc_tables(overlay, guest_off, p->cluster_len, &p->need);
		if (!rc)
			rc = overlay->ops->copy_target(overlay, guest_off, p->cluster_len, 0, &to,
						       &p->need);
		if (rc || to.has_space || to.len < p->cluster_len)
			return rc;
		rc = overlay->ops->copy_target(overlay, guest_off, p->cluster_len, 1, &to,
					       &p->need);
		if (rc != -ENOENT)
			return rc;
	}
	p->comp_lens[idx] = COMP_TRY;
	return 0;
}

static int choose(struct copy_run *p)
{
	int rc = 0;

	if (!p->comp_lens)
		p->comp_lens = calloc(n_clusters(p), sizeof(*p->comp_lens));
	if (!p->comp_lens)
		return -ENOMEM;
	for (; !rc && p->n_chosen < n_clusters(p); p->n_chosen += !rc)
		rc = choose_cluster(p, p->n_chosen);
	return rc;
}

static enum step submit_encodes(struct copy_run *p)
{
	uint32_t each = MAX(ENCODE_LEN / p->cluster_len, UINT64_C(1));
	uint32_t n_works = div_round_up(n_clusters(p), each);

	p->encodes = calloc(n_works, sizeof(*p->encodes));
	if (!p->encodes) {
		op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	for (uint32_t i = 0; i < n_works; i++) {
		struct encode *e = &p->encodes[i];

		io_req_work(&e->req, encode_work);
		e->run = p;
		e->first = i * each;
		e->n = MIN(each, n_clusters(p) - e->first);
		op_submit(&p->op, &e->req);
	}
	return STEP_WAIT;
}

static void hold(struct copy_run *p, uint32_t len)
{
	p->encode_held += len;
	p->op.engine->comp_len += len;
}

/* A large cluster, a worker's scratch of the same length, and what an encoder keeps for a slow
 * level: counted before it is taken, so that only a few runs of that kind are in flight. */
void copy_run_begin_compress(struct copy_run *p)
{
	if (p->compress && copy_run_in_pieces(p) && !p->is_zero)
		hold(p, p->cluster_len *
				(p->op.disk->walk->how.compression_level >= SLOW_LEVEL ? 16 : 2));
}

/* Puts a piece where it belongs; the next one, or all are there. */
static bool gather(struct copy_run *p)
{
	if (!p->whole) {
		p->whole = calloc(1, p->cluster_len);
		if (!p->whole) {
			op_set_error(&p->op, -ENOMEM, NULL, 0, false);
			return false;
		}
	}
	if (p->plan.n_parts) /* else it lies behind the guest's end */
		memcpy(p->whole + p->piece_off, p->buf, p->piece_len);
	p->piece_off += p->piece_len;
	if (p->piece_off == p->cluster_len)
		return true;
	p->phase = COPY_RUN_MAP;
	return false;
}

enum step copy_run_compress(struct copy_run *p)
{
	int rc;

	if (copy_run_in_pieces(p) && p->piece_off < p->cluster_len && !gather(p))
		return STEP_NEXT;
	rc = copy_run_prepare_cluster_digests(p, n_clusters(p));
	if (!rc)
		rc = choose(p); /* may be told to come again */
	if (rc)
		return copy_run_retry_later(p, rc);
	copy_run_free_requests(p);
	if (!copy_run_in_pieces(p)) /* scratch: as much, if the workers took all of it at once */
		hold(p, run_len(p));
	p->phase = COPY_RUN_WRITE;
	return submit_encodes(p);
}

/* ---- WRITE ---- */

enum cluster_kind {
	CLUSTER_ZERO,
	CLUSTER_PLAIN,
	CLUSTER_COMPRESSED,
};

/* Of the granule at `off`, and in *len how far it goes: a whole cluster's rest, or a granule. */
static enum cluster_kind kind_at(const struct copy_run *p, uint32_t off, uint32_t *len)
{
	uint32_t idx = cluster_idx(p, off), comp_len = p->comp_lens[idx];

	*len = p->cluster_len;
	if (comp_len == COMP_ZERO)
		return CLUSTER_ZERO;
	if (comp_len)
		return CLUSTER_COMPRESSED;
	if (!copy_run_in_pieces(p))
		*len = p->granule_len;
	return copy_run_is_data(p, run_bytes(p) + off, *len) ? CLUSTER_PLAIN : CLUSTER_ZERO;
}

/* Reserves for the compressed clusters of [off, off + len), one behind the other. */
static int reserve_compressed(struct copy_run *p, uint32_t off, uint32_t len)
{
	struct layer *overlay = disk_overlay(p->op.disk);
	struct destination to = { 0 };
	uint32_t end = off + len;
	int rc = overlay->ops->alloc_tables(overlay, p->guest_off + off, len, &p->need);

	for (; !rc && off < end; off += p->cluster_len) {
		struct mapping map = { .guest_off = p->guest_off + off,
				       .len = p->cluster_len,
				       .comp_len = p->comp_lens[cluster_idx(p, off)] };

		if (overlay->has_copies)
			rc = overlay->ops->copy_target(overlay, map.guest_off, p->cluster_len, 0,
						       &to, &p->need);
		map.for_snapshots = to.for_snapshots;
		if (!rc)
			rc = overlay->ops->reserve_bytes(overlay, map.guest_off, map.comp_len,
							 &map.host_off, &p->need);
		if (!rc)
			rc = copy_run_add_map(p, &map);
		if (!rc)
			p->reserved_to = off + p->cluster_len;
	}
	return rc;
}

/* Resumed behind what is reserved already, after waiting for a table or a commit. */
static int reserve_all(struct copy_run *p)
{
	uint32_t end;

	for (uint32_t off = p->reserved_to; off < run_len(p); off = end) {
		uint32_t len;
		enum cluster_kind kind = kind_at(p, off, &len);
		int rc = 0;

		for (end = off + len; end < run_len(p) && kind_at(p, end, &len) == kind; end += len)
			;
		switch (kind) {
		case CLUSTER_ZERO: rc = copy_run_leave_zeros(p, off, end - off); break;
		case CLUSTER_PLAIN: rc = copy_run_reserve(p, off, end - off); break;
		case CLUSTER_COMPRESSED: rc = reserve_compressed(p, off, end - off); break;
		}
		if (rc)
			return rc;
		p->reserved_to = end;
	}
	return 0;
}

/* How many mappings from i on lie one behind the other in the file: one request writes them. */
static size_t contiguous(const struct copy_run *p, size_t i)
{
	const struct mapping *maps = p->maps;
	size_t n = 1;

	while (i + n < p->n_maps && maps[i + n - 1].comp_len && maps[i + n].comp_len &&
	       maps[i + n - 1].host_off + maps[i + n - 1].comp_len == maps[i + n].host_off)
		n++;
	return n;
}

static void describe_write(struct copy_run *p, struct io_req *req, size_t i, size_t n)
{
	struct iovec *iov = &p->iovs[i];
	uint64_t len = 0;

	for (size_t k = i; k < i + n; k++) {
		const struct mapping *map = &p->maps[k];

		p->iovs[k].iov_base = run_bytes(p) + (map->guest_off - p->guest_off);
		p->iovs[k].iov_len = mapping_host_len(map);
		len += mapping_host_len(map);
		if (!map->copy)
			p->copied_len +=
				copy_run_guest_bytes(p, map->guest_off - p->guest_off, map->len);
	}
	io_req_write(req, disk_overlay(p->op.disk)->file, iov->iov_base, iov->iov_len,
		     p->maps[i].host_off);
	req->iov = iov;
	req->n_iov = n;
	req->len = len;
	req->uncached = true;
}

/* A cluster that the guest's disk does not read, or not all of: its bytes as they are written. */
static int digest_compressed(struct copy_run *p, struct mapping map, uint32_t off)
{
	if (!map.for_snapshots && map.guest_off + map.len <= disk_overlay(p->op.disk)->guest_len)
		return copy_run_note_cluster(p, map.guest_off, cluster_idx(p, off));
	map.for_snapshots = true;
	return copy_run_digest(p, &map, 0, map.comp_len, run_bytes(p) + off);
}

static int digest(struct copy_run *p)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < p->n_maps; i++) {
		const struct mapping *map = &p->maps[i];
		uint32_t off = map->guest_off - p->guest_off;

		if (map->comp_len)
			rc = digest_compressed(p, *map, off);
		else if (!map->is_zero)
			rc = copy_run_digest(p, map, 0, map->len, run_bytes(p) + off);
	}
	return rc;
}

enum step copy_run_write_compressed(struct copy_run *p)
{
	size_t n_writes = 0;
	int rc;

	/* The job has failed meanwhile. On a full disk, what failed runs gave back is for the
	 * tables: runs as short as these would still fit into it. */
	if (p->op.disk->job.error) {
		op_set_error(&p->op, -ECANCELED, NULL, 0, false);
		return STEP_NEXT;
	}
	rc = reserve_all(p);
	if (rc)
		return copy_run_retry_later(p, rc);
	p->phase = COPY_RUN_PUBLISH;
	if (!p->n_maps)
		return STEP_NEXT;
	copy_run_free_requests(p);
	p->reqs = calloc(p->n_maps, sizeof(*p->reqs));
	p->iovs = calloc(p->n_maps, sizeof(*p->iovs));
	if (!p->reqs || !p->iovs || digest(p)) {
		op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	for (size_t i = 0, n; i < p->n_maps; i += n) {
		n = contiguous(p, i);
		if (p->maps[i].is_zero)
			continue;
		describe_write(p, &p->reqs[i], i, n);
		op_submit(&p->op, &p->reqs[i]);
		n_writes++;
	}
	return n_writes ? STEP_WAIT : STEP_NEXT;
}
