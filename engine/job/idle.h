/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A job that has nothing to pull. */
#ifndef BLOCKPULL_JOB_IDLE_H
#define BLOCKPULL_JOB_IDLE_H

struct bpull_disk;
struct err;

/* Makes the image durable as it is, without its link: the process that wrote that header may have
 * been killed before its barrier (I4). 0, or -errno with a sentence; the disk is poisoned then.
 * Blocks; the disk is reserved for this call. */
int idle_make_durable(struct bpull_disk *disk, struct err *err);

#endif
