/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See record.h. */
#include "tools/trace/record.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

int record_open(struct record *record, const char *path, char why[TRACE_WHY_CAP])
{
	*record = (struct record){ .file.dir_fd = -1 };
	return path ? trace_file_open(&record->file, path, why) : 0;
}

int record_begin(struct record *record, uint64_t disk_len)
{
	if (record->file.dir_fd < 0)
		return 0;
	record->recorder = recorder_new(disk_len);
	return record->recorder ? 0 : -ENOMEM;
}

int record_end(struct record *record, char why[TRACE_WHY_CAP])
{
	struct trace trace = { 0 };
	int rc = 0;

	if (record->recorder)
		recorder_take(record->recorder, &trace);
	if (trace.n)
		rc = trace_file_save(&record->file, &trace);
	if (rc)
		snprintf(why, TRACE_WHY_CAP, "%.400s: the trace could not be written: %s",
			 record->file.path, strerror(-rc));
	trace_free(&trace);
	recorder_free(record->recorder);
	trace_file_close(&record->file);
	*record = (struct record){ .file.dir_fd = -1 };
	return rc;
}
