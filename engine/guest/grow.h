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
	GROW_LOCK,     /* locks all of the disk: no entry changes from now on */
	GROW_SETTLE,   /* makes what was published durable: tables on disk are as in memory */
	GROW_FILE,     /* makes a raw disk's file, or a data file, longer */
	GROW_TABLES,   /* reserves space for a longer L1 table, if one is needed */
	GROW_READ,     /* reads the old L1 table */
	GROW_WRITE,    /* writes the new one */
	GROW_COUNTED,  /* makes the new table and its refcounts durable */
	GROW_SET_LEN,  /* sets the format's length in memory; the guest's stays */
	GROW_ZEROES,   /* makes zero entries where the new end would not read as zeros */
	GROW_DURABLE,  /* makes the header's new L1 table and these entries durable */
	GROW_RECORD,   /* puts the new length into the header, in memory */
	GROW_RECORDED, /* makes the header durable */
	GROW_OVER,     /* the guest's disk has the new length */
};

struct guest_grow {
	struct guest g; /* first: a GUEST_GROW_DISK request is cast to this struct */
	enum grow_step at;
	uint64_t new_len;
	struct table_move move;
	uint8_t *table; /* the new L1 table's bytes */
	struct io_req req;
};

/* The phase GROW. */
enum step guest_grow(struct guest *g);
/* The request is over, whether it succeeded or not: undoes what a failure has left. */
void guest_grow_end(struct guest *g);

#endif
