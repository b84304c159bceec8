/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A VMM from its connection to its end, with queues as it makes them. */
#ifndef TESTS_SERVE_REPLAY_H
#define TESTS_SERVE_REPLAY_H

#include "tests/serve/storm.h"

/* On a backend that runs; the world goes on, so that this VMM reads what the last one wrote. Ends
 * the program where anything is wrong. */
void replay(struct storm *storm, const struct order_shape *shape);

#endif
