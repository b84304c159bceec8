/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a job is told to copy first, drawn: also what no sound program would say. */
#ifndef BLOCKPULL_TESTS_SIM_FIRST_H
#define BLOCKPULL_TESTS_SIM_FIRST_H

#include <stddef.h>
#include <stdint.h>

#include "engine/blockpull.h"

#define SIM_FIRST_MAX 40

struct sim_first {
	struct bpull_range ranges[SIM_FIRST_MAX];
	size_t n;
};

/* Ranges that overlap, are empty, or lie behind a disk of so many guest bytes. */
void sim_first_draw(struct sim_first *first, uint64_t seed, uint64_t guest_len);

#endif
