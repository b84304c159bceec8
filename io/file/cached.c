/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "io/file/cached.h"

#include "io/base.h"

/* What a guest reads as it boots, and what the kernel reads ahead, is longer than this. */
#define MIN_STEP (128 * KiB)

uint64_t file_cached_step(uint64_t len)
{
	return round_up(MAX(len / FILE_CACHED_MAX + 1, (uint64_t)MIN_STEP), (uint64_t)MIN_STEP);
}

void file_cached_set(struct file_cached *cached, uint64_t off)
{
	uint64_t i = off / cached->step;

	if (i < FILE_CACHED_MAX)
		cached->bits[i / 64] |= UINT64_C(1) << i % 64;
}

bool file_cached_has(const struct file_cached *cached, uint64_t off, uint64_t len)
{
	uint64_t first = off / cached->step, last = (off + len - 1) / cached->step, n = 0;

	if (last >= FILE_CACHED_MAX)
		return false;
	for (uint64_t i = first; i <= last; i++)
		n += cached->bits[i / 64] >> i % 64 & 1;
	return 2 * n >= last - first + 1;
}
