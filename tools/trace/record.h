/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A recording from a server's start to its end, which a kill does not take along. */
#ifndef TOOLS_TRACE_RECORD_H
#define TOOLS_TRACE_RECORD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/trace/file.h"
#include "tools/trace/recorder.h"

struct record {
	struct trace_file file;
	struct recorder *recorder; /* NULL: nothing is recorded */
	/* A thread of its own writes, since a write may wait for a device. */
	struct {
		pthread_t thread;
		pthread_mutex_t mutex; /* of what follows */
		pthread_cond_t changed;
		bool runs, quit, wanted;
		uint64_t keep_ns;
		int failed; /* -errno of the last write */
		bool is_told;
	} keeper;
};

/* What forbids to write there is found here, while files may be opened. `path` NULL: nothing
 * is recorded. 0 or -errno, with a sentence. */
int record_open(struct record *record, const char *path, char why[TRACE_WHY_CAP]);
/* The disk is known, and no fork is to come: from here on what was touched is written, durably,
 * each keep_ns in which there was something new. 0 or -errno. */
int record_begin(struct record *record, uint64_t disk_len, uint64_t keep_ns);
/* For servers. */
#define RECORD_KEEP_NS UINT64_C(10000000000)
/* Some client has gone: what is new is written soon. Any thread; never waits for a device. */
void record_keep(struct record *record);
/* True: what was touched could not be written, `why` says so, and it was not told yet; it counts as
 * told from here on. Writing is tried again. Any thread. */
bool record_take_complaint(struct record *record, char why[TRACE_WHY_CAP]);
/* Writes what was touched, if anything was: else the file is left as it is. No thread touches any
 * more. 0, or -errno with a sentence. */
int record_end(struct record *record, char why[TRACE_WHY_CAP]);

#endif
