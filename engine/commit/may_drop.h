/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The last question before the header without the backing link is written. */
#ifndef BLOCKPULL_COMMIT_MAY_DROP_H
#define BLOCKPULL_COMMIT_MAY_DROP_H

#include <stdbool.h>

struct bpull_disk;

/* Everything that replaces the link is durable. May it go, now? Asked at the point of no return:
 * the job neither failed, nor was aborted or stopped, and the backing files are what they were. */
bool job_may_drop_link(struct bpull_disk *disk);

#endif
