/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Three disks of one engine over the same backing files, in one simulated machine,
 * and what each may do: open, close, requests, jobs, failures of the machine. Each
 * event is judged when it comes, and what a disk drops must be closed unless a
 * neighbour reads it.
 */
#ifndef BLOCKPULL_TESTS_NEIGHBOURS_H
#define BLOCKPULL_TESTS_NEIGHBOURS_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/machine/sim_guest.h"

#define N_NEIGHBOURS 3

extern const char *const neighbour_names[N_NEIGHBOURS];

struct neighbours {
	uint64_t seed, state;
	bool faults; /* the machine fails now and then */
	bool cuts;   /* look at what power cuts would leave */
	unsigned n_broken;
	struct sim_chain chain;
	struct sim *sim;
	struct bpull_engine *engine;
	struct neighbour {
		struct sim_guest guest; /* disk NULL: it is closed */
		bool job_runs;
		unsigned link, target; /* indexes of the chain's files; n_files: none */
		bool is_unknown; /* the link: a header write failed, which may have done anything */
		bool is_lost;    /* closed while nothing could be written: not opened again */
	} disks[N_NEIGHBOURS];
	bool is_ruined[SIM_CHAIN_MAX_DEPTH + 1];
};

/* In all plays of this process. */
struct neighbours_met {
	uint64_t completed, beside, ruined, closed_beside, failed, poisoned, cut;
};
extern struct neighbours_met neighbours_met;

uint64_t neighbours_below(struct neighbours *all, uint64_t n);
void neighbours_open(struct neighbours *all, struct neighbour *d);
/* One of the disk's possible steps, drawn. */
void neighbours_live(struct neighbours *all, struct neighbour *d);
void neighbours_take_events(struct neighbours *all);
/* Until no request of this disk (NULL: of any) is in flight, and no job runs where job_too. */
void neighbours_run_until(struct neighbours *all, const struct neighbour *only, bool job_too);
/* The machine fails under one of the disks, under what they share, or at the next call. */
void neighbours_break(struct neighbours *all);
void neighbours_mend(struct neighbours *all);
/* Called before a disk is closed: notes whether the close may lose what was not written yet. Then
 * its guest is gone, and the disk is not opened again. */
void neighbours_note_loss(struct neighbours *all, struct neighbour *d);

/* With what is needed to see it again. */
#define neighbours_assert(all, condition, ...)                                            \
	do {                                                                              \
		if (!(condition)) {                                                       \
			char text_[2400];                                                 \
			snprintf(text_, sizeof(text_), __VA_ARGS__);                      \
			cr_assert_fail("NEIGHBOUR_SEED=%" PRIu64 ": %s: %s", (all)->seed, \
				       (all)->chain.text, text_);                         \
		}                                                                         \
	} while (0)

#endif
