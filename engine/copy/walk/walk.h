/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The walk of a job over the guest's disk: what is still to be looked at, the copy runs in flight,
 * and what they have counted. It is the disk's from its opening to its close, and a job's from
 * copy_walk_begin() on. Owner's thread only.
 *
 * The comment of each part names the files that change it. copy_walk_begin() resets all but the
 * sets, `first` and `down`, which the job's start has filled before.
 */
#ifndef BLOCKPULL_COPY_WALK_H
#define BLOCKPULL_COPY_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "engine/copy/walk/charge.h"
#include "engine/copy/walk/first.h"
#include "engine/copy/walk/left_out.h"
#include "engine/copy/walk/requests.h"
#include "engine/copy/walk/writeback.h"
#include "engine/core/convoy.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_set.h"
#include "formats/chain/chain.h"
#include "io/base.h"

/* How to write to a node's image on behalf of an operation: each call submits a request for which
 * the operation waits, and whose error it gets. Without memory the operation is in error at once.
 * Function pointers, because requests belong to guest/, a floor above this one. */
struct down_ops {
	void (*write)(struct bpull_disk *into, struct op *op, void *buf, uint64_t len,
		      uint64_t guest_off);
	void (*zero)(struct bpull_disk *into, struct op *op, uint64_t guest_off, uint64_t len);
};

struct copy_down {
	struct bpull_disk *into; /* the node whose image is written to; NULL: the job pulls */
	const struct down_ops *ops;
	unsigned from, to; /* layers [from, to) of the disk's chain are copied into it */
	uint64_t end;      /* guest bytes: the length to copy */
	/* Only if from is 0: what the guest has written since the last look, or is about to write.
	 * It will be owed again. */
	struct range_set written;
};

/* A bit for each layer of the chain, by its depth. */
struct layer_bits {
	uint64_t words[CHAIN_MAX_DEPTH / 64 + 1];
};

static inline bool layer_bits_has(const struct layer_bits *bits, unsigned depth)
{
	return bits->words[depth / 64] >> depth % 64 & 1;
}

static inline void layer_bits_set(struct layer_bits *bits, unsigned depth)
{
	bits->words[depth / 64] |= UINT64_C(1) << depth % 64;
}

/* Layers whose data the walk has begun to read, and those that it reads past the page cache. */
struct cold_layers {
	struct layer_bits begun, passes;
};

/* How a job wants its bytes copied. */
struct copy_how {
	enum bpull_copy copy;
	bool compress;
	unsigned compression_level; /* 0: the type's default */
	/* Percent of the time that runs may take while a guest is at work. job/chain/down.c changes
	 * it, too. */
	unsigned guest_share;
	bool pays_toll;  /* guest_share is an upper bound: the toll may make rests longer */
	bool hurries;    /* the job gives way to no guest (changed by job/progress/pace.c) */
	bool by_latency; /* the job gives way by its limit, without rests (progress/give_way.c) */
};

/* Guest bytes. */
struct copy_counts {
	uint64_t copied, cloned, zero; /* ../run.c, ../down.c */
	/* Passed without a run: ../cursor.c. A run of zeros alone counts as skipped, too: ../run.c,
	 * ../down.c. */
	uint64_t present, skipped;
	uint64_t source;     /* read by the job's runs: ../phases/read.c */
	uint64_t past_cache; /* of source, past the page cache: ../phases/read.c */
	uint64_t shared;     /* taken from other jobs' reads: ../phases/shared_read.c */
	uint64_t verified;   /* of copied, read back and found right: job/verify.c */
};

/* A job may have to walk over the disk several times, until nothing is owed. */
struct copy_rounds {
	unsigned n;        /* copying walks that were begun */
	unsigned n_stuck;  /* proofs in a row that found no less owed than the one before */
	uint64_t owed_len; /* bytes that the last proof found owed */
};

/* The walk's place in the convoy of jobs that read the same layers. */
struct walk_company {
	struct convoy_member member;
	uint64_t ended_ns; /* when a run ended last; 0: none has */
	/* Where the walk began, or rejoined: it goes from there to the disk's end, and then from
	 * the first byte to there. */
	struct convoy_place begun;
	/* The job is paused, verifies, or copies what is wanted first: it joins later. */
	bool waits;
};

struct copy_walk {
	struct copy_how how;       /* walk.c, but where a field's comment names another file */
	struct copy_rounds rounds; /* walk.c */
	struct copy_down down;     /* ../down.c, job/chain/down.c, down_open.c */
	struct op cursor;          /* ../cursor.c */
	/* Guest bytes that the walk has still to look at. ../cursor.c takes out what needs no run,
	 * ../start.c what a new run takes, and run_state.c puts back what a run did not finish. */
	struct range_set todo;
	/* Guest bytes without evidence that they need no chain: proof.c, and ../down.c for what a
	 * guest writes. */
	struct range_set owed;
	struct copy_first first;     /* first.c: what the program wants copied before the rest */
	struct walk_company company; /* company.c, ../company_look.c */
	struct copy_counts counts;
	struct run_list runs; /* ../start.c adds, ../run.c removes */
	/* The newest run, until it knows its length: ../start.c sets it, run_state.c clears it, and
	 * ../run.c for a run that ends before. */
	struct copy_run *mapping;
	unsigned n_waiting;       /* waits.c: runs that a guest does not notice now */
	uint64_t rest_ns;         /* window.c: while a guest is at work, no new run before then */
	uint64_t beside_len;      /* window.c: bytes of a run then, at most; 0: not known yet */
	struct throttle throttle; /* charge.c */
	struct request_rate requests;     /* requests.c */
	struct layer_bits clone_refused;  /* ../phases/clone.c: a clone was tried, and refused */
	struct cold_layers cold;          /* ../phases/cold.c */
	struct writeback_range writeback; /* writeback.c */
	struct left_out left_out;         /* left_out.c */
	uint64_t abandoned_end; /* ../phases/give_up.c, job/chain/ends.c: host byte up to which
				 * failed runs may have written */
};

/* The walk has not passed all ranges that the program wants copied first. */
static inline bool walk_has_first(const struct copy_walk *walk)
{
	return walk->first.at < walk->first.n;
}

/* Call it when a disk is opened. 0 or -ENOMEM. */
int copy_walk_open(struct bpull_disk *disk);
/* Call it when the disk is closed; no run is in flight. */
void copy_walk_close(struct bpull_disk *disk);

/* A job begins, and proof_begin() and copy_first_open() were called: forgets all of the last job's
 * walk. Starts no cursor. */
void copy_walk_begin(struct bpull_disk *disk, const struct bpull_job_options *options,
		     uint64_t now_ns);
/* A proof has left something owed: counts one more walk, which the caller begins. False: proof
 * after proof finds no less of it. */
bool copy_walk_again(struct bpull_disk *disk);
/* Something else is owed now: counts one more walk, for which earlier proofs say nothing. */
void copy_walk_anew(struct bpull_disk *disk);
/* No run is in flight, and neither is a load or write-back beside them. The cursor may have more to
 * look at. */
bool copy_walk_is_quiet(const struct bpull_disk *disk);

#endif
