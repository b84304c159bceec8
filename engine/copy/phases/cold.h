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
	bool fits;       /* it is a job's, long, and can be done so */
	bool was_cached; /* much of it was in the page cache as the file was opened */
	bool is_begun;   /* the walk has read of the layer */
	bool passes;     /* is_begun: past the page cache */
	/* When a walk of this engine left the mark; 0: none has. */
	uint64_t marked_ns;
	uint64_t now_ns;
};

struct cold_choice {
	bool passes;      /* the walk reads this layer past the page cache, where it is cold */
	bool past_cache;  /* this read goes past it */
	bool leaves_mark; /* it is the first that does */
};

/* Pure. */
struct cold_choice cold_decide(const struct cold_facts *facts);
/* Chooses for one read of the run, of the layer's data. It may submit the reading of the mark. */
void cold_choose(struct copy_run *p, unsigned depth, struct io_req *req);
/* Of what the run has read: bytes that came past the page cache, of files opened so as well. */
uint64_t cold_passed_len(const struct copy_run *p);

#endif
