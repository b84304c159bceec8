/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The disk that is served, its job and its control socket. nbdkit's main thread calls the first
 * three, in this order; any thread the others. */
#ifndef TOOLS_NBDKIT_SERVE_H
#define TOOLS_NBDKIT_SERVE_H

#include <stdbool.h>

#include "engine/blockpull.h"

struct recorder;

/* Threads do not survive nbdkit's fork into the background, so all begins behind it. What can be
 * known to be wrong is found here, before it: nbdkit has made no socket and no file yet. -1: it is
 * refused, and nbdkit_error() was told why. */
int serve_get_ready(void);
/* Opens all, starts the job, and tells the process that forked. -1: it did not work. */
int serve_after_fork(void);
void serve_cleanup(void);

/* NULL before serve_after_fork(). */
struct bpull_disk *serve_disk(void);
void serve_client_has_gone(void);
/* What clients touch goes there; NULL: it is not recorded. */
struct recorder *serve_recorder(void);
/* The format can say that a cluster reads zeros. */
bool serve_can_discard(void);

#endif
