/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Space of a run that failed, or was refused: it goes back. */
#ifndef BLOCKPULL_COPY_GIVE_UP_H
#define BLOCKPULL_COPY_GIVE_UP_H

#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;

/* No request of the run is in flight, and no entry refers to its space. Gives it back to the file
 * system, on a worker; STEP_NEXT: there is nothing to give back. */
enum step run_give_up_discard(struct copy_run *p);
/* Then gives it back to the format. */
void run_give_up_space(struct copy_run *p);

#endif
