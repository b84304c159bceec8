/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Where a write changes nothing but data: granules of the guest's disk whose
 * table entries are on the disk. What is written there is in the page cache when
 * it is acknowledged, and outlives this process. A write elsewhere also changes
 * tables in our memory, which do not: it must be durable before it is
 * acknowledged, once. Pure.
 */
#ifndef TOOLS_SERVE_DURABLE_H
#define TOOLS_SERVE_DURABLE_H

#include <stdbool.h>
#include <stdint.h>

struct durable {
	uint64_t *bits;   /* one a granule; NULL: none is known */
	uint64_t granule; /* bytes; 0: there are no tables, all is as data is */
	uint64_t n;
	unsigned n_clearing; /* discards and zeros under way: a write beside them proves nothing */
	uint64_t epoch;      /* changes when one begins or ends */
};

/* Without memory no granule is ever known. */
void durable_open(struct durable *durable, uint64_t disk_len, uint64_t granule);
void durable_close(struct durable *durable);
/* The disk is longer now: nothing is known of its new end. Without memory no granule is. */
void durable_lengthen(struct durable *durable, uint64_t disk_len);
/* Another image is the disk's now: nothing is known of it, nor by writes that are under way. */
void durable_renew(struct durable *durable, uint64_t disk_len, uint64_t granule);
/* Another one is about to be: nothing is known any more, nor learned, before durable_renew(). */
void durable_forget(struct durable *durable);
/* True: all of the range is known. */
bool durable_has(const struct durable *durable, uint64_t off, uint64_t len);
/* What durable_add() wants to know of the moment in which a write begins. */
uint64_t durable_epoch(const struct durable *durable);
/* A write that began then is over, and durable. */
void durable_add(struct durable *durable, uint64_t epoch, uint64_t off, uint64_t len);
/* A discard, or zeros, begin; they are on this range; they are over. */
void durable_clear_begin(struct durable *durable);
void durable_clear(struct durable *durable, uint64_t off, uint64_t len);
void durable_clear_end(struct durable *durable);

#endif
