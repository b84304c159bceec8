/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What waits for the next commit. */
#ifndef BLOCKPULL_COMMIT_BATCH_H
#define BLOCKPULL_COMMIT_BATCH_H

#include <stdbool.h>
#include <stdint.h>

struct bpull_disk;

/* A soft commit is due: enough was published, or long enough ago, or too much memory is dirty. */
bool commit_is_due(const struct bpull_disk *disk, uint64_t now_ns);
/* When it will be long enough ago; UINT64_MAX: nothing was published. */
uint64_t commit_due_ns(const struct bpull_disk *disk);
/* So many changed tables wait for a commit that no more may be changed: they can't be evicted. */
bool commit_is_overdue(const struct bpull_disk *disk);
/* Some of them are this disk's: a commit of it takes time, and makes room. */
bool commit_makes_room(const struct bpull_disk *disk);
/* Entries for so many bytes of data were published. */
void commit_note_published(struct bpull_disk *disk, uint64_t len);
/* All that was changed in memory, written or submitted is durable. */
bool commit_is_clean(const struct bpull_disk *disk);

#endif
