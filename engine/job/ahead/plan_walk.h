/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A walk of what a pull would copy, before it begins. */
#ifndef BLOCKPULL_JOB_PLAN_WALK_H
#define BLOCKPULL_JOB_PLAN_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/copy/walk/plan.h"
#include "formats/chain/chain.h"
#include "formats/core/table_cache.h"
#include "io/blocking.h"

struct bpull_disk;
struct bpull_engine;
struct job_left;

struct plan_walk {
	struct chain *chain;
	struct table_cache *cache;
	struct bpull_engine *engine; /* NULL: this walk alone loads tables */
	struct job_left *left;       /* counts what is to be copied (progress/left.c), or NULL */
	uint64_t n_data;             /* overlay clusters to be copied at most */
	uint64_t n_tables;           /* tables they need */
	uint64_t copy_bytes;
	uint64_t copy_end_off;  /* guest byte behind the last cluster to be copied */
	uint64_t table_end_off; /* guest byte up to which a table is there, or counted */
	bool has_packed[CHAIN_MAX_DEPTH + 1]; /* layers with compressed data that is to be copied */
};

struct plan_walk plan_walk_of(const struct bpull_disk *disk);

/* Loads one table. Blocks; where the walk has an engine, it may run rounds of it meanwhile, and a
 * job of the disk may end in them, which closes layers. 0 or -errno. */
int plan_walk_load_table(struct plan_walk *w, struct table_need *need);

/* Calls the step until the tables it wants are there. */
#define PLAN_WALK_NOW(w, rc, call)                               \
	do {                                                     \
		struct table_need need;                          \
		blocking_pause();                                \
		while (((rc) = (call)) == TABLE_NEED) {          \
			(rc) = plan_walk_load_table((w), &need); \
			if (rc)                                  \
				break;                           \
		}                                                \
	} while (0)

/* Counts the tables that the overlay lacks for the clusters at [guest_off, end). 0 or -errno. */
int plan_walk_count_tables(struct plan_walk *w, uint64_t guest_off, uint64_t end);

/* Calls the visitor for what the cursor would copy or give an entry. It may set *end, where to look
 * next. 0 or -errno. */
int plan_walk_run(struct plan_walk *w,
		  int (*visit)(struct plan_walk *w, enum plan_action action, uint64_t guest_off,
			       uint64_t limit, uint64_t *end));

#endif
