/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/core/rate/beside.h"

uint64_t beside_next_len(uint64_t len, uint64_t run_len, uint64_t took_ns)
{
	if (took_ns > BESIDE_LONG_NS)
		return MAX(len / 2, (uint64_t)BESIDE_MIN_LEN);
	if (took_ns < BESIDE_SHORT_NS && run_len > len / 2)
		return MIN(len * 2, (uint64_t)BESIDE_MAX_LEN);
	return len;
}
