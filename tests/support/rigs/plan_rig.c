/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See plan_rig.h. */
#include "tests/support/rigs/plan_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "formats/chain/chain.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"

uint64_t plan_rig_host(const struct fake *fake, uint64_t unit)
{
	if (fake->kind[unit] == EXTENT_COMPRESSED)
		return fake->host_off[unit / COMPRESS * COMPRESS];
	return fake->host_off[unit];
}

static bool goes_on(const struct fake *fake, uint64_t unit)
{
	if (fake->kind[unit] != fake->kind[unit + 1])
		return false;
	if (fake->kind[unit] == EXTENT_COMPRESSED)
		return (unit + 1) % COMPRESS != 0;
	return fake->kind[unit] != EXTENT_DATA ||
	       fake->host_off[unit + 1] == fake->host_off[unit] + UNIT;
}

static int fake_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		    struct table_need *need)
{
	struct fake *fake = fake_of(layer);
	uint64_t unit = guest_off / UNIT, end = (unit + 1) * UNIT;

	(void)need;
	cr_assert(len && guest_off + len <= layer->guest_len, "asked outside of the layer");
	if (fake->error)
		return fake->error;
	if (fake->needs) {
		fake->needs = false;
		return TABLE_NEED;
	}
	while (end < guest_off + len && goes_on(fake, end / UNIT - 1))
		end += UNIT;
	*out = (struct extent){
		.kind = fake->kind[unit],
		.guest_off = guest_off,
		.len = MIN(end - guest_off, len),
	};
	if (out->kind == EXTENT_DATA) {
		out->has_host = true;
		out->host_off = fake->host_off[unit] + guest_off % UNIT;
	} else if (out->kind == EXTENT_COMPRESSED) {
		out->has_host = true;
		out->host_off = plan_rig_host(fake, unit);
		out->host_len = 77;
		out->skip = (uint32_t)(guest_off % (COMPRESS * UNIT));
	}
	return 0;
}

static void fake_close(struct layer *layer)
{
	free(layer);
}

static const struct layer_fill_ops fake_fill_ops = { .map_backed = fake_map };

static const struct layer_ops fake_ops = {
	.name = "fake",
	.fill = &fake_fill_ops,
	.map = fake_map,
	.close = fake_close,
};

struct chain *plan_rig_chain(unsigned n_layers, uint32_t granule_len)
{
	struct chain *chain = calloc(1, sizeof(*chain));

	for (unsigned i = 0; i < n_layers; i++) {
		struct fake *fake = calloc(1, sizeof(*fake));

		fake->layer = (struct layer){ .ops = &fake_ops,
					      .guest_len = LEN,
					      .backed_len = LEN,
					      .cluster_len = granule_len,
					      .granule_len = granule_len,
					      .has_backing = i + 1 < n_layers,
					      .is_overlay = !i };
		chain->layers[chain->n_layers++] = &fake->layer;
	}
	chain->pull_to = n_layers;
	return chain;
}

void plan_rig_drop(struct chain *chain)
{
	for (unsigned i = 0; i < chain->n_layers; i++)
		layer_close(chain->layers[i]);
	free(chain);
}

void plan_rig_fill(struct chain *chain, unsigned depth, uint64_t from, uint64_t to,
		   enum extent_kind kind, uint64_t host_off)
{
	struct fake *fake = fake_of(chain->layers[depth]);

	for (uint64_t unit = from; unit < to; unit++) {
		fake->kind[unit] = kind;
		fake->host_off[unit] = host_off + (unit - from) * UNIT;
	}
	fake->layer.hint.off = fake->layer.hint.end = 0; /* layers below don't change else */
}
