/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A job whose disk is inactive for a while: clients see it paused until it is started again. */
#ifndef TOOLS_CONTROL_SUSPEND_H
#define TOOLS_CONTROL_SUSPEND_H

#include <json-c/json_object.h>

#include "tools/control/state/target.h"

/* The owner has aborted the job, of which `info` was said before that, and takes its event. Returns
 * the options to start it again with, valid as long as the job is; NULL: clients see no job, or one
 * of them has canceled it, and is to have the event. */
const struct bpull_job_options *control_job_suspend(struct control_target *target,
						    const struct bpull_job_info *info);
/* It was started again, or could not be: why (NULL: it was), and it has failed. Nothing where none
 * is suspended. */
void control_job_wake(struct control_target *target, const char *why);
/* A refusal where the disk, or the job (NULL: none is meant), is not to be changed now; else NULL.
 */
struct json_object *control_refuse_inactive(const struct control_target *target,
					    const struct control_job *job);

#endif
