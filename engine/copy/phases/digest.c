/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A copy run's digests, for jobs that verify: taken of what was read, before it
 * is written or compressed in its place, and the job's from the moment the run
 * is published. A run that fails takes its own with it.
 */
#include "engine/copy/phases/digest.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/copy/walk/run_state.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"

/* A commit reads back the lower image, so it notes no copies that follow a guest's reads: those go
 * into the upper one. */
bool copy_run_digests(const struct copy_run *p)
{
	const struct bpull_disk *disk = p->op.disk;

	return verify_is_on(disk) && (copy_run_goes_down(p) || !disk->verify->is_below);
}

static int add(struct copy_run *p, const struct copied *item)
{
	int rc = copied_reserve(&p->digest.list, 1);

	if (!rc)
		copied_add(&p->digest.list, item);
	return rc;
}

int copy_run_digest(struct copy_run *p, const struct mapping *map, uint32_t off, uint32_t len,
		    const uint8_t *bytes)
{
	uint64_t guest_off = map->guest_off + off, host_off = map->host_off + off;
	const struct layer *overlay = p->overlay;
	bool is_direct = map->for_snapshots || overlay->no_tables;
	int rc = 0;

	if (!copy_run_digests(p))
		return 0;
	if (is_direct)
		len = disk_write_len(p->op.disk, host_off, len);
	else /* what lies behind the guest's end belongs to a longer snapshot */
		len = guest_off < overlay->guest_len ? MIN(len, overlay->guest_len - guest_off) : 0;
	for (uint32_t n; !rc && len; len -= n) {
		n = copied_part_len(guest_off, len);
		rc = add(p, &(struct copied){ .guest_off = guest_off,
					      .host_off = host_off,
					      .len = n,
					      .is_direct = is_direct,
					      .digest = XXH3_128bits(bytes, n) });
		guest_off += n;
		host_off += n;
		bytes += n;
	}
	return rc;
}

int copy_run_digest_stored(struct copy_run *p, uint64_t at, uint64_t len, const uint8_t *bytes)
{
	uint64_t guest_off = p->guest_off + at;
	int rc = 0;

	if (!copy_run_digests(p))
		return 0;
	for (uint32_t n; !rc && len; len -= n, guest_off += n) {
		struct copied item = { .guest_off = guest_off, .is_zero = !bytes };

		item.len = n = copied_part_len(guest_off, len);
		if (bytes) {
			item.digest = XXH3_128bits(bytes, n);
			bytes += n;
		}
		rc = add(p, &item);
	}
	return rc;
}

/* ---- compressed clusters: on the workers ---- */

static uint32_t digests_a_cluster(const struct copy_run *p)
{
	return div_round_up(p->overlay->cluster_len, COPIED_MAX_LEN);
}

int copy_run_prepare_cluster_digests(struct copy_run *p, uint32_t n_clusters)
{
	if (!copy_run_digests(p) || p->digest.of_clusters)
		return 0;
	p->digest.of_clusters =
		calloc((size_t)n_clusters * digests_a_cluster(p), sizeof(*p->digest.of_clusters));
	return p->digest.of_clusters ? 0 : -ENOMEM;
}

void copy_run_digest_cluster(const struct copy_run *p, uint32_t idx, const uint8_t *bytes)
{
	XXH128_hash_t *to = p->digest.of_clusters;

	if (!to)
		return;
	to += (size_t)idx * digests_a_cluster(p);
	for (uint32_t off = 0, n; off < p->overlay->cluster_len; off += n) {
		n = MIN(p->overlay->cluster_len - off, COPIED_MAX_LEN);
		*to++ = XXH3_128bits(bytes + off, n);
	}
}

int copy_run_note_cluster(struct copy_run *p, uint64_t guest_off, uint32_t idx)
{
	const XXH128_hash_t *digest = p->digest.of_clusters;
	int rc = 0;

	if (!digest)
		return 0;
	digest += (size_t)idx * digests_a_cluster(p);
	for (uint32_t off = 0, n; !rc && off < p->overlay->cluster_len; off += n) {
		n = MIN(p->overlay->cluster_len - off, COPIED_MAX_LEN);
		rc = add(p, &(struct copied){
				    .guest_off = guest_off + off, .len = n, .digest = *digest++ });
	}
	return rc;
}

/* ---- the end ---- */

int copy_run_prepare_handing_over(struct copy_run *p)
{
	return copy_run_digests(p) ? copied_reserve(&p->op.disk->verify->list, p->digest.list.n)
				   : 0;
}

void copy_run_hand_over(struct copy_run *p)
{
	if (!copy_run_digests(p))
		return;
	for (size_t i = 0; i < p->digest.list.n; i++)
		copied_add(&p->op.disk->verify->list, &p->digest.list.items[i]);
}

void copy_run_free_digests(struct copy_run *p)
{
	copied_clear(&p->digest.list);
	free(p->digest.of_clusters);
}
