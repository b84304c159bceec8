/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Chains from the bottom up, each layer applied to a flat copy of the guest's
 * disk (sim_layer.c).
 *
 * Chains made by qemu-img would be truer to life, and slower by a factor of a
 * thousand; they are judged in the black-box tests.
 */
#include "tests/machine/sim_chain.h"

#include <limits.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_layer.h"

#define QED_FAR_BITS 26 /* the largest clusters */

static uint64_t draw_guest_len(struct sim_draw *d, uint64_t top_len)
{
	switch (sim_draw_below(d, 4)) {
	case 0: return MAX(round_down(sim_draw_between(d, 1, top_len), 512), UINT64_C(512));
	case 1: return round_down(sim_draw_between(d, top_len, d->max_len), 512);
	default: return top_len;
	}
}

static struct sim_layer draw_backing(struct sim_draw *d, unsigned depth, unsigned n_layers,
				     const struct sim_layer *above)
{
	const struct sim_chain_how *how = &d->chain->how;
	struct sim_layer l = {
		.version = 2 + (unsigned)sim_draw_below(d, 2),
		.format = IMAGE_QCOW2,
		.refcount_bits = 16,
		.guest_len = draw_guest_len(d, d->chain->guest_len),
		.per_mille = (unsigned)sim_draw_between(d, 200, 900),
	};

	l.cluster_bits = (unsigned)sim_draw_between(d, MAX(9u, MIN(how->cluster_bits - 3, 14u)),
						    MIN(16u, how->cluster_bits + 2));
	if (depth == n_layers - 1 && sim_draw_below(d, 4))
		l.format = IMAGE_RAW;
	else if (sim_draw_below(d, 3) == 0)
		l.format = IMAGE_QED;
	if (l.format != IMAGE_RAW && above->format == IMAGE_QED && !how->any_below_qed)
		l.format = d->chain->unnamed;
	if (l.format == IMAGE_QED) {
		l.version = 3; /* has zero clusters */
		l.cluster_bits = MAX(l.cluster_bits, 12u);
		l.refcount_bits = 1;
	}
	if (l.format == IMAGE_QCOW2 && how->full_below) {
		l.version = how->version;
		l.cluster_bits = how->cluster_bits;
		l.refcount_bits = how->refcount_bits;
	}
	if (l.format == IMAGE_RAW && sim_draw_below(d, 3) == 0)
		l.guest_len -= sim_draw_below(d, 511); /* rounded up to a sector, with zeros */
	return l;
}

static struct sim_layer draw_top(struct sim_draw *d)
{
	const struct sim_chain_how *how = &d->chain->how;
	struct sim_layer l = {
		.format = how->format,
		.version = how->version,
		.cluster_bits = how->cluster_bits,
		.refcount_bits = how->refcount_bits,
		.guest_len = d->chain->snapshot_len,
		.per_mille = (unsigned)sim_draw_between(d, 0, 400),
		.is_top = true,
	};

	return l;
}

static void draw_rest(struct sim_draw *d, struct sim_chain_how *how)
{
	static const enum image_format formats[] = { IMAGE_QCOW2, IMAGE_QCOW2, IMAGE_QED };

	if (how->format == IMAGE_UNKNOWN)
		how->format = formats[sim_draw_below(d, ARRAY_LEN(formats))];
	if (!how->version)
		how->version = how->format == IMAGE_QED ? 3 : 2 + (unsigned)sim_draw_below(d, 2);
	if (!how->cluster_bits)
		how->cluster_bits = 9 + (unsigned)sim_draw_below(d, 8);
	if (how->format == IMAGE_QED)
		how->cluster_bits = MAX(how->cluster_bits, 12u);
	if (how->format == IMAGE_QED && how->far)
		how->cluster_bits = QED_FAR_BITS;
	if (!how->refcount_bits)
		how->refcount_bits = 1u << sim_draw_below(d, 7);
	if (how->format == IMAGE_QED)
		how->refcount_bits = 1;
	else if (how->version == 2)
		how->refcount_bits = 16;
	if (!how->n_clusters)
		how->n_clusters = (unsigned)sim_draw_between(d, 1, 200);
	if (!how->stretch)
		how->stretch = 6;
	if (!how->max_depth)
		how->max_depth = SIM_CHAIN_MAX_DEPTH;
}

/* The disk is what is left of the longer one of which the snapshots were made. */
static void draw_lengths(struct sim_draw *d)
{
	struct sim_chain *chain = d->chain;
	const struct sim_chain_how *how = &chain->how;
	unsigned unit_bits = MIN(how->cluster_bits, how->far ? 12u : UINT_MAX);

	chain->guest_len = (uint64_t)how->n_clusters << unit_bits;
	chain->guest_len -= sim_draw_below(d, (UINT64_C(1) << unit_bits) / 512) * 512;
	chain->snapshot_len = chain->guest_len;
	if (how->longer && chain->guest_len > 512)
		chain->guest_len = round_up(sim_draw_between(d, 1, chain->snapshot_len - 512), 512);
	d->max_len = chain->snapshot_len + sim_draw_between(d, 0, 8) * 4096;
}

void sim_chain_draw(struct sim_chain *chain, const struct sim_chain_how *how)
{
	static const char *const names[] = { "top", "b1", "b2", "b3", "b4" };
	struct sim_layer layers[SIM_CHAIN_MAX_DEPTH + 1];
	struct sim_draw d = { .chain = chain, .rng = how->seed };

	*chain = (struct sim_chain){ .how = *how };
	draw_rest(&d, &chain->how);
	chain->cluster_len = 1u << chain->how.cluster_bits;
	draw_lengths(&d);
	d.flat = sim_need(calloc(1, d.max_len + 65536));
	chain->n_files = 2 + (unsigned)sim_draw_below(&d, chain->how.max_depth);
	chain->unnamed = sim_draw_below(&d, 2) ? IMAGE_QED : IMAGE_QCOW2;
	if (how->any_below_qed)
		chain->unnamed = IMAGE_UNKNOWN;
	layers[0] = draw_top(&d);
	for (unsigned i = 1; i < chain->n_files; i++)
		layers[i] = draw_backing(&d, i, chain->n_files, &layers[i - 1]);
	for (unsigned i = chain->n_files; i-- > 0;) {
		if (i + 1 < chain->n_files) {
			layers[i].backing_name = names[i + 1];
			layers[i].backing_format = format_name(layers[i + 1].format);
			/* Raw by a record, or found to be raw. */
			if (how->any_below_qed && layers[i].format == IMAGE_QED &&
			    sim_draw_below(&d, 2))
				layers[i].backing_format = NULL;
		}
		snprintf(chain->files[i].name, sizeof(chain->files[i].name), "/%s", names[i]);
		sim_layer_make(&d, &layers[i], &chain->files[i]);
	}
	chain->want = d.flat;
}

const char *sim_chain_base(const struct sim_chain *chain)
{
	if (!chain->how.to_base || chain->n_files < 3)
		return NULL;
	return chain->files[2 + chain->how.seed % (chain->n_files - 2)].name;
}

void sim_chain_free(struct sim_chain *chain)
{
	for (unsigned i = 0; i < chain->n_files; i++)
		free(chain->files[i].bytes);
	free(chain->data.bytes);
	free(chain->want);
	*chain = (struct sim_chain){ 0 };
}

/* ---- machines ---- */

static bool is_zero(const uint8_t *bytes, uint64_t len)
{
	return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

/* Pages of zeros stay holes. */
static void put_file(const struct sim_chain_file *file, struct sim *sim, const char *name)
{
	const uint64_t page = 4096;
	uint64_t from = 0, at = 0;

	sim_file_put_hole(sim, name, file->file_len);
	while (at < file->len) {
		uint64_t n = MIN(page, file->len - at);

		if (is_zero(file->bytes + at, n)) {
			if (at > from)
				sim_file_poke(sim, name, file->bytes + from, at - from, from);
			from = at + n;
		}
		at += n;
	}
	if (at > from)
		sim_file_poke(sim, name, file->bytes + from, at - from, from);
}

void sim_chain_put_twin(const struct sim_chain *chain, struct sim *sim, const char *name)
{
	put_file(&chain->files[0], sim, name);
}

void sim_chain_put(const struct sim_chain *chain, struct sim *sim)
{
	for (unsigned i = 0; i < chain->n_files; i++)
		put_file(&chain->files[i], sim, chain->files[i].name);
	if (chain->data.name[0])
		put_file(&chain->data, sim, chain->data.name);
	sim_knobs(sim)->may_clone = chain->how.clone != SIM_CLONE_NEVER;
	sim_knobs(sim)->clones =
		chain->how.clone == SIM_CLONE_WORKS || chain->how.clone == SIM_CLONE_SOME;
	for (unsigned i = 1; i < chain->n_files && chain->how.clone == SIM_CLONE_SOME; i++)
		if (chain->how.seed >> i & 1)
			sim_file_refuse_clones(sim, chain->files[i].name);
}

bool sim_chain_rest_is_same(const struct sim_chain *chain, const struct sim *sim, unsigned first)
{
	bool same = true;

	for (unsigned i = first; same && i < chain->n_files; i++) {
		const struct sim_chain_file *file = &chain->files[i];
		uint8_t *now = sim_need(malloc(file->len + 1));

		same = sim_file_len(sim, file->name) == file->file_len;
		sim_file_peek(sim, file->name, now, file->len, 0);
		same = same && !memcmp(now, file->bytes, file->len);
		free(now);
	}
	return same;
}

bool sim_chain_backing_is_same(const struct sim_chain *chain, const struct sim *sim)
{
	return sim_chain_rest_is_same(chain, sim, 1);
}

/* ---- the link ---- */

/* Where the two specifications have it; a QED image without a backing file has a feature bit
 * less. */
static void find_link(const struct sim_chain *chain, const uint8_t *header, uint64_t *off,
		      uint32_t *len)
{
	if (chain->how.format == IMAGE_QCOW2) {
		*off = be64(header + 8);
		*len = *off ? be32(header + 16) : 0;
		return;
	}
	*off = le32(header + 56);
	*len = header[16] & 1 ? le32(header + 60) : 0;
}

unsigned sim_chain_link(const struct sim_chain *chain, const struct sim *sim)
{
	return sim_chain_link_of(chain, sim, SIM_CHAIN_TOP);
}

unsigned sim_chain_link_of(const struct sim_chain *chain, const struct sim *sim,
			   const char *overlay)
{
	uint8_t header[64];
	char name[8] = "/";
	uint64_t off;
	uint32_t len;

	sim_file_peek(sim, overlay, header, sizeof(header), 0);
	find_link(chain, header, &off, &len);
	if (!len)
		return chain->n_files;
	if (len + 2 > sizeof(name))
		return SIM_CHAIN_NO_FILE;
	sim_file_peek(sim, overlay, name + 1, len, off);
	for (unsigned i = 1; i < chain->n_files; i++)
		if (!strcmp(name, chain->files[i].name))
			return i;
	return SIM_CHAIN_NO_FILE;
}

uint64_t sim_chain_disk_len(const struct sim_chain *chain, const struct sim *sim)
{
	bool is_qcow2 = chain->how.format == IMAGE_QCOW2;
	uint8_t len[8];

	sim_file_peek(sim, SIM_CHAIN_TOP, len, sizeof(len), is_qcow2 ? 24 : 48);
	return is_qcow2 ? be64(len) : le64(len);
}

bool sim_chain_has_bitmaps(const struct sim_chain *chain, const struct sim *sim)
{
	uint8_t autoclear[8];

	if (chain->how.format != IMAGE_QCOW2 || chain->how.version < 3)
		return false;
	sim_file_peek(sim, SIM_CHAIN_TOP, autoclear, sizeof(autoclear), 88);
	return be64(autoclear) & 1;
}

bool sim_chain_link_is_written(const struct sim_chain *chain, const struct sim *sim)
{
	return chain->how.format == IMAGE_QCOW2 ? sim_file_is_written(sim, SIM_CHAIN_TOP, 8, 12)
						: sim_file_is_written(sim, SIM_CHAIN_TOP, 16, 48);
}
