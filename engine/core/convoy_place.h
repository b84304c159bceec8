/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where members of a convoy are, and how fast they are: for convoy*.c only. */
#ifndef BLOCKPULL_CORE_CONVOY_PLACE_H
#define BLOCKPULL_CORE_CONVOY_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/convoy.h"
#include "io/base.h"

/* A member is too slow when it takes longer than so many runs of the others. A fixed time was
 * rejected: what is long for a local disk is one read of a distant one. */
#define CONVOY_PATIENCE_RUNS 8

/* A convoy of one member is only kept so that others may join it. */
static inline bool convoy_is_real(const struct convoy *convoy)
{
	return convoy->n > 1;
}

/* Guest bytes that a member may be ahead of the last one. */
uint64_t convoy_window_len(const struct convoys *convoys);
/* Guest bytes of the longest disk: where the convoy wraps. */
uint64_t convoy_round_len(const struct convoy *convoy);
/* The first place from `from` on that is at guest_off. */
struct convoy_place convoy_place_from(const struct convoy_place *from, uint64_t guest_off);
/* Guest bytes from the convoy's last member to that place; UINT64_MAX: more than a round. */
uint64_t convoy_distance(const struct convoy *convoy, const struct convoy_place *at);
/* Sets convoy->last. */
void convoy_find_last(struct convoy *convoy);
/* The member is in the same MiB as the last one: the others wait for it. */
bool convoy_is_last(const struct convoy *convoy, const struct convoy_member *member);
/* How long a run of the members takes on average; but_last: of those that are not the last. 0: not
 * known. */
uint64_t convoy_run_ns(const struct convoy *convoy, bool but_last);

#endif
