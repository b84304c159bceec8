/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A backend between an engine and the simulator: it reaps one request at a
 * time, calls a function that may cut the power before each, knows tables from
 * data, and can tell one lie. Lies are how the tests prove that they would see
 * a broken invariant of engine/commit/commit.c: hooks for that inside the engine were
 * rejected, since they would be compiled into each program's library.
 */
#ifndef BLOCKPULL_TESTS_CRASH_IO_H
#define BLOCKPULL_TESTS_CRASH_IO_H

#include "io/req_list.h"
#include "tests/machine/files/sim.h"

enum crash_lie {
	CRASH_HONEST,
	CRASH_DROP_SYNC,     /* the n-th barrier is reported and not made: I1 to I4 */
	CRASH_EARLY_DATA,    /* data is reported written, and written after the next barrier: I1 */
	CRASH_LATE_REFCOUNT, /* so are refcounts and new tables: I2 */
	CRASH_NEWER_TABLES,  /* tables are written as they stand now, not as staged: I6 */
	CRASH_RETRY_SYNC,    /* the n-th barrier fails, is made again and reported: I7 */
};

struct table_cache;

struct crash_io {
	struct io io; /* first */
	struct io *inner;
	struct sim *sim;
	enum crash_lie lie;
	uint64_t nth;              /* barrier the lie is about, from 1 */
	const char *sync_of;       /* count barriers of this file only; NULL: of all */
	struct table_cache *cache; /* the engine's, for NEWER_TABLES */
	/* Called when what a power cut leaves may have changed; NULL for none. */
	void (*look)(void *arg);
	void *arg;

	bool changed;
	uint64_t n_syncs; /* submitted */
	uint64_t n_lies;
	/* Writes that came to an end since the last barrier was submitted and on which later ones
	 * may rest: data, refcounts, new tables. And their number at a lie about a barrier. */
	uint64_t n_ended, n_ended_at_lie;
	uint64_t n_ended_late;     /* not in n_ended: since the commit under way began */
	const uint64_t *n_commits; /* begun by the disk, or NULL */
	uint64_t commit;           /* the same, when it was last looked at */
	uint64_t n_table_writes;
	uint64_t data_len;      /* bytes of data submitted */
	uint64_t data_marks[5]; /* the same when the last commits began, the latest first */
	uint64_t *table_offs;   /* where tables were written */
	size_t n_table_offs, table_offs_cap;
	bool in_batch, last_was_sync, batch_is_first; /* which stage the commit is at */
	struct req_list done;                         /* reported without the simulator */
	struct crash_held *held;                      /* reported and not done yet */
	struct crash_held *late;                      /* done behind the owner's back */
};

void crash_io_init(struct crash_io *c, struct sim *sim);
/* Does what was reported and not done, while the files are still open. */
void crash_io_settle(struct crash_io *c);
void crash_io_free(struct crash_io *c);
/* Bytes of data that may be written or counted and not referred to by a durable entry: those of the
 * commit under way and of the one before it, what is on its way to the next one, and for runs that
 * take long what was on its way a few commits ago. */
uint64_t crash_io_unsettled_len(const struct crash_io *c);
/* A table (not data) was written at this offset. */
bool crash_io_is_table(const struct crash_io *c, uint64_t off);

#endif
