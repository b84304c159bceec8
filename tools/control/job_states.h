/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a job goes from state to state, as QMP's clients see it. */
#ifndef TOOLS_CONTROL_JOB_STATES_H
#define TOOLS_CONTROL_JOB_STATES_H

#include <stdbool.h>

#include "tools/control/target.h"

/* Looks whether it was paused, or goes on, without an event of the library's. */
void control_job_look(struct control_target *target);
/* It is told to go on. */
void control_job_resumed(struct control_target *target, struct control_job *job);
/* Ends a job that is held. */
void control_job_release(struct control_target *target, struct control_job *job, bool completes);
/* It has failed: job->end says how. */
void control_job_fail(struct control_target *target, struct control_job *job, const char *message);
/* What the event means to clients. */
void control_job_event(struct control_target *target, const struct bpull_event *event);

#endif
