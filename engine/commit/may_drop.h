/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The last question before the header without the backing link is written. */
#ifndef BLOCKPULL_COMMIT_MAY_DROP_H
#define BLOCKPULL_COMMIT_MAY_DROP_H

#include <stdbool.h>

struct bpull_disk;

/* Asked at the point of no return, when everything that replaces the link is durable. True, the
 * link may go: the job neither failed nor was aborted or stopped, requests that may use the dropped
 * layers have ended, and the backing files are what they were. A changed one fails the job. */
bool job_may_drop_link(struct bpull_disk *disk);

#endif
