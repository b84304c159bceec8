/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The time for all that waits or measures here. */
#ifndef TOOLS_CLOCK_MONOTONIC_H
#define TOOLS_CLOCK_MONOTONIC_H

#include <stdint.h>
#include <time.h>

/* Since some moment before all processes began; never goes back (CLOCK_MONOTONIC). May be called
 * in a handler of a signal. */
static inline uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

#endif
