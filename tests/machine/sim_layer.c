/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A layer is made of rows of clusters of one kind. It is made in its format and
 * applied to the flat copy of the guest's disk at once, so that the two can't
 * drift apart. What lies behind its end reads as zeros for all above it, so the
 * flat copy is cut there.
 */
#include "tests/machine/sim_layer.h"

#include <stdio.h>

#include "formats/core/layer_fill.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qed/disk.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"
#include "tests/support/rigs/qed_rig.h"

#define MAX_TABLE_LEN (16 * MiB) /* image with a full refcount table, at most */

static uint64_t next(struct sim_draw *d)
{
	uint64_t z = (d->rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t sim_draw_below(struct sim_draw *d, uint64_t n)
{
	return next(d) % n;
}

uint64_t sim_draw_between(struct sim_draw *d, uint64_t lo, uint64_t hi)
{
	return lo + sim_draw_below(d, hi - lo + 1);
}

static uint64_t cluster_len(const struct sim_layer *l)
{
	return UINT64_C(1) << l->cluster_bits;
}

/* ---- clusters ---- */

static bool may_compress(const struct sim_layer *l)
{
	/* Host clusters that several share need refcounts above 1. */
	return l->cluster_bits >= 10 && l->refcount_bits >= 16;
}

static enum build_kind draw_kind(struct sim_draw *d, const struct sim_layer *l)
{
	if (sim_draw_below(d, 1000) >= l->per_mille)
		return BUILD_UNALLOCATED;
	switch (sim_draw_below(d, 8)) {
	case 0: return l->version >= 3 ? BUILD_ZERO_PLAIN : BUILD_DATA;
	case 1: return l->version >= 3 ? BUILD_ZERO_ALLOC : BUILD_DATA;
	case 2: return may_compress(l) ? BUILD_COMPRESSED : BUILD_DATA;
	default: return BUILD_DATA;
	}
}

/* Rows of one kind; clusters that are not listed have no L2 table to themselves. */
static size_t draw_clusters(struct sim_draw *d, const struct sim_layer *l,
			    struct build_cluster *out)
{
	uint64_t n = div_round_up(l->guest_len, cluster_len(l)), idx = 0;
	size_t n_out = 0;

	while (idx < n) {
		enum build_kind kind = draw_kind(d, l);

		for (uint64_t end = MIN(n, idx + sim_draw_between(d, 1, d->chain->how.stretch));
		     idx < end; idx++)
			if (kind != BUILD_UNALLOCATED || sim_draw_below(d, 8) == 0)
				out[n_out++] =
					(struct build_cluster){ idx, kind, (uint32_t)next(d) };
	}
	return n_out;
}

/* The part of a data cluster that is zeros: mostly none, now and then some or all. */
static void draw_zeros(struct sim_draw *d, uint64_t len, uint64_t *off, uint64_t *n)
{
	*off = *n = 0;
	switch (sim_draw_below(d, 8)) {
	case 0: *n = len; break;
	case 1: *off = sim_draw_below(d, len), *n = sim_draw_between(d, 1, len - *off); break;
	}
}

static void apply(struct sim_draw *d, const struct sim_layer *l, const struct build_cluster *c,
		  const uint8_t *bytes)
{
	uint64_t at = c->guest_idx << l->cluster_bits;
	uint64_t len = MIN(cluster_len(l), d->max_len - at);

	if (c->kind == BUILD_UNALLOCATED)
		return;
	if (c->kind == BUILD_DATA || c->kind == BUILD_COMPRESSED)
		memcpy(d->flat + at, bytes, len);
	else
		memset(d->flat + at, 0, len);
}

/* ---- formats ---- */

static void take_bytes(struct sim_chain_file *file, uint8_t *bytes, uint64_t len)
{
	file->bytes = bytes;
	file->len = file->file_len = len;
}

static void make_raw(struct sim_draw *d, const struct sim_layer *l, struct sim_chain_file *file)
{
	uint64_t len = round_up(l->guest_len, cluster_len(l));
	struct build_cluster *clusters =
		sim_need(calloc((len >> l->cluster_bits) + 1, sizeof(*clusters)));
	size_t n = draw_clusters(d, l, clusters);
	uint8_t *bytes = sim_need(calloc(1, len + 1));

	/* What a raw file does not hold reads as zeros. */
	memset(d->flat, 0, d->max_len);
	for (size_t i = 0; i < n; i++) {
		uint8_t *at = bytes + (clusters[i].guest_idx << l->cluster_bits);
		uint64_t zero_off, n_zero;

		if (clusters[i].kind != BUILD_DATA)
			continue;
		draw_zeros(d, cluster_len(l), &zero_off, &n_zero);
		build_fill(at, cluster_len(l), clusters[i].seed);
		memset(at + zero_off, 0, n_zero);
		apply(d, l, &clusters[i], at);
	}
	free(clusters);
	take_bytes(file, bytes, l->guest_len);
}

/* How full the refcount structures are to be; the overlay's business only. */
static uint64_t clusters_left(struct sim_draw *d, const struct sim_layer *l)
{
	uint64_t n = cluster_len(l) / 8 * (cluster_len(l) * 8 / l->refcount_bits);

	if (!l->is_top || !d->chain->how.full_table || n * cluster_len(l) > MAX_TABLE_LEN)
		return 0;
	return d->chain->how.block_left ? d->chain->how.block_left : sim_draw_between(d, 1, 12);
}

static void fill_block(struct sim_draw *d, const struct sim_layer *l, struct sim_chain_file *file)
{
	uint64_t per_block = cluster_len(l) * 8 / l->refcount_bits;
	const struct sim_chain_how *how = &d->chain->how;
	uint64_t n = div_round_up(file->len, cluster_len(l)) + sim_draw_between(d, 0, 8);

	if ((l->is_top || how->full_below) && how->full_block) {
		uint64_t left = how->block_left ? how->block_left : sim_draw_between(d, 0, 8);

		n = how->block_left ? n + left : n;
		file->file_len =
			MAX(file->len, (round_up(n + 1, per_block) - left) * cluster_len(l));
	}
	/* Below the border by a few clusters, or somewhere above it. */
	if (l->is_top && d->chain->how.far)
		file->file_len = sim_draw_below(d, 2)
					 ? 4 * GiB - sim_draw_between(d, 0, 8) * cluster_len(l)
					 : (4 + sim_draw_below(d, 64)) * GiB;
}

/* An overlay with a data file has zeros of its own, and no data yet. */
static void make_data_file(struct sim_draw *d, const struct sim_layer *l,
			   struct build_cluster *clusters, size_t n)
{
	struct sim_chain_file *data = &d->chain->data;
	uint64_t len = l->guest_len;

	for (size_t i = 0; i < n; i++)
		if (clusters[i].kind != BUILD_UNALLOCATED)
			clusters[i].kind = BUILD_ZERO_PLAIN;
	snprintf(data->name, sizeof(data->name), "/data");
	take_bytes(data, sim_need(malloc(len)), len);
	for (uint64_t i = 0; i < len; i++)
		data->bytes[i] = (uint8_t)(next(d) >> 8 | 1);
}

static void make_qcow2(struct sim_draw *d, const struct sim_layer *l, struct sim_chain_file *file)
{
	size_t most = div_round_up(l->guest_len, cluster_len(l));
	struct build_cluster *clusters = sim_need(calloc(most + 1, sizeof(*clusters)));
	struct build_how how = {
		.version = l->version,
		.cluster_bits = l->cluster_bits,
		.refcount_bits = l->refcount_bits,
		.guest_len = l->guest_len,
		.shrunk_len = l->is_top && d->chain->how.longer ? d->chain->guest_len : 0,
		.zstd = l->version >= 3 && sim_draw_below(d, 4) == 0,
		.backing_name = l->backing_name,
		.backing_format = l->backing_format,
		.n_snapshots = l->is_top ? d->chain->how.n_snapshots : 0,
		.autoclear = l->is_top ? d->chain->how.autoclear : 0,
		.clusters = clusters,
		.n_extra_l1 = (uint32_t)sim_draw_below(d, 3),
		.shuffle_seed = sim_draw_below(d, 2) ? next(d) : 0,
		.n_clusters_left = clusters_left(d, l),
	};
	static const uint8_t feature_names[8 * 48];
	static const uint8_t mark[8] = { 0, 0, 0, 1 };
	struct build_ext exts[3];
	uint8_t *bytes = sim_need(malloc(cluster_len(l)));
	struct build_image image, whole;

	how.n_clusters = draw_clusters(d, l, clusters);
	if (l->is_top && d->chain->how.extended) { /* the builder makes no such entries */
		how.incompat = QCOW2_INCOMPAT_EXTENDED_L2;
		how.n_clusters = 0;
	}
	if (l->is_top && d->chain->how.data_file) {
		make_data_file(d, l, clusters, how.n_clusters);
		how.zstd = false;
		how.incompat = QCOW2_INCOMPAT_DATA_FILE;
		exts[how.n_exts++] = (struct build_ext){ QCOW2_EXT_DATA_FILE, "data", 4 };
	}
	/* As qemu-img has them: the backing file's name lies behind the first sector then. */
	if (l->version >= 3 && l->cluster_bits >= 11 &&
	    (sim_draw_below(d, 2) || d->chain->how.long_header))
		exts[how.n_exts++] = (struct build_ext){ QCOW2_EXT_FEATURE_NAMES, feature_names,
							 sizeof(feature_names) };
	if (l->is_top && d->chain->how.mixed)
		exts[how.n_exts++] = (struct build_ext){ QCOW2_EXT_MIXED, mark, sizeof(mark) };
	how.exts = exts;
	image = whole = build_image(&how);
	whole.l1_off = image.whole_l1_off;
	for (size_t i = 0; i < how.n_clusters; i++) {
		uint64_t zero_off = 0, n_zero = 0;

		build_fill(bytes, cluster_len(l), clusters[i].seed);
		if (clusters[i].kind == BUILD_DATA) {
			uint64_t at = build_get64(
				&whole, build_l2_entry_off(&whole, clusters[i].guest_idx));

			draw_zeros(d, cluster_len(l), &zero_off, &n_zero);
			memset(bytes + zero_off, 0, n_zero);
			memcpy(image.bytes + (at & UINT64_C(0x00fffffffffffe00)), bytes,
			       cluster_len(l));
		}
		apply(d, l, &clusters[i], bytes);
	}
	free(bytes);
	free(clusters);
	take_bytes(file, image.bytes, image.len);
	fill_block(d, l, file);
}

static void put_qed_cluster(struct sim_draw *d, const struct sim_layer *l, struct qed_rig *rig,
			    const struct build_cluster *c, uint8_t *bytes)
{
	struct mapping map = {
		.guest_off = c->guest_idx << l->cluster_bits,
		.len = cluster_len(l),
		.is_zero = c->kind != BUILD_DATA,
	};
	uint64_t got, zero_off, n_zero;

	if (c->kind == BUILD_UNALLOCATED)
		return;
	draw_zeros(d, cluster_len(l), &zero_off, &n_zero);
	build_fill(bytes, cluster_len(l), c->seed);
	memset(bytes + zero_off, 0, n_zero);
	if (!map.is_zero && (layer_reserve(rig->layer, map.len, &map.host_off, &got) ||
			     file_write(rig->file, bytes, map.len, map.host_off)))
		abort();
	if (qed_rig_publish(rig, &map, 1))
		abort();
	apply(d, l, c, bytes);
}

/* Nothing but a header and an L1 table that is a hole: the first L2 table ends above 4 GiB, or as
 * far below it as the first cluster is long. */
static void make_far_qed(struct sim_draw *d, const struct sim_layer *l, struct sim_chain_file *file)
{
	const uint32_t table_clusters = 16, name_off = 64;
	uint32_t header_clusters = 31 + (uint32_t)sim_draw_below(d, 40);
	uint8_t *h = sim_need(calloc(1, 4096));
	bool is_raw = l->backing_format && !strcmp(l->backing_format, "raw");

	put_le32(h + QED_H_MAGIC, QED_MAGIC);
	put_le32(h + QED_H_CLUSTER_LEN, (uint32_t)cluster_len(l));
	put_le32(h + QED_H_TABLE_CLUSTERS, table_clusters);
	put_le32(h + QED_H_HEADER_CLUSTERS, header_clusters);
	put_le64(h + QED_H_FEATURES, QED_F_BACKING_FILE | (is_raw ? QED_F_NO_PROBE : 0));
	put_le64(h + QED_H_L1_OFF, header_clusters * cluster_len(l));
	put_le64(h + QED_H_GUEST_LEN, l->guest_len);
	put_le32(h + QED_H_BACKING_OFF, name_off);
	put_le32(h + QED_H_BACKING_LEN, (uint32_t)strlen(l->backing_name));
	memcpy(h + name_off, l->backing_name, strlen(l->backing_name));
	take_bytes(file, h, 4096);
	file->file_len = (header_clusters + table_clusters) * cluster_len(l);
}

static void make_qed(struct sim_draw *d, const struct sim_layer *l, struct sim_chain_file *file)
{
	size_t most = div_round_up(l->guest_len, cluster_len(l));
	struct build_cluster *clusters = sim_need(calloc(most + 1, sizeof(*clusters)));
	uint8_t *bytes = sim_need(malloc(cluster_len(l)));
	struct image_create how = {
		.guest_len = l->guest_len,
		.cluster_len = (uint32_t)cluster_len(l),
		.backing_name = l->backing_name,
		.backing_format = format_by_name(l->backing_format ? l->backing_format : "",
						 l->backing_format ? strlen(l->backing_format) : 0),
		.table_clusters =
			2u << sim_draw_below(d, 2), /* QEMU 7.2 has no tables of one cluster */
	};
	struct file *mem = mem_file_new(file->name, 0);
	struct qed_rig rig;
	size_t n = draw_clusters(d, l, clusters);

	qed_rig_create(&rig, mem, &how);
	for (size_t i = 0; i < n; i++)
		put_qed_cluster(d, l, &rig, &clusters[i], bytes);
	qed_rig_commit(&rig);
	qed_rig_close(&rig);
	take_bytes(file, sim_need(malloc(mem->len)), mem->len);
	if (file_read(mem, file->bytes, mem->len, 0))
		abort();
	file_close(mem);
	free(bytes);
	free(clusters);
}

void sim_layer_make(struct sim_draw *d, const struct sim_layer *l, struct sim_chain_file *file)
{
	char text[80];
	char *all = d->chain->text;

	switch (l->format) {
	case IMAGE_RAW: make_raw(d, l, file); break;
	case IMAGE_QCOW2: make_qcow2(d, l, file); break;
	case IMAGE_QED:
		(l->is_top && d->chain->how.far ? make_far_qed : make_qed)(d, l, file);
		break;
	case IMAGE_UNKNOWN: abort();
	}
	memset(d->flat + l->guest_len, 0, d->max_len - l->guest_len);
	snprintf(text, sizeof(text), "%s v%u %u/%u bits %llu bytes; ", format_name(l->format),
		 l->version, l->cluster_bits, l->refcount_bits, (unsigned long long)l->guest_len);
	strncat(all, text, sizeof(d->chain->text) - strlen(all) - 1);
}
