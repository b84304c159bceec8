/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A question of the library, and the requests that it is made of. A question is one allocation and
 * ends when its last piece has.
 */
#ifndef TOOLS_NBD_ASK_H
#define TOOLS_NBD_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/blockpull.h"

/* Of one answer at most: what lies behind them is not known. */
#define ASK_MAX_EXTENTS 4096

struct ask;

/* Which bytes of a read have come, as ranges that neither overlap nor touch, in their order. A
 * server may answer in parts; libnbd does not look whether these are the whole. */
#define ASK_MAX_PARTS 16
struct ask_came {
	unsigned n;
	struct {
		uint32_t at, end;
	} parts[ASK_MAX_PARTS];
};

/* A request to the server, or several, one after the other: a server that comes back may take less
 * at once than it did when the piece was made. */
struct ask_piece {
	struct ask *ask; /* NULL: the wire's own */
	uint64_t offset;
	uint32_t len;
	void *buf;     /* reads: where the bytes go; else NULL */
	uint32_t done; /* reads: bytes of it that have come */
	/* What was asked for last: all that is not done, or as much of it as the connection takes
	 * at once, in its blocks. */
	struct {
		uint64_t offset;
		uint32_t len;
		void *buf; /* of the piece, or `aside` */
	} sent;
	uint8_t *aside;    /* blocks of which the piece wants a part; NULL: none. Owned */
	bool is_over;      /* answered, or the connection ended: set while libnbd is called */
	int error;         /* 0 or an errno value, positive */
	unsigned n_lost;   /* connections that were lost while it was in flight */
	uint64_t first_ns; /* when it was to be sent first; 0: it was not yet */
	uint64_t sent_ns, sent_at; /* when it was sent last; after how many answers of the wire */
	struct ask_came came;
	struct ask_piece *next;
};

struct ask {
	struct bpull_source_ask *ask; /* the library's */
	enum bpull_source_asker asker;
	bool is_read;
	uint64_t offset, len;                /* as it was asked */
	unsigned n_left;                     /* pieces that are not over */
	int rc;                              /* the first error, -errno */
	struct bpull_source_extent *extents; /* of the answer, owned; NULL: none yet */
	size_t n_extents;
	size_t n_pieces;
	struct ask_piece pieces[];
};

/* A first in, first out list of pieces. */
struct ask_queue {
	struct ask_piece *first, **last;
	size_t n;
};

/* NULL: no memory. */
struct ask *ask_new_read(struct bpull_source_ask *ask, enum bpull_source_asker asker, void *buf,
			 size_t len, uint64_t offset, uint32_t max_request);
struct ask *ask_new_extents(struct bpull_source_ask *ask, enum bpull_source_asker asker,
			    uint64_t offset, uint64_t len);
/* Fills `sent` with what is to be asked for next, for a server of these blocks that takes max_len
 * bytes at once, a multiple of block_size. The disk ends with a whole block. 0 or -ENOMEM. */
int ask_begin_sent(struct ask_piece *piece, uint32_t block_size, uint32_t max_len);
/* What was sent has been answered: takes the bytes of a read over. True: the piece has all. */
bool ask_end_sent(struct ask_piece *piece);
/* len bytes at `offset` of the disk have come for a read. False: they are not of what was sent, or
 * came twice, or in too many parts. */
bool ask_take_part(struct ask_piece *piece, uint64_t offset, size_t len);
/* All bytes of what was sent have come. */
bool ask_is_whole(const struct ask_piece *piece);
/* Takes an answer of n pairs (length, flags) for the piece. The first answer counts. */
void ask_take_extents(struct ask_piece *piece, const uint32_t *entries, size_t n, uint32_t zero);
/* The piece is over with rc. When it was the last one the question is ended and freed. */
void ask_piece_over(struct ask_piece *piece, int rc);

void ask_queue_init(struct ask_queue *queue);
void ask_queue_add(struct ask_queue *queue, struct ask_piece *piece);
void ask_queue_add_first(struct ask_queue *queue, struct ask_piece *piece);
struct ask_piece *ask_queue_take(struct ask_queue *queue);
/* Moves all of `from` behind `queue`. */
void ask_queue_join(struct ask_queue *queue, struct ask_queue *from);

#endif
