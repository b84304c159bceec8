/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Latencies, counted in buckets whose width is 1/32 of their beginning: any
 * percentile is right to 3 %, at no cost that a request would notice.
 */
#ifndef BENCH_RIG_HISTOGRAM_H
#define BENCH_RIG_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#include <json-c/json_object.h>

#define HISTOGRAM_SUB     32
#define HISTOGRAM_BUCKETS (64 * HISTOGRAM_SUB)

struct histogram {
	uint64_t n, sum_ns, max_ns;
	uint64_t counts[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t ns);
/* The value that `per_mille` of 1000 are not above, nanoseconds; 0 for an empty one. The end of a
 * bucket, but never above the maximum. */
uint64_t histogram_percentile(const struct histogram *h, double per_mille);
/* {"n", "mean_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns", "buckets": [[from_ns, to_ns,
 * count], ...]}, empty buckets left out. */
struct json_object *histogram_json(const struct histogram *h);

#endif
