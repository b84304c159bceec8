/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: host space for compressed clusters, and their references.
 *
 * Compressed clusters lie one behind the other in whole sectors, several to a
 * host cluster, across its end where the next one is ours too. Each counts one
 * reference to every host cluster it touches, so the refcount's width limits
 * how many may share one: then the next host cluster is opened. Bytes of a run
 * that failed are not used again, and its references were never counted.
 *
 * Packing to the byte, as QEMU does, would save 256 bytes a cluster, and was
 * rejected: two runs, one of them committed long ago, would share a sector,
 * which a power cut may tear.
 */
#include "formats/qcow2/space/compressed_space.h"

#include <errno.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/space/refcount.h"
#include "formats/qcow2/space/space.h"
#include "io/base.h"

/* Host clusters are taken so many bytes at a time: plain clusters and tables reserved in between
 * would otherwise cost the rest of a host cluster each. */
#define COMP_TAKE_LEN (512 * KiB)

static uint64_t max_refs(const struct qcow2 *q)
{
	unsigned bits = 1u << q->hdr.refcount_order;

	return bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

static int take_space(struct qcow2 *q)
{
	struct qcow2_comp_tail *tail = &q->comp_tail;
	uint64_t len = MAX(round_down(COMP_TAKE_LEN, q->layer.cluster_len), q->layer.cluster_len);
	uint64_t host_off, got;
	int rc = qcow2_reserve(&q->layer, len, &host_off, &got);

	if (rc)
		return rc;
	if (host_off != tail->end) {
		tail->off = host_off;
		tail->n_refs = 0;
	}
	tail->end = host_off + got;
	return 0;
}

/* `weight` references to it will be published. */
int qcow2_comp_reserve(struct qcow2 *q, uint32_t len, uint64_t weight, uint64_t *host_off)
{
	struct qcow2_comp_tail *tail = &q->comp_tail;
	uint64_t cluster_len = q->layer.cluster_len, end, limit;

	len = round_up(len, 512);
	if (!len || len >= cluster_len || !weight)
		return -EINVAL;
	if (weight > max_refs(q))
		return -ERANGE;
	/* Going back to a snapshot counts all of its clusters here once more before it lets others
	 * go: with snapshots half of what the width counts stays free. */
	limit = q->hdr.n_snapshots ? MAX(max_refs(q) / 2, weight) : max_refs(q);
	if (tail->n_refs > limit - weight) {
		tail->off = round_up(tail->off, cluster_len);
		tail->n_refs = 0;
	}
	if (tail->end - tail->off < len) { /* take_space() takes whole clusters, so enough */
		int rc = take_space(q);

		if (rc)
			return rc;
	}
	end = tail->off + len;
	if (end > UINT64_C(1) << qcow2_comp_off_bits(q->cluster_bits))
		return -EFBIG;
	*host_off = tail->off;
	if (is_aligned(end, cluster_len))
		tail->n_refs = 0;
	else if (round_down(tail->off, cluster_len) == round_down(end, cluster_len))
		tail->n_refs += weight;
	else
		tail->n_refs = weight;
	tail->off = end;
	return 0;
}

/* The host clusters that the mapping's bytes touch, as indices [*first, *end). */
static void touched(const struct qcow2 *q, const struct mapping *map, uint64_t *first,
		    uint64_t *end)
{
	*first = map->host_off >> q->cluster_bits;
	*end = ((map->host_off + map->comp_len - 1) >> q->cluster_bits) + 1;
}

int qcow2_comp_ref_need(struct qcow2 *q, const struct mapping *map, uint64_t weight,
			struct table_need *need)
{
	uint64_t first, end, refs;

	for (touched(q, map, &first, &end); first < end; first++) {
		int rc = qcow2_ref_get(q, first, &refs, need);

		if (rc)
			return rc;
		/* qcow2_comp_reserve() kept within the limit, so others refer to the cluster. */
		if (refs > max_refs(q) - MIN(weight, max_refs(q)))
			return -EUCLEAN;
	}
	return 0;
}

void qcow2_comp_ref_raise(struct qcow2 *q, const struct mapping *map, uint64_t weight)
{
	uint64_t first, end, refs = 0;
	struct table_need need;

	/* Only our entries refer to these clusters, so the limit is never met here. */
	for (touched(q, map, &first, &end); first < end; first++) {
		qcow2_ref_get(q, first, &refs, &need);
		qcow2_ref_set(q, first, 1, refs + MIN(weight, max_refs(q) - refs));
	}
}

uint64_t qcow2_comp_entry(const struct qcow2 *q, const struct mapping *map)
{
	uint64_t more_sectors = div_round_up(map->comp_len, 512) - 1;

	return QCOW2_COMPRESSED | more_sectors << qcow2_comp_off_bits(q->cluster_bits) |
	       map->host_off;
}
