/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* FILE[:SIZE]: a trace whose ranges a pull copies before the rest. */
#ifndef TOOLS_TRACE_FIRST_H
#define TOOLS_TRACE_FIRST_H

#include "tools/trace/trace.h"

#define FIRST_NOTE_CAP 160

struct first {
	struct bpull_range *ranges; /* owned */
	size_t n;
};

/* Reads the trace, up to SIZE bytes of its ranges, into what has none yet. 0 or -errno, with a
 * sentence. */
int first_take(struct first *first, const char *text, char why[TRACE_WHY_CAP]);
/* The job takes them, as long as *first is there. */
void first_apply(const struct first *first, struct bpull_job_options *job);
void first_free(struct first *first);

/* Says in `note` that some of the job's ranges lie behind the end of a disk of so many bytes.
 * False: none does. */
bool first_note(const struct bpull_job_options *job, uint64_t disk_len, char note[FIRST_NOTE_CAP]);

#endif
