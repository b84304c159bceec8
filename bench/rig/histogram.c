/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Powers of two, each cut into 32 equal parts. Keeping every latency and sorting
 * them was rejected: at a million a second that is what would be measured.
 */
#include "bench/rig/histogram.h"

static unsigned histogram_bucket_of(uint64_t ns)
{
	unsigned shift;

	if (ns < HISTOGRAM_SUB)
		return (unsigned)ns;
	shift = 63 - __builtin_clzll(ns) - 5; /* 5: log2 of HISTOGRAM_SUB */
	return (shift + 1) * HISTOGRAM_SUB + (unsigned)(ns >> shift) - HISTOGRAM_SUB;
}

static uint64_t histogram_bucket_begin(unsigned bucket)
{
	if (bucket < 2 * HISTOGRAM_SUB)
		return bucket;
	return (uint64_t)(bucket % HISTOGRAM_SUB + HISTOGRAM_SUB) << (bucket / HISTOGRAM_SUB - 1);
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	h->counts[histogram_bucket_of(ns)]++;
	h->n++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

uint64_t histogram_percentile(const struct histogram *h, double per_mille)
{
	uint64_t seen = 0;

	for (unsigned i = 0; h->n && i < HISTOGRAM_BUCKETS; i++) {
		seen += h->counts[i];
		if (seen * 1000.0 >= per_mille * h->n && seen) {
			uint64_t end_ns = histogram_bucket_begin(i + 1) - 1;

			return end_ns < h->max_ns ? end_ns : h->max_ns;
		}
	}
	return h->max_ns;
}

static void histogram_add_ns(struct json_object *object, const char *name, uint64_t ns)
{
	json_object_object_add(object, name, json_object_new_uint64(ns));
}

struct json_object *histogram_json(const struct histogram *h)
{
	struct json_object *object = json_object_new_object(), *buckets = json_object_new_array();

	histogram_add_ns(object, "n", h->n);
	histogram_add_ns(object, "mean_ns", h->n ? h->sum_ns / h->n : 0);
	histogram_add_ns(object, "p50_ns", histogram_percentile(h, 500));
	histogram_add_ns(object, "p90_ns", histogram_percentile(h, 900));
	histogram_add_ns(object, "p99_ns", histogram_percentile(h, 990));
	histogram_add_ns(object, "p999_ns", histogram_percentile(h, 999));
	histogram_add_ns(object, "max_ns", h->max_ns);
	for (unsigned i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
		struct json_object *row;

		if (!h->counts[i])
			continue;
		row = json_object_new_array();

		json_object_array_add(row, json_object_new_uint64(histogram_bucket_begin(i)));
		json_object_array_add(row, json_object_new_uint64(histogram_bucket_begin(i + 1)));
		json_object_array_add(row, json_object_new_uint64(h->counts[i]));
		json_object_array_add(buckets, row);
	}
	json_object_object_add(object, "buckets", buckets);
	return object;
}
