/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Counts what a job will copy at most: by a walk that is made anyway, or by one of its own. */
#include "engine/job/ahead/left_count.h"

#include "engine/core/disk.h"
#include "engine/job/ahead/plan_walk.h"
#include "engine/job/progress/left.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/layer_tables.h"
#include "io/file.h"

void left_note(struct plan_walk *w, const struct extent *e, uint64_t guest_off)
{
	if (w->left && e->kind != EXTENT_ZERO && e->depth < w->chain->pull_to)
		left_add(w->left, guest_off, guest_off + e->len);
}

static int visit(struct plan_walk *w, enum plan_action action, uint64_t guest_off, uint64_t limit,
		 uint64_t *end)
{
	struct extent e;

	for (uint64_t at = guest_off; action == PLAN_COPY && at < limit; at += e.len) {
		int rc;

		PLAN_WALK_NOW(w, rc, chain_map(w->chain, 1, at, limit - at, &e, &need));
		if (rc)
			return rc;
		left_note(w, &e, at);
	}
	(void)end;
	return 0;
}

/* Guest bytes. Half a TiB of an overlay that holds all of it takes 6 s to walk. */
#define CHEAP_LEN (16 * GiB)

/* No table of a lower layer is to be read, so a walk costs no more than asking for holes; and a
 * source is not asked for those of all of it before the job begins. */
static bool is_cheap(const struct bpull_disk *disk)
{
	if (disk_overlay(disk)->backed_len > CHEAP_LEN)
		return false;
	for (unsigned i = 1; i < disk->chain->n_layers; i++) {
		const struct layer *layer = disk->chain->layers[i];

		if (layer_has_tables(layer) || layer->file->is_source)
			return false;
	}
	return true;
}

void left_count(struct bpull_disk *disk, bool is_wanted)
{
	struct plan_walk w = plan_walk_of(disk);

	if (disk->job.left.is_counted || !(is_wanted || is_cheap(disk)))
		return;
	w.left = &disk->job.left;
	left_begin(w.left, disk_overlay(disk)->backed_len);
	w.left->is_counted = !plan_walk_run(&w, visit);
	if (!w.left->is_counted) /* it was read ahead of the job, in vain */
		disk->engine->n_ahead_failed++;
}
