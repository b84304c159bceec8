/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A job's run may wait for something which no guest needs: tokens, or the bytes of a source that
 * the guest does not read. That time costs the guest nothing, so the cursor does not rest for it,
 * and another run may be in flight meanwhile.
 */
#ifndef BLOCKPULL_COPY_WAITS_H
#define BLOCKPULL_COPY_WAITS_H

struct copy_run;

/* Notes that such a wait begins. */
void run_waits(struct copy_run *p);
/* Notes that it ends; does nothing for a run that does not wait so. */
void run_goes_on(struct copy_run *p);

#endif
