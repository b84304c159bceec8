/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Traces: what is read as one, and the line of what is refused; merging, beside a model. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/random.h"
#include "tools/trace/order.h"
#include "tools/trace/trace.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))
#define HEAD        TRACE_MAGIC

TestSuite(trace, .timeout = 60);

/* With room behind the text for nothing: a parser that reads on is seen by valgrind. */
static int parse(const char *text, size_t len, struct trace *trace, char *why)
{
	char *copy = malloc(len ? len : 1);
	int rc;

	memcpy(copy, text, len);
	rc = trace_parse(trace, "a name", copy, len, why);
	free(copy);
	return rc;
}

Test(trace, reads_ranges_and_comments)
{
	static const char text[] = HEAD "# any words\n"
					"\n"
					"0 1 0\n"
					"9223372036854775806 1 18446744073709551615\n"
					"# \xff\x01\n"
					"5 7 3\n";
	struct trace trace;
	char why[TRACE_WHY_CAP];

	cr_assert_eq(parse(text, sizeof(text) - 1, &trace, why), 0, "%s", why);
	cr_assert_eq(trace.n, 3);
	cr_assert_eq(trace.ranges[1].off, UINT64_C(9223372036854775806));
	cr_assert_eq(trace.ranges[1].us, UINT64_MAX);
	cr_assert(trace.ranges[2].off == 5 && trace.ranges[2].len == 7);
	cr_assert_eq(trace_len(&trace), 9);
	trace_free(&trace);
}

Test(trace, refuses_what_is_none_with_its_line)
{
	static const struct {
		const char *text, *line;
	} bad[] = {
		{ "", "line 1:" },
		{ "blockpull trace 2\n", "line 1:" },
		{ "blockpull trace 1", "line 1:" },
		{ " " HEAD, "line 1:" },
		{ HEAD "1 2 3", "line 2:" },
		{ HEAD "1 2\n", "line 2:" },
		{ HEAD "\n1 2 3 4\n", "line 3:" },
		{ HEAD "1  2 3\n", "line 2:" },
		{ HEAD "1\t2 3\n", "line 2:" },
		{ HEAD " 1 2 3\n", "line 2:" },
		{ HEAD "1 2 3 \n", "line 2:" },
		{ HEAD "1 2 3\r\n", "line 2:" },
		{ HEAD "+1 2 3\n", "line 2:" },
		{ HEAD "-1 2 3\n", "line 2:" },
		{ HEAD "0x1 2 3\n", "line 2:" },
		{ HEAD "1 2 \n", "line 2:" },
		{ HEAD "1 0 3\n", "line 2:" },
		{ HEAD "1 18446744073709551616 3\n", "line 2:" },
		{ HEAD "1 99999999999999999999999 3\n", "line 2:" },
		{ HEAD "9223372036854775807 1 3\n", "line 2:" },
		{ HEAD "1 9223372036854775807 3\n", "line 2:" },
		{ HEAD "18446744073709551615 1 3\n", "line 2:" },
		{ HEAD "1 2 3\n# cut", "line 3:" },
	};
	struct trace trace;
	char why[TRACE_WHY_CAP], wide[300];

	for (size_t i = 0; i < N_OF(bad); i++) {
		cr_assert_eq(parse(bad[i].text, strlen(bad[i].text), &trace, why), -EINVAL, "%s",
			     bad[i].text);
		cr_assert(strstr(why, "a name: ") == why && strstr(why, bad[i].line), "%zu: %s", i,
			  why);
		cr_assert_eq(trace.n, 0);
	}
	cr_assert_eq(parse(HEAD "1 \0 3\n", strlen(HEAD) + 6, &trace, why), -EINVAL);
	memset(wide, '#', sizeof(wide));
	memcpy(wide, HEAD, strlen(HEAD));
	wide[299] = '\n';
	cr_assert_eq(parse(wide, 300, &trace, why), -EINVAL);
	cr_assert(strstr(why, "200 bytes"), "%s", why);
}

static void add(struct trace *trace, uint64_t off, uint64_t len, uint64_t us)
{
	cr_assert_eq(trace_add(trace, &(struct trace_range){ off, len, us }), 0);
}

Test(trace, has_no_more_ranges_than_a_job_takes)
{
	struct trace trace = { 0 }, again;
	char why[TRACE_WHY_CAP], *text, *more;
	size_t len;

	for (uint64_t i = 0; i < TRACE_MAX; i++)
		add(&trace, 2 * i, 1, i);
	cr_assert_not(trace.is_full);
	text = trace_print(&trace, &len);
	cr_assert_eq(parse(text, len, &again, why), 0, "%s", why);
	cr_assert_eq(again.n, TRACE_MAX);
	cr_assert_eq(memcmp(again.ranges, trace.ranges, trace.n * sizeof(*trace.ranges)), 0);
	trace_free(&again);
	more = malloc(len + 16);
	memcpy(more, text, len);
	memcpy(more + len, "900000 1 1\n", 11);
	cr_assert_eq(parse(more, len + 11, &again, why), -EINVAL);
	cr_assert(strstr(why, "65536"), "%s", why);
	add(&trace, 900000, 1, 0);
	cr_assert(trace.is_full && trace.n == TRACE_MAX);
	free(more);
	free(text);
	trace_free(&trace);
}

/* Any bytes are safe: texts that were sound, bent. */
Test(trace, any_bytes_are_read_or_refused)
{
	static const char sound[] = HEAD "0 65536 0\n131072 4096 12\n# words\n7 1 99\n";
	uint64_t state = 42;

	for (unsigned i = 0; i < 200000; i++) {
		char text[sizeof(sound) + 8], why[TRACE_WHY_CAP] = "";
		size_t len = random_below(&state, 4) ? sizeof(sound) - 1
						     : random_below(&state, sizeof(sound));
		struct trace trace;

		memcpy(text, sound, sizeof(sound));
		for (unsigned k = (unsigned)random_below(&state, 4); k; k--)
			text[random_below(&state, sizeof(sound))] =
				"0123456789 \n#\xff"[random_below(&state, 14)];
		if (parse(text, len, &trace, why))
			cr_assert(*why && !trace.n);
		else
			trace_free(&trace);
	}
}

#define DISK 300u

/* What came when, for each byte; UINT64_MAX: never. */
static void model(const struct trace *traces, size_t n, uint64_t *when)
{
	for (unsigned b = 0; b < DISK; b++)
		when[b] = UINT64_MAX;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < traces[i].n; k++)
			for (uint64_t b = 0; b < traces[i].ranges[k].len; b++)
				if (traces[i].ranges[k].us < when[traces[i].ranges[k].off + b])
					when[traces[i].ranges[k].off + b] = traces[i].ranges[k].us;
}

static void judge(const struct trace *merged, const uint64_t *when)
{
	bool seen[DISK] = { false };
	uint64_t last_us = 0;

	for (size_t i = 0; i < merged->n; i++) {
		const struct trace_range *range = &merged->ranges[i];

		cr_assert(!i || range->us >= last_us, "not by time");
		last_us = range->us;
		cr_assert_eq(when[range->off], range->us);
		for (uint64_t b = range->off; b < range->off + range->len; b++) {
			cr_assert(b < DISK && !seen[b] && when[b] != UINT64_MAX);
			cr_assert_geq(when[b], range->us);
			seen[b] = true;
		}
	}
	for (unsigned b = 0; b < DISK; b++)
		cr_assert_eq(seen[b], when[b] != UINT64_MAX, "byte %u", b);
}

Test(trace, merging_takes_each_byte_once_and_by_time)
{
	for (uint64_t seed = 1; seed <= 500; seed++) {
		uint64_t state = seed * 77773, when[DISK];
		struct trace traces[4] = { 0 }, merged;
		size_t n = 1 + random_below(&state, 4);

		for (size_t i = 0; i < n; i++)
			for (unsigned k = (unsigned)random_below(&state, 20); k; k--) {
				uint64_t off = random_below(&state, DISK - 1);
				uint64_t len = 1 + random_below(&state, DISK - off);

				add(&traces[i], off, random_below(&state, 2) ? len : 1 + len / 9,
				    random_below(&state, 30));
			}
		model(traces, n, when);
		cr_assert_eq(trace_merge(traces, n, &merged), 0);
		judge(&merged, when);
		trace_free(&merged);
		for (size_t i = 0; i < n; i++)
			trace_free(&traces[i]);
	}
}

/* All overlap all: it takes no longer than sorting. */
Test(trace, merging_many_that_overlap_is_quick)
{
	struct trace traces[2] = { 0 }, merged;

	for (uint64_t i = 0; i < TRACE_MAX; i++) {
		add(&traces[0], i, UINT32_MAX, i);
		add(&traces[1], i, 1 + i, TRACE_MAX - i);
	}
	cr_assert_eq(trace_merge(traces, 2, &merged), 0);
	cr_assert_eq(trace_len(&merged), UINT64_C(0xffffffff) + TRACE_MAX - 1);
	trace_free(&merged);
	trace_free(&traces[0]);
	trace_free(&traces[1]);
}
