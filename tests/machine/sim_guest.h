/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest in the simulated machine: its requests in flight, and what the model
 * (model.h) says of their results and of what is left on the disk. Which
 * requests there are, and when, is the test's.
 */
#ifndef BLOCKPULL_TESTS_SIM_GUEST_H
#define BLOCKPULL_TESTS_SIM_GUEST_H

#include "engine/blockpull.h"
#include "tests/machine/model.h"
#include "tests/machine/sim_pull.h"

#define SIM_GUEST_MAX 16 /* requests in flight */

enum sim_guest_kind {
	SIM_GUEST_READ,
	SIM_GUEST_WRITE,
	SIM_GUEST_ZEROES,
	SIM_GUEST_DISCARD,
	SIM_GUEST_FLUSH,
	SIM_GUEST_STATUS,
	SIM_GUEST_N_KINDS
};

struct sim_guest_request {
	enum sim_guest_kind kind;
	uint64_t off, len; /* guest bytes */
	uint32_t flags;    /* enum bpull_io_flags */
	uint64_t cuts[2];  /* where its vector is cut, ascending; bytes from off */
	uint8_t value;     /* WRITE: of each byte */
	uint8_t *out;      /* READ: a copy of what was read goes here, or NULL */

	/* While it is in flight. */
	bool busy;
	unsigned version;
	uint8_t *buf;
	struct model_read read;
	struct model_flush flush;
	struct bpull_extent extents[4];
};

struct sim_guest {
	struct bpull_disk *disk;
	struct model model;
	struct sim_guest_request requests[SIM_GUEST_MAX];
	unsigned n_in_flight;
	char wrong[200]; /* what sim_guest_end() found */
};

/* Submits it; fewer than SIM_GUEST_MAX are in flight. *how is copied. */
void sim_guest_submit(struct sim_guest *g, const struct sim_guest_request *how);
/* Its event came; what failed may be done, or not, or in part. False: see g->wrong. */
bool sim_guest_end(struct sim_guest *g, const struct bpull_event *event);
/* Its disk is gone, with the process or the machine: no events will come. */
void sim_guest_abandon(struct sim_guest *g);

/* What a power cut left, or a process that died: it opens, checks without errors, holds in each
 * byte what it may, and keeps its snapshots. got: room for the disk, filled with it. */
void sim_guest_judge_cut(const struct sim_guest *g, const struct sim_chain *chain, struct sim *left,
			 uint8_t *got, struct sim_verdict *verdict);

#endif
