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
#include "engine/copy/phases/compress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/copy/phases/clusters.h"
#include "engine/copy/phases/digest.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"
#include "io/io.h"

/* Bytes of clusters that a worker is given at once. */
#define ENCODE_LEN (64 * KiB)
#define SECTOR_LEN 512u
#define SLOW_LEVEL 10u /* of zstd: from here on it takes several times a cluster's length */

struct encode {
	struct io_req req;
	struct copy_run *run;
	uint32_t first, n; /* clusters of the run */
};

static uint32_t n_clusters(const struct copy_run *p)
{
	return div_round_up(p->guest_off + clusters_run_len(p) - clusters_first(p),
			    p->overlay->cluster_len);
}

static bool is_whole(const struct copy_run *p, uint32_t idx)
{
	uint64_t guest_off = clusters_first(p) + (uint64_t)idx * p->overlay->cluster_len;

	return guest_off >= p->guest_off &&
	       guest_off + p->overlay->cluster_len <= p->guest_off + clusters_run_len(p);
}

/* The bytes of a cluster that lies whole in the run. */
static uint8_t *whole_cluster(const struct copy_run *p, uint32_t idx)
{
	return clusters_bytes(p) +
	       (clusters_first(p) + (uint64_t)idx * p->overlay->cluster_len - p->guest_off);
}

void copy_run_free_compress(struct copy_run *p)
{
	free(p->compress.lens);
	free(p->compress.encodes);
	free(p->compress.iovs);
	free(p->compress.whole);
	p->op.engine->comp_len -= p->compress.held;
	p->compress.held = 0;
}

/* ---- COMPRESS ---- */

/* Compresses one cluster in its place. 0 or -errno. */
static int encode_cluster(const struct copy_run *p, uint32_t idx, uint8_t *scratch)
{
	struct layer *overlay = p->overlay;
	uint8_t *bytes = whole_cluster(p, idx);
	uint32_t cap = overlay->cluster_len - SECTOR_LEN, len;
	int n;

	if (p->compress.lens[idx] != COMP_TRY)
		return 0;
	p->compress.lens[idx] = 0;
	if (!copy_run_is_data(p, bytes, overlay->cluster_len)) {
		p->compress.lens[idx] = COMP_ZERO;
		return 0;
	}
	copy_run_digest_cluster(p, idx, bytes);
	n = cap ? layer_encode(overlay, p->walk->how.compression_level, bytes, scratch, cap) : 0;
	if (n <= 0)
		return n;
	len = round_up((uint32_t)n, SECTOR_LEN);
	memcpy(bytes, scratch, n);
	memset(bytes + n, 0, len - n);
	p->compress.lens[idx] = len;
	return 0;
}

/* Runs on a worker. */
static int encode_work(struct io_req *req)
{
	struct encode *e = (struct encode *)req;
	uint8_t *scratch = malloc(e->run->overlay->cluster_len);
	int rc = scratch ? 0 : -ENOMEM;

	for (uint32_t i = 0; !rc && i < e->n; i++)
		rc = encode_cluster(e->run, e->first + i, scratch);
	free(scratch);
	return rc;
}

/* Decides whether to compress a cluster: only if one new copy serves all tables that lack it. 0,
 * TABLE_NEED or -errno. */
static int choose_cluster(struct copy_run *p, uint32_t idx)
{
	struct layer *overlay = p->overlay;
	uint64_t guest_off = clusters_first(p) + (uint64_t)idx * overlay->cluster_len;
	struct destination to;
	int rc;

	if (!is_whole(p, idx))
		return 0;
	if (overlay->has_copies) {
		if (!copy_run_is_data(p, whole_cluster(p, idx), overlay->cluster_len)) {
			p->compress.lens[idx] = COMP_ZERO;
			return 0;
		}
		rc = layer_alloc_tables(overlay, guest_off, overlay->cluster_len, &p->space.need);
		if (!rc)
			rc = layer_copy_target(overlay, guest_off, overlay->cluster_len, 0, &to,
					       &p->space.need);
		if (rc || to.has_space || to.len < overlay->cluster_len)
			return rc;
		rc = layer_copy_target(overlay, guest_off, overlay->cluster_len, 1, &to,
				       &p->space.need);
		if (rc != -ENOENT)
			return rc;
	}
	p->compress.lens[idx] = COMP_TRY;
	return 0;
}

static int choose(struct copy_run *p)
{
	int rc = 0;

	if (!p->compress.lens)
		p->compress.lens = calloc(n_clusters(p), sizeof(*p->compress.lens));
	if (!p->compress.lens)
		return -ENOMEM;
	for (; !rc && p->compress.n_chosen < n_clusters(p); p->compress.n_chosen += !rc)
		rc = choose_cluster(p, p->compress.n_chosen);
	return rc;
}

static enum step submit_encodes(struct copy_run *p)
{
	uint32_t each = MAX(ENCODE_LEN / p->overlay->cluster_len, UINT64_C(1));
	uint32_t n_works = div_round_up(n_clusters(p), each);

	p->compress.encodes = calloc(n_works, sizeof(*p->compress.encodes));
	if (!p->compress.encodes) {
		op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	for (uint32_t i = 0; i < n_works; i++) {
		struct encode *e = &p->compress.encodes[i];

		io_req_work(&e->req, encode_work);
		e->run = p;
		e->first = i * each;
		e->n = MIN(each, n_clusters(p) - e->first);
		op_submit(&p->op, &e->req);
	}
	return STEP_WAIT;
}

static void hold_memory(struct copy_run *p, uint32_t len)
{
	p->compress.held += len;
	p->op.engine->comp_len += len;
}

/* Counts a large cluster, a worker's scratch buffer of the same length, and what an encoder keeps
 * for a slow level. It is counted before it is allocated, so that only few such runs are in
 * flight. */
void copy_run_begin_compress(struct copy_run *p)
{
	if (p->compress.is_on && copy_run_in_pieces(p) && p->kind != RUN_ZERO)
		hold_memory(p, p->overlay->cluster_len *
				       (p->walk->how.compression_level >= SLOW_LEVEL ? 16 : 2));
}

/* Copies the piece to its place in the whole cluster. True: all pieces are there. False: MAP is
 * next, or the run is in error. */
static bool collect_piece(struct copy_run *p)
{
	if (!p->compress.whole) {
		p->compress.whole = calloc(1, p->overlay->cluster_len);
		if (!p->compress.whole) {
			op_set_error(&p->op, -ENOMEM, NULL, 0, false);
			return false;
		}
	}
	if (p->plan.n_parts) /* else it lies behind the guest's end */
		memcpy(p->compress.whole + p->pieces.off, p->buf, p->piece_len);
	p->pieces.off += p->piece_len;
	if (p->pieces.off == p->overlay->cluster_len)
		return true;
	p->phase = COPY_RUN_MAP;
	return false;
}

enum step copy_run_compress(struct copy_run *p)
{
	int rc;

	if (copy_run_in_pieces(p) && p->pieces.off < p->overlay->cluster_len && !collect_piece(p))
		return STEP_NEXT;
	rc = copy_run_prepare_cluster_digests(p, n_clusters(p));
	if (!rc)
		rc = choose(p); /* TABLE_NEED: this phase runs again */
	if (rc)
		return copy_run_retry_later(p, rc);
	copy_run_free_requests(p);
	if (!copy_run_in_pieces(p)) /* the scratch buffers, if workers took all clusters at once */
		hold_memory(p, clusters_run_len(p));
	p->phase = COPY_RUN_WRITE;
	return submit_encodes(p);
}
