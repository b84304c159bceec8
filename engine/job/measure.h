/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a pull will need: space, and layers that can be read. */
#ifndef BLOCKPULL_JOB_MEASURE_H
#define BLOCKPULL_JOB_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/chain/chain.h"
#include "io/base.h"

struct bpull_disk;
struct bpull_engine;
struct bpull_measure;
struct err;
struct layer;
struct table_cache;

/* Bytes that a pull with compression may need more than one without: space for compressed clusters
 * is taken several at a time, and the last is not used up. */
#define COMPRESSION_SPARE_LEN (1 * MiB)

/* Refuses a pull whose image, or data file, is a block device too small for what it may need, and
 * for spare_len bytes more. Blocking, read-only. 0, -ENOSPC with a sentence, or -errno. */
int measure_device(struct bpull_disk *disk, uint64_t spare_len, struct err *err);
/* Refuses a pull that damaged tables of a lower layer would end, before anything is changed. Damage
 * that only decoding finds ends the job when it comes there. Blocking, read-only. 0, -EUCLEAN with
 * a sentence, or -errno. */
int measure_damage(struct bpull_disk *disk, struct err *err);
/* Refuses a chain of which a few bytes describe so much that mapping it takes hours. Looks once a
 * disk. Blocks. */
int measure_sharing(struct bpull_disk *disk, struct err *err);

struct walk {
	struct chain *chain;
	struct table_cache *cache;
	struct bpull_engine *engine; /* NULL: this walk alone loads tables */
	uint64_t n_data;             /* overlay clusters to be copied at most */
	uint64_t n_tables;           /* tables they need */
	uint64_t copy_bytes;
	uint64_t copy_end_off;  /* guest byte behind the last cluster to be copied */
	uint64_t table_end_off; /* guest byte up to which a table is there, or counted */
	bool has_packed[CHAIN_MAX_DEPTH + 1]; /* layers with compressed data that is to be copied */
};

/* Walks the chain and fills *out. Blocking. 0 or -errno with a sentence. */
int measure_walk(struct walk *w, struct bpull_measure *out, struct err *err);

/* Refuses a lower layer's table, or what it leads to, that would end a pull half way. 0 or
 * -errno. */
int measure_refuse_damage(struct walk *w, struct err *err);

/* -EROFS and a sentence where the image may not be written. */
int measure_refuse_read_only(const struct layer *overlay, struct err *err);

#endif
