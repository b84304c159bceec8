/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A trace of any bytes: refused with a sentence, or read. What was read is printed and
 * read again alike, and merged with itself it has each byte once.
 */
#include "tools/trace/trace.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/world.h"
#include "tools/trace/order.h"

static void check_again(const struct trace *trace)
{
	char why[TRACE_WHY_CAP] = "";
	struct trace again;
	size_t len;
	char *text = trace_print(trace, &len);

	FUZZ_CHECK(text, "no memory");
	FUZZ_CHECK(!trace_parse(&again, "again", text, len, why), "printed and refused: %s", why);
	FUZZ_CHECK(again.n == trace->n && (!again.n || !memcmp(again.ranges, trace->ranges,
							       again.n * sizeof(*again.ranges))),
		   "printed and read otherwise");
	trace_free(&again);
	free(text);
}

static void check_merged(const struct trace *trace)
{
	const struct trace two[] = { *trace, *trace };
	struct trace once, twice;

	FUZZ_CHECK(!trace_merge(trace, 1, &once) && !trace_merge(two, 2, &twice), "no memory");
	FUZZ_CHECK(trace_len(&once) <= trace_len(trace), "merged, and longer");
	FUZZ_CHECK(trace_len(&once) == trace_len(&twice), "the second one adds bytes");
	for (size_t i = 0; i < once.n; i++)
		FUZZ_CHECK(once.ranges[i].len &&
				   once.ranges[i].off + once.ranges[i].len <= (uint64_t)INT64_MAX,
			   "a range behind any disk");
	trace_free(&once);
	trace_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[TRACE_WHY_CAP] = "";
	struct trace trace;

	if (trace_parse(&trace, "fuzz", (const char *)data, size, why)) {
		FUZZ_CHECK(strstr(why, "fuzz: ") == why, "refused without the file");
		return 0;
	}
	check_again(&trace);
	check_merged(&trace);
	trace_free(&trace);
	return 0;
}
