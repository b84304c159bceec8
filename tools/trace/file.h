/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Traces as files: one that is there is whole, and a new one takes its name when it is durable. */
#ifndef TOOLS_TRACE_FILE_H
#define TOOLS_TRACE_FILE_H

#include "tools/trace/trace.h"

/* Reads a whole file. 0 or -errno, with a sentence. */
int trace_load(const char *path, struct trace *trace, char why[TRACE_WHY_CAP]);

/* Where a trace will be written, when no other file may be opened any more. */
struct trace_file {
	char *path, *temp; /* owned */
	int dir_fd;        /* -1: none is to be written */
};

/* 0: the path may be written to, as it has no file, an empty one or a trace. Else -errno, with a
 * sentence. */
int trace_file_open(struct trace_file *file, const char *path, char why[TRACE_WHY_CAP]);
/* Writes the trace in place of what is there, durably. Makes one new file, with the flags that the
 * sandbox knows (SANDBOX_REPLACE). 0 or -errno: what was there is there still. */
int trace_file_save(struct trace_file *file, const struct trace *trace);
void trace_file_close(struct trace_file *file);

#endif
