/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An error that stops a job instead of failing it (bpull_on_error). */
#ifndef BLOCKPULL_JOB_STOP_H
#define BLOCKPULL_JOB_STOP_H

#include <stdbool.h>
#include <stdint.h>

struct bpull_disk;
struct job;
struct op;

/* Does the job's policy want this failure to stop it? It does then, and false is the answer to
 * everything the failure would else lead to. `message` is the sentence for the event. */
bool job_stop(struct bpull_disk *disk, const struct op *op, const char *message);
/* Does it want the stretch that this run could not read left out? It is noted and told then, and the job goes
 * on. */
bool job_ignore(struct bpull_disk *disk, const struct op *op);
/* Something was left out: the job fails with what it was. */
bool job_fail_ignored(struct bpull_disk *disk);
/* Stopped, and not told to go on yet. */
bool job_is_stopped(const struct bpull_disk *disk);
/* It was told to go on: tries again what failed. */
void job_go_on(struct bpull_disk *disk);
/* It is stopped no more, and bpull_job_get_info() says so. */
void job_forget_stop(struct job *job);

#endif
