/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Zero detection. Most clusters that are not zero say so in their first bytes,
 * so those are looked at alone; the rest goes in blocks the compiler makes
 * vector code of. Comparing with a page of zeros was rejected: it reads twice
 * as much memory.
 */
#include "engine/core/ranges/zero.h"

#include <string.h>

#include "io/base.h"

#define BLOCK_WORDS 64u

static bool words_are_zero(const uint8_t *buf, size_t n_words)
{
	uint64_t any = 0;

	for (size_t i = 0; i < n_words; i++) {
		uint64_t word;

		memcpy(&word, buf + i * sizeof(word), sizeof(word));
		any |= word;
	}
	return !any;
}

bool zero_is(const void *buf, size_t len)
{
	const uint8_t *at = buf, *end = at + len;

	if (!words_are_zero(at, 8))
		return false;
	for (; at + BLOCK_WORDS * 8 <= end; at += BLOCK_WORDS * 8)
		if (!words_are_zero(at, BLOCK_WORDS))
			return false;
	return words_are_zero(at, (size_t)(end - at) / 8);
}
