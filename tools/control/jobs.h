/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Jobs as QMP's clients see them. */
#ifndef TOOLS_CONTROL_JOBS_H
#define TOOLS_CONTROL_JOBS_H

#include <stdbool.h>

#include "tools/control/target.h"

/* The owner has started a job with these options; clients know it by the device's name. Without
 * memory for it they see none. */
void control_job_started(struct control_target *target, const struct bpull_job_options *options);
/* The same for a verb, which makes the job before it starts it: NULL without memory. */
struct control_job *control_job_new(const char *id);
void control_job_begin(struct control_target *target, struct control_job *job);
void control_job_free(struct control_job *job); /* one that was not begun; NULL is allowed */
struct control_job *control_job_find(const struct control_target *target, const char *id);
/* What the library says of it, now or at its end. */
struct bpull_job_info control_job_info(const struct control_target *target,
				       const struct control_job *job);
/* Looks whether it was paused, or goes on, without an event of the library's. */
void control_job_look(struct control_target *target);
/* It is told to go on. */
void control_job_resumed(struct control_target *target, struct control_job *job);
/* Ends a job that is held. */
void control_job_release(struct control_target *target, struct control_job *job, bool completes);
/* Takes one that has ended off the list. */
void control_job_dismiss(struct control_target *target, struct control_job *job);
/* It has failed: job->end says how. */
void control_job_fail(struct control_target *target, struct control_job *job, const char *message);
/* What the event means to clients. */
void control_job_event(struct control_target *target, const struct bpull_event *event);
/* The job that runs, or ended last, in the words of the command's JSON; NULL: there was none. */
struct json_object *control_job_report(const struct control_target *target);
/* Frees what the target has of ours. */
void control_forget(struct control_target *target);

#endif
