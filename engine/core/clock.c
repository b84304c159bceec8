/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The engine's clock. In a file of its own, so that a test may put another one
 * in its place when it is linked: time that jumps, or passes without traffic.
 */
#include "engine/core/clock.h"

#include <time.h>

#include "io/base.h"

uint64_t engine_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}
