/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Names and meanings are those of QEMU's BlockDeviceStats. The histograms have
 * fixed bounds, so that those of many disks can be added up.
 */
#include "tools/serve/counters.h"

#include <stdio.h>

#include <json-c/json.h>

enum counters_kind counters_kind(enum blk_act act)
{
	switch (act) {
	case BLK_READ: return COUNTERS_READ;
	case BLK_WRITE:
	case BLK_ZEROES: return COUNTERS_WRITE;
	case BLK_FLUSH: return COUNTERS_FLUSH;
	case BLK_DISCARD: return COUNTERS_UNMAP;
	case BLK_ID:
	case BLK_ANSWER: break;
	}
	return COUNTERS_KINDS;
}

void counters_add(struct counters *counters, enum counters_kind kind, uint64_t bytes, bool failed,
		  uint64_t ns)
{
	struct counters_row *row = &counters->rows[kind];
	unsigned cell = 0;

	if (failed) {
		row->failed++;
		return;
	}
	row->n++;
	row->bytes += bytes;
	row->total_ns += ns;
	while (cell < COUNTERS_CELLS - 1 && ns >= (uint64_t)COUNTERS_FIRST_NS << cell)
		cell++;
	row->cells[cell]++;
}

static void counters_put(struct json_object *object, const char *before, const char *kind,
			 const char *after, struct json_object *value)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s%s", before, kind, after);
	json_object_object_add(object, name, value);
}

static struct json_object *counters_histogram(const struct counters_row *row)
{
	struct json_object *histogram = json_object_new_object();
	struct json_object *bounds = json_object_new_array(), *bins = json_object_new_array();

	for (unsigned i = 0; i < COUNTERS_CELLS; i++) {
		if (i)
			json_object_array_add(
				bounds,
				json_object_new_uint64((uint64_t)COUNTERS_FIRST_NS << (i - 1)));
		json_object_array_add(bins, json_object_new_uint64(row->cells[i]));
	}
	json_object_object_add(histogram, "boundaries", bounds);
	json_object_object_add(histogram, "bins", bins);
	return histogram;
}

struct json_object *counters_describe(const struct counters *counters)
{
	static const char *const kinds[COUNTERS_KINDS] = { "rd", "wr", "flush", "unmap" };
	struct json_object *stats = json_object_new_object();

	for (unsigned i = 0; i < COUNTERS_KINDS; i++) {
		const struct counters_row *row = &counters->rows[i];

		if (i != COUNTERS_FLUSH)
			counters_put(stats, "", kinds[i], "_bytes",
				     json_object_new_uint64(row->bytes));
		counters_put(stats, "", kinds[i], "_operations", json_object_new_uint64(row->n));
		counters_put(stats, "failed_", kinds[i], "_operations",
			     json_object_new_uint64(row->failed));
		counters_put(stats, "", kinds[i], "_total_time_ns",
			     json_object_new_uint64(row->total_ns));
		counters_put(stats, "", kinds[i], "_latency_histogram", counters_histogram(row));
	}
	return stats;
}
