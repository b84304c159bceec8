/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A trace: what a guest touched first, in its order. It is a text of lines, "OFFSET
 * LENGTH TIME" behind a first line that says so; bytes of the guest's disk, and
 * microseconds since the recording began. A reader believes nothing of it: it may
 * come from a stranger, and no disk is known yet.
 */
#ifndef TOOLS_TRACE_TRACE_H
#define TOOLS_TRACE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/blockpull.h"

#define TRACE_MAGIC    "blockpull trace 1\n"
#define TRACE_MAX      BPULL_FIRST_MAX /* ranges */
#define TRACE_MAX_TEXT (8u << 20)      /* bytes */
#define TRACE_WHY_CAP  512

struct trace_range {
	uint64_t off, len; /* guest bytes; their end is at most INT64_MAX */
	uint64_t us;
};

struct trace {
	struct trace_range *ranges; /* owned */
	size_t n;
	bool is_full; /* there was more than TRACE_MAX */
};

/* Reads `len` bytes of text. 0; or -EINVAL or -ENOMEM, with a sentence that begins with `name` and
 * the line, and nothing in *trace to be freed. */
int trace_parse(struct trace *trace, const char *name, const char *text, size_t len,
		char why[TRACE_WHY_CAP]);
/* The text; the caller frees it. NULL: no memory. */
char *trace_print(const struct trace *trace, size_t *len);
/* Appends a range; one that goes on where the last one ends makes that longer. 0, or -ENOMEM. Past
 * TRACE_MAX nothing is appended, and the trace is full. */
int trace_add(struct trace *trace, const struct trace_range *range);
void trace_free(struct trace *trace);

/* Bytes of all ranges. */
uint64_t trace_len(const struct trace *trace);

#endif
