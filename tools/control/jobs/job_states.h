/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a job goes from state to state, as QMP's clients see it. */
#ifndef TOOLS_CONTROL_JOB_STATES_H
#define TOOLS_CONTROL_JOB_STATES_H

#include <stdbool.h>

#include "tools/control/state/target.h"

/* Looks whether it was paused, or goes on, without an event of the library's. */
void control_job_look(struct control_target *target);
/* It is told to go on. */
void control_job_resumed(struct control_target *target, struct control_job *job);
/* A commit of the image itself that is ready, or paused then, is told to complete: it goes on to
 * its end, or to where it is to be finalized. 0, or what the library says. */
int control_job_complete(struct control_target *target, struct control_job *job);
/* The library is told to end it: it is finalized. The same. */
int control_job_finish(struct control_target *target, struct control_job *job);
/* Ends a job that is held. */
void control_job_release(struct control_target *target, struct control_job *job, bool completes);
/* It has failed: job->end says how. */
void control_job_fail(struct control_target *target, struct control_job *job, const char *message);
/* What the event means to clients. */
void control_job_event(struct control_target *target, const struct bpull_event *event);

#endif
