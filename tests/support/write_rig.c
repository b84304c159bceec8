/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See write_rig.h. The cache's budget is tiny, so that eviction and TABLE_NEED
 * happen all the time. A table is loaded at most LOADS_MAX times for one call:
 * more would be a call that loses one table over the next, for ever.
 */
#include "tests/support/write_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "formats/chain/open.h"
#include "io/base.h"
#include "tests/support/mem_file.h"

#define RIG_CACHE_LEN 4096
/* What a run touches in the tables of several disks must fit. */
#define RIG_SNAPSHOT_CACHE_LEN (256 * KiB)
#define LOADS_MAX              2000
#define SETTLE_MAX             12 /* commits that closing may take */

static uint64_t rng;

void write_rig_seed(uint64_t seed)
{
	rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	for (int i = 0; i < 8; i++)
		write_rig_roll(2);
}

uint64_t write_rig_roll(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng >> 11) % below;
}

/* Runs a call of the format's until it needs no further table. */
#define LOADING(rig, call)                                                                 \
	({                                                                                 \
		struct table_need need;                                                    \
		int loading_rc, loading_n = 0;                                             \
		while ((loading_rc = (call)) == TABLE_NEED) {                              \
			cr_assert_lt(loading_n++, LOADS_MAX, "%s: for ever", #call);       \
			cr_assert_eq(table_load_now((rig)->cache, &need), 0, "%s", #call); \
		}                                                                          \
		loading_rc;                                                                \
	})

#define WELL(rig, call)                                                        \
	({                                                                     \
		int well_rc = LOADING(rig, call);                              \
		cr_assert_eq(well_rc, 0, "%s: %s", #call, strerror(-well_rc)); \
	})

/* ---- reading ---- */

static int open_layer(struct file *file, struct file *data, struct table_cache *cache,
		      struct layer **out)
{
	enum image_format format;
	struct err err = { 0 };
	int rc = format_probe(file, &format, &err);

	if (!rc)
		rc = format_open(format, file, cache, out, &err);
	if (!rc && data)
		(*out)->data = data;
	return rc;
}

static void read_below(const uint8_t *below, uint64_t below_len, uint64_t off, uint8_t *buf,
		       uint64_t len)
{
	uint64_t n = off < below_len ? MIN(len, below_len - off) : 0;

	if (n)
		memcpy(buf, below + off, n);
	memset(buf + n, 0, len - n);
}

static int read_compressed(struct layer *layer, const struct extent *e, uint8_t *buf)
{
	autofree uint8_t *in = malloc(e->host_len), *out = malloc(layer->cluster_len);
	int rc = file_read_padded(layer->file, in, e->host_len, e->host_off);

	if (!rc)
		rc = layer->ops->decode(layer, in, e->host_len, out);
	if (!rc)
		memcpy(buf, out + e->skip, e->len);
	return rc;
}

static int read_layer(struct layer *layer, const uint8_t *below, uint64_t below_len, uint64_t off,
		      uint8_t *buf, uint64_t len)
{
	while (len) {
		struct extent e;
		int rc = layer_map_now(layer, off, len, &e);

		if (!rc && e.kind == EXTENT_DATA)
			rc = file_read_padded(layer->data, buf, e.len, e.host_off);
		else if (!rc && e.kind == EXTENT_COMPRESSED)
			rc = read_compressed(layer, &e, buf);
		else if (!rc && e.kind == EXTENT_ZERO)
			memset(buf, 0, e.len);
		else if (!rc)
			read_below(below, below_len, off, buf, e.len);
		if (rc)
			return rc;
		off += e.len;
		buf += e.len;
		len -= e.len;
	}
	return 0;
}

void write_rig_read(struct write_rig *rig, uint64_t off, uint8_t *buf, uint64_t len)
{
	uint64_t in_disk = off < rig->layer->guest_len ? MIN(len, rig->layer->guest_len - off) : 0;

	cr_assert_eq(read_layer(rig->layer, rig->below, rig->below_len, off, buf, in_disk), 0);
	memset(buf + in_disk, 0, len - in_disk);
}

void write_rig_assert_model(struct write_rig *rig)
{
	uint64_t len = rig->layer->guest_len;
	autofree uint8_t *buf = malloc(len);

	write_rig_read(rig, 0, buf, len);
	if (!memcmp(buf, rig->model, len))
		return;
	for (uint64_t i = 0; i < len; i++)
		cr_assert_eq(buf[i], rig->model[i], "guest byte %#" PRIx64 " is %02x, not %02x", i,
			     buf[i], rig->model[i]);
}

/* The header names the snapshot's L1 table, in a copy of the image. */
static struct file *as_disk(struct file *file, unsigned snapshot)
{
	const struct mem_inode *was = mem_file_inode(file);
	struct file *copy = mem_file_new("snapshot", was->len);
	uint8_t *bytes = mem_file_inode(copy)->bytes, *entry;

	memcpy(bytes, was->bytes, was->len);
	entry = bytes + be64(bytes + 64);
	while (--snapshot)
		entry += round_up(40u + be32(entry + 36) + be16(entry + 12) + be16(entry + 14), 8);
	memmove(bytes + 36, entry + 8, 4);
	memmove(bytes + 40, entry, 8);
	memset(bytes + 60, 0, 4);
	return copy;
}

int write_rig_read_fresh(struct file *file, struct file *data, unsigned snapshot,
			 const uint8_t *below, uint64_t below_len, uint8_t *out, uint64_t len)
{
	struct table_cache *cache = table_cache_new(RIG_CACHE_LEN);
	struct file *image = snapshot ? as_disk(file, snapshot) : file;
	struct layer *layer;
	int rc = open_layer(image, data, cache, &layer);

	if (!rc) {
		rc = read_layer(layer, below, below_len, 0, out, len);
		table_cache_forget(cache, image);
		layer_close(layer);
	}
	table_cache_free(cache);
	if (snapshot)
		file_close(image);
	return rc;
}

/* ---- checking ---- */

struct first_finding {
	char *why;
	size_t cap;
	bool is_leak;
};

static void note_finding(void *opaque, bool is_leak, const char *text)
{
	struct first_finding *first = opaque;

	if (!first->cap || (*first->why && (is_leak || !first->is_leak)))
		return;
	first->is_leak = is_leak;
	snprintf(first->why, first->cap, "%s%s", is_leak ? "leak: " : "", text);
}

int write_rig_check(struct file *file, uint64_t *n_leaks, char *why, size_t cap)
{
	struct table_cache *cache = table_cache_new(RIG_CACHE_LEN);
	struct first_finding first = { why, cap, false };
	struct check_result found = { .report = note_finding, .opaque = &first, .max_reports = 99 };
	struct layer *layer;
	int rc = open_layer(file, NULL, cache, &layer);

	if (cap)
		*why = 0;
	if (!rc) {
		rc = layer->ops->check(layer, &found, NULL);
		if (!rc && (found.n_errors || found.n_check_errors))
			rc = -EUCLEAN;
		table_cache_forget(cache, file);
		layer_close(layer);
	}
	*n_leaks = found.n_leaks;
	table_cache_free(cache);
	return rc;
}

int write_rig_reopens(struct file *file)
{
	struct table_cache *cache = table_cache_new(RIG_SNAPSHOT_CACHE_LEN);
	struct layer *layer;
	int rc = open_layer(file, NULL, cache, &layer);

	if (!rc) {
		rc = layer->ops->begin_writing(layer, NULL);
		table_cache_forget(cache, file);
		layer_close(layer);
	}
	table_cache_free(cache);
	return rc;
}

/* ---- life ---- */

void write_rig_open(struct write_rig *rig, struct file *file, struct file *data,
		    const uint8_t *below, uint64_t below_len)
{
	const uint8_t *header = mem_file_inode(file)->bytes;
	bool has_snapshots = header[0] == 'Q' && header[3] == 0xfb && be32(header + 60);
	struct err err = { 0 };
	int rc;

	*rig = (struct write_rig){ .file = file, .data = data, .below = below };
	rig->below_len = below_len;
	rig->auto_drain = true;
	rig->cache = table_cache_new(has_snapshots ? RIG_SNAPSHOT_CACHE_LEN : RIG_CACHE_LEN);
	rc = open_layer(file, data, rig->cache, &rig->layer);
	cr_assert_eq(rc, 0, "%s", strerror(-rc));
	rc = rig->layer->ops->begin_writing(rig->layer, &err);
	cr_assert_eq(rc, 0, "%s", err.message);
	if (rig->layer->ops->begin_guest_writes)
		rc = rig->layer->ops->begin_guest_writes(rig->layer, &err);
	cr_assert_eq(rc, 0, "%s", err.message);
	rig->model = malloc(rig->layer->guest_len);
	write_rig_read(rig, 0, rig->model, rig->layer->guest_len);
}

void write_rig_close(struct write_rig *rig)
{
	table_cache_forget(rig->cache, rig->file);
	layer_close(rig->layer);
	table_cache_free(rig->cache);
	free(rig->model);
}

/* ---- the guest ---- */

struct write_extent write_rig_look(struct write_rig *rig, uint64_t guest_off, uint64_t len)
{
	const struct layer *layer = rig->layer;
	struct write_extent e = { 0 };

	WELL(rig, layer->ops->map_write(rig->layer, guest_off, len, &e, &need));
	if (e.kind == WRITE_SHARED) {
		cr_assert(is_aligned(e.lock_off | e.lock_len, layer->cluster_len));
		cr_assert(e.lock_off <= guest_off && guest_off < e.lock_off + e.lock_len);
		return e;
	}
	cr_assert_eq(e.guest_off, guest_off);
	cr_assert(e.len && e.len <= len, "%" PRIu64 " of %" PRIu64, e.len, len);
	if (e.kind == WRITE_NEW)
		cr_assert(e.unit_len == layer->granule_len || e.unit_len == layer->cluster_len);
	return e;
}

struct extent write_rig_map(struct write_rig *rig, uint64_t guest_off, uint64_t len)
{
	struct extent e;

	cr_assert_eq(layer_map_now(rig->layer, guest_off, len, &e), 0);
	return e;
}

static void unshare(struct write_rig *rig, uint64_t guest_off)
{
	struct unshare state = { 0 };

	WELL(rig, rig->layer->ops->unshare(rig->layer, guest_off, &state, &need));
	cr_assert_neq(write_rig_look(rig, guest_off, 1).kind, WRITE_SHARED);
	rig->n_unshared++;
}

/* With copies for several readers unshare() did it, for the guest alone. */
static void link_for_guest(struct write_rig *rig, uint64_t off, uint64_t len)
{
	if (!rig->layer->has_copies)
		WELL(rig, rig->layer->ops->alloc_tables(rig->layer, off, len, &need));
}

/* Data of whole granules to where the format wants it. A data file ends where the disk does. */
static void write_host(struct write_rig *rig, uint64_t host_off, const uint8_t *buf, uint64_t len)
{
	if (rig->data)
		len = MIN(len, round_up(rig->layer->guest_len, 512) - host_off);
	cr_assert_eq(file_write(rig->layer->data, buf, len, host_off), 0);
}

static void reserve(struct write_rig *rig, uint64_t off, struct destination *to)
{
	struct layer *layer = rig->layer;
	uint64_t first = round_down(off, layer->cluster_len), got;
	uint64_t end = round_up(off + to->len, layer->cluster_len);

	WELL(rig, ((void)need, layer->ops->reserve(layer, end - first, &to->host_off, &got)));
	to->host_off += off - first;
	to->len = MIN(to->len, first + got - off);
}

/* Units around [at, end) of a NEW extent; returns up to where it is written. */
static uint64_t write_new(struct write_rig *rig, const struct write_extent *e, uint64_t at,
			  uint64_t end, const uint8_t *bytes)
{
	struct layer *layer = rig->layer;
	uint64_t max =
		MAX((uint64_t)e->unit_len, PUBLISH_MAX_GRANULES * (uint64_t)layer->granule_len);
	uint64_t off = round_down(at, e->unit_len);
	struct destination to = { .len = MIN(round_up(end, e->unit_len) - off, max) };
	autofree uint8_t *buf = malloc(to.len);
	struct mapping map;

	link_for_guest(rig, off, to.len);
	if (layer->ops->write_target)
		WELL(rig, layer->ops->write_target(layer, off, to.len, &to, &need));
	rig->n_in_space += to.has_space;
	if (!to.has_space)
		reserve(rig, off, &to);
	end = MIN(end, off + to.len);
	write_rig_read(rig, off, buf, to.len);
	if (bytes)
		memcpy(buf + (at - off), bytes, end - at);
	else
		memset(buf + (at - off), 0, end - at);
	write_host(rig, to.host_off, buf, to.len);
	map = (struct mapping){ .guest_off = off, .len = to.len, .host_off = to.host_off };
	WELL(rig, layer->ops->publish_write(layer, &map, 1, &need));
	rig->n_new++;
	return end;
}

static void write_in_place(struct write_rig *rig, const struct write_extent *e,
			   const uint8_t *bytes)
{
	autofree uint8_t *zeros = calloc(1, e->len);

	cr_assert_eq(file_write(rig->layer->data, bytes ? bytes : zeros, e->len, e->host_off), 0);
	rig->n_in_place++;
}

static void write_data(struct write_rig *rig, uint64_t off, const uint8_t *bytes, uint64_t len)
{
	for (uint64_t at = off, end = off + len; at < end;) {
		struct write_extent e = write_rig_look(rig, at, end - at);
		const uint8_t *from = bytes ? bytes + (at - off) : NULL;

		if (e.kind == WRITE_SHARED) {
			unshare(rig, at);
		} else if (e.kind == WRITE_IN_PLACE) {
			write_in_place(rig, &e, from);
			at += e.len;
		} else {
			at = write_new(rig, &e, at, at + e.len, from);
		}
	}
}

void write_rig_write(struct write_rig *rig, uint64_t off, const uint8_t *bytes, uint64_t len)
{
	write_data(rig, off, bytes, len);
	if (bytes)
		memcpy(rig->model + off, bytes, len);
	else
		memset(rig->model + off, 0, len);
}

static void zero_entries(struct write_rig *rig, uint64_t off, uint64_t end, bool keep)
{
	struct mapping map = {
		.guest_off = off, .len = end - off, .is_zero = true, .keep_space = keep
	};

	link_for_guest(rig, off, map.len);
	WELL(rig, rig->layer->ops->publish_write(rig->layer, &map, 1, &need));
	rig->n_zero_entries++;
}

/* One step of a request for zeros, as engine/guest/write.c chooses; where it goes on. */
static uint64_t zero_some(struct write_rig *rig, uint64_t at, uint64_t end, bool keep)
{
	struct layer *layer = rig->layer;
	struct write_extent e = write_rig_look(rig, at, end - at);
	uint32_t unit_len = e.kind == WRITE_NEW ? e.unit_len : layer->granule_len;
	uint64_t ext_end = at + e.len, first = round_up(at, unit_len), last;

	if (e.kind == WRITE_SHARED) {
		unshare(rig, at);
		return at;
	}
	if (e.kind == WRITE_NEW && (e.reads_zero || (e.is_unallocated && !layer->has_backing)))
		return ext_end;
	last = ext_end == layer->guest_len ? round_up(ext_end, unit_len)
					   : round_down(ext_end, unit_len);
	if (!layer->has_zero_entries ||
	    (e.kind == WRITE_IN_PLACE && !layer->ops->free_unreferenced))
		first = last = ext_end;
	if (first == at && last > first) {
		last = MIN(last, first + PUBLISH_MAX_GRANULES * (uint64_t)layer->granule_len);
		zero_entries(rig, first, last, keep);
		return MIN(last, ext_end);
	}
	if (first > at)
		ext_end = MIN(ext_end, first);
	write_data(rig, at, NULL, ext_end - at);
	return ext_end;
}

void write_rig_zero(struct write_rig *rig, uint64_t off, uint64_t len, bool keep)
{
	for (uint64_t at = off; at < off + len;)
		at = zero_some(rig, at, off + len, keep);
	memset(rig->model + off, 0, len);
}

/* ---- the cursor ---- */

/* A whole cluster with one destination that is to be reserved: compressed, if it shrinks. */
static bool copy_compressed(struct write_rig *rig, uint64_t off, const uint8_t *buf)
{
	struct layer *layer = rig->layer;
	uint32_t len = layer->cluster_len;
	autofree uint8_t *packed = calloc(1, len);
	struct mapping map = { .guest_off = off, .len = len };
	struct destination to;
	int n;

	WELL(rig, layer->ops->copy_target(layer, off, len, 0, &to, &need));
	if (to.has_space ||
	    LOADING(rig, layer->ops->copy_target(layer, off, len, 1, &to, &need)) != -ENOENT)
		return false;
	n = layer->ops->encode(layer, 0, buf, packed, len - 512);
	cr_assert_geq(n, 0);
	if (!n)
		return false;
	map.comp_len = round_up(n, 512);
	WELL(rig, layer->ops->reserve_bytes(layer, off, map.comp_len, &map.host_off, &need));
	write_host(rig, map.host_off, packed, map.comp_len);
	WELL(rig, layer->ops->publish(layer, &map, 1, &need));
	rig->n_compressed++;
	return true;
}

/* All copies of granules of one cluster. */
static void copy_part(struct write_rig *rig, uint64_t off, uint64_t len)
{
	struct layer *layer = rig->layer;
	autofree uint8_t *buf = malloc(len);
	struct mapping maps[10];
	size_t n = 0;
	int rc;

	read_below(rig->below, rig->below_len, off, buf, len);
	if (rig->compress && len == layer->cluster_len && copy_compressed(rig, off, buf))
		return;
	for (;; n++) {
		struct destination to = { .len = len };

		cr_assert_lt(n, ARRAY_LEN(maps));
		rc = n ? -ENOENT : 0;
		if (layer->ops->copy_target)
			rc = LOADING(rig, layer->ops->copy_target(layer, off, len, n, &to, &need));
		if (rc == -ENOENT)
			break;
		cr_assert_eq(rc, 0, "destination: %s", strerror(-rc));
		cr_assert_eq(to.len, len);
		if (!to.has_space)
			reserve(rig, off, &to);
		write_host(rig, to.host_off, buf, len);
		maps[n] = (struct mapping){
			.guest_off = off, .len = len, .host_off = to.host_off, .copy = n
		};
	}
	WELL(rig, layer->ops->publish(layer, maps, n, &need));
	rig->n_copied += n;
}

void write_rig_copy(struct write_rig *rig, uint64_t off, uint64_t len)
{
	struct layer *layer = rig->layer;
	uint64_t end = MIN(off + len, layer->backed_len);

	off = round_down(off, layer->granule_len);
	while (off < end) {
		uint64_t cluster_end = round_down(off, layer->cluster_len) + layer->cluster_len;
		uint64_t part = MIN(cluster_end, round_up(end, layer->granule_len)) - off;
		uint64_t ask = MIN(part, layer->backed_len - off);
		struct extent e;

		WELL(rig, (layer->ops->map_backed ? layer->ops->map_backed
						  : layer->ops->map)(layer, off, ask, &e, &need));
		if (e.len < ask)
			part = e.len;
		if (e.kind == EXTENT_UNALLOCATED) {
			WELL(rig, layer->ops->alloc_tables(layer, off, part, &need));
			copy_part(rig, off, part);
		}
		off += part;
	}
}

/* ---- commits ---- */

static void write_stages(struct write_rig *rig, struct staged *staged, enum stage lo, enum stage hi)
{
	(void)rig;
	for (enum stage stage = lo; stage < hi; stage++)
		while (staged->head[stage]) {
			struct staged_write *w = staged->head[stage];

			cr_assert_eq(file_write(w->file, w->bytes, w->len, w->host_off), 0);
			staged->head[stage] = w->next;
			staged->n[stage]--;
			staged_write_done(w);
		}
}

static void barrier(struct write_rig *rig)
{
	cr_assert_eq(file_sync(rig->file), 0);
}

static void let_go(struct write_rig *rig, bool with_this)
{
	struct layer *layer = rig->layer;

	if (!layer->ops->has_freed || !layer->ops->has_freed(layer) || rig->draining)
		return;
	WELL(rig, layer->ops->free_unreferenced(layer, with_this, &need));
	rig->draining = true;
	if (rig->auto_drain)
		write_rig_drain(rig);
}

void write_rig_drain(struct write_rig *rig)
{
	if (rig->draining)
		rig->layer->ops->reuse_freed(rig->layer);
	rig->draining = false;
}

void write_rig_commit(struct write_rig *rig, bool hard)
{
	struct layer *layer = rig->layer;
	struct staged staged = { 0 };

	cr_assert_eq(table_cache_stage(rig->cache, rig->file, &staged), 0);
	if (layer->ops->stage)
		cr_assert_eq(layer->ops->stage(layer, &staged), 0);
	if (rig->fault == RIG_FREED_TOO_EARLY)
		let_go(rig, true);
	if (rig->fault == RIG_ROOT_TOO_EARLY)
		write_stages(rig, &staged, STAGE_ROOT, STAGE_HEADER);
	write_stages(rig, &staged, STAGE_REFCOUNT, STAGE_REFTABLE);
	barrier(rig);
	let_go(rig, rig->fault == RIG_NO_DRAIN_BARRIER);
	if (staged.n[STAGE_REFTABLE]) {
		write_stages(rig, &staged, STAGE_REFTABLE, STAGE_TABLE);
		barrier(rig);
	}
	if (layer->ops->reftable_durable)
		layer->ops->reftable_durable(layer);
	write_stages(rig, &staged, STAGE_TABLE, STAGE_HEADER);
	if (!hard)
		return;
	barrier(rig);
	let_go(rig, true);
}

void write_rig_settle(struct write_rig *rig)
{
	const struct layer *layer = rig->layer;
	unsigned n = 0;

	do {
		cr_assert_lt(n++, SETTLE_MAX, "space that never comes back");
		write_rig_commit(rig, true);
		write_rig_drain(rig);
	} while ((layer->ops->has_freed && layer->ops->has_freed(layer)) ||
		 table_cache_dirty_len(rig->cache, rig->file));
}
