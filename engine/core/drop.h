/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The layers that a job drops: hidden from mappings first, closed when nothing can be using them
 * any more. A node shares its layers with the disk that was opened, whose requests use them, too.
 */
#ifndef BLOCKPULL_CORE_DROP_H
#define BLOCKPULL_CORE_DROP_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;

/* Hides the layers between the overlay and the one that stays (chain.pull_to): no mapping leads to
 * them from now on. Requests that were submitted before may still use them. */
void drop_hide(struct bpull_disk *disk);
/* The layers stay after all: mappings lead to them again. */
void drop_show(struct bpull_disk *disk);
/* The hidden layers are to be closed: until drop_end() no copy that follows a read begins.
 * Idempotent. */
void drop_begin(struct bpull_disk *disk);
/* Every request and call that may use the hidden layers has ended. */
bool drop_is_safe(const struct bpull_disk *disk);
void drop_end(struct bpull_disk *disk);

#endif
