/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The file is replaced as a whole each time, under a name of its own that a rename makes the
 * file's: a kill at any moment leaves the last trace or the one before. Appending to it was
 * rejected, since a range that goes on changes its line, and a torn line would spoil the file.
 */
#include "tools/trace/record.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "tools/clock/monotonic.h"

int record_open(struct record *record, const char *path, char why[TRACE_WHY_CAP])
{
	*record = (struct record){ .file.dir_fd = -1 };
	return path ? trace_file_open(&record->file, path, why) : 0;
}

static int record_save(struct record *record)
{
	struct trace trace = { 0 };
	int rc = recorder_copy(record->recorder, &trace);

	if (rc > 0)
		rc = trace_file_save(&record->file, &trace);
	trace_free(&trace);
	if (rc)
		recorder_forget_copy(record->recorder);
	return rc;
}

/* ---- the thread ---- */

/* Under the mutex. Until there is something to do. */
static void record_sleep(struct record *record)
{
	uint64_t until_ns = monotonic_ns() + record->keeper.keep_ns;
	struct timespec until = { (time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000) };

	while (!record->keeper.quit && !record->keeper.wanted)
		if (pthread_cond_timedwait(&record->keeper.changed, &record->keeper.mutex, &until))
			return;
}

static void *record_keep_on(void *opaque)
{
	struct record *record = opaque;
	int rc;

	pthread_mutex_lock(&record->keeper.mutex);
	while (!record->keeper.quit) {
		record_sleep(record);
		if (record->keeper.quit)
			break;
		record->keeper.wanted = false;
		pthread_mutex_unlock(&record->keeper.mutex);
		rc = record_save(record);
		pthread_mutex_lock(&record->keeper.mutex);
		record->keeper.is_told &= rc == record->keeper.failed;
		record->keeper.failed = rc;
	}
	pthread_mutex_unlock(&record->keeper.mutex);
	return NULL;
}

/* Signals are the program's; but not faults of this thread. */
static int record_start_thread(struct record *record)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&record->keeper.thread, NULL, record_keep_on, record);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -rc;
}

static int record_start_keeper(struct record *record)
{
	pthread_condattr_t attr;
	int rc = -pthread_condattr_init(&attr);

	if (rc)
		return rc;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	rc = -pthread_cond_init(&record->keeper.changed, &attr);
	pthread_condattr_destroy(&attr);
	if (rc)
		return rc;
	pthread_mutex_init(&record->keeper.mutex, NULL);
	rc = record_start_thread(record);
	record->keeper.runs = !rc;
	if (rc) {
		pthread_mutex_destroy(&record->keeper.mutex);
		pthread_cond_destroy(&record->keeper.changed);
	}
	return rc;
}

static void record_stop_keeper(struct record *record)
{
	if (!record->keeper.runs)
		return;
	pthread_mutex_lock(&record->keeper.mutex);
	record->keeper.quit = true;
	pthread_cond_signal(&record->keeper.changed);
	pthread_mutex_unlock(&record->keeper.mutex);
	pthread_join(record->keeper.thread, NULL);
	pthread_mutex_destroy(&record->keeper.mutex);
	pthread_cond_destroy(&record->keeper.changed);
}

/* ---- what the server says ---- */

int record_begin(struct record *record, uint64_t disk_len, uint64_t keep_ns)
{
	if (record->file.dir_fd < 0)
		return 0;
	record->keeper.keep_ns = keep_ns;
	record->recorder = recorder_new(disk_len);
	return record->recorder ? record_start_keeper(record) : -ENOMEM;
}

void record_keep(struct record *record)
{
	if (!record->keeper.runs)
		return;
	pthread_mutex_lock(&record->keeper.mutex);
	record->keeper.wanted = true;
	pthread_cond_signal(&record->keeper.changed);
	pthread_mutex_unlock(&record->keeper.mutex);
}

static void record_complain(const struct record *record, int rc, char why[TRACE_WHY_CAP])
{
	snprintf(why, TRACE_WHY_CAP, "%.400s: the trace could not be written: %s",
		 record->file.path, strerror(-rc));
}

bool record_take_complaint(struct record *record, char why[TRACE_WHY_CAP])
{
	bool is_new;

	if (!record->keeper.runs)
		return false;
	pthread_mutex_lock(&record->keeper.mutex);
	is_new = record->keeper.failed && !record->keeper.is_told;
	record->keeper.is_told = record->keeper.failed;
	if (is_new)
		record_complain(record, record->keeper.failed, why);
	pthread_mutex_unlock(&record->keeper.mutex);
	return is_new;
}

int record_end(struct record *record, char why[TRACE_WHY_CAP])
{
	int rc = 0;

	record_stop_keeper(record);
	if (record->recorder)
		rc = record_save(record);
	if (rc)
		record_complain(record, rc, why);
	recorder_free(record->recorder);
	trace_file_close(&record->file);
	*record = (struct record){ .file.dir_fd = -1 };
	return rc;
}
