/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a job asks of a disk that flattens its chain into a new file. */
#ifndef BLOCKPULL_FLATTEN_H
#define BLOCKPULL_FLATTEN_H

#include <stdbool.h>

#include "io/err.h"

struct bpull_disk;

bool flatten_is(const struct bpull_disk *disk);
/* Is there no file to write to any more: made, or removed? */
bool flatten_is_over(const struct bpull_disk *disk);
/* Everything is committed: makes the file durable under its final name. Blocking. 0 or -errno with a
 * sentence; then the file is as good as not there. */
int flatten_finish(struct bpull_disk *disk, struct err *err);
/* The job failed or was canceled: removes the file. */
void flatten_abandon(struct bpull_disk *disk);
/* The same for a disk being closed, and frees what it knew. */
void flatten_free(struct bpull_disk *disk);

#endif
