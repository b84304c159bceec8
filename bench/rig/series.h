/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How many bytes were done by when: what throughput over time and every claim
 * about a limit is computed from. Between two samples nothing is known, so a
 * value holds until the next one: windows err by one sample at most.
 */
#ifndef BENCH_RIG_SERIES_H
#define BENCH_RIG_SERIES_H

#include <stddef.h>
#include <stdint.h>

#include <json-c/json_object.h>

struct sample {
	uint64_t at_ns; /* since the series' beginning, rising */
	uint64_t bytes; /* never falls */
};

/* Holds `cap` samples; when it is full every second one goes. Memory may be shared: no pointers. */
struct series {
	uint64_t begin_ns;
	size_t n, cap;
	struct sample samples[];
};

struct series *series_new(size_t cap); /* in shared memory, never freed; NULL: none */
void series_begin(struct series *s, uint64_t now_ns);
void series_add(struct series *s, uint64_t now_ns, uint64_t bytes);

/* Makes `sum` the sum of n series, from the beginning of the first on. One ends where it falls: its
 * writer was killed in the middle of a sample. n is at most SERIES_MAX_PARTS. */
#define SERIES_MAX_PARTS 16
void series_sum(struct series *sum, struct series *const *parts, unsigned n);

/* The least and the most that any window of window_ns from from_ns on to the last sample holds.
 * False: the series is shorter than that. */
struct series_window {
	uint64_t min_bytes, max_bytes;
	uint64_t min_at_ns, max_at_ns; /* where these begin */
};
int series_windows(const struct series *s, uint64_t from_ns, uint64_t window_ns,
		   struct series_window *out);
/* The longest time between two samples: every window may be wrong by what happened in it. */
uint64_t series_longest_gap_ns(const struct series *s);
/* Bytes done by at_ns. */
uint64_t series_at(const struct series *s, uint64_t at_ns);
/* [[seconds, bytes per second], ...], a point at the end of each step_ns. */
struct json_object *series_json(const struct series *s, uint64_t step_ns);

#endif
