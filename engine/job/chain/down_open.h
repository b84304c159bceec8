/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a commit into a lower layer begins. */
#ifndef BLOCKPULL_JOB_DOWN_OPEN_H
#define BLOCKPULL_JOB_DOWN_OPEN_H

struct bpull_disk;
struct err;

/* Refuses a commit of the layers [from, to) for what they and layer `to` are. Changes nothing. 0,
 * or -errno with a sentence. */
int down_refuse(const struct bpull_disk *disk, unsigned from, unsigned to, struct err *err);
/* Opens the node of layer `to` for a commit that begins next. 0, or -errno with a sentence, and all
 * is as it was. Blocks. */
int down_open(struct bpull_disk *disk, unsigned from, unsigned to, struct err *err);
/* No job was begun after down_open(). Blocks. */
void down_close(struct bpull_disk *disk);

#endif
