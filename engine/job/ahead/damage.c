/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Refuses, before the first write, a chain that would end a pull half way: tables of lower layers
 * that can't be read or that share what must have one owner. What is in the clusters only decoding
 * can tell.
 */
#include "engine/job/ahead/damage.h"

#include <errno.h>
#include <inttypes.h>

#include "engine/core/disk.h"
#include "engine/job/ahead/left_count.h"
#include "engine/job/ahead/plan_walk.h"
#include "engine/job/progress/left.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_tables.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"

/* *has: the layer has a table for this guest byte; *end: the byte up to which that holds. While a
 * table is loaded the engine may run, and a job of this disk may end, which closes layers: so the
 * layer is named by its depth. */
static int table_at(const struct chain *chain, unsigned depth, uint64_t guest_off, bool *has,
		    uint64_t *end, struct table_need *need)
{
	struct layer *layer = depth < chain->n_layers ? chain->layers[depth] : NULL;

	*has = false;
	*end = UINT64_MAX;
	if (!layer || !layer_has_tables(layer) || guest_off >= layer->guest_len)
		return 0;
	return layer_table_at(layer, guest_off, has, end, need);
}

/* Refuses a layer whose disk has more tables than its file has clusters: many entries lead to one
 * of them, and what a few bytes describe would take hours to walk. */
static int check_sharing(struct plan_walk *w, unsigned depth, struct err *err)
{
	const struct layer *layer = w->chain->layers[depth]; /* may be gone in the loop */
	uint64_t max = layer->file->len / layer->cluster_len + 1, n = 0, end;
	struct shown shown;
	const char *name = file_show(layer->file, &shown);

	for (uint64_t at = 0; at < UINT64_MAX; at = end) {
		bool has;
		int rc;

		PLAN_WALK_NOW(w, rc, table_at(w->chain, depth, at, &has, &end, &need));
		if (rc == -EUCLEAN)
			return 0; /* mapping it says more */
		if (rc)
			return err_errno(err, rc, "%s: cannot read its L1 table", name);
		n += has;
		if (n > max)
			return err_set(err, -EUCLEAN,
				       "%s: damaged: it has more L2 tables than its file has "
				       "clusters, so that entries share some; nothing was changed: "
				       "see blockpull check, or restore it from a copy",
				       name);
	}
	return 0;
}

int damage_refuse_sharing_from(struct plan_walk *w, unsigned from, struct err *err)
{
	int rc = 0;

	for (unsigned i = from; !rc && i < w->chain->n_layers; i++)
		rc = check_sharing(w, i, err);
	return rc;
}

/* Of the base that stays only what completes a cluster is read: whole clusters are left to it. */
static bool is_left_to_base(const struct plan_walk *w, const struct extent *e, uint64_t guest_off)
{
	uint32_t cluster_len = w->chain->layers[0]->cluster_len;

	return e->depth >= w->chain->pull_to && is_aligned(guest_off, cluster_len) &&
	       is_aligned(guest_off + e->len, cluster_len);
}

/* Maps every byte of what is to be copied: counting clusters looks no further than each one's first
 * data. */
static int map_action(struct plan_walk *w, enum plan_action action, uint64_t guest_off,
		      uint64_t limit, uint64_t *end)
{
	struct extent e;

	for (uint64_t at = guest_off; action == PLAN_COPY && at < limit; at += e.len) {
		int rc;

		PLAN_WALK_NOW(w, rc, chain_map(w->chain, 1, at, limit - at, &e, &need));
		if (!rc && e.kind != EXTENT_ZERO)
			rc = plan_walk_count_tables(w, at, at + e.len);
		if (rc)
			return rc;
		left_note(w, &e, at);
		if (e.kind == EXTENT_COMPRESSED && !is_left_to_base(w, &e, at))
			w->has_packed[e.depth] = true;
	}
	return 0;
}

/* Compressed data that lies inside another guest cluster (QEMU 7.2 puts it there after a discard)
 * maps well, and one of the two is overwritten: only a look at the whole layer tells. One look is
 * enough for all jobs, but of a block device, to which others may have written without a trace,
 * and of what a job of its own changes. */
static int check_packed(struct plan_walk *w, struct err *err)
{
	for (unsigned i = 1; i < w->chain->n_layers; i++) {
		struct layer *layer = w->chain->layers[i];
		struct check_result found = { 0 };
		struct shown shown;
		int rc;

		if (!w->has_packed[i] || layer->is_checked)
			continue;
		blocking_begin(); /* a lower layer never changes */
		rc = layer_check(layer, &found, err);
		blocking_end();
		if (rc)
			return rc;
		if (found.n_check_errors)
			return err_set(err, -EIO,
				       "%s: its tables can't be read: %s; nothing was changed",
				       file_show(layer->file, &shown), found.incomplete);
		if (found.n_overlaps)
			return err_set(err, -EUCLEAN,
				       "%s: damaged: %" PRIu64
				       " clusters that have one owner are used by another, too "
				       "(compressed data inside them, or tables), the first at "
				       "offset %#" PRIx64 "; nothing was changed: see blockpull "
				       "check, or restore it from a copy",
				       file_show(layer->file, &shown), found.n_overlaps,
				       found.overlap_off);
		layer->is_checked = !layer->file->is_block && !layer->is_overlay;
	}
	return 0;
}

/* The first guest byte that the layer's own tables can't be read for; its end if there is none. */
static int find_damage(struct plan_walk *w, struct layer *layer, uint64_t *guest_off)
{
	for (*guest_off = 0; *guest_off < layer->guest_len;) {
		struct extent e;
		int rc;

		PLAN_WALK_NOW(
			w, rc,
			layer_map(layer, *guest_off, layer->guest_len - *guest_off, &e, &need));
		if (rc)
			return rc;
		*guest_off += e.len;
	}
	return 0;
}

static int tell_damage(struct plan_walk *w, struct err *err)
{
	const struct chain *chain = w->chain;
	uint64_t guest_off;
	struct shown shown;

	for (unsigned i = 0; i < chain->n_layers; i++) {
		struct layer *layer = chain->layers[i];

		if (find_damage(w, layer, &guest_off) != -EUCLEAN)
			continue;
		if (!i)
			return 0; /* begin_writing finds and describes all damage of the overlay */
		return err_set(err, -EUCLEAN,
			       "%s: damaged: a table entry for guest offset %#" PRIx64
			       ", which the image above reads, points where it must not; nothing "
			       "was changed: see blockpull check, or restore it from a copy",
			       file_show(layer->file, &shown), guest_off);
	}
	return 0;
}

int damage_refuse_sharing(struct bpull_disk *disk, struct err *err)
{
	struct plan_walk w = plan_walk_of(disk);
	int rc = disk->since_opened.sharing_checked ? 0 : damage_refuse_sharing_from(&w, 0, err);

	disk->since_opened.sharing_checked = !rc;
	return rc;
}

/* begin_writing may mend tables; those of the others are wanted later, one by one, and are soon
 * read again where they are no source's. */
static void forget_tables_of(struct plan_walk *w)
{
	for (unsigned i = 0; i < w->chain->n_layers; i++)
		if (!w->chain->layers[i]->file->is_source)
			table_cache_drop_clean(w->cache, w->chain->layers[i]->file);
}

/* rc is what mapping all that is to be copied came to: says whose damage it met, or looks for what
 * mapping does not meet. */
static int judge_walk(struct plan_walk *w, int rc, struct err *err)
{
	struct shown shown;

	if (rc == -EUCLEAN) {
		*err = (struct err){ 0 };
		rc = tell_damage(w, err);
	} else if (!rc) {
		rc = check_packed(w, err);
	}
	if (rc && !err->message[0])
		err_errno(err, rc, "%s: its chain cannot be read; nothing was changed",
			  file_show(w->chain->layers[0]->file, &shown));
	return rc;
}

int damage_refuse(struct plan_walk *w, struct err *err)
{
	const struct chain *chain = w->chain;
	struct layer *overlay = chain->layers[0];
	bool has_tables = false;
	int rc;

	/* Layers below the base count too: the rest of a cluster that is held in part comes from
	 * there. */
	for (unsigned i = 1; i < chain->n_layers; i++)
		has_tables |= layer_can_check(chain->layers[i]);
	if (!has_tables)
		return 0;
	rc = damage_refuse_sharing_from(w, 1, err);
	if (!rc) {
		rc = layer_begin_measuring(overlay, err);
		if (w->left)
			left_begin(w->left, overlay->backed_len);
		if (!rc)
			rc = plan_walk_run(w, map_action);
		if (!rc && w->left)
			w->left->is_counted = true;
		overlay->tables_wanted = rc ? 0 : w->n_tables;
		rc = judge_walk(w, rc, err);
	}
	forget_tables_of(w);
	return rc;
}

/* A walk looks at each table once, and new memory costs more than reading one again. The budget
 * stays where other threads want their tables meanwhile. */
static size_t begin_small(struct bpull_disk *disk)
{
	size_t budget = table_cache_budget(disk->engine->cache);

	if (!disk->engine->thread.is_on)
		table_cache_set_budget(disk->engine->cache, MIN(budget, (size_t)(2 * MiB)));
	return budget;
}

int damage_refuse_job(struct bpull_disk *disk, struct err *err)
{
	struct plan_walk w = plan_walk_of(disk);
	size_t budget = begin_small(disk);
	int rc;

	w.left = &disk->job.left;
	rc = damage_refuse(&w, err);
	table_cache_set_budget(disk->engine->cache, budget);
	return rc;
}

/* ---- a commit ---- */

/* What begin_writing() refuses, without a change. */
static int audit_layer(struct layer *layer, struct err *err)
{
	uint64_t end_off;
	int rc;

	if (!layer_can_check(layer) || !layer_has_tables(layer))
		return 0;
	rc = layer_begin_measuring(layer, err);
	return rc ? rc : layer_measure(layer, 0, 0, &end_off, err);
}

/* All that the layers [from, to) hold goes down, whatever is above it. */
static int map_down(struct plan_walk *w, unsigned from, unsigned to, uint64_t end)
{
	struct extent e;

	for (uint64_t at = 0; at < end; at += e.len) {
		int rc;

		PLAN_WALK_NOW(w, rc,
			      chain_map_between(w->chain, from, to, at, end - at, &e, &need));
		if (rc)
			return rc;
		if (e.kind == EXTENT_COMPRESSED)
			w->has_packed[e.depth] = true;
	}
	return 0;
}

static int look_down(struct plan_walk *w, unsigned from, unsigned to, struct err *err)
{
	const struct layer *overlay = w->chain->layers[0];
	uint64_t end = from ? overlay->backed_len : overlay->guest_len;

	return judge_walk(w, map_down(w, from, to, end), err);
}

int damage_refuse_down(struct bpull_disk *disk, unsigned from, unsigned to, bool is_start,
		       struct err *err)
{
	struct plan_walk w = plan_walk_of(disk);
	size_t budget = begin_small(disk);
	int rc = from && is_start ? 0 : audit_layer(disk_overlay(disk), err);

	if (!rc && !is_start)
		rc = audit_layer(disk->chain->layers[to], err);
	if (!rc)
		rc = damage_refuse_sharing_from(&w, 1, err);
	if (!rc)
		rc = look_down(&w, from, to, err);
	forget_tables_of(&w);
	table_cache_set_budget(disk->engine->cache, budget);
	return rc;
}
