/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bases that a program supplies (bpull_source), in the simulated machine: names that lead to its
 * files as if these lay on other machines. Questions end by the machine's clock, in an order and
 * after delays that the seed draws; those of calls, which wait on the only thread there is, inside
 * the call that asks. Of zeros a source tells the truth, and not all of it. It can be away for a
 * time, fail, come back as another one for ever, and say what is not so where digests are expected.
 *
 * A question that is asked against the contract of blockpull.h, or is left when its source is
 * closed, ends the program.
 */
#ifndef BLOCKPULL_TESTS_SIM_SOURCE_H
#define BLOCKPULL_TESTS_SIM_SOURCE_H

#include "engine/blockpull.h"
#include "tests/machine/files/sim.h"

#define SIM_SOURCES_MAX 4

/* All that names lead to on one machine. */
struct sim_sources;

/* Zero is a source that has no limits, answers at once, and never fails. */
struct sim_source_how {
	uint32_t block_size, max_size; /* as in struct bpull_source */
	uint64_t max_delay_ns;         /* until a question ends */
	uint64_t patience_ns;          /* so long one that finds it away waits for it */
	uint32_t chunk_size;           /* of the digests that are expected; 0: none are */
	/* Bytes at the end of a read that are not counted as read: compressed clusters share the
	 * sectors in which they end. */
	uint32_t shared_tail;
	bool has_extents, has_identity;
	unsigned inside_permille; /* questions that end inside the call that asks */
	/* While sim_sources_may_fail(): answers of -EIO. */
	unsigned fail_permille;
	/* The same, where digests are expected: reads with a wrong byte, and data called zeros. */
	unsigned lie_permille;
};

/* What questions were ended with, so far. */
struct sim_sources_counts {
	uint64_t asked, away, stale, failed, wrong; /* wrong: with bytes that are none of its */
};

struct sim_sources *sim_sources_new(struct sim *sim);
/* All are closed. */
void sim_sources_free(struct sim_sources *sources);
/* The recorded name leads to the machine's file of the name "/recorded". */
void sim_sources_add(struct sim_sources *sources, const char *recorded,
		     const struct sim_source_how *how);
/* Draws one. fails: it may do so. */
struct sim_source_how sim_source_draw(uint64_t seed, bool fails);
/* bpull_disk_options.find_base; opaque is the struct sim_sources. */
int sim_sources_find(void *opaque, const struct bpull_open_request *request,
		     struct bpull_base *base, struct bpull_error *error);
/* It is away until then, by the machine's clock; 0: it is here. */
void sim_source_leave(struct sim_sources *sources, unsigned i, uint64_t until_ns);
/* From now on it is another one; changed(arg) is called when that is told first. */
void sim_source_change(struct sim_sources *sources, unsigned i, void (*changed)(void *arg),
		       void *arg);
void sim_sources_may_fail(struct sim_sources *sources, bool may);
/* Questions that it answered. */
uint64_t sim_source_n_good(const struct sim_sources *sources, unsigned i);
/* Bytes of it that were read, but by calls that wait; those of them that were read before. */
uint64_t sim_source_n_read(const struct sim_sources *sources, unsigned i);
uint64_t sim_source_n_reread(const struct sim_sources *sources, unsigned i);
/* How often it is open. */
unsigned sim_source_n_open(const struct sim_sources *sources, unsigned i);
bool sim_source_is_stale(const struct sim_sources *sources, unsigned i);
struct sim_sources_counts sim_sources_counts(const struct sim_sources *sources);
/* Of those ended with an error, or with wrong bytes. */
uint64_t sim_sources_n_bad(const struct sim_sources *sources);
/* The same, but for those of reads that have other questions in flight: such a read fails when the
 * last of them ends, and all that wait for it by then meet that. */
uint64_t sim_sources_n_bad_over(const struct sim_sources *sources);

#endif
