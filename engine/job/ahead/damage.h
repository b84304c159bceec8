/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Layers that a pull could not read to its end. */
#ifndef BLOCKPULL_JOB_DAMAGE_H
#define BLOCKPULL_JOB_DAMAGE_H

#include "io/base.h"

struct bpull_disk;
struct err;
struct plan_walk;

/* Refuses a pull that damaged tables of a lower layer would end, before anything is changed. Damage
 * that only decoding finds ends the job when it comes there. Blocking, read-only. 0, -EUCLEAN with
 * a sentence, or -errno. */
int damage_refuse_job(struct bpull_disk *disk, struct err *err);
/* The same for a commit of the layers [from, to) into layer `to`. A start audits what it writes to
 * when it opens that for writing, a dry run does so here. */
int damage_refuse_down(struct bpull_disk *disk, unsigned from, unsigned to, bool is_start,
		       struct err *err);
/* That of a pull by a walk of one's own, for a job that is only planned. */
int damage_refuse(struct plan_walk *w, struct err *err);

/* Refuses a chain of which a few bytes describe so much that mapping it takes hours. Looks once a
 * disk. Blocks. 0, -EUCLEAN with a sentence, or -errno. */
int damage_refuse_sharing(struct bpull_disk *disk, struct err *err);
/* The same for the layers from this depth on, each time. */
int damage_refuse_sharing_from(struct plan_walk *w, unsigned depth, struct err *err);

#endif
