/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Images of all kinds (heads.h): with snapshots of their own, external data files, extended L2
 * entries, bitmaps, refcounts of all widths; and what must hold of them beside what they read.
 */
#include <string.h>

#include "formats/core/layer.h"
#include "formats/qcow2/image/disk.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/support/images/build_image.h"
#include "tests/whole/heads/heads.h"

/* ---- the first chain ---- */

/* One of them in turn, of what makes the images at its top special. */
void heads_kinds_chain(const struct heads *all, struct sim_chain_how *how)
{
	uint64_t seed = all->seed;

	how->format = seed % 5 ? IMAGE_QCOW2 : IMAGE_QED;
	how->cluster_bits = seed % 5 ? 9 + seed / 5 % 4 : 12;
	how->n_clusters = seed % 5 ? 12 + seed % 30 : 4 + seed % 6;
	switch (seed % 5) {
	case 1: how->refcount_bits = seed % 2 ? 64 : 16, how->full_table = seed % 3; break;
	case 2:
		how->version = 3;
		how->n_snapshots = 1 + seed / 5 % 3;
		how->refcount_bits = 4u << seed / 5 % 5;
		how->longer = seed / 15 % 2;
		break;
	case 3:
		how->version = 3;
		how->data_file = true;
		how->autoclear = seed / 5 % 4;
		break;
	case 4:
		how->version = 3;
		how->extended = seed / 5 % 2;
		how->autoclear = QCOW2_AUTOCLEAR_BITMAPS;
		how->cluster_bits = how->extended ? 14 : how->cluster_bits;
		how->n_clusters = how->extended ? 1 + seed / 5 % 4 : how->n_clusters;
		break;
	}
}

static uint8_t *copy_of(const struct heads *all, const uint8_t *bytes, uint64_t len)
{
	uint8_t *copy = sim_need(calloc(1, all->max_len));

	memcpy(copy, bytes, len);
	return copy;
}

static bool claims_bitmaps(const struct heads_image *image, const struct sim *sim)
{
	uint8_t version[4], autoclear[8];

	sim_file_peek(sim, image->name, version, sizeof(version), QCOW2_H_VERSION);
	sim_file_peek(sim, image->name, autoclear, sizeof(autoclear), QCOW2_H_AUTOCLEAR);
	return image->format == IMAGE_QCOW2 && be32(version) >= 3 &&
	       be64(autoclear) & QCOW2_AUTOCLEAR_BITMAPS;
}

void heads_kinds_top(struct heads *all, unsigned i)
{
	const struct sim_chain *chain = &all->chain;
	struct heads_image *image = &all->images[i];

	image->n_inner = chain->how.n_snapshots;
	image->inner_len = chain->snapshot_len;
	if (image->n_inner)
		image->inner = copy_of(all, chain->want, chain->snapshot_len);
	if (claims_bitmaps(image, all->machine.sim))
		image->mapped = copy_of(all, chain->want, chain->guest_len);
	snprintf(image->data, sizeof(image->data), "%s", chain->data.name);
}

/* ---- images that other programs have made ---- */

static void make_data_file(struct heads *all, struct heads_image *image)
{
	uint8_t *junk = sim_need(malloc(image->len));

	memset(junk, 0x5a, image->len);
	memcpy(image->data, image->name, sizeof(image->name));
	strcat(image->data, ".d");
	sim_file_put(all->machine.sim, image->data, junk, image->len);
	free(junk);
}

/* Empty, of what bpull_create() does not make. */
bool heads_kinds_make(struct heads *all, unsigned i, const uint8_t *reads)
{
	struct heads_image *image = &all->images[i];
	const struct heads_image *below = &all->images[image->below];
	struct build_how how = {
		.version = 3,
		.cluster_bits = 9 + (unsigned)heads_below(all, 8),
		.refcount_bits = 1u << heads_below(all, 7),
		.guest_len = image->len,
		.backing_name = below->name,
		.backing_format = format_name(below->format),
		.compat = heads_below(all, 2) ? QCOW2_COMPAT_LAZY : 0,
		.autoclear = heads_below(all, 2) ? QCOW2_AUTOCLEAR_BITMAPS : 0,
		.n_extra_l1 = (uint32_t)heads_below(all, 2),
	};
	struct build_ext ext = { QCOW2_EXT_DATA_FILE };
	struct build_image built;

	if (image->format != IMAGE_QCOW2 || !heads_below(all, 3))
		return false;
	switch (heads_below(all, 4)) {
	case 0:
		how.n_snapshots = 1 + (uint32_t)heads_below(all, 2);
		how.refcount_bits = MAX(how.refcount_bits, 4u);
		break;
	case 1:
		make_data_file(all, image);
		ext.data = strrchr(image->data, '/') + 1;
		ext.len = (uint32_t)strlen(ext.data);
		how.exts = &ext;
		how.n_exts = 1;
		how.incompat = QCOW2_INCOMPAT_DATA_FILE;
		break;
	case 2:
		how.cluster_bits = MAX(how.cluster_bits, 14u);
		how.incompat = QCOW2_INCOMPAT_EXTENDED_L2;
		break;
	}
	built = build_image(&how);
	sim_file_put(all->machine.sim, image->name, built.bytes, built.len);
	build_image_free(&built);
	image->n_inner = how.n_snapshots;
	image->inner_len = image->len;
	if (image->n_inner)
		image->inner = copy_of(all, reads, image->len);
	if (how.autoclear)
		image->mapped = copy_of(all, reads, image->len);
	heads_met.built++;
	heads_say(all, "%s has %u snapshots, clusters of %u bytes%s%s, refcounts of %u bits",
		  image->name, image->n_inner, 1u << how.cluster_bits,
		  image->data[0] ? ", a data file" : "", how.autoclear ? ", bitmaps" : "",
		  how.refcount_bits);
	return true;
}

/* What bpull_create() can do beside formats and clusters. */
void heads_kinds_create(struct heads *all, struct bpull_create_options *o)
{
	static const uint32_t cluster_lens[] = { 512, 2048, 16 * KiB, 256 * KiB, 2 * MiB };

	if (o->format == BPULL_FORMAT_QED) {
		o->table_size = 2u << heads_below(all, 3);
		return;
	}
	if (!heads_below(all, 2))
		o->cluster_size = cluster_lens[heads_below(all, ARRAY_LEN(cluster_lens))];
	if (o->version == 2)
		return;
	o->refcount_bits = 1u << heads_below(all, 7);
	o->lazy_refcounts = !heads_below(all, 3);
	o->zstd = !heads_below(all, 3);
}

/* ---- judging ---- */

static void judge_snapshot(struct heads *all, unsigned i, unsigned n, struct sim *left,
			   const char *when)
{
	const struct heads_image *image = &all->images[i];
	struct sim_chain as = { .guest_len = image->inner_len };
	uint8_t *got = sim_need(calloc(1, all->max_len));
	struct sim_verdict v;

	sim_pull_read_snapshot(&as, left, image->name, n, got, &v);
	heads_assert(all, v.ok, "%s, '%s', %s", when, image->name, v.text);
	for (uint64_t at = 0; at < image->inner_len; at++)
		heads_assert(all, got[at] == image->inner[at],
			     "%s, snapshot %u of '%s' at %" PRIu64 " is %#x, and was %#x", when,
			     n + 1, image->name, at, got[at], image->inner[at]);
	free(got);
}

void heads_kinds_judge(struct heads *all, unsigned i, struct sim *left, const char *when,
		       const uint8_t *reads)
{
	const struct heads_image *image = &all->images[i];

	for (unsigned n = 0; image->inner && n < image->n_inner; n++)
		judge_snapshot(all, i, n, left, when);
	heads_assert(all,
		     !image->mapped || !claims_bitmaps(image, left) ||
			     !memcmp(reads, image->mapped, all->max_len),
		     "%s, '%s' says that its bitmaps hold, and reads otherwise", when, image->name);
}
