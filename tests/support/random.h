/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Numbers drawn from a state that a seed began (xorshift): the same numbers for the
 * same seed, on every machine. The state is never 0.
 */
#ifndef BLOCKPULL_TESTS_RANDOM_H
#define BLOCKPULL_TESTS_RANDOM_H

#include <stdint.h>

/* The next state, all 64 bits. */
static inline uint64_t random_step(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* 0 to n - 1. */
static inline uint64_t random_below(uint64_t *state, uint64_t n)
{
	return (random_step(state) >> 11) % n;
}

#endif
