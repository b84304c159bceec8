/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The judge of what a pull left. It trusts nothing of the pull's memory: it opens
 * the image anew, runs the format's own check, and reads every guest byte through
 * the chain. A check alone finds none of the worst losses: a table entry whose
 * data never arrived is perfectly consistent.
 */
#ifndef BLOCKPULL_TESTS_SIM_PULL_JUDGE_H
#define BLOCKPULL_TESTS_SIM_PULL_JUDGE_H

#include "formats/chain/chain.h"
#include "tests/machine/sim_chain.h"

struct sim_verdict {
	bool ok;          /* opens, checks without corruption, reads as it should */
	char text[500];   /* what is wrong */
	bool has_backing; /* the link that the pull is to take away */
	uint64_t n_owed;  /* bytes of data that come from below the overlay */
	uint64_t n_leaks, n_compressed;
};
/* Judges SIM_CHAIN_TOP with its chain. Takes part in the machine's operations: clear its faults. */
void sim_pull_judge(const struct sim_chain *chain, struct sim *sim, struct sim_verdict *verdict);
/* Reads the whole disk through the chain and checks the overlay; compares with nothing. */
void sim_pull_read(const struct sim_chain *chain, struct sim *sim, uint8_t *out,
		   struct sim_verdict *verdict);
/* The same of another image that reads through to the chain. */
void sim_pull_read_head(const struct sim_chain *chain, struct sim *sim, const char *name,
			enum image_format format, uint8_t *out, struct sim_verdict *verdict);
/* Only the snapshots of it, which hold what the chain did. */
void sim_pull_judge_snapshots(const struct sim_chain *chain, struct sim *sim,
			      struct sim_verdict *verdict);
/* Reads the i-th internal snapshot, from 0, of a qcow2 image; chain->guest_len is the length of its
 * disk. */
void sim_pull_read_snapshot(const struct sim_chain *chain, struct sim *sim, const char *name,
			    unsigned i, uint8_t *out, struct sim_verdict *verdict);
/* A hash of all bytes of all files. */
uint64_t sim_pull_hash_all(const struct sim *sim);
/* A hash of the overlay's bytes. */
uint64_t sim_pull_hash(const struct sim_chain *chain, const struct sim *sim);
/* Not well, and why. */
void sim_verdict_wrong(struct sim_verdict *verdict, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Maps one extent of the chain's disk from off on and reads it to out, by blocking calls. 0 or
 * -errno. */
int sim_pull_read_extent(struct chain *chain, uint64_t off, uint8_t *out, struct extent *e);

#endif
