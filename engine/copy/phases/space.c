/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a copy run's bytes go: the entries that it is going to make, and the clusters that it
 * has reserved for them.
 */
#include "engine/copy/phases/space.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/copy/walk/proof.h"
#include "engine/copy/walk/run_state.h"
#include "engine/core/disk.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"

/* Appends to an array of mappings; one that goes on where the last one ends makes that one
 * longer. */
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

int run_space_add(struct copy_run *p, const struct mapping *map)
{
	return append(&p->space.maps, &p->space.n_maps, &p->space.maps_cap, map);
}

int run_space_add_zero(struct copy_run *p, uint64_t guest_off, uint64_t len)
{
	return run_space_add(
		p, &(struct mapping){ .guest_off = guest_off, .len = len, .is_zero = true });
}

/* Space that the run has reserved for this copy of guest_off's cluster, or NULL. */
static const struct mapping *find_space(const struct copy_run *p, uint64_t guest_off, unsigned copy)
{
	for (size_t i = p->space.n_spaces; i-- > 0;) {
		const struct mapping *space = &p->space.spaces[i];

		if (space->copy == copy && guest_off - space->guest_off < space->len)
			return space;
	}
	return NULL;
}

/* Whole clusters for one copy of [guest_off, guest_off + len). */
static int reserve_space(struct copy_run *p, uint64_t guest_off, uint64_t len, unsigned copy)
{
	struct layer *overlay = p->overlay;
	uint64_t end = round_up(guest_off + len, overlay->cluster_len);
	struct mapping space = { .guest_off = round_down(guest_off, overlay->cluster_len),
				 .copy = copy };
	int rc = layer_reserve(overlay, end - space.guest_off, &space.host_off, &space.len);

	if (rc)
		return rc;
	rc = append(&p->space.spaces, &p->space.n_spaces, &p->space.spaces_cap, &space);
	if (rc)
		layer_release(overlay, space.host_off, space.len);
	return rc;
}

/* Where one copy of [guest_off, guest_off + *len) goes; *len may get shorter. -ENOENT: no such copy
 * is needed. */
static int place_copy(struct copy_run *p, uint64_t guest_off, uint64_t *len, unsigned copy,
		      struct mapping *map)
{
	struct layer *overlay = p->overlay;
	const struct mapping *space;
	struct destination to;
	int rc = layer_copy_target(overlay, guest_off, *len, copy, &to, &p->space.need);

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

/* Places all copies of as much of [guest_off, guest_off + *len) as lies together in each of them:
 * *len. What was reserved for one copy and is too long for the others stays the run's, for its next
 * bytes. */
static int place(struct copy_run *p, uint64_t guest_off, uint64_t *len)
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
	n_maps = p->space.n_maps;
	last = n_maps ? p->space.maps[n_maps - 1] : map;
	rc = 0;
	for (unsigned copy = 0; !rc && copy < n_copies; copy++) {
		rc = place_copy(p, guest_off, len, copy, &map);
		if (!rc)
			rc = append(&p->space.maps, &p->space.n_maps, &p->space.maps_cap, &map);
	}
	if (!rc)
		return 0;
	p->space.n_maps = n_maps;
	if (n_maps)
		p->space.maps[n_maps - 1] = last;
	return rc;
}

int run_space_reserve(struct copy_run *p, uint32_t off, uint32_t len)
{
	struct layer *overlay = p->overlay;
	int rc = layer_alloc_tables(overlay, p->guest_off + off, len, &p->space.need);

	while (!rc && len) {
		uint64_t got = len;

		rc = place(p, p->guest_off + off, &got);
		if (rc)
			break;
		off += got;
		len -= got;
		/* What is placed stays so when the rest must wait. */
		p->space.reserved_to = off;
	}
	return rc;
}

int run_space_leave_zeros(struct copy_run *p, uint32_t off, uint32_t len)
{
	uint64_t lo = p->guest_off + off;
	int rc = 0;

	if (copy_run_keeps_zeros(p))
		rc = run_space_add_zero(p, lo, len);
	else
		proof_settle(p->op.disk, lo, lo + len);
	if (!rc)
		p->counts.zero += copy_run_guest_bytes(p, off, len);
	return rc;
}

void run_space_free(struct copy_run *p)
{
	free(p->space.maps);
	free(p->space.spaces);
}
