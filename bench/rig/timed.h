/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Something done in a process of its own, so that its time, CPU and peak memory
 * are its alone. Memory's floor is what a fork of this small program has.
 */
#ifndef BENCH_RIG_TIMED_H
#define BENCH_RIG_TIMED_H

#include <stddef.h>
#include <stdint.h>

struct timed_cost {
	uint64_t wall_ns; /* until the process is gone and `made` is synced */
	uint64_t cpu_ns;  /* user and system */
	uint64_t rss_len; /* at its peak, bytes */
};

#define TIMED_MAX_ROUNDS 1000

/* Of all rounds of a method. */
struct timed_summary {
	uint64_t min_ns, median_ns, max_ns; /* of the wall clock */
	uint64_t cpu_ns;                    /* the median */
	uint64_t rss_len;                   /* the largest */
};

/* Runs work(opaque) in a child, whose exit code it returns; then syncs the file `made` (NULL:
 * none). What it is to return beside goes into memory of timed_shared(). 0 or an exit code;
 * failures have been said. */
int timed_run(int (*work)(void *opaque), void *opaque, const char *made, struct timed_cost *cost);
/* Zeroed memory that children share; never freed. NULL: there is none. */
void *timed_shared(size_t len);
uint64_t timed_now_ns(void); /* CLOCK_MONOTONIC */
/* Sorts them; n > 0. */
uint64_t timed_median(uint64_t *values, uint64_t n);
/* 0 < n <= TIMED_MAX_ROUNDS. */
struct timed_summary timed_summarize(const struct timed_cost *costs, uint64_t n);

#endif
