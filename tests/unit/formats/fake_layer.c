/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See fake_layer.h. */
#include "tests/unit/formats/fake_layer.h"

#include <criterion/criterion.h>

#include "formats/chain/chain.h"
#include "formats/chain/chain_base.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"
#include "io/file/opener.h"
#include "tests/support/random.h"

uint64_t fake_rng;

uint64_t fake_roll(uint64_t below)
{
	return random_below(&fake_rng, below);
}

struct fake *fake_of(struct layer *layer)
{
	return (struct fake *)layer;
}

static bool goes_on(const struct fake *fake, uint64_t unit)
{
	if (fake->kind[unit + 1] != fake->kind[unit])
		return false;
	if (fake->kind[unit] == EXTENT_COMPRESSED)
		return (unit + 1) % (COMP_LEN / UNIT) != 0;
	return fake->kind[unit] != EXTENT_DATA ||
	       fake->host_off[unit + 1] == fake->host_off[unit] + UNIT;
}

static int fake_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		    struct table_need *need)
{
	struct fake *fake = fake_of(layer);
	uint64_t unit = guest_off / UNIT, end = (unit + 1) * UNIT;

	fake->n_maps++;
	cr_assert(len > 0 && guest_off < layer->guest_len && len <= layer->guest_len - guest_off,
		  "asked outside of the layer");
	if (fake->error)
		return fake->error;
	if (!fake->loaded[unit / 8]) {
		*need = (struct table_need){ .file = NULL, .host_off = unit / 8, .len = 8 };
		return TABLE_NEED;
	}
	while (end < guest_off + len && fake->loaded[end / UNIT / 8] &&
	       goes_on(fake, end / UNIT - 1))
		end += UNIT;
	*out = (struct extent){
		.kind = fake->kind[unit],
		.guest_off = guest_off + fake->lie_skew,
		.len = MIN(end - guest_off, len),
	};
	if (fake->stingy)
		out->len = 1 + fake_roll(out->len);
	if (fake->lie)
		out->len = fake->lie_len;
	if (out->kind == EXTENT_DATA) {
		out->has_host = true;
		out->host_off = fake->host_off[unit] + guest_off % UNIT;
	} else if (out->kind == EXTENT_COMPRESSED) {
		out->has_host = true;
		out->host_off = fake->host_off[round_down(unit, COMP_LEN / UNIT)];
		out->host_len = 100;
		out->skip = (uint32_t)(guest_off % COMP_LEN);
	}
	return 0;
}

static void fake_close(struct layer *layer)
{
	free(layer);
}

const struct layer_ops fake_ops = {
	.name = "fake",
	.map = fake_map,
	.close = fake_close,
};

void fake_fill(struct fake *fake, uint64_t from, uint64_t to, enum extent_kind kind)
{
	uint64_t host_off = fake_roll(1000) * UNIT;

	for (uint64_t unit = from; unit < to; unit++, host_off += UNIT) {
		fake->kind[unit] = kind;
		fake->host_off[unit] = host_off;
	}
}

void fake_scatter(struct fake *fake, unsigned n)
{
	static const enum extent_kind kinds[] = { EXTENT_DATA, EXTENT_ZERO, EXTENT_COMPRESSED,
						  EXTENT_UNALLOCATED, EXTENT_DATA };

	while (n--) {
		enum extent_kind kind = kinds[fake_roll(ARRAY_LEN(kinds))];
		uint64_t from = fake_roll(MAX_UNITS),
			 to = MIN(from + 1 + fake_roll(30), (uint64_t)MAX_UNITS);

		if (kind == EXTENT_COMPRESSED) {
			from = round_down(from, COMP_LEN / UNIT);
			to = from + COMP_LEN / UNIT;
		}
		fake_fill(fake, from, to, kind);
	}
	/* A compressed cluster that was overwritten in part is none any more. */
	for (uint64_t from = 0; from < MAX_UNITS; from += COMP_LEN / UNIT)
		for (uint64_t i = 0; i < COMP_LEN / UNIT; i++)
			if (fake->kind[from] != fake->kind[from + i] ||
			    fake->host_off[from + i] != fake->host_off[from] + i * UNIT)
				for (uint64_t j = 0; j < COMP_LEN / UNIT; j++)
					if (fake->kind[from + j] == EXTENT_COMPRESSED)
						fake->kind[from + j] = EXTENT_ZERO;
}

struct fake *fake_new(uint64_t guest_len, bool loaded)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	fake->layer = (struct layer){
		.ops = &fake_ops, .guest_len = guest_len, .cluster_len = 512, .n_users = 1
	};
	for (size_t i = 0; i < ARRAY_LEN(fake->loaded); i++)
		fake->loaded[i] = loaded || fake_roll(2);
	return fake;
}

struct chain *chain_of(unsigned n_layers)
{
	struct chain *chain = calloc(1, sizeof(*chain));

	for (unsigned i = 0; i < n_layers; i++)
		chain->layers[chain->n_layers++] = &fake_new(MAX_LEN, true)->layer;
	return chain;
}

struct fake *fake_at(struct chain *chain, unsigned depth)
{
	return fake_of(chain->layers[depth]);
}

void chain_drop(struct chain *chain)
{
	for (unsigned i = 0; i < chain->n_layers; i++)
		layer_close(chain->layers[i]);
	free(chain);
}
