/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How much space a pull needs, before it begins: the clusters it may copy are
 * counted by walking the mappings as the cursor will, and the format says how
 * far the image reaches when all of them and their tables are taken.
 *
 * It is an upper bound: clusters of data that hold nothing but zeros are left
 * out by the pull, and only reading them would tell. Reading them here was
 * rejected: it would cost as much as the pull.
 *
 * A walk of the same kind finds the tables of lower layers that would end the
 * pull half way (measure_damage); what is in them only decoding can tell.
 */
#include "engine/job/measure.h"

#include <errno.h>
#include <inttypes.h>

#include "engine/blockpull.h"
#include "engine/copy/plan.h"
#include "engine/core/disk.h"
#include "engine/job/round.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_tables.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/blocking.h"
#include "io/err.h"
#include "io/file.h"

static struct walk walk_of(const struct bpull_disk *disk)
{
	return (struct walk){ .chain = disk->chain,
			      .cache = disk->engine->cache,
			      .engine = disk->engine };
}

static int load(struct walk *w, struct table_need *need)
{
	int rc = table_load_now(w->cache, need);

	if (rc != -EALREADY || !w->engine)
		return rc;
	engine_wait_round(w->engine, UINT64_MAX); /* another operation is loading it */
	return 0;
}

/* Calls the step until the tables it wants are there. */
#define NOW(w, rc, call)                                \
	do {                                            \
		struct table_need need;                 \
		blocking_pause();                       \
		while (((rc) = (call)) == TABLE_NEED) { \
			(rc) = load((w), &need);        \
			if (rc)                         \
				break;                  \
		}                                       \
	} while (0)

/* Counts the tables for the clusters at [guest_off, end). */
static int count_tables(struct walk *w, uint64_t guest_off, uint64_t end)
{
	struct layer *overlay = w->chain->layers[0];

	for (uint64_t at = MAX(guest_off, w->table_end_off); at < end; at = w->table_end_off) {
		uint64_t table_end;
		bool has;
		int rc;

		NOW(w, rc, layer_has_table(overlay, at, &has, &table_end, &need));
		if (rc)
			return rc;
		w->n_tables += !has;
		w->table_end_off = table_end;
	}
	return 0;
}

static int count(struct walk *w, uint64_t guest_off, uint64_t end)
{
	const struct layer *overlay = w->chain->layers[0];

	w->n_data += div_round_up(end - guest_off, overlay->cluster_len);
	w->copy_bytes += end - guest_off;
	w->copy_end_off = round_up(end, overlay->cluster_len);
	return count_tables(w, guest_off, end);
}

/* Looks at what the pull would copy from a cluster's beginning on. Counts whole clusters that it
 * copies; passes a cluster that is known to read as zeros. *end: where to look next. */
static int count_copy(struct walk *w, uint64_t guest_off, uint64_t limit, uint64_t *end)
{
	uint32_t cluster_len = w->chain->layers[0]->cluster_len;
	uint64_t cluster_end = MIN(limit, round_down(guest_off, cluster_len) + cluster_len);

	/* Above a base that stays, zeros may have to be written, too. */
	if (w->chain->pull_to < w->chain->n_layers) {
		*end = cluster_end;
		return count(w, guest_off, *end);
	}
	for (uint64_t at = guest_off; at < cluster_end;) {
		struct extent e;
		int rc;

		NOW(w, rc, chain_map(w->chain, 1, at, limit - at, &e, &need));
		if (rc)
			return rc;
		at += e.len;
		if (e.kind == EXTENT_ZERO)
			continue;
		*end = MIN(limit, round_up(at, cluster_len));
		return count(w, guest_off, *end);
	}
	*end = cluster_end;
	return 0;
}

/* Calls the visitor for what the cursor would copy or give an entry. It may set *end, where to look
 * next. */
static int walk_plan(struct walk *w,
		     int (*visit)(struct walk *w, enum plan_action action, uint64_t guest_off,
				  uint64_t limit, uint64_t *end))
{
	uint64_t backed_len = w->chain->layers[0]->backed_len, end;

	for (uint64_t at = 0; at < backed_len; at = end) {
		enum plan_action action;
		uint64_t len;
		int rc;

		NOW(w, rc, plan_next(w->chain, at, backed_len, &action, &len, &need));
		end = at + len;
		if (!rc)
			rc = visit(w, action, at, at + len, &end);
		if (rc)
			return rc;
	}
	return 0;
}

static int count_action(struct walk *w, enum plan_action action, uint64_t guest_off, uint64_t limit,
			uint64_t *end)
{
	switch (action) {
	case PLAN_COPY: return count_copy(w, guest_off, limit, end);
	case PLAN_ZERO: return count_tables(w, guest_off, limit);
	case PLAN_PRESENT:
	case PLAN_SKIP: break;
	}
	return 0;
}

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
static int check_sharing(struct walk *w, unsigned depth, struct err *err)
{
	const struct layer *layer = w->chain->layers[depth]; /* may be gone in the loop */
	uint64_t max = layer->file->len / layer->cluster_len + 1, n = 0, end;
	struct shown shown;
	const char *name = file_show(layer->file, &shown);

	for (uint64_t at = 0; at < UINT64_MAX; at = end) {
		bool has;
		int rc;

		NOW(w, rc, table_at(w->chain, depth, at, &has, &end, &need));
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

static int check_all_sharing(struct walk *w, unsigned from, struct err *err)
{
	int rc = 0;

	for (unsigned i = from; !rc && i < w->chain->n_layers; i++)
		rc = check_sharing(w, i, err);
	return rc;
}

/* Whole clusters are written, each at the guest's own offset, but for what lies behind the ends of
 * both disk and file. */
static void measure_data_file(const struct walk *w, struct bpull_measure *out)
{
	const struct layer *overlay = w->chain->layers[0];
	uint64_t len = overlay->data->len, end = MIN(w->copy_end_off, MAX(len, overlay->guest_len));

	out->has_data_file = true;
	out->data_is_device = overlay->data->is_block;
	out->data_file_size = len;
	out->data_needed_size = out->data_is_device ? end : MAX(end, len);
	if (end > len)
		*(out->data_is_device ? &out->data_missing : &out->data_growth) = end - len;
}

int measure_walk(struct walk *w, struct bpull_measure *out, struct err *err)
{
	struct layer *overlay = w->chain->layers[0];
	struct shown shown;
	int rc;

	*out = (struct bpull_measure){
		.guest_size = overlay->guest_len,
		.file_size = overlay->file->len,
		.needed_size = overlay->file->len,
		.is_device = overlay->file->is_block,
		.has_backing = overlay->has_backing,
	};
	if (overlay->data != overlay->file)
		measure_data_file(w, out);
	if (!overlay->has_backing)
		return 0;
	rc = check_all_sharing(w, 0, err);
	if (!rc)
		rc = layer_begin_measuring(overlay, err);
	if (rc)
		return rc;
	rc = walk_plan(w, count_action);
	if (rc)
		return err_errno(err, rc, "%s: cannot map the disk",
				 file_show(overlay->file, &shown));
	out->copy_bytes = w->copy_bytes;
	if (out->has_data_file)
		measure_data_file(w, out);
	rc = layer_measure(overlay, w->n_data, w->n_tables, &out->needed_size, err);
	if (rc)
		return rc;
	if (!out->is_device) {
		out->needed_size = MAX(out->needed_size, out->file_size);
		out->growth = out->needed_size - out->file_size;
	} else if (out->needed_size > out->file_size) {
		out->missing = out->needed_size - out->file_size;
	}
	return 0;
}

static int too_small(const struct file *device, uint64_t needed, uint64_t missing, struct err *err)
{
	struct shown shown;

	return err_set(err, -ENOSPC,
		       "%s: the device is too small: a pull needs up to %" PRIu64 " bytes, %" PRIu64
		       " are available, %" PRIu64 " are missing; nothing was changed: enlarge it",
		       file_show(device, &shown), needed, device->len, missing);
}

int measure_device(struct bpull_disk *disk, uint64_t spare_len, struct err *err)
{
	struct walk w = walk_of(disk);
	struct layer *overlay = disk_overlay(disk);
	struct bpull_measure m;
	int rc;

	w.n_data = div_round_up(spare_len, overlay->cluster_len);
	rc = measure_walk(&w, &m, err);
	/* begin_writing may mend tables. */
	table_cache_drop_clean(disk->engine->cache, overlay->file);
	if (rc == -EUCLEAN) {
		*err = (struct err){ 0 };
		return 0; /* begin_writing finds and describes all damage */
	}
	if (!rc && m.missing)
		rc = too_small(overlay->file, m.needed_size, m.missing, err);
	else if (!rc && m.data_missing)
		rc = too_small(overlay->data, m.data_needed_size, m.data_missing, err);
	return rc;
}

/* Of the base that stays only what completes a cluster is read: whole clusters are left to it. */
static bool is_left_to_base(const struct walk *w, const struct extent *e, uint64_t guest_off)
{
	uint32_t cluster_len = w->chain->layers[0]->cluster_len;

	return e->depth >= w->chain->pull_to && is_aligned(guest_off, cluster_len) &&
	       is_aligned(guest_off + e->len, cluster_len);
}

/* Maps every byte of what is to be copied: counting clusters looks no further than each one's first
 * data. */
static int map_action(struct walk *w, enum plan_action action, uint64_t guest_off, uint64_t limit,
		      uint64_t *end)
{
	struct extent e;

	for (uint64_t at = guest_off; action == PLAN_COPY && at < limit; at += e.len) {
		int rc;

		NOW(w, rc, chain_map(w->chain, 1, at, limit - at, &e, &need));
		if (!rc && e.kind != EXTENT_ZERO)
			rc = count_tables(w, at, at + e.len);
		if (rc)
			return rc;
		if (e.kind == EXTENT_COMPRESSED && !is_left_to_base(w, &e, at))
			w->has_packed[e.depth] = true;
	}
	return 0;
}

/* Compressed data that lies inside another guest cluster (QEMU 7.2 puts it there after a discard)
 * maps well, and one of the two is overwritten: only a look at the whole layer tells. */
static int check_packed(struct walk *w, struct err *err)
{
	for (unsigned i = 1; i < w->chain->n_layers; i++) {
		struct layer *layer = w->chain->layers[i];
		struct check_result found = { 0 };
		struct shown shown;
		int rc = 0;

		blocking_begin(); /* a lower layer never changes */
		if (w->has_packed[i])
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
				       "(compressed data inside them, or tables); nothing was "
				       "changed: see blockpull check, or restore it from a copy",
				       file_show(layer->file, &shown), found.n_overlaps);
	}
	return 0;
}

/* The first guest byte that the layer's own tables can't be read for; its end if there is none. */
static int find_damage(struct walk *w, struct layer *layer, uint64_t *guest_off)
{
	for (*guest_off = 0; *guest_off < layer->guest_len;) {
		struct extent e;
		int rc;

		NOW(w, rc, layer_map(layer, *guest_off, layer->guest_len - *guest_off, &e, &need));
		if (rc)
			return rc;
		*guest_off += e.len;
	}
	return 0;
}

static int tell_damage(struct walk *w, struct err *err)
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

int measure_sharing(struct bpull_disk *disk, struct err *err)
{
	struct walk w = walk_of(disk);
	int rc = disk->sharing_checked ? 0 : check_all_sharing(&w, 0, err);

	disk->sharing_checked = !rc;
	return rc;
}

int measure_refuse_damage(struct walk *w, struct err *err)
{
	const struct chain *chain = w->chain;
	struct layer *overlay = chain->layers[0];
	struct shown shown;
	bool has_tables = false;
	int rc;

	/* Layers below the base count too: the rest of a cluster that is held in part comes from
	 * there. */
	for (unsigned i = 1; i < chain->n_layers; i++)
		has_tables |= layer_can_check(chain->layers[i]);
	if (!has_tables)
		return 0;
	rc = check_all_sharing(w, 1, err);
	if (!rc) {
		rc = layer_begin_measuring(overlay, err);
		if (!rc)
			rc = walk_plan(w, map_action);
		overlay->tables_wanted = rc ? 0 : w->n_tables;
		if (rc == -EUCLEAN) {
			*err = (struct err){ 0 };
			rc = tell_damage(w, err);
		} else if (!rc) {
			rc = check_packed(w, err);
		}
	}
	if (rc && !err->message[0])
		err_errno(err, rc, "%s: its chain cannot be read; nothing was changed",
			  file_show(overlay->file, &shown));
	/* begin_writing may mend tables; those of the others are wanted later, one by one. */
	for (unsigned i = 0; i < chain->n_layers; i++)
		table_cache_drop_clean(w->cache, chain->layers[i]->file);
	return rc;
}

int measure_damage(struct bpull_disk *disk, struct err *err)
{
	struct walk w = walk_of(disk);
	size_t budget = table_cache_budget(disk->engine->cache);
	int rc;

	/* This walk looks at each table once, and new memory costs more than reading one again. The
	 * budget stays where other threads want their tables meanwhile. */
	if (!disk->engine->thread.is_on)
		table_cache_set_budget(disk->engine->cache, MIN(budget, (size_t)(2 * MiB)));
	rc = measure_refuse_damage(&w, err);
	table_cache_set_budget(disk->engine->cache, budget);
	return rc;
}

int measure_refuse_read_only(const struct layer *overlay, struct err *err)
{
	const struct file *file = overlay->file->read_only ? overlay->file : overlay->data;

	if (!file->read_only)
		return 0;
	return medium_refuse(file->name, file->real_name, file->is_block, err);
}
