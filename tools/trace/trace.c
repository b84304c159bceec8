/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The parser takes what trace_print() makes, and comments. A lenient one was
 * rejected: a text that was cut in the middle of a number is another number.
 */
#include "tools/trace/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_MAX_LINE 200 /* bytes, of a comment too */
#define TRACE_LINE_CAP 64  /* three numbers of 64 bits */

struct parser {
	const char *name, *at, *end;
	size_t line; /* from 1 on */
	char *why;
};

static int trace_refuse(const struct parser *p, const char *what)
{
	snprintf(p->why, TRACE_WHY_CAP, "%.400s: line %zu: %s", p->name, p->line, what);
	return -EINVAL;
}

/* Digits up to `stop`, which is passed. False: something else, or too many. */
static bool trace_take_number(struct parser *p, char stop, uint64_t *number)
{
	const char *begin = p->at;

	*number = 0;
	for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
		if (__builtin_mul_overflow(*number, UINT64_C(10), number) ||
		    __builtin_add_overflow(*number, (uint64_t)(*p->at - '0'), number))
			return false;
	if (p->at == begin || p->at == p->end || *p->at != stop)
		return false;
	p->at++;
	return true;
}

static int trace_take_range(struct parser *p, struct trace *trace)
{
	struct trace_range range;

	if (!trace_take_number(p, ' ', &range.off) || !trace_take_number(p, ' ', &range.len) ||
	    !trace_take_number(p, '\n', &range.us))
		return trace_refuse(p, "it is not OFFSET LENGTH TIME, three numbers");
	if (!range.len || range.off > INT64_MAX || range.len > INT64_MAX - range.off)
		return trace_refuse(p, range.len ? "no disk is that long" : "the length is 0");
	if (trace->n == TRACE_MAX)
		return trace_refuse(p, "there are more than 65536 ranges");
	if (trace_add(trace, &range)) {
		trace_refuse(p, "out of memory");
		return -ENOMEM;
	}
	return 0;
}

static int trace_take_line(struct parser *p, struct trace *trace)
{
	size_t left = (size_t)(p->end - p->at);
	const char *newline = memchr(p->at, '\n', left < TRACE_MAX_LINE ? left : TRACE_MAX_LINE);

	if (!newline)
		return trace_refuse(p, left < TRACE_MAX_LINE ? "it has no end: the file was cut"
							     : "it is longer than 200 bytes");
	if (*p->at != '#' && *p->at != '\n')
		return trace_take_range(p, trace);
	p->at = newline + 1;
	return 0;
}

int trace_parse(struct trace *trace, const char *name, const char *text, size_t len,
		char why[TRACE_WHY_CAP])
{
	struct parser p = { .name = name, .at = text, .end = text + len, .line = 1, .why = why };
	size_t head_len = strlen(TRACE_MAGIC);
	int rc = 0;

	*trace = (struct trace){ 0 };
	if (len > TRACE_MAX_TEXT) {
		snprintf(why, TRACE_WHY_CAP, "%.400s: it is longer than %u MiB", name,
			 TRACE_MAX_TEXT >> 20);
		return -EINVAL;
	}
	if (len < head_len || memcmp(text, TRACE_MAGIC, head_len) != 0)
		return trace_refuse(&p, "a trace begins with 'blockpull trace 1'");
	p.at += head_len;
	for (p.line = 2; !rc && p.at < p.end; p.line++)
		rc = trace_take_line(&p, trace);
	if (rc)
		trace_free(trace);
	return rc;
}

int trace_add(struct trace *trace, const struct trace_range *range)
{
	struct trace_range *last = trace->n ? &trace->ranges[trace->n - 1] : NULL;

	if (last && last->off + last->len == range->off) {
		last->len += range->len;
		return 0;
	}
	if (trace->n == TRACE_MAX) {
		trace->is_full = true;
		return 0;
	}
	if (!(trace->n & (trace->n - 1))) { /* room doubles */
		size_t room = trace->n ? 2 * trace->n : 1;
		struct trace_range *more = reallocarray(trace->ranges, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		trace->ranges = more;
	}
	trace->ranges[trace->n++] = *range;
	return 0;
}

char *trace_print(const struct trace *trace, size_t *len)
{
	static const char head[] =
		TRACE_MAGIC "# offset and length in bytes of the guest's disk, microseconds\n";
	static const char full[] = "# there was more: a trace has at most 65536 ranges\n";
	size_t cap = sizeof(head) + sizeof(full) + trace->n * TRACE_LINE_CAP;
	char *text = malloc(cap);

	if (!text)
		return NULL;
	*len = (size_t)snprintf(text, cap, "%s%s", head, trace->is_full ? full : "");
	for (size_t i = 0; i < trace->n; i++)
		*len += (size_t)snprintf(
			text + *len, cap - *len, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
			trace->ranges[i].off, trace->ranges[i].len, trace->ranges[i].us);
	return text;
}

uint64_t trace_len(const struct trace *trace)
{
	uint64_t len = 0;

	for (size_t i = 0; i < trace->n; i++)
		if (__builtin_add_overflow(len, trace->ranges[i].len, &len))
			return UINT64_MAX;
	return len;
}

void trace_free(struct trace *trace)
{
	free(trace->ranges);
	*trace = (struct trace){ 0 };
}
