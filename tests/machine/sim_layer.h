/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One layer of a chain drawn from a seed; see sim_chain.h. */
#ifndef BLOCKPULL_TESTS_SIM_LAYER_H
#define BLOCKPULL_TESTS_SIM_LAYER_H

#include "tests/machine/sim_chain.h"

struct sim_draw {
	struct sim_chain *chain;
	uint64_t rng;
	uint64_t max_len; /* bytes of any layer's guest disk */
	uint8_t *flat;    /* what the guest reads of the layers made so far */
};

/* What is to be made. */
struct sim_layer {
	enum image_format format;
	unsigned version, cluster_bits, refcount_bits;
	uint64_t guest_len;
	unsigned per_mille; /* of clusters that hold something */
	const char *backing_name, *backing_format;
	bool is_top;
};

uint64_t sim_draw_below(struct sim_draw *d, uint64_t n);
uint64_t sim_draw_between(struct sim_draw *d, uint64_t lo, uint64_t hi);

/* Fills *file and applies the layer to d->flat. */
void sim_layer_make(struct sim_draw *d, const struct sim_layer *l, struct sim_chain_file *file);

#endif
