/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How long a test may take: seconds of the processor, because the machine may be
 * busy and others' work must not fail a test. The clock only ends what sleeps for
 * ever, after many times as long. A sanitizer's build may use five times as much.
 *
 * Criterion starts the program anew for each test, so the limit is that of one
 * test and of each process that it starts.
 */
#ifndef BLOCKPULL_TESTS_TIME_LIMIT_H
#define BLOCKPULL_TESTS_TIME_LIMIT_H

#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TIME_LIMIT_SLOWDOWN 5
#else
#define TIME_LIMIT_SLOWDOWN 1
#endif

/* Seconds of the clock, for what takes so many of the processor at most. */
#define TIME_LIMIT_CLOCK(seconds) ((8 * (seconds) + 60) * TIME_LIMIT_SLOWDOWN)

/* Once in a program, outside of functions: the kernel ends a test that used more with SIGXCPU. */
#define TIME_LIMIT(seconds)                                           \
	__attribute__((constructor)) static void time_limit_set(void) \
	{                                                             \
		time_limit_set_to((seconds)*TIME_LIMIT_SLOWDOWN);     \
	}                                                             \
	_Static_assert((seconds) > 0, "no time at all")

static inline void time_limit_set_to(rlim_t seconds)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CPU, &limit) || limit.rlim_max < seconds)
		return; /* another one's is stricter */
	limit.rlim_cur = seconds;
	setrlimit(RLIMIT_CPU, &limit);
}

#endif
