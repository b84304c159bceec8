/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Chains for the tests of engine/copy/walk/plan.c, of layers that are made up by units:
 * their tables are always at hand, and they may hold anything in any order.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_RIGS_PLAN_RIG_H
#define BLOCKPULL_TESTS_SUPPORT_RIGS_PLAN_RIG_H

#include "engine/copy/walk/plan.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"

#define UNIT      512u /* bytes; the ends of layers lie on these, too */
#define UNITS     256u /* of most disks */
#define MAX_UNITS (PLAN_MAX_PARTS + 64u)
#define LEN       (UNITS * UNIT)
#define COMPRESS  8u /* units of a compressed cluster */

struct fake {
	struct layer layer; /* first */
	enum extent_kind kind[MAX_UNITS];
	uint64_t host_off[MAX_UNITS];
	bool needs; /* the next question needs a table */
	int error;
};

static inline struct fake *fake_of(const struct layer *layer)
{
	return (struct fake *)layer;
}

/* Of n layers all hold nothing; the overlay's cluster and granule are this long. */
struct chain *plan_rig_chain(unsigned n_layers, uint32_t granule_len);
void plan_rig_drop(struct chain *chain);
/* What a layer holds of units [from, to); host_off: of the first. */
void plan_rig_fill(struct chain *chain, unsigned depth, uint64_t from, uint64_t to,
		   enum extent_kind kind, uint64_t host_off);
/* Where the unit's data lies; of a compressed one the cluster's. */
uint64_t plan_rig_host(const struct fake *fake, uint64_t unit);

#endif
