/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Images at rest: map, info, check and repair. Offline and blocking, with a small
 * table cache and no ring: an engine for a look at a header was rejected.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "formats/chain/layer_set.h"
#include "engine/args.h"
#include "engine/engine.h"
#include "io/base.h"
#include "io/blocking.h"

#define INSPECT_CACHE_LEN (16 * MiB)

/* ---- map ---- */

struct bpull_extent extent_export(const struct chain *chain, const struct extent *e)
{
	struct bpull_extent out = {
		.start = e->guest_off,
		.length = e->len,
		.depth = e->depth,
		.present = e->kind != EXTENT_UNALLOCATED && e->depth < chain->n_layers,
		.zero = e->kind == EXTENT_ZERO || e->kind == EXTENT_UNALLOCATED,
		.data = e->kind == EXTENT_DATA || e->kind == EXTENT_COMPRESSED,
		.compressed = e->kind == EXTENT_COMPRESSED,
		.has_offset = e->has_host && e->kind != EXTENT_COMPRESSED,
	};

	if (!out.present)
		out.depth = e->deepest;
	if (out.has_offset)
		out.offset = e->host_off;
	return out;
}

bool extent_merge(struct bpull_extent *last, const struct bpull_extent *next)
{
	if (last->depth != next->depth || last->present != next->present ||
	    last->zero != next->zero || last->data != next->data ||
	    last->compressed != next->compressed || last->has_offset != next->has_offset)
		return false;
	if (last->has_offset && last->offset + last->length != next->offset)
		return false;
	last->length += next->length;
	return true;
}

static int ask(struct bpull_disk *disk, uint64_t guest_off, struct extent *e,
	       struct table_need *need)
{
	struct layer *top = disk_overlay(disk);
	uint64_t len = top->guest_len - guest_off;

	if (!(disk->flags & BPULL_DISK_NO_BACKING))
		return chain_map(disk->chain, 0, guest_off, len, e, need);
	e->depth = 0;
	return top->ops->map(top, guest_off, len, e, need);
}

static int map_at(struct bpull_disk *disk, uint64_t guest_off, struct extent *e)
{
	struct table_need need;
	int rc;

	while ((rc = ask(disk, guest_off, e, &need)) == TABLE_NEED) {
		rc = table_load_now(disk->engine->cache, &need);
		if (rc == -EALREADY) { /* a job's own load of it is on its way */
			engine_wait_round(disk->engine, UINT64_MAX);
		} else if (rc) {
			return rc;
		}
	}
	return rc;
}

static int map_all(struct bpull_disk *disk, uint64_t start, struct bpull_extent *extents, int max,
		   struct err *err)
{
	uint64_t guest_len = disk_overlay(disk)->guest_len;
	int n = 0, rc = measure_sharing(disk, err);
	struct shown shown;

	while (!rc && start < guest_len) {
		struct bpull_extent next;
		struct extent e;

		rc = map_at(disk, start, &e);
		if (rc)
			return err_set(err, rc, "%s: cannot map the disk at guest offset %#llx: %s",
				       file_show(disk_overlay(disk)->file, &shown),
				       (unsigned long long)start,
				       rc == -EUCLEAN ? "a table entry points outside its file"
						      : strerror(-rc));
		next = extent_export(disk->chain, &e);
		start += e.len;
		if (n && extent_merge(&extents[n - 1], &next))
			continue;
		if (n == max)
			break;
		extents[n++] = next;
		blocking_pause();
	}
	return rc ? rc : n;
}

int bpull_disk_map(struct bpull_disk *disk, uint64_t start, struct bpull_extent *extents, int max,
		   struct bpull_error *error)
{
	DISK_SCOPE(disk);
	struct engine_yields yields;
	struct err err = { 0 };
	int n;

	error_begin(error);
	if (is_missing(disk, "disk", error) || is_missing(extents, "extents", error))
		return -EINVAL;
	if (max <= 0)
		return error_fill(error, -EINVAL, "no room for an extent");
	/* One that maps again and again must not keep layers from being dropped. */
	while (disk->starting || (disk->guests.dropping && disk->engine->thread.is_on))
		engine_wait_round(disk->engine, UINT64_MAX);
	disk->n_walking++;
	engine_yields_begin(&yields, disk->engine);
	n = map_all(disk, start, extents, max, &err);
	engine_yields_end(&yields);
	disk->n_walking--;
	engine_again(disk->engine); /* a job may wait to drop layers */
	return n < 0 ? error_export(&err, error) : n;
}

/* ---- a chain without an engine ---- */

void look_close(struct look *look)
{
	if (look->chain)
		chain_close(look->chain, NULL, NULL);
	if (look->layers)
		layer_set_free(look->layers);
	if (look->cache)
		table_cache_free(look->cache);
}

int look_open(struct look *look, const char *path, const struct bpull_disk_options *o,
	      enum look_at at, struct err *err)
{
	struct path_policy policy = { 0 };
	struct chain_open how = options_chain(o, path, &policy);
	int rc;

	*look = (struct look){ .cache = table_cache_new(INSPECT_CACHE_LEN) };
	look->layers = look->cache ? layer_set_new(file_opener_posix(), look->cache) : NULL;
	if (!look->layers) {
		look_close(look);
		return err_set(err, -ENOMEM, "out of memory");
	}
	how.allow_unreadable = at == LOOK_AT_HEADERS;
	how.write = how.for_repair = at == LOOK_FOR_REPAIR;
	rc = policy_build(o, path, &policy, err);
	if (!rc) {
		rc = told_open_chain(look->layers, o, &how, &look->chain, err);
		policy_free(&policy);
	}
	if (rc)
		look_close(look);
	return rc;
}

/* ---- info ---- */

struct bpull_info {
	struct look look;
};

int bpull_info_open(const char *path, const struct bpull_disk_options *options,
		    struct bpull_info **out, struct bpull_error *error)
{
	struct bpull_disk_options o;
	struct err err = { 0 };
	struct bpull_info *info;
	int rc;

	error_begin(error);
	if (is_missing(path, "path", error) || is_missing(out, "info", error))
		return -EINVAL;
	rc = options_take(OPEN_INFO, options, &o, error);
	if (rc)
		return rc;
	info = calloc(1, sizeof(*info));
	if (!info)
		return error_fill(error, -ENOMEM, "out of memory");
	rc = look_open(&info->look, path, &o, LOOK_AT_HEADERS, &err);
	if (rc) {
		free(info);
		return error_export(&err, error);
	}
	if (o.opened)
		o.opened(o.user_data);
	*out = info;
	return 0;
}

unsigned bpull_info_depth(const struct bpull_info *info)
{
	return info ? info->look.chain->n_layers : 0;
}

static const char *backing_format_name(const struct layer *layer)
{
	if (layer->backing_format != IMAGE_UNKNOWN)
		return format_name(layer->backing_format);
	return layer->backing_format_name[0] ? layer->backing_format_name : NULL;
}

static enum bpull_format_from backing_format_from(const struct chain *chain, unsigned i)
{
	static const enum bpull_format_from as[] = {
		[CHAIN_FORMAT_RECORDED] = BPULL_FORMAT_RECORDED,
		[CHAIN_FORMAT_TOLD] = BPULL_FORMAT_TOLD,
		[CHAIN_FORMAT_PROBED] = BPULL_FORMAT_PROBED,
	};
	const struct layer *layer = chain->layers[i];

	if (!layer->has_backing)
		return BPULL_FORMAT_NOT_KNOWN;
	if (i + 1 < chain->n_layers)
		return as[chain->format_from[i + 1]];
	if (backing_format_name(layer))
		return BPULL_FORMAT_RECORDED;
	return layer->probe_backing ? BPULL_FORMAT_PROBED : BPULL_FORMAT_NOT_KNOWN;
}

static uint64_t allocated_len(const struct file *file)
{
	struct stat st;

	return file->fd >= 0 && !fstat(file->fd, &st) ? (uint64_t)st.st_blocks * 512 : file->len;
}

int bpull_info_layer(const struct bpull_info *info, unsigned i, struct bpull_layer_info *out)
{
	const struct chain *chain;
	struct bpull_layer_info described;
	const struct layer *layer;
	struct layer_info more = { 0 };

	if (i >= bpull_info_depth(info) ||
	    is_unfit(out, "layer", RESULT_FIRST_LEN(struct bpull_layer_info, unwritable_remedy),
		     NULL))
		return -EINVAL;
	chain = info->look.chain;
	layer = chain->layers[i];
	if (layer->ops->describe)
		layer->ops->describe(layer, &more);
	described = (struct bpull_layer_info){
		.path = layer->file->name,
		.format = (enum bpull_format)layer->ops->format,
		.virtual_size = layer->guest_len,
		.file_size = layer->file->len,
		.disk_size = allocated_len(layer->file),
		.cluster_size = layer->cluster_len,
		.backing_name = layer->has_backing ? layer->backing_name : NULL,
		.backing_format = layer->has_backing ? backing_format_name(layer) : NULL,
		.version = more.version,
		.refcount_bits = more.refcount_bits,
		.table_size = more.table_clusters,
		.n_snapshots = more.n_snapshots,
		.compression = more.compression,
		.encryption = more.encryption,
		.dirty = more.dirty,
		.corrupt = more.corrupt,
		.lazy_refcounts = more.lazy_refcounts,
		.extended_l2 = more.extended_l2,
		.has_data_file = more.has_data_file,
		.has_bitmaps = more.has_bitmaps,
		.unreadable = layer->unreadable.code ? layer->unreadable.why : NULL,
		.unwritable = layer->unreadable.code   ? layer->unreadable.why
			      : layer->unwritable.code ? layer->unwritable.why
						       : NULL,
		.data_file = more.data_file,
		.data_file_raw = more.data_file_raw,
		.mixed = layer->is_mixed,
		.backing_format_from = backing_format_from(chain, i),
		.unwritable_remedy = (enum bpull_remedy)layer->unwritable.remedy,
	};
	if (i + 1 < chain->n_layers)
		described.backing_opened_as = (enum bpull_format)chain->layers[i + 1]->ops->format;
	result_export(out, &described, sizeof(described));
	return 0;
}

void bpull_info_close(struct bpull_info *info)
{
	if (!info)
		return;
	look_close(&info->look);
	free(info);
}

/* ---- check ---- */

struct reporter {
	void (*report)(void *opaque, int is_leak, const char *text);
	void *opaque;
};

static void report(void *opaque, bool is_leak, const char *text)
{
	struct reporter *r = opaque;

	r->report(r->opaque, is_leak, text);
}

/* Checks, or checks, repairs and checks again. */
static int check_or_repair(struct layer *layer, const struct bpull_check_options *o,
			   struct repair *repair, struct err *err)
{
	int rc;

	if (o->repair != BPULL_REPAIR_NONE)
		return layer->ops->repair(layer, repair, err);
	rc = layer->ops->check(layer, &repair->found, err);
	repair->left = repair->found;
	return rc;
}

static uint64_t n_fixed(uint64_t before, uint64_t after)
{
	return before > after ? before - after : 0;
}

static int check_layer(struct layer *layer, const struct bpull_check_options *o,
		       struct bpull_check_result *out, struct err *err)
{
	struct reporter r = { o->report, o->opaque };
	struct repair repair = {
		.all = o->repair == BPULL_REPAIR_ALL,
		.found = { .report = o->report ? report : NULL,
			   .opaque = &r,
			   .max_reports = o->max_reports ? o->max_reports : 100 },
	};
	const struct check_result *left = &repair.left;
	struct shown shown;
	int rc;

	if (!layer->ops->check)
		return err_set(err, -ENOTSUP, "%s: a raw image has nothing to check",
			       file_show(layer->file, &shown));
	rc = layer_refuse(layer, &layer->uncheckable, err);
	if (!rc)
		rc = check_or_repair(layer, o, &repair, err);
	if (rc)
		return rc;
	*out = (struct bpull_check_result){
		.format = (enum bpull_format)layer->ops->format,
		.n_corruptions = left->n_errors,
		.n_leaks = left->n_leaks,
		.n_check_errors = left->n_check_errors,
		.n_allocated_clusters = left->n_allocated_clusters,
		.n_compressed_clusters = left->n_compressed_clusters,
		.n_zero_clusters = left->n_zero_clusters,
		.n_total_clusters = left->n_total_clusters,
		.image_end_offset = left->image_end_off,
		.n_corruptions_fixed = n_fixed(repair.found.n_errors, left->n_errors),
		.n_leaks_fixed = n_fixed(repair.found.n_leaks, left->n_leaks),
		.marks_cleared = repair.was_marked,
		.mixed = layer->is_mixed,
	};
	memcpy(out->unrepaired, repair.why, sizeof(repair.why));
	/* What came after a repair is not reported one by one. */
	if (o->repair && left->n_check_errors && !repair.why[0])
		snprintf(out->unrepaired, sizeof(out->unrepaired), "what is left is not known: %s",
			 left->incomplete);
	return 0;
}

int bpull_check(const char *path, const struct bpull_check_options *options,
		struct bpull_check_result *result, struct bpull_error *error)
{
	struct bpull_disk_options disk = { .flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING };
	struct bpull_check_options o;
	struct err err = { 0 };
	struct bpull_check_result checked = { 0 };
	struct look look;
	int rc;

	error_begin(error);
	if (is_missing(path, "path", error) ||
	    is_unfit(result, "result", RESULT_FIRST_LEN(struct bpull_check_result, mixed), error))
		return -EINVAL;
	if (!options_import(&o, sizeof(o), options) || o.format > BPULL_FORMAT_QED ||
	    o.repair > BPULL_REPAIR_ALL)
		return error_fill(error, -EINVAL, "unknown check options");
	if (open_flags_check(o.repair ? OPEN_REPAIR : OPEN_CHECK, o.flags, &err))
		return error_export(&err, error);
	disk.size = sizeof(disk);
	disk.flags |= o.flags;
	disk.format = o.format;
	rc = look_open(&look, path, &disk, o.repair ? LOOK_FOR_REPAIR : LOOK_AT_HEADERS, &err);
	if (rc)
		return error_export(&err, error);
	if (o.opened)
		o.opened(o.opaque);
	rc = check_layer(look.chain->layers[0], &o, &checked, &err);
	look_close(&look);
	if (rc)
		return error_export(&err, error);
	result_export(result, &checked, sizeof(checked));
	return 0;
}
