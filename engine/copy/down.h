/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A commit copies downwards: what the upper layers of a chain hold goes into a lower image
 * (engine/job/chain/down.h has the job). Its runs read as those of a pull do. They write by
 * requests to the lower image's node, as a guest's.
 *
 * Writing as a pull's run does was rejected: that fills what an image lacks, and here the lower
 * image holds older bytes, maybe shared with a snapshot of its own, or compressed, or in larger
 * clusters. A guest's write can handle all of that.
 */
#ifndef BLOCKPULL_COPY_DOWN_H
#define BLOCKPULL_COPY_DOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/copy/walk/plan.h"
#include "engine/core/op.h"
#include "io/base.h"

struct bpull_disk;
struct copy_run;
struct table_need;

/* As plan_next(): COPY or ZERO what the upper layers hold, SKIP the rest. */
int down_next(struct bpull_disk *disk, uint64_t guest_off, uint64_t end, enum plan_action *action,
	      uint64_t *len, struct table_need *need);
/* The phases MAP, STORE and STORED of a run that copies into a lower image. */
enum step down_map(struct copy_run *p);
enum step down_store(struct copy_run *p);
enum step down_stored(struct copy_run *p);
/* A guest's request is going to change [guest_off, guest_off + len), and takes the lock on it next.
 * During an active commit that range is noted as written; else this does nothing. */
void down_note_written(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* Makes what the guest has written since the last look the set of what is owed. The caller begins a
 * walk over it. */
void down_owe_written(struct bpull_disk *disk);

#endif
