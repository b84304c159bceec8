/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A session, fixed or drawn, on a disk that gets new images on top, between a guest's requests,
 * before a pull and behind it: for tests that cut the power at each of its operations, and that let
 * each call or allocation fail. Each event is judged when it comes. What is left has several heads:
 * the image that is the disk now, judged by the model, and each one below, which holds what the
 * disk held when it got the next one.
 */
#ifndef BLOCKPULL_TESTS_SNAP_TRIAL_H
#define BLOCKPULL_TESTS_SNAP_TRIAL_H

#include "tests/whole/chains/trial.h"

#define SNAP_MAX       6
#define SNAP_FIXED     4 /* in the fixed session, by three calls */
#define SNAP_AT_A_TIME 3

/* One image of the disk's. */
struct snap_head {
	const char *name;
	enum image_format format;
	uint8_t *held; /* what it holds for good; NULL: it is not known */
	bool is_exact; /* nothing had failed before: a cut leaves just that */
	bool is_gone;  /* a pull has dropped it */
};

struct snap_trial {
	struct trial base;
	/* Set before snap_trial_begin(). */
	bool may_leave; /* removing a file may fail */
	uint64_t draws; /* the seed of a drawn session; 0: the fixed one */
	/* Instead of snapshots a job among the chain's files, by their depth: it commits `top` down
	 * into `base`, or pulls into `top` what lies above `base`. */
	struct {
		enum {
			SNAP_NO_JOB,
			SNAP_COMMIT,
			SNAP_COMPACT
		} kind;
		unsigned top, base;
		uint32_t flags;   /* enum bpull_job_flags */
		bool was_refused; /* it can't be done with this chain */
		bool is_stale;    /* the old image could not be emptied, as the event said */
	} job;
	const char *first_name; /* what the first image is called; NULL: SIM_CHAIN_TOP */
	enum image_format first_format;

	const struct sim_chain *chain;
	struct snap_head heads[SNAP_MAX + 1];
	unsigned n_taken; /* the disk is heads[n_taken] */
	/* Those of a call that has not returned. */
	struct snap_head trying[SNAP_AT_A_TIME];
	unsigned n_trying;
	unsigned n_files; /* that the machine should have */
};

/* names: of the images to be, absolute: SNAP_MAX of them, SNAP_FIXED for the fixed session. */
void snap_trial_begin(struct snap_trial *t, const struct sim_chain *chain, const uint8_t *first,
		      const char *const *names);
/* Opens, runs the session, closes. 0, or why it did not open. */
int snap_trial_live(struct snap_trial *t);
/* What is left of t->base.sim, as a power cut now may leave it, or with `now` as readers see it. */
void snap_trial_judge(const struct snap_trial *t, struct sim *left, const char *when, bool now);
void snap_trial_judge_cuts(const struct snap_trial *t, const char *when, uint64_t seed);
/* A session on what is there, in a machine that works. */
void snap_trial_again(const struct snap_trial *t);
void snap_trial_end(struct snap_trial *t);

#endif
