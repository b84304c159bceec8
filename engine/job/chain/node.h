/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Nodes: a backing file of an open disk that is written to, with what lies below it, as a disk of
 * its own. A compaction is a pull on a node; a commit writes through one.
 *
 * The disk that was opened reads through the same layers, in memory, so it sees at once what is
 * published there. What that disk's requests may still use is waited for by the same numbers as
 * its own (core/drop.h, guests.drain_seq).
 */
#ifndef BLOCKPULL_JOB_NODE_H
#define BLOCKPULL_JOB_NODE_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;
struct bpull_engine;
struct err;

/* The lower end of `of`'s chain from layer `depth` on, to be asked about only: nothing of it is
 * written, and the engine does not know it. NULL: no memory. */
struct bpull_disk *node_new(struct bpull_disk *of, unsigned depth);
/* Of a node that the engine does not know. */
void node_free(struct bpull_disk *node);
/* Refuses what forbids that layer `depth` of the node's chain, or of an open disk's, is written to:
 * another disk of the engine has the file, its format, a change by others. `disk` is of no job, and
 * not known to the engine if it is a node. Changes nothing. 0, or -errno with a sentence. */
int node_refuse(const struct bpull_disk *disk, unsigned depth, struct err *err);
/* Its image may be written to from now on, and the engine knows it: node_close() must follow, or a
 * job. `of` is an open disk without a job. 0, or -errno with a sentence: -EBUSY another program or
 * another disk of the engine has the file. Blocks. */
int node_open(struct bpull_disk *node, struct err *err);
/* No job was begun on it. It is freed. Blocks. */
void node_close(struct bpull_disk *node);
/* Its image, of which all is durable, is a backing file again. True: that is done. */
bool node_rest(struct bpull_disk *node);
/* Why what is in memory of its image can't become durable: 0, or -errno. No commit of it runs,
 * unless it stalls. */
int node_write_error(const struct bpull_disk *node);
/* The job of `disk`, which wrote to this disk, is about to end: where it leaves a node's image that
 * takes no further write, its message says what to do. */
void node_say_given_up(struct bpull_disk *disk, const struct bpull_disk *node);
/* Frees the nodes whose job has ended, as far as nothing of them is in flight. */
void node_sweep(struct bpull_engine *engine);

#endif
