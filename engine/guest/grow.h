/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Making the guest's disk longer while it is used. */
#ifndef BLOCKPULL_GUEST_GROW_H
#define BLOCKPULL_GUEST_GROW_H

#include <stdint.h>

#include "engine/core/op.h"
#include "engine/guest/request.h"
#include "formats/core/layer_resize.h"
#include "io/base.h"
#include "io/io.h"

/* In order; docs/architecture.md, "A longer disk". */
enum grow_step {
	GROW_LOCK,     /* all of the disk: no entry changes from now on */
	GROW_SETTLE,   /* what was published is made durable: tables on disk are as in memory */
	GROW_FILE,     /* a raw disk's file, or a data file, becomes longer */
	GROW_TABLES,   /* space for a longer L1 table */
	GROW_READ,     /* the old one */
	GROW_WRITE,    /* the new one */
	GROW_COUNTED,  /* it is written, and counted in memory */
	GROW_SET_LEN,  /* in memory; the guest's length stays */
	GROW_ZEROES,   /* what behind the old end would not read zeros */
	GROW_DURABLE,  /* all of that */
	GROW_RECORD,   /* the length in the header */
	GROW_RECORDED, /* durably */
	GROW_OVER,     /* it is the guest's */
};

struct guest_grow {
	struct guest g; /* first: a request of the kind GUEST_GROW_DISK is one of these */
	enum grow_step at;
	uint64_t new_len;
	struct table_move move;
	uint8_t *table; /* the new L1 table's bytes */
	struct io_req req;
};

enum step guest_grow(struct guest *g);
/* The request is over, well or not. */
void guest_grow_end(struct guest *g);

#endif
