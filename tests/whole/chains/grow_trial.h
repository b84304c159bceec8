/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A fixed session on a disk that becomes longer twice, first inside its last cluster and then by
 * tables, beside a guest's requests and before a pull: for tests that cut the power at each of its
 * operations, and that let each call or allocation fail. Each event is judged when it comes; what
 * is left is judged by grow_trial_judge().
 */
#ifndef BLOCKPULL_TESTS_GROW_TRIAL_H
#define BLOCKPULL_TESTS_GROW_TRIAL_H

#include "tests/whole/chains/trial.h"

struct grow_trial {
	struct trial base;
	struct sim_chain chain; /* with the disk's length as it is */
	uint64_t model_len;     /* guest bytes: its length at last */
	uint8_t *first;
	uint64_t grow_to;   /* a resize's event is to come; or 0 */
	uint64_t maybe_len; /* the disk was given up on its way to it; or 0 */
	unsigned n_grown;
};

/* A disk as it is in t->base.sim, of which `first` holds len bytes. */
void grow_trial_begin(struct grow_trial *t, const struct sim_chain *chain, const uint8_t *first,
		      uint64_t len);
/* Opens, runs the session, closes. 0, or why it did not open. */
int grow_trial_live(struct grow_trial *t);
/* What is left of t->base.sim: it has the old length or the new one, holds what it may, and zeros
 * in the new end. Its length; got, of t->model_len bytes, is filled with the disk, or NULL. */
uint64_t grow_trial_judge(const struct grow_trial *t, struct sim *left, const char *when,
			  uint8_t *got);
/* The same in states that a power cut now may leave. */
void grow_trial_judge_cuts(const struct grow_trial *t, const char *when, uint64_t seed);
/* The session once more on what is there, in a machine that works. */
void grow_trial_again(const struct grow_trial *t);
void grow_trial_end(struct grow_trial *t);

#endif
