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

/* The job ends with this error, unless it has one already. The message is copied. */
void job_fail(struct bpull_disk *disk, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same, from an operation in error: names the file, the offset and the direction. */
void job_fail_op(struct bpull_disk *disk, const struct op *op);
/* What the program may do about the failure that is about to be recorded. */
void job_set_remedy(struct bpull_disk *disk, enum bpull_remedy remedy);
/* The job's message is of the mark of a changed base, in place of any other; with an error, a job
 * that failed has that one from now on. */
void job_say_mixed(struct bpull_disk *disk, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* A failed job's message goes on with the leaked clusters that it leaves. */
void job_say_leaked(struct bpull_disk *disk);
/* A failed job ends with tables in memory that could not be written, because of `error`: its
 * message says so, behind what failed first. */
void job_say_uncommitted(struct bpull_disk *disk, int error);
/* A failed job leaves an image below an open disk that nothing writes to any more before the disk
 * is opened anew, because of `error`: its message says so, behind what failed first. */
void job_say_given_up(struct bpull_disk *disk, const struct file *file, int error);
/* What comes before all else after that error: "make room, then ", or "". */
const char *fault_room_advice(int error);
/* What failed, in a sentence of at most cap bytes that ends with what_now. */
void job_describe_failure(const struct bpull_disk *disk, const struct op *op, const char *what_now,
			  char *out, size_t cap);

/* The operation failed with this error of a file that a program supplies: of another file's it says
 * what it always does. */
bool fault_is_of_source(const struct op *op, int error);
/* This file has answered: if it is the source that was away, the program is told that the job goes
 * on, and tables are loaded ahead again. NULL: the job has got all that it needed. */
void job_note_back(struct bpull_disk *disk, const struct file *file);
/* An error stopped the job, and the program has not resumed it yet. */
bool job_is_stopped(const struct bpull_disk *disk);
/* A job that its source's absence has stopped tries again by itself: true once, when its time has
 * come. A job that the program keeps paused does not. */
bool job_take_retry(struct job *job, bool is_kept_paused, uint64_t now_ns);
/* The job is stopped no more, and bpull_job_get_info() says so. */
void job_forget_stop(struct job *job);

/* A thread has asked for an abort. */
bool job_is_aborted(struct bpull_disk *disk);

#endif
