/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the rigs of open images share (qed_rig.h, write_rig.h): seeded numbers, a
 * cache so small that eviction and TABLE_NEED happen all the time, loading what a
 * call asks for, and writing out what a commit staged.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_RIGS_RIG_H
#define BLOCKPULL_TESTS_SUPPORT_RIGS_RIG_H

#include <errno.h>

#include "formats/core/layer.h"
#include "formats/core/table_cache.h"

#define RIG_CACHE_LEN 4096

/* One sequence for a test; the seed is not 0. */
void rig_seed(uint64_t seed);
uint64_t rig_roll(uint64_t below);

/* Runs a call of the format's, which fills `need`, until it needs no further table; what it
 * returned, or why a table can't be loaded. -ELOOP after max loads: it loses one table over the
 * next, for ever. */
#define RIG_LOADED(cache, max, call)                                                          \
	({                                                                                    \
		struct table_need need;                                                       \
		int rig_rc_, rig_n_ = 0;                                                      \
		while ((rig_rc_ = (call)) == TABLE_NEED) {                                    \
			rig_rc_ = rig_n_++ < (max) ? table_load_now((cache), &need) : -ELOOP; \
			if (rig_rc_)                                                          \
				break;                                                        \
		}                                                                             \
		rig_rc_;                                                                      \
	})

/* Writes out the stages from lo on, in order, and before `end`. */
void rig_write_stages(struct staged *staged, enum stage lo, enum stage end);

#endif
