/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a disk was asked for, and how long that took. Pure, but for the JSON. */
#ifndef TOOLS_SERVE_COUNTERS_H
#define TOOLS_SERVE_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json_object.h>

#include "tools/vhost/blk.h"

/* QEMU's kinds. */
enum counters_kind {
	COUNTERS_READ,
	COUNTERS_WRITE, /* zeros, too */
	COUNTERS_FLUSH,
	COUNTERS_UNMAP,
	COUNTERS_KINDS,
};

/* Cell i has what took less than COUNTERS_FIRST_NS << i; the last one all that took longer. */
#define COUNTERS_CELLS    16u
#define COUNTERS_FIRST_NS 10000u

struct counters {
	struct counters_row {
		uint64_t n, bytes, failed, total_ns;
		uint64_t cells[COUNTERS_CELLS];
	} rows[COUNTERS_KINDS];
};

/* The kind of a request; COUNTERS_KINDS: it is of none. */
enum counters_kind counters_kind(enum blk_act act);
/* A request is over. */
void counters_add(struct counters *counters, enum counters_kind kind, uint64_t bytes, bool failed,
		  uint64_t ns);
/* As QMP's query-blockstats has a device's "stats"; the caller puts it. */
struct json_object *counters_describe(const struct counters *counters);

#endif
