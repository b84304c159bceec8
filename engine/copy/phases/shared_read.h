/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a copy run takes from other jobs' reads, and keeps of its own for them. */
#ifndef BLOCKPULL_COPY_SHARED_READ_H
#define BLOCKPULL_COPY_SHARED_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/op.h"
#include "io/base.h"

struct copy_run;

/* The run is about to read what is planned. Finds out what other jobs have read or are reading
 * (plan_part.is_fed, shared_read_is_fed()), and claims the rest. Returns how many more requests
 * than parts there may be. */
unsigned shared_read_begin(struct copy_run *p);
/* True: another job's run reads this run's byte `at`. False: this run does. *len: for how many
 * bytes, up to `end`, that answer holds. */
bool shared_read_is_fed(const struct copy_run *p, uint32_t at, uint32_t end, uint32_t *len);
/* Guest bytes of the run that others have read, or are reading. */
uint64_t shared_read_fed_len(const struct copy_run *p);
/* The phase SHARE. */
enum step shared_read_share(struct copy_run *p);
/* Gives up all that the run claimed and all that it was to take. Idempotent. */
void shared_read_end(struct copy_run *p);
/* The run, or another one for it, is reading from a shared layer. p: NULL: false. */
bool shared_read_awaits(const struct copy_run *p);

#endif
