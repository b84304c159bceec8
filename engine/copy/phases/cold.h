/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which reads of a job go past the page cache. */
#ifndef BLOCKPULL_COPY_COLD_H
#define BLOCKPULL_COPY_COLD_H

#include <stdbool.h>
#include <stdint.h>

struct copy_run;
struct io_req;

/* What is known of a read before it is submitted. */
struct cold_facts {
	bool fits;       /* it is a job's, is long, and the file can be read past the cache */
	bool was_cached; /* much of it was in the page cache as the file was opened */
	bool is_begun;   /* the walk has read some of the layer before */
	bool passes;     /* only if is_begun: the walk reads the layer past the page cache */
	/* When a walk of this engine left the mark in this file; 0: none has. */
	uint64_t marked_ns;
	uint64_t now_ns;
};

struct cold_choice {
	bool passes;      /* the walk reads this layer past the page cache, where it is cold */
	bool past_cache;  /* this read goes past the cache */
	bool leaves_mark; /* the run leaves the mark, since no walk has */
};

/* Pure. */
struct cold_choice cold_decide(const struct cold_facts *facts);
/* Decides for one read of the run, of the layer's data, and sets req->past_cache. May submit the
 * read that leaves the mark. */
void cold_choose(struct copy_run *p, unsigned depth, struct io_req *req);
/* Bytes of data that the run has read past the page cache, also from files that were opened so. */
uint64_t cold_passed_len(const struct copy_run *p);

#endif
