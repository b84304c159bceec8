/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A recording from a server's start to its end. */
#ifndef TOOLS_TRACE_RECORD_H
#define TOOLS_TRACE_RECORD_H

#include <stdint.h>

#include "tools/trace/file.h"
#include "tools/trace/recorder.h"

struct record {
	struct trace_file file;
	struct recorder *recorder; /* NULL: nothing is recorded */
};

/* What forbids to write there is found here, while files may be opened. `path` NULL: nothing
 * is recorded. 0 or -errno, with a sentence. */
int record_open(struct record *record, const char *path, char why[TRACE_WHY_CAP]);
/* The disk is known. 0 or -ENOMEM. */
int record_begin(struct record *record, uint64_t disk_len);
/* Writes what was touched, if anything was: else the file is left as it is. No thread touches any
 * more. 0, or -errno with a sentence. */
int record_end(struct record *record, char why[TRACE_WHY_CAP]);

#endif
