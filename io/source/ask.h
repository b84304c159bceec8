/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What source.c and zeros.c share: a read of a source's file, which is one or more
 * questions, and its end. A question may end on any thread and at any time until it is ended; the
 * file is closed when none is left, and so nothing here outlives it.
 */
#ifndef BLOCKPULL_IO_SOURCE_ASK_H
#define BLOCKPULL_IO_SOURCE_ASK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/file.h"
#include "io/source/source.h"

struct io;
struct io_req;

struct source_file {
	struct file file; /* first: the ops cast back */
	struct source source;
	struct file *zeros; /* of the data's file: it frees that one */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned n_asked;     /* questions that source_end_ask() is not done with */
	atomic_bool is_stale; /* a question ended with -ESTALE: the bytes are another disk's now */
};

/* A thread that waits for a read. */
struct source_wait {
	bool is_over;
	int64_t result;
};

struct source_ask {
	struct source_read *read;
	/* For extents. */
	uint8_t *bits;
	uint64_t off, end;  /* of the source */
	uint64_t at;        /* extents up to here were told */
	uint64_t zero_from; /* the zeros that end at `at` began here */
};

struct source_read {
	struct source_file *sf;
	struct io *io; /* of req; NULL: a thread waits */
	struct io_req *req;
	struct source_wait *wait;
	const struct iovec *iov; /* where the bytes go */
	uint8_t *flat;           /* what the questions fill instead; NULL: iov's only buffer */
	uint64_t from, to;       /* of the source, that the questions cover; to 0: extents */
	uint64_t skip;           /* bytes of flat in front of the read's first */
	uint64_t got;            /* bytes, if all goes well */
	atomic_uint n_left;      /* questions, and the thread that asks them */
	atomic_int rc;
	unsigned n_asks;
	struct source_ask asks[];
};

/* What a read is to be: of which bytes, to where. */
struct source_want {
	const struct iovec *iov;
	unsigned n_iov;
	uint64_t off, len;
	enum source_asker asker;
};

/* A read with n questions, none of them asked yet. Each is a part of the read, and so is the thread
 * that asks them. NULL: out of memory. */
struct source_read *source_read_new(struct source_file *sf, unsigned n_asks);
/* Says whom the read's end is told: io, of req; or a thread that waits. */
void source_read_set_end(struct source_read *read, struct io *io, struct io_req *req,
			 struct source_wait *wait);
/* A question is about to be asked. */
void source_note_asked(struct source_file *sf);
/* A part of the read is over; with the last one the read ends and is freed. */
void source_drop_part(struct source_read *read, int rc);
/* A question is over: drops its part of the read, and lets the file be closed. */
void source_end_ask(struct source_ask *ask, int rc);
/* Waits for a read: bytes or -errno. */
int64_t source_wait_for(struct source_file *sf, const struct source_wait *wait);
/* Ends a request without a question. */
void source_end_req(struct io *io, struct io_req *req, int rc);
/* What a request asks of its file's first `end` bytes. */
struct source_want source_want_of(const struct io_req *req, uint64_t end);

int source_init_file(struct file *file, const struct file_ops *ops, const char *name, uint64_t len);
/* What no source can do. */
int source_refuse_write(struct file *file, const void *buf, size_t len, uint64_t off);
int source_refuse_truncate(struct file *file, uint64_t len);
int source_sync_nothing(struct file *file);
int source_know_nothing(struct file *file, uint64_t off, struct file_status *out);

#endif
