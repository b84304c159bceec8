/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* blockpull ctl's verbs that tell of a job. */
#ifndef TOOLS_CTL_JOB_H
#define TOOLS_CTL_JOB_H

#include <stdbool.h>

#include "tools/ctl/ctl_client.h"

/* The first of the list that the request is answered with, which the caller releases; NULL: it is
 * empty, or there is no answer (said), and then *failed is true. */
struct json_object *ctl_job_first_of(struct ctl_client *client, const char *request, bool *failed);

/* How far it is, or how it ended. Returns an exit code, as the other does. */
int ctl_job_info(struct ctl_client *client, bool json);
/* Waits for its end. */
int ctl_job_wait(struct ctl_client *client, bool json);

#endif
