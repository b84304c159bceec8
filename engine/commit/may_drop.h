/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The last question before the header without the backing link is written. */
#ifndef BLOCKPULL_COMMIT_MAY_DROP_H
#define BLOCKPULL_COMMIT_MAY_DROP_H

struct bpull_disk;

/* Asked at the point of no return, when everything that replaces the link is durable. 0: the link
 * may go. -ECANCELED: the job failed, was aborted or stopped, or requests that may use the dropped
 * layers are in flight. -ESTALE: a backing file is not what it was, and the job has failed of
 * that. -EAGAIN: that is not known yet, and the job comes again. */
int job_check_drop(struct bpull_disk *disk);

#endif
