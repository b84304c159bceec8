/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The new file of a job that flattens: when it gets its name, and when it is removed. */
#ifndef BLOCKPULL_JOB_FLATTEN_H
#define BLOCKPULL_JOB_FLATTEN_H

struct bpull_disk;
struct err;

/* Everything is committed: makes the file durable under its final name. Blocking, on any thread. 0
 * or -errno with a sentence; then the file is as good as not there. */
int flatten_finish(struct bpull_disk *disk, struct err *err);
/* The job failed or was canceled: removes the file. Blocking, on any thread. */
void flatten_abandon(struct bpull_disk *disk);
/* The same for a disk being closed, and frees what it knew. */
void flatten_free(struct bpull_disk *disk);

#endif
