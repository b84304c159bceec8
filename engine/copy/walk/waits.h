/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A run of the job that waits for something which no guest needs: tokens, or the bytes of a source
 * that the guest does not read. That time costs the guest nothing, so no rest is due for it, and
 * another run may be in flight.
 */
#ifndef BLOCKPULL_COPY_WAITS_H
#define BLOCKPULL_COPY_WAITS_H

struct copy_run;

void run_waits(struct copy_run *p);
/* It does so no more, if it did. */
void run_goes_on(struct copy_run *p);

#endif
