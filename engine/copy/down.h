/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A job that copies downwards: what the upper layers of a chain hold goes into one below them
 * (engine/job/chain/down.h has the job). Its runs read as those of a pull do. They write by
 * requests of the lower image's own node, as a guest's.
 *
 * Writing as a pull's run does was rejected: that fills what an image lacks, and here the lower
 * image holds older bytes, maybe shared with a snapshot of its own, or compressed, or in larger
 * clusters. All of that is what a guest's write is made for.
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
/* The phases MAP, STORE and STORED of such a run. */
enum step down_map(struct copy_run *p);
enum step down_store(struct copy_run *p);
enum step down_stored(struct copy_run *p);
/* A guest's request changes [guest_off, guest_off + len), of which it takes the lock next. */
void down_note_written(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* What was written since is owed, and nothing else is. The caller begins a walk. */
void down_owe_written(struct bpull_disk *disk);

#endif
