/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A file whose bytes a program supplies: each read is a question that the program ends, on any
 * thread (bpull_source in engine/blockpull.h). Reads that do not fit what the source can do are
 * split, or go through a buffer of their own.
 *
 * Which of its blocks read as zeros is another file's bytes, file->zeros: a bit for each
 * SOURCE_BLOCK_LEN, the first block in the lowest bit, in whole words of 8 bytes. So the tables'
 * cache keeps them and waits for them, as it does with the tables of an image. A call of
 * file_ops.status for it was rejected: that one may not wait, and the answer comes over a network.
 */
#ifndef BLOCKPULL_IO_SOURCE_SOURCE_H
#define BLOCKPULL_IO_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/err.h"
#include "io/file.h"

struct source_ask;
struct source_expect;

#define SOURCE_BLOCK_LEN 4096u
/* Bytes of the source of which one question for extents tells. */
#define SOURCE_EXTENTS_LEN   (UINT64_C(1) << 30)
#define SOURCE_MAX_BLOCK_LEN (UINT32_C(64) << 10)

/* enum bpull_source_asker has the same numbers. */
enum source_asker {
	SOURCE_JOB,
	SOURCE_GUEST,
	SOURCE_CALL
};

struct source_extent {
	uint64_t len;
	bool is_zero;
};

/* As struct bpull_source_ops has them. */
struct source_ops {
	void (*read)(void *opaque, void *buf, size_t len, uint64_t off, enum source_asker asker,
		     struct source_ask *ask);
	void (*extents)(void *opaque, uint64_t off, uint64_t len, enum source_asker asker,
			struct source_ask *ask); /* NULL: nothing is known */
	void (*close)(void *opaque);
	void (*leave)(void *opaque); /* or NULL */
};

struct source {
	struct source_ops ops;
	void *opaque;
	uint64_t len;                 /* bytes, at most INT64_MAX */
	uint32_t block_len;           /* a power of two, at most SOURCE_MAX_BLOCK_LEN */
	uint32_t max_len;             /* of one read: a multiple of block_len */
	const char *identity;         /* copied; NULL: like no other */
	struct source_expect *expect; /* taken over; NULL: nothing is expected of its bytes */
};

/* The file takes the source over, whose close() is called when it is closed, or here where there is
 * no memory. trust: its word on zeros is taken. -ENOMEM. */
int source_open(const struct source *source, const char *name, bool trust, struct file **out,
		struct err *err);
/* End a question: any thread, once. */
void source_read_done(struct source_ask *ask, int rc);
/* Begins an answer for extents; add() takes them one behind the other, what lies behind the end of
 * the question is left out. */
void source_extents_add(struct source_ask *ask, const struct source_extent *extent);
void source_extents_done(struct source_ask *ask, int rc);

#endif
