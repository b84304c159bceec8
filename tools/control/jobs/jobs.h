/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The list of jobs that QMP's clients see. */
#ifndef TOOLS_CONTROL_JOBS_H
#define TOOLS_CONTROL_JOBS_H

#include <stdbool.h>

#include "tools/control/state/target.h"

/* The owner has started a job with these options; clients know it by the device's name. Without
 * memory for it they see none. */
void control_job_started(struct control_target *target, const struct bpull_job_options *options);
/* The same for a verb, which makes the job before it starts it: NULL without memory. */
struct control_job *control_job_new(const char *id);
void control_job_begin(struct control_target *target, struct control_job *job);
void control_job_free(struct control_job *job); /* one that was not begun; NULL is allowed */
/* The file at that depth of the chain is one that the job is to make one of; a base stays. */
bool control_job_uses(const struct control_target *target, const struct control_job *job,
		      uint32_t depth);
/* The job is a commit into the file at that depth. */
bool control_job_commits_to(const struct control_target *target, const struct control_job *job,
			    uint32_t depth);
/* Keeps the options with which a job is started again after its disk was inactive, with copies of
 * their names. False: no memory. */
bool control_job_keep(struct control_job *job, const struct bpull_job_options *options);
struct control_job *control_job_find(const struct control_target *target, const char *id);
/* What the library says of it, now or at its end. */
struct bpull_job_info control_job_info(const struct control_target *target,
				       const struct control_job *job);
/* Takes one that has ended off the list. */
void control_job_dismiss(struct control_target *target, struct control_job *job);
/* The job that runs, or ended last, in the words of the command's JSON; NULL: there was none. */
struct json_object *control_job_report(const struct control_target *target);
/* The job has ended, and may be taken off the list: that is kept. */
void control_job_report_end(struct control_target *target, const struct control_job *job);
/* Frees what the target has of ours. */
void control_forget(struct control_target *target);

#endif
