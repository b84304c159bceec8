/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How much space a pull needs, before it begins: the clusters it may copy are
 * counted by walking the mappings as the cursor will, and the format says how
 * far the image reaches when all of them and their tables are taken.
 *
 * It is an upper bound: clusters of data that hold nothing but zeros are left
 * out by the pull, and only reading them would tell. Reading them here was
 * rejected: it would cost as much as the pull.
 */
#include "engine/job/ahead/measure.h"

#include <errno.h>
#include <inttypes.h>

#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/job/ahead/damage.h"
#include "engine/job/ahead/plan_walk.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/layer_tables.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/medium.h"

static int count(struct plan_walk *w, uint64_t guest_off, uint64_t end)
{
	const struct layer *overlay = w->chain->layers[0];

	w->n_data += div_round_up(end - guest_off, overlay->cluster_len);
	w->copy_bytes += end - guest_off;
	w->copy_end_off = round_up(end, overlay->cluster_len);
	return plan_walk_count_tables(w, guest_off, end);
}

/* Looks at what the pull would copy from a cluster's beginning on. Counts whole clusters that it
 * copies; passes a cluster that is known to read as zeros. *end: where to look next. */
static int count_copy(struct plan_walk *w, uint64_t guest_off, uint64_t limit, uint64_t *end)
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

		PLAN_WALK_NOW(w, rc, chain_map(w->chain, 1, at, limit - at, &e, &need));
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

static int count_action(struct plan_walk *w, enum plan_action action, uint64_t guest_off,
			uint64_t limit, uint64_t *end)
{
	switch (action) {
	case PLAN_COPY: return count_copy(w, guest_off, limit, end);
	case PLAN_ZERO: return plan_walk_count_tables(w, guest_off, limit);
	case PLAN_PRESENT:
	case PLAN_SKIP: break;
	}
	return 0;
}

/* Whole clusters are written, each at the guest's own offset, but for what lies behind the ends of
 * both disk and file. */
static void measure_data_file(const struct plan_walk *w, struct bpull_measure *out)
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

int measure_walk(struct plan_walk *w, struct bpull_measure *out, struct err *err)
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
	rc = damage_refuse_sharing_from(w, 0, err);
	if (!rc)
		rc = layer_begin_measuring(overlay, err);
	if (rc)
		return rc;
	rc = plan_walk_run(w, count_action);
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
	struct plan_walk w = plan_walk_of(disk);
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

int measure_refuse_read_only(const struct layer *overlay, struct err *err)
{
	const struct file *file = overlay->file->read_only ? overlay->file : overlay->data;

	if (!file->read_only)
		return 0;
	return medium_refuse(file->name, file->real_name, file->is_block, err);
}
