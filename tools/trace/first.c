/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See first.h. */
#include "tools/trace/first.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/trace/file.h"
#include "tools/words/size.h"

/* Cuts ":SIZE" off a copy of the text. A file whose name ends so is named with ":0" behind it. */
static uint64_t first_cut_size(char *path)
{
	char *colon = strrchr(path, ':');
	uint64_t max_len = 0;
	const char *why;

	if (!colon || size_parse(colon + 1, SIZE_BYTES, &max_len, &why))
		return UINT64_MAX;
	*colon = 0;
	return max_len ? max_len : UINT64_MAX;
}

static int first_fill(struct first *first, const struct trace *trace, uint64_t max_len)
{
	first->ranges = calloc(trace->n + 1, sizeof(*first->ranges));
	if (!first->ranges)
		return -ENOMEM;
	for (size_t i = 0; i < trace->n && max_len; i++) {
		const struct trace_range *from = &trace->ranges[i];
		uint64_t len = from->len < max_len ? from->len : max_len;

		first->ranges[first->n++] = (struct bpull_range){ from->off, len };
		max_len -= len;
	}
	return 0;
}

int first_take(struct first *first, const char *text, char why[TRACE_WHY_CAP])
{
	struct trace trace = { 0 };
	char *path = strdup(text);
	uint64_t max_len = path ? first_cut_size(path) : 0;
	int rc = path ? trace_load(path, &trace, why) : -ENOMEM;

	if (!rc && first->ranges) {
		snprintf(why, TRACE_WHY_CAP,
			 "it is given twice: 'blockpull trace merge' makes one trace of several");
		rc = -EINVAL;
	}
	first_free(first);
	if (!rc)
		rc = first_fill(first, &trace, max_len);
	if (rc == -ENOMEM)
		snprintf(why, TRACE_WHY_CAP, "%.400s: out of memory", text);
	trace_free(&trace);
	free(path);
	return rc;
}

void first_apply(const struct first *first, struct bpull_job_options *job)
{
	job->first = first->ranges;
	job->n_first = first->n;
}

void first_free(struct first *first)
{
	free(first->ranges);
	*first = (struct first){ 0 };
}

bool first_note(const struct bpull_job_options *job, uint64_t disk_len, char note[FIRST_NOTE_CAP])
{
	size_t n = 0;

	for (size_t i = 0; i < job->n_first; i++)
		n += job->first[i].offset >= disk_len ||
		     job->first[i].length > disk_len - job->first[i].offset;
	snprintf(note, FIRST_NOTE_CAP,
		 "%zu of %zu ranges to be copied first lie behind the disk's end (%" PRIu64
		 " bytes): they are cut there",
		 n, job->n_first, disk_len);
	return n;
}
