/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The options of a job, as each call that takes them looks at them first. */
#ifndef BLOCKPULL_API_JOB_OPTIONS_H
#define BLOCKPULL_API_JOB_OPTIONS_H

struct bpull_error;
struct bpull_job_options;

/* Copies the options, and checks what needs no disk. given: NULL: the defaults. 0, or -EINVAL with
 * *error filled, which may be NULL. */
int job_options_take(const struct bpull_job_options *given, struct bpull_job_options *out,
		     struct bpull_error *error);

#endif
