/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What must hold of the image, the link and the job's info when a job has ended (sim_job.h). */
#ifndef BLOCKPULL_TESTS_SIM_JOB_JUDGE_H
#define BLOCKPULL_TESTS_SIM_JOB_JUDGE_H

#include "tests/machine/sim_job.h"

/* Images in the chain after a job with these options: COMPLETED, or not. */
unsigned sim_job_depth(const struct sim_job *j, bool completed);
/* The image in the store, and what a power cut leaves. *has_link: to what was to be dropped. */
void sim_job_judge(struct sim_job *j, bool *has_link);
/* Its end's event came: all that tells of it agrees. */
void sim_job_judge_end(struct sim_job *j);

#endif
