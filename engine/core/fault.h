/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The record of a job's failure: its error and message, and the stop that on-error asks for. */
#ifndef BLOCKPULL_CORE_FAULT_H
#define BLOCKPULL_CORE_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "engine/blockpull.h"
#include "io/base.h"

struct bpull_disk;
struct file;
struct job;
struct op;

/* The job fails: it unwinds, and ends with this error, unless it has one already. The message is
 * copied. */
void job_fail(struct bpull_disk *disk, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* An operation of the job is in error. Stops the job if its on_error policy wants that, or if the
 * source is away; else the job fails, with a message that names the file, the offset and the
 * direction. Does nothing for a read of an aborted job. */
void job_fail_op(struct bpull_disk *disk, const struct op *op);
/* Before job_fail(): what the program may do about the failure. */
void job_set_remedy(struct bpull_disk *disk, enum bpull_remedy remedy);
/* Replaces the job's message by one about the mark of a changed base. error: not 0: replaces the
 * error of a job that has failed, too. */
void job_say_mixed(struct bpull_disk *disk, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds to a failed job's message that it leaves leaked clusters. */
void job_say_leaked(struct bpull_disk *disk);
/* Adds to a failed job's message, after what failed first, that it ends with tables in memory that
 * could not be written because of `error`. */
void job_say_uncommitted(struct bpull_disk *disk, int error);
/* Adds to a failed job's message, after what failed first: because of `error` nothing writes to
 * this file, an image below an open disk, before the disk is opened anew. */
void job_say_given_up(struct bpull_disk *disk, const struct file *file, int error);
/* Advice that an error for want of room makes the first thing to do: "make room, then ", or "". */
const char *fault_room_advice(int error);
/* What failed, in a sentence of at most cap bytes that ends with what_now. */
void job_describe_failure(const struct bpull_disk *disk, const struct op *op, const char *what_now,
			  char *out, size_t cap);

/* The operation failed with this error, and it came from a source (a base that the program
 * supplies). The same number from another file has no special meaning. */
bool fault_is_of_source(const struct op *op, int error);
/* This file has answered: if it is the source that was away, tells the program that the job goes
 * on, and lets tables be loaded ahead again. NULL: the job has got all that it needed. */
void job_note_back(struct bpull_disk *disk, const struct file *file);
/* An error stopped the job, and the program has not resumed it yet. */
bool job_is_stopped(const struct bpull_disk *disk);
/* For a job that was stopped because its source is away: true, once, when it is time to try again.
 * Never for a job that the program keeps paused. */
bool job_take_retry(struct job *job, bool is_kept_paused, uint64_t now_ns);
/* Forgets the error that stopped the job. It stays paused until the caller resumes it. */
void job_forget_stop(struct job *job);

/* The program has asked for an abort, whether or not the job has seen it yet. */
bool job_is_aborted(struct bpull_disk *disk);

#endif
