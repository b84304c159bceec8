/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See sim_first.h. */
#include "tests/machine/sim_first.h"

#include "tests/support/random.h"

static struct bpull_range draw_range(uint64_t *state, uint64_t guest_len)
{
	struct bpull_range range = { .offset = random_below(state, guest_len) };

	switch (random_below(state, 12)) {
	case 0: range.length = 0; break;
	case 1: range.length = UINT64_MAX; break;
	case 2: range.offset = UINT64_MAX - random_below(state, 9); /* fall through */
	case 3: range.length = guest_len; break;
	case 4: range = (struct bpull_range){ 0, guest_len }; break;
	case 5: range.offset = guest_len; /* fall through */
	case 6: range.length = 1; break;
	default: range.length = 1 + random_below(state, guest_len / 8 + 1); break;
	}
	return range;
}

void sim_first_draw(struct sim_first *first, uint64_t seed, uint64_t guest_len)
{
	uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;

	random_step(&state);
	first->n = random_below(&state, SIM_FIRST_MAX + 1);
	for (size_t i = 0; i < first->n; i++)
		first->ranges[i] = draw_range(&state, guest_len);
}
