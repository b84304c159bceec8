/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/core/rate/converge.h"

#include "io/base.h"

/* How many bytes may be left to copy while the guest is held at the end: HOLD_LEN, and with a limit
 * no more than the job may copy in one HOLD_SHARE of a second, but LEAST_HOLD_LEN at least. */
#define HOLD_LEN       (4 * MiB)
#define LEAST_HOLD_LEN (64 * KiB)
#define HOLD_SHARE     4

static uint64_t hold_len(uint64_t rate)
{
	return rate ? MAX(MIN(rate / HOLD_SHARE, HOLD_LEN), LEAST_HOLD_LEN) : HOLD_LEN;
}

void converge_look(struct converge *c, uint64_t written_len)
{
	c->n_looks++;
	c->look_len = written_len;
}

/* A guest that is slowed may leave as much at each look: the requests that were in flight then. So
 * a look that finds no less is an end, too. */
bool converge_is_near(const struct converge *c, uint64_t written_len, uint64_t rate)
{
	bool becomes_less = written_len <= c->look_len - c->look_len / 4;

	return written_len <= hold_len(rate) || (converge_may_slow(c) && !becomes_less);
}

bool converge_is_too_fast(const struct converge *c, uint64_t left_len, uint64_t written_len,
			  uint64_t rate)
{
	uint64_t copied_len = c->look_len - MIN(left_len, c->look_len);

	return converge_may_slow(c) && written_len > copied_len / 2 + hold_len(rate) / 4;
}

uint64_t converge_count_written(const struct converge *c, uint64_t written_len, size_t n_read,
				size_t n)
{
	uint64_t left_out = n ? c->look_len / 4 * n_read / n : 0;

	return written_len - MIN(written_len, left_out);
}
