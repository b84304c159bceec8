/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Giving back the space of a run that failed, or whose clones were refused. */
#ifndef BLOCKPULL_COPY_GIVE_UP_H
#define BLOCKPULL_COPY_GIVE_UP_H

#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;

/* No request of the run is in flight, and no entry refers to its space. Gives it back to the file
 * system, on a worker; STEP_NEXT: there is nothing to give back. */
enum step run_give_up_discard(struct copy_run *p);
/* Call it after run_give_up_discard(): gives the space back to the format. */
void run_give_up_space(struct copy_run *p);

#endif
