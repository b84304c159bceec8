/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The last question before the header without the backing link is written. */
#ifndef BLOCKPULL_COMMIT_MAY_DROP_H
#define BLOCKPULL_COMMIT_MAY_DROP_H

struct bpull_disk;

/* Call it before the point of no return, when everything that replaces the link is durable. 0: the
 * link may be dropped. -ECANCELED: the job failed, was aborted or stopped, or requests that may use
 * the dropped layers are in flight. -ESTALE: a backing file was changed, and this call has failed
 * the job. -EAGAIN: whether one was changed is not known yet; the job asks again in its next
 * round. */
int may_drop_check(struct bpull_disk *disk);

#endif
