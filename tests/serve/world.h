/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the disk must hold, by blocks: each write of a block has a version of its own. */
#ifndef TESTS_SERVE_WORLD_H
#define TESTS_SERVE_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#define WORLD_BLOCK 4096u

struct world_block {
	uint32_t version; /* of what it holds; 0: what it held at first; UINT32_MAX: zeros */
	bool is_busy;     /* a request for it is in flight */
	bool may_be_zero; /* it was discarded: it holds that, or zeros */
};

struct world {
	struct world_block *blocks;
	unsigned n;
	uint32_t versions;
	uint64_t seed;
	uint8_t first; /* byte that all of the disk held at first */
};

void world_open(struct world *world, unsigned n_blocks, uint8_t first, uint64_t seed);
void world_close(struct world *world);
/* A number below n. */
unsigned world_draw(struct world *world, unsigned n);
/* What a block of this version holds. */
void world_fill(const struct world *world, unsigned block, uint32_t version, uint8_t *out);
/* Ends the program where the bytes are not what the block must hold. */
void world_check(const struct world *world, unsigned block, const uint8_t *bytes);

#endif
