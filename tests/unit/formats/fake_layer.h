/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Layers made up of units of 64 bytes, in any order, whose tables are loaded by eight units. */
#ifndef BLOCKPULL_TESTS_FAKE_LAYER_H
#define BLOCKPULL_TESTS_FAKE_LAYER_H

#include "formats/chain/chain.h"
#include "formats/chain/chain_base.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"

#define N_SEEDS    10000
#define MAX_LAYERS 6
#define UNIT       64 /* bytes; all borders but the ends of layers lie on these */
#define MAX_LEN    (200 * UNIT)
#define MAX_UNITS  (MAX_LEN / UNIT)
#define COMP_LEN   (4 * UNIT) /* a compressed cluster */

extern uint64_t fake_rng;

uint64_t fake_roll(uint64_t below);

struct fake {
	struct layer layer; /* first */
	enum extent_kind kind[MAX_UNITS];
	uint64_t host_off[MAX_UNITS]; /* of the unit, where it has data */
	bool loaded[MAX_UNITS / 8];   /* "tables" of eight units */
	bool stingy;                  /* may answer less than it could */
	unsigned n_maps;
	int error;
	/* A false answer. */
	bool lie;
	uint64_t lie_len, lie_skew;
};

struct fake *fake_of(struct layer *layer);

extern const struct layer_ops fake_ops;

void fake_fill(struct fake *fake, uint64_t from, uint64_t to, enum extent_kind kind);
/* Mostly unallocated, so that questions go deep. */
void fake_scatter(struct fake *fake, unsigned n);
struct fake *fake_new(uint64_t guest_len, bool loaded);
struct chain *chain_of(unsigned n_layers);
struct fake *fake_at(struct chain *chain, unsigned depth);
void chain_drop(struct chain *chain);

#endif
