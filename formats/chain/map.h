/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a chain holds at an offset of the guest's disk. */
#ifndef BLOCKPULL_FORMATS_CHAIN_MAP_H
#define BLOCKPULL_FORMATS_CHAIN_MAP_H

#include <stdint.h>

#include "io/base.h"

struct chain;
struct extent;
struct table_need;

/* What the chain from layer `from` down holds at guest_off: DATA or COMPRESSED with its depth, or
 * ZERO (depth n_layers where no layer holds anything). Never UNALLOCATED. The answer is at most len
 * bytes long; guest_off may lie behind a layer's end. 0, TABLE_NEED or -errno. */
int chain_map(struct chain *chain, unsigned from, uint64_t guest_off, uint64_t len,
	      struct extent *out, struct table_need *need);

/* What the layers [from, to) hold there; layer `to` exists. UNALLOCATED where it would be read. */
int chain_map_between(struct chain *chain, unsigned from, unsigned to, uint64_t guest_off,
		      uint64_t len, struct extent *out, struct table_need *need);
/* What the layers [1, pull_to) hold there. UNALLOCATED where the overlay is to go on reading layer
 * pull_to; never where there is no such layer. */
int chain_map_pulled(struct chain *chain, uint64_t guest_off, uint64_t len, struct extent *out,
		     struct table_need *need);

#endif
