/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Power cuts of one pull: at every moment at which something may have changed,
 * the states a cut could leave, each judged, and pulled again.
 */
#ifndef BLOCKPULL_TESTS_CRASH_CUTS_H
#define BLOCKPULL_TESTS_CRASH_CUTS_H

#include "tests/whole/crash_io.h"
#include "tests/machine/sim_pull.h"

struct crash_cuts {
	const struct sim_chain *chain;
	struct sim *sim;
	const struct crash_io *io;
	bool resume;      /* pull every state again */
	bool stop_at_bad; /* the first bad state ends it */
	bool completed;   /* the event came: no state may have the link */
	const char *dir;  /* where qemu-img may work; NULL: it does not judge */

	uint64_t rng;
	uint64_t *seen; /* hashes of states judged; open addressing, 0: free */
	size_t n_seen, seen_cap;
	uint64_t n_cuts, n_states, n_resumed, n_qemu, n_bad;
	uint64_t max_leaks, max_compressed; /* clusters */
	uint64_t subsets_of; /* signature of the table writes whose subsets were all tried */
	char bad[1200];      /* the first one, in words */
};

void crash_cuts_init(struct crash_cuts *cuts, const struct sim_chain *chain, struct sim *sim,
		     const struct crash_io *io);
void crash_cuts_free(struct crash_cuts *cuts);
/* For crash_io.look: all kinds of states of this moment. */
void crash_cuts_look(void *cuts);
/* One state. */
void crash_cuts_try(struct crash_cuts *cuts, const struct sim_cut *how);

/* An honest or lying pull of the chain with cuts everywhere; 0 or what the pull failed with. */
int crash_cuts_pull(struct crash_cuts *cuts, struct crash_io *io, uint64_t commit_len);

#endif
