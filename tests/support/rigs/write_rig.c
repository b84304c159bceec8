/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See write_rig.h. A call that looks for a destination may say -ENOENT: there is none
 * left. Any other error ends the test, also one of loading a table.
 */
#include "tests/support/rigs/write_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/core/layer_compress.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "formats/core/layer_header.h"
#include "formats/core/layer_shared.h"
#include "formats/core/staged.h"
#include "formats/core/table_dirty.h"
#include "io/base.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/rig.h"

#define LOADING(rig, call)                                                            \
	({                                                                            \
		int loading_rc = RIG_LOADED((rig)->cache, WRITE_RIG_MAX_LOADS, call); \
		cr_assert(!loading_rc || loading_rc == -ENOENT, "%s: %s", #call,      \
			  strerror(-loading_rc));                                     \
		loading_rc;                                                           \
	})

#define WELL(rig, call)                                                        \
	({                                                                     \
		int well_rc = LOADING(rig, call);                              \
		cr_assert_eq(well_rc, 0, "%s: %s", #call, strerror(-well_rc)); \
	})

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
	rig->cache = table_cache_new(has_snapshots ? WRITE_RIG_SNAPSHOT_CACHE_LEN : RIG_CACHE_LEN);
	rc = write_rig_open_layer(file, data, rig->cache, &rig->layer);
	cr_assert_eq(rc, 0, "%s", strerror(-rc));
	rc = layer_begin_writing(rig->layer, &err);
	cr_assert_eq(rc, 0, "%s", err.message);
	if (layer_has_claims(rig->layer))
		rc = layer_begin_guest_writes(rig->layer, &err);
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

void write_rig_drop(struct write_rig *rig)
{
	struct file *file = rig->file;

	write_rig_close(rig);
	file_close(file);
}

/* ---- the guest ---- */

struct write_extent write_rig_look(struct write_rig *rig, uint64_t guest_off, uint64_t len)
{
	const struct layer *layer = rig->layer;
	struct write_extent e = { 0 };

	WELL(rig, layer_map_write(rig->layer, guest_off, len, &e, &need));
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

	WELL(rig, layer_unshare(rig->layer, guest_off, &state, &need));
	cr_assert_neq(write_rig_look(rig, guest_off, 1).kind, WRITE_SHARED);
	rig->n_unshared++;
}

/* With copies for several readers unshare() did it, for the guest alone. */
static void link_for_guest(struct write_rig *rig, uint64_t off, uint64_t len)
{
	if (!rig->layer->has_copies)
		WELL(rig, layer_alloc_tables(rig->layer, off, len, &need));
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

	WELL(rig, ((void)need, layer_reserve(layer, end - first, &to->host_off, &got)));
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
	WELL(rig, layer_write_target(layer, off, to.len, &to, &need));
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
	WELL(rig, layer_publish_write(layer, &map, 1, &need));
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
	WELL(rig, layer_publish_write(rig->layer, &map, 1, &need));
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
	if (!layer->has_zero_entries || (e.kind == WRITE_IN_PLACE && !layer_frees_space(layer)))
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

	WELL(rig, layer_copy_target(layer, off, len, 0, &to, &need));
	if (to.has_space ||
	    LOADING(rig, layer_copy_target(layer, off, len, 1, &to, &need)) != -ENOENT)
		return false;
	n = layer_encode(layer, 0, buf, packed, len - 512);
	cr_assert_geq(n, 0);
	if (!n)
		return false;
	map.comp_len = round_up(n, 512);
	WELL(rig, layer_reserve_bytes(layer, off, map.comp_len, &map.host_off, &need));
	write_host(rig, map.host_off, packed, map.comp_len);
	WELL(rig, layer_publish(layer, &map, 1, &need));
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

	write_rig_read_below(rig->below, rig->below_len, off, buf, len);
	if (rig->compress && len == layer->cluster_len && copy_compressed(rig, off, buf))
		return;
	for (;; n++) {
		struct destination to = { .len = len };

		cr_assert_lt(n, ARRAY_LEN(maps));
		rc = LOADING(rig, layer_copy_target(layer, off, len, n, &to, &need));
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
	WELL(rig, layer_publish(layer, maps, n, &need));
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

		WELL(rig, layer_map_backed(layer, off, ask, &e, &need));
		if (e.len < ask)
			part = e.len;
		if (e.kind == EXTENT_UNALLOCATED) {
			WELL(rig, layer_alloc_tables(layer, off, part, &need));
			copy_part(rig, off, part);
		}
		off += part;
	}
}
