/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The output of a run that was compressed. Neighbouring clusters of one kind (zero, plain,
 * compressed) get their space together. Compressed clusters lie behind each other, in whole
 * sectors, and one write takes all that do.
 */
#include "engine/copy/phases/compress_write.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/copy/phases/clusters.h"
#include "engine/copy/phases/digest.h"
#include "engine/copy/phases/space.h"
#include "engine/copy/walk/requests.h"
#include "engine/copy/walk/run_state.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"
#include "io/io.h"

enum cluster_kind {
	CLUSTER_ZERO,
	CLUSTER_PLAIN,
	CLUSTER_COMPRESSED,
};

/* The kind of the granule at `off`; *len: bytes of that kind, the rest of a whole cluster or a
 * granule. */
static enum cluster_kind kind_at(const struct copy_run *p, uint32_t off, uint32_t *len)
{
	uint32_t idx = clusters_idx(p, off), comp_len = p->compress.lens[idx];

	*len = p->overlay->cluster_len;
	if (comp_len == COMP_ZERO)
		return CLUSTER_ZERO;
	if (comp_len)
		return CLUSTER_COMPRESSED;
	if (!copy_run_in_pieces(p))
		*len = p->overlay->granule_len;
	return copy_run_is_data(p, clusters_bytes(p) + off, *len) ? CLUSTER_PLAIN : CLUSTER_ZERO;
}

/* Reserves space for the compressed clusters in [off, off + len) of the run, one behind the
 * other. */
static int reserve_compressed(struct copy_run *p, uint32_t off, uint32_t len)
{
	struct layer *overlay = p->overlay;
	struct destination to = { 0 };
	uint32_t end = off + len;
	int rc = layer_alloc_tables(overlay, p->guest_off + off, len, &p->space.need);

	for (; !rc && off < end; off += overlay->cluster_len) {
		struct mapping map = { .guest_off = p->guest_off + off,
				       .len = overlay->cluster_len,
				       .comp_len = p->compress.lens[clusters_idx(p, off)] };

		if (overlay->has_copies)
			rc = layer_copy_target(overlay, map.guest_off, overlay->cluster_len, 0, &to,
					       &p->space.need);
		map.for_snapshots = to.for_snapshots;
		if (!rc)
			rc = layer_reserve_bytes(overlay, map.guest_off, map.comp_len,
						 &map.host_off, &p->space.need);
		if (!rc)
			rc = run_space_add(p, &map);
		if (!rc)
			p->space.reserved_to = off + overlay->cluster_len;
	}
	return rc;
}

/* Reserves space for the rest of the run. After a wait for a table or a commit it is called again,
 * and goes on behind what is reserved already. */
static int reserve_all(struct copy_run *p)
{
	uint32_t end;

	for (uint32_t off = p->space.reserved_to; off < clusters_run_len(p); off = end) {
		uint32_t len;
		enum cluster_kind kind = kind_at(p, off, &len);
		int rc = 0;

		for (end = off + len; end < clusters_run_len(p) && kind_at(p, end, &len) == kind;
		     end += len)
			;
		switch (kind) {
		case CLUSTER_ZERO: rc = run_space_leave_zeros(p, off, end - off); break;
		case CLUSTER_PLAIN: rc = run_space_reserve(p, off, end - off); break;
		case CLUSTER_COMPRESSED: rc = reserve_compressed(p, off, end - off); break;
		}
		if (rc)
			return rc;
		p->space.reserved_to = end;
	}
	return 0;
}

/* How many mappings from i on lie one behind the other in the file: one request writes them. */
static size_t contiguous(const struct copy_run *p, size_t i)
{
	const struct mapping *maps = p->space.maps;
	size_t n = 1;

	while (i + n < p->space.n_maps && maps[i + n - 1].comp_len && maps[i + n].comp_len &&
	       maps[i + n - 1].host_off + maps[i + n - 1].comp_len == maps[i + n].host_off)
		n++;
	return n;
}

static void describe_write(struct copy_run *p, struct io_req *req, size_t i, size_t n)
{
	struct iovec *iov = &p->compress.iovs[i];
	uint64_t len = 0;

	for (size_t k = i; k < i + n; k++) {
		const struct mapping *map = &p->space.maps[k];

		p->compress.iovs[k].iov_base = clusters_bytes(p) + (map->guest_off - p->guest_off);
		p->compress.iovs[k].iov_len = mapping_host_len(map);
		len += mapping_host_len(map);
		if (!map->copy)
			p->counts.copied +=
				copy_run_guest_bytes(p, map->guest_off - p->guest_off, map->len);
	}
	io_req_write(req, p->overlay->file, iov->iov_base, iov->iov_len, p->space.maps[i].host_off);
	req->iov = iov;
	req->n_iov = n;
	req->len = len;
	req->uncached = true;
}

/* Notes the digest of a compressed cluster: of its decoded bytes, or, where the guest's disk does
 * not read it or not all of it, of the bytes in the file. */
static int digest_compressed(struct copy_run *p, struct mapping map, uint32_t off)
{
	if (!map.for_snapshots && map.guest_off + map.len <= p->overlay->guest_len)
		return copy_run_note_cluster(p, map.guest_off, clusters_idx(p, off));
	map.for_snapshots = true;
	return copy_run_digest(p, &map, 0, map.comp_len, clusters_bytes(p) + off);
}

static int digest(struct copy_run *p)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < p->space.n_maps; i++) {
		const struct mapping *map = &p->space.maps[i];
		uint32_t off = map->guest_off - p->guest_off;

		if (map->comp_len)
			rc = digest_compressed(p, *map, off);
		else if (!map->is_zero)
			rc = copy_run_digest(p, map, 0, map->len, clusters_bytes(p) + off);
	}
	return rc;
}

enum step copy_run_write_compressed(struct copy_run *p)
{
	size_t n_writes = 0;
	int rc;

	/* The job has failed meanwhile. On a full disk the tables need the space that failed runs
	 * gave back, and a run as short as a compressed one could still take it. */
	if (p->op.disk->job.fault.error) {
		op_set_error(&p->op, -ECANCELED, NULL, 0, false);
		return STEP_NEXT;
	}
	rc = reserve_all(p);
	if (rc)
		return copy_run_retry_later(p, rc);
	p->phase = COPY_RUN_PUBLISH;
	if (!p->space.n_maps)
		return STEP_NEXT;
	copy_run_free_requests(p);
	p->reqs = calloc(p->space.n_maps, sizeof(*p->reqs));
	p->compress.iovs = calloc(p->space.n_maps, sizeof(*p->compress.iovs));
	if (!p->reqs || !p->compress.iovs || digest(p)) {
		op_set_error(&p->op, -ENOMEM, NULL, 0, false);
		return STEP_NEXT;
	}
	for (size_t i = 0, n; i < p->space.n_maps; i += n) {
		n = contiguous(p, i);
		if (p->space.maps[i].is_zero)
			continue;
		describe_write(p, &p->reqs[i], i, n);
		op_submit(&p->op, &p->reqs[i]);
		n_writes++;
	}
	requests_note_writes(p, n_writes);
	return n_writes ? STEP_WAIT : STEP_NEXT;
}
