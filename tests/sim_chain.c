/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From the bottom up: each layer is drawn as stretches of clusters of one
 * kind, and applied to a flat copy of the guest's disk. What lies behind a
 * layer's end reads as zeros for all above it, so the flat copy is cut there.
 *
 * Chains made by qemu-img would be truer to life, and slower by a factor of a
 * thousand; they are judged in the black-box tests.
 */
#include "tests/sim_chain.h"

#include <assert.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/build_image.h"
#include "tests/mem_file.h"
#include "tests/qed_rig.h"

#define MAX_TABLE_LEN (16 * MiB) /* image with a full refcount table, at most */

struct draw {
	struct sim_chain *chain;
	uint64_t rng;
	uint64_t max_len; /* of any layer's guest disk */
	uint8_t *flat;
};

/* One layer to be made. */
struct layer_draw {
	enum image_format format;
	unsigned version, cluster_bits, refcount_bits;
	uint64_t guest_len;
	unsigned per_mille; /* of clusters that hold something */
	const char *backing_name, *backing_format;
	bool is_top;
};

static uint64_t next(struct draw *d)
{
	uint64_t z = (d->rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t below(struct draw *d, uint64_t n)
{
	return next(d) % n;
}

static uint64_t between(struct draw *d, uint64_t lo, uint64_t hi)
{
	return lo + below(d, hi - lo + 1);
}

static uint64_t cluster_len(const struct layer_draw *l)
{
	return UINT64_C(1) << l->cluster_bits;
}

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

/* ---- clusters ---- */

static bool may_compress(const struct layer_draw *l)
{
	/* Host clusters that several share need refcounts above 1. */
	return l->cluster_bits >= 10 && l->refcount_bits >= 16;
}

static enum build_kind draw_kind(struct draw *d, const struct layer_draw *l)
{
	if (below(d, 1000) >= l->per_mille)
		return BUILD_UNALLOCATED;
	switch (below(d, 8)) {
	case 0: return l->version >= 3 ? BUILD_ZERO_PLAIN : BUILD_DATA;
	case 1: return l->version >= 3 ? BUILD_ZERO_ALLOC : BUILD_DATA;
	case 2: return may_compress(l) ? BUILD_COMPRESSED : BUILD_DATA;
	default: return BUILD_DATA;
	}
}

/* Stretches of one kind; clusters that are not listed have no L2 table to themselves. */
static size_t draw_clusters(struct draw *d, const struct layer_draw *l, struct build_cluster *out)
{
	uint64_t n = div_round_up(l->guest_len, cluster_len(l)), idx = 0;
	size_t n_out = 0;

	while (idx < n) {
		enum build_kind kind = draw_kind(d, l);

		for (uint64_t end = MIN(n, idx + between(d, 1, d->chain->how.stretch)); idx < end;
		     idx++)
			if (kind != BUILD_UNALLOCATED || below(d, 8) == 0)
				out[n_out++] =
					(struct build_cluster){ idx, kind, (uint32_t)next(d) };
	}
	return n_out;
}

/* The part of a data cluster that is zeros: mostly none, now and then some or all. */
static void draw_zeros(struct draw *d, uint64_t len, uint64_t *off, uint64_t *n)
{
	*off = *n = 0;
	switch (below(d, 8)) {
	case 0: *n = len; break;
	case 1: *off = below(d, len), *n = between(d, 1, len - *off); break;
	}
}

static void apply(struct draw *d, const struct layer_draw *l, const struct build_cluster *c,
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

static void make_raw(struct draw *d, const struct layer_draw *l, struct sim_chain_file *file)
{
	uint64_t len = round_up(l->guest_len, cluster_len(l));
	struct build_cluster *clusters =
		need(calloc((len >> l->cluster_bits) + 1, sizeof(*clusters)));
	size_t n = draw_clusters(d, l, clusters);
	uint8_t *bytes = need(calloc(1, len + 1));

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
static uint64_t clusters_left(struct draw *d, const struct layer_draw *l)
{
	uint64_t n = cluster_len(l) / 8 * (cluster_len(l) * 8 / l->refcount_bits);

	if (!l->is_top || !d->chain->how.full_table || n * cluster_len(l) > MAX_TABLE_LEN)
		return 0;
	return between(d, 1, 12);
}

static void fill_block(struct draw *d, const struct layer_draw *l, struct sim_chain_file *file)
{
	uint64_t per_block = cluster_len(l) * 8 / l->refcount_bits;
	uint64_t n = div_round_up(file->len, cluster_len(l)) + between(d, 0, 8);

	if (l->is_top && d->chain->how.full_block)
		file->file_len = MAX(file->len, (round_up(n + 1, per_block) - between(d, 0, 8)) *
							cluster_len(l));
}

static void make_qcow2(struct draw *d, const struct layer_draw *l, struct sim_chain_file *file)
{
	size_t most = div_round_up(l->guest_len, cluster_len(l));
	struct build_cluster *clusters = need(calloc(most + 1, sizeof(*clusters)));
	struct build_how how = {
		.version = l->version,
		.cluster_bits = l->cluster_bits,
		.refcount_bits = l->refcount_bits,
		.guest_len = l->guest_len,
		.zstd = l->version >= 3 && below(d, 4) == 0,
		.backing_name = l->backing_name,
		.backing_format = l->backing_format,
		.autoclear = l->is_top ? d->chain->how.autoclear : 0,
		.clusters = clusters,
		.n_extra_l1 = (uint32_t)below(d, 3),
		.shuffle_seed = below(d, 2) ? next(d) : 0,
		.n_clusters_left = clusters_left(d, l),
	};
	uint8_t *bytes = need(malloc(cluster_len(l)));
	struct build_image image;

	how.n_clusters = draw_clusters(d, l, clusters);
	image = build_image(&how);
	for (size_t i = 0; i < how.n_clusters; i++) {
		uint64_t zero_off = 0, n_zero = 0;

		build_fill(bytes, cluster_len(l), clusters[i].seed);
		if (clusters[i].kind == BUILD_DATA) {
			uint64_t at = build_get64(
				&image, build_l2_entry_off(&image, clusters[i].guest_idx));

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

static void put_qed_cluster(struct draw *d, const struct layer_draw *l, struct qed_rig *rig,
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
	if (!map.is_zero && (rig->layer->ops->reserve(rig->layer, map.len, &map.host_off, &got) ||
			     file_write(rig->file, bytes, map.len, map.host_off)))
		abort();
	if (qed_rig_publish(rig, &map, 1))
		abort();
	apply(d, l, c, bytes);
}

static void make_qed(struct draw *d, const struct layer_draw *l, struct sim_chain_file *file)
{
	size_t most = div_round_up(l->guest_len, cluster_len(l));
	struct build_cluster *clusters = need(calloc(most + 1, sizeof(*clusters)));
	uint8_t *bytes = need(malloc(cluster_len(l)));
	struct image_create how = {
		.guest_len = l->guest_len,
		.cluster_len = (uint32_t)cluster_len(l),
		.backing_name = l->backing_name,
		.backing_format = format_by_name(l->backing_format ? l->backing_format : "",
						 l->backing_format ? strlen(l->backing_format) : 0),
		.table_clusters = 2u << below(d, 2), /* QEMU 7.2 has no tables of one cluster */
	};
	struct file *mem = mem_file_new(file->name, 0);
	struct qed_rig rig;
	size_t n = draw_clusters(d, l, clusters);

	qed_rig_create(&rig, mem, &how);
	for (size_t i = 0; i < n; i++)
		put_qed_cluster(d, l, &rig, &clusters[i], bytes);
	qed_rig_commit(&rig);
	qed_rig_close(&rig);
	take_bytes(file, need(malloc(mem->len)), mem->len);
	if (file_read(mem, file->bytes, mem->len, 0))
		abort();
	file_close(mem);
	free(bytes);
	free(clusters);
}

static void make_layer(struct draw *d, const struct layer_draw *l, struct sim_chain_file *file)
{
	char text[80];
	char *all = d->chain->text;

	switch (l->format) {
	case IMAGE_RAW: make_raw(d, l, file); break;
	case IMAGE_QCOW2: make_qcow2(d, l, file); break;
	case IMAGE_QED: make_qed(d, l, file); break;
	case IMAGE_UNKNOWN: abort();
	}
	memset(d->flat + l->guest_len, 0, d->max_len - l->guest_len);
	snprintf(text, sizeof(text), "%s v%u %u/%u bits %llu bytes; ", format_name(l->format),
		 l->version, l->cluster_bits, l->refcount_bits, (unsigned long long)l->guest_len);
	strncat(all, text, sizeof(d->chain->text) - strlen(all) - 1);
}

/* ---- layers ---- */

static uint64_t draw_guest_len(struct draw *d, uint64_t top_len)
{
	switch (below(d, 4)) {
	case 0: return MAX(round_down(between(d, 1, top_len), 512), UINT64_C(512));
	case 1: return round_down(between(d, top_len, d->max_len), 512);
	default: return top_len;
	}
}

static struct layer_draw draw_backing(struct draw *d, unsigned depth, unsigned n_layers,
				      const struct layer_draw *above)
{
	const struct sim_chain_how *how = &d->chain->how;
	struct layer_draw l = {
		.version = 2 + (unsigned)below(d, 2),
		.format = IMAGE_QCOW2,
		.refcount_bits = 16,
		.guest_len = draw_guest_len(d, d->chain->guest_len),
		.per_mille = (unsigned)between(d, 200, 900),
	};

	l.cluster_bits = (unsigned)between(d, MAX(9u, how->cluster_bits - 3),
					   MIN(16u, how->cluster_bits + 2));
	if (depth == n_layers - 1 && below(d, 4))
		l.format = IMAGE_RAW;
	else if (below(d, 3) == 0)
		l.format = IMAGE_QED;
	if (l.format != IMAGE_RAW && above->format == IMAGE_QED)
		l.format = d->chain->unnamed;
	if (l.format == IMAGE_QED) {
		l.version = 3; /* has zero clusters */
		l.cluster_bits = MAX(l.cluster_bits, 12u);
		l.refcount_bits = 1;
	}
	if (l.format == IMAGE_RAW && below(d, 3) == 0)
		l.guest_len -= below(d, 511); /* rounded up to a sector, with zeros */
	return l;
}

static struct layer_draw draw_top(struct draw *d)
{
	const struct sim_chain_how *how = &d->chain->how;
	struct layer_draw l = {
		.format = how->format,
		.version = how->version,
		.cluster_bits = how->cluster_bits,
		.refcount_bits = how->refcount_bits,
		.guest_len = d->chain->guest_len,
		.per_mille = (unsigned)between(d, 0, 400),
		.is_top = true,
	};

	return l;
}

static void draw_rest(struct draw *d, struct sim_chain_how *how)
{
	static const enum image_format formats[] = { IMAGE_QCOW2, IMAGE_QCOW2, IMAGE_QED };

	if (how->format == IMAGE_UNKNOWN)
		how->format = formats[below(d, ARRAY_LEN(formats))];
	if (!how->version)
		how->version = how->format == IMAGE_QED ? 3 : 2 + (unsigned)below(d, 2);
	if (!how->cluster_bits)
		how->cluster_bits = 9 + (unsigned)below(d, 8);
	if (how->format == IMAGE_QED)
		how->cluster_bits = MAX(how->cluster_bits, 12u);
	if (!how->refcount_bits)
		how->refcount_bits = 1u << below(d, 7);
	if (how->format == IMAGE_QED)
		how->refcount_bits = 1;
	else if (how->version == 2)
		how->refcount_bits = 16;
	if (!how->n_clusters)
		how->n_clusters = (unsigned)between(d, 1, 200);
	if (!how->stretch)
		how->stretch = 6;
	if (!how->max_depth)
		how->max_depth = SIM_CHAIN_MAX_DEPTH;
}

void sim_chain_draw(struct sim_chain *chain, const struct sim_chain_how *how)
{
	static const char *const names[] = { "top", "b1", "b2", "b3", "b4" };
	struct layer_draw layers[SIM_CHAIN_MAX_DEPTH + 1];
	struct draw d = { .chain = chain, .rng = how->seed };

	*chain = (struct sim_chain){ .how = *how };
	draw_rest(&d, &chain->how);
	chain->cluster_len = 1u << chain->how.cluster_bits;
	chain->guest_len = (uint64_t)chain->how.n_clusters << chain->how.cluster_bits;
	chain->guest_len -= below(&d, chain->cluster_len / 512) * 512;
	d.max_len = chain->guest_len + between(&d, 0, 8) * 4096;
	d.flat = need(calloc(1, d.max_len + 65536));
	chain->n_files = 2 + (unsigned)below(&d, chain->how.max_depth);
	chain->unnamed = below(&d, 2) ? IMAGE_QED : IMAGE_QCOW2;
	layers[0] = draw_top(&d);
	for (unsigned i = 1; i < chain->n_files; i++)
		layers[i] = draw_backing(&d, i, chain->n_files, &layers[i - 1]);
	for (unsigned i = chain->n_files; i-- > 0;) {
		if (i + 1 < chain->n_files) {
			layers[i].backing_name = names[i + 1];
			layers[i].backing_format = format_name(layers[i + 1].format);
		}
		snprintf(chain->files[i].name, sizeof(chain->files[i].name), "/%s", names[i]);
		make_layer(&d, &layers[i], &chain->files[i]);
	}
	chain->want = d.flat;
}

void sim_chain_free(struct sim_chain *chain)
{
	for (unsigned i = 0; i < chain->n_files; i++)
		free(chain->files[i].bytes);
	free(chain->want);
	*chain = (struct sim_chain){ 0 };
}

/* ---- machines ---- */

static bool is_zero(const uint8_t *bytes, uint64_t len)
{
	return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

/* Pages of zeros stay holes. */
static void put_file(const struct sim_chain_file *file, struct sim *sim)
{
	const uint64_t page = 4096;
	uint64_t from = 0, at = 0;

	sim_file_put_hole(sim, file->name, file->file_len);
	while (at < file->len) {
		uint64_t n = MIN(page, file->len - at);

		if (is_zero(file->bytes + at, n)) {
			if (at > from)
				sim_file_poke(sim, file->name, file->bytes + from, at - from, from);
			from = at + n;
		}
		at += n;
	}
	if (at > from)
		sim_file_poke(sim, file->name, file->bytes + from, at - from, from);
}

void sim_chain_put(const struct sim_chain *chain, struct sim *sim)
{
	for (unsigned i = 0; i < chain->n_files; i++)
		put_file(&chain->files[i], sim);
}

bool sim_chain_backing_is_same(const struct sim_chain *chain, const struct sim *sim)
{
	bool same = true;

	for (unsigned i = 1; same && i < chain->n_files; i++) {
		const struct sim_chain_file *file = &chain->files[i];
		uint8_t *now = need(malloc(file->len + 1));

		same = sim_file_len(sim, file->name) == file->file_len;
		sim_file_peek(sim, file->name, now, file->len, 0);
		same = same && !memcmp(now, file->bytes, file->len);
		free(now);
	}
	return same;
}
