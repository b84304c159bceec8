/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/serve/world.h"

#include <stdlib.h>
#include <string.h>

#include "tests/serve/front.h"

#define ZEROS UINT32_MAX

void world_open(struct world *world, unsigned n_blocks, uint8_t first, uint64_t seed)
{
	*world = (struct world){ .blocks = calloc(n_blocks, sizeof(*world->blocks)),
				 .n = n_blocks,
				 .seed = seed * 2 + 1,
				 .first = first };
	if (!world->blocks)
		front_fail("no memory");
}

void world_close(struct world *world)
{
	free(world->blocks);
}

unsigned world_draw(struct world *world, unsigned n)
{
	world->seed ^= world->seed << 13;
	world->seed ^= world->seed >> 7;
	world->seed ^= world->seed << 17;
	return (world->seed >> 11) % n;
}

void world_fill(const struct world *world, unsigned block, uint32_t version, uint8_t *out)
{
	uint64_t words[WORLD_BLOCK / 8], word = (uint64_t)version << 32 | block;

	if (!version || version == ZEROS) {
		memset(out, version ? 0 : world->first, WORLD_BLOCK);
		return;
	}
	for (unsigned i = 0; i < WORLD_BLOCK / 8; i++)
		words[i] = word ^ (uint64_t)i << 20;
	memcpy(out, words, WORLD_BLOCK);
}

void world_check(const struct world *world, unsigned block, const uint8_t *bytes)
{
	const struct world_block *b = &world->blocks[block];
	uint8_t wanted[WORLD_BLOCK];
	uint64_t word;

	world_fill(world, block, b->version, wanted);
	if (!memcmp(wanted, bytes, WORLD_BLOCK))
		return;
	memset(wanted, 0, WORLD_BLOCK);
	if (b->may_be_zero && !memcmp(wanted, bytes, WORLD_BLOCK))
		return;
	memcpy(&word, bytes, sizeof(word));
	front_fail("block %u holds version %u of block %u (word %#llx), and must hold version %u",
		   block, (unsigned)(word >> 32), (unsigned)word, (unsigned long long)word,
		   b->version);
}
