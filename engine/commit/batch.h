/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What waits for the next commit. */
#ifndef BLOCKPULL_COMMIT_BATCH_H
#define BLOCKPULL_COMMIT_BATCH_H

#include <stdbool.h>
#include <stdint.h>

struct bpull_disk;

/* A soft commit is due: enough was published, or long enough ago, or too much memory is dirty. */
bool commit_is_due(const struct bpull_disk *disk, uint64_t now_ns);
/* When the first entry since the last commit will be old enough; UINT64_MAX: nothing was
 * published. */
uint64_t commit_due_ns(const struct bpull_disk *disk);
/* Too many changed tables, of all disks, wait for a commit: no more may be changed, since a changed
 * table can't be evicted. */
bool commit_is_overdue(const struct bpull_disk *disk);
/* A commit of this disk is in flight, or would write some of those tables: so waiting for it makes
 * room. */
bool commit_makes_room(const struct bpull_disk *disk);
/* Entries for len bytes of data were published, or, with len 0, only other tables changed: a commit
 * is due sooner or later. */
void commit_note_published(struct bpull_disk *disk, uint64_t len);
/* Nothing of the disk is left to be made durable: no changed table, no write without a barrier, and
 * no commit in flight. */
bool commit_is_clean(const struct bpull_disk *disk);

#endif
