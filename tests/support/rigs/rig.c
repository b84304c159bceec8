/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See rig.h. Fuzz targets link it, without Criterion. */
#include "tests/support/rigs/rig.h"

#include <assert.h>

#include "formats/core/staged.h"
#include "io/file.h"
#include "tests/support/random.h"

static uint64_t rng;

void rig_seed(uint64_t seed)
{
	assert(seed);
	rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	for (int i = 0; i < 8; i++)
		rig_roll(2);
}

uint64_t rig_roll(uint64_t below)
{
	return random_below(&rng, below);
}

void rig_write_stages(struct staged *staged, enum stage lo, enum stage end)
{
	for (enum stage stage = lo; stage < end; stage++)
		while (staged->head[stage]) {
			struct staged_write *w = staged->head[stage];

			int rc = file_write(w->file, w->bytes, w->len, w->host_off);

			assert(!rc);
			staged->head[stage] = w->next;
			staged->n[stage]--;
			staged_write_done(w);
		}
}
