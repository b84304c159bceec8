/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Names and meanings are those of QEMU's BlockDeviceStats. Zeros are writes there.
 * Histograms have bounds from the first request on, which are always the same, so that
 * those of many disks can be added up.
 */
#include "tools/control/stats.h"

#include <stdio.h>

#include <json-c/json.h>

#include "tools/control/state/events.h"
#include "tools/control/state/nodes.h"

/* QEMU's kinds. */
enum stats_kind {
	STATS_READ,
	STATS_WRITE,
	STATS_FLUSH,
	STATS_UNMAP,
	STATS_KINDS,
};

static const char *const stats_words[STATS_KINDS] = { "rd", "wr", "flush", "unmap" };

/* Cell i of a histogram ends below this, ns. */
static uint64_t stats_bound(unsigned cell)
{
	return UINT64_C(1024) << cell;
}

static void stats_add(struct bpull_io_stats *to, const struct bpull_io_stats *more)
{
	to->requests += more->requests;
	to->bytes += more->bytes;
	to->total_ns += more->total_ns;
	to->errors += more->errors;
	to->refused += more->refused;
	for (unsigned i = 0; i < BPULL_STATS_CELLS; i++)
		to->latency[i] += more->latency[i];
}

static struct json_object *stats_histogram(const struct bpull_io_stats *stats)
{
	struct json_object *histogram = json_object_new_object();
	struct json_object *bounds = json_object_new_array(), *bins = json_object_new_array();

	for (unsigned i = 0; i < BPULL_STATS_CELLS; i++) {
		if (i)
			json_object_array_add(bounds, json_object_new_uint64(stats_bound(i - 1)));
		json_object_array_add(bins, json_object_new_uint64(stats->latency[i]));
	}
	json_object_object_add(histogram, "boundaries", bounds);
	json_object_object_add(histogram, "bins", bins);
	return histogram;
}

static void stats_put(struct json_object *object, const char *before, const char *kind,
		      const char *after, uint64_t value)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s%s", before, kind, after);
	control_add_number(object, name, value);
}

/* QEMU has no histogram of discards, and none of a node. */
static void stats_put_histogram(struct json_object *object, enum stats_kind kind,
				const struct bpull_io_stats *stats)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s_latency_histogram", kind == STATS_UNMAP ? "x-" : "",
		 stats_words[kind]);
	json_object_object_add(object, name, stats_histogram(stats));
}

static void stats_put_kind(struct json_object *object, enum stats_kind kind,
			   const struct bpull_io_stats *stats)
{
	const char *word = stats_words[kind];

	if (kind != STATS_FLUSH) {
		stats_put(object, "", word, "_bytes", stats->bytes);
		stats_put(object, "", word, "_merged", 0); /* no request is put into another */
	}
	stats_put(object, "", word, "_operations", stats->requests);
	stats_put(object, "failed_", word, "_operations", stats->errors);
	stats_put(object, "invalid_", word, "_operations", stats->refused);
	stats_put(object, "", word, "_total_time_ns", stats->total_ns);
}

static struct json_object *stats_describe(const struct bpull_disk_stats *stats, bool has_histograms)
{
	struct json_object *object = json_object_new_object();
	struct bpull_io_stats writes = stats->write;
	const struct bpull_io_stats *kinds[STATS_KINDS] = { &stats->read, &writes, &stats->flush,
							    &stats->discard };

	stats_add(&writes, &stats->write_zeroes);
	for (enum stats_kind kind = 0; kind < STATS_KINDS; kind++) {
		stats_put_kind(object, kind, kinds[kind]);
		if (has_histograms)
			stats_put_histogram(object, kind, kinds[kind]);
	}
	control_add_number(object, "wr_highest_offset", stats->write_end);
	/* Neither has part in the times. */
	control_add_bool(object, "account_invalid", false);
	control_add_bool(object, "account_failed", false);
	json_object_object_add(object, "timed_stats",
			       json_object_new_array()); /* none is asked for */
	return object;
}

struct json_object *control_stats_describe(const struct bpull_disk_stats *stats)
{
	return stats_describe(stats, true);
}

/* ---- by nodes ---- */

/* stats: NULL: what is asked of it is not counted, with QEMU's daemon neither. */
static struct json_object *stats_of_node(const char *name, const struct bpull_disk_stats *stats)
{
	static const struct bpull_disk_stats none;
	struct json_object *node = json_object_new_object();

	control_add_text(node, "node-name", name);
	json_object_object_add(node, "stats", stats_describe(stats ? stats : &none, stats));
	return node;
}

struct json_object *control_stats_of_nodes(const struct control_target *target,
					   const struct bpull_disk_stats *stats)
{
	struct json_object *list = json_object_new_array();

	for (const struct control_node *node = target->nodes; node; node = node->next) {
		const char *file = *node->own_file ? node->own_file : node->file;
		struct json_object *told;

		if (!control_node_is_there(target, node))
			continue;
		told = stats_of_node(node->name, node == target->top ? stats : NULL);
		if (*file)
			json_object_object_add(told, "parent", stats_of_node(file, NULL));
		json_object_array_add(list, told);
		if (*node->own_file)
			json_object_array_add(list, stats_of_node(file, NULL));
	}
	return list;
}
