/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Once a round: how far the jobs of each convoy are. */
#ifndef BLOCKPULL_COPY_COMPANY_LOOK_H
#define BLOCKPULL_COPY_COMPANY_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_engine;

/* Call it before the jobs take their steps: jobs that do not copy any more leave their convoys,
 * those that go on after a pause join again. Returns when it must be called again, as
 * convoy_look(). */
uint64_t company_look(struct bpull_engine *engine, uint64_t now_ns);
/* Call it after the jobs' steps: a job that is still in a convoy does not copy any more, so the
 * convoy must not wait for it. */
bool company_was_left(const struct bpull_engine *engine);

#endif
