/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a power cut may leave when two writes are in the wrong order: before each sync of a session
 * all that is not durable yet is kept but for one write, and lost but for one. What is on its way
 * at one time is so before the sync that ends it, so no two writes are left out, and a session is
 * lived once.
 */
#ifndef BLOCKPULL_TESTS_EACH_EPOCH_H
#define BLOCKPULL_TESTS_EACH_EPOCH_H

#include "tests/machine/files/sim.h"

struct epochs {
	struct sim *sim;
	void (*judge)(const void *trial, struct sim *left, const char *when);
	const void *trial;
	unsigned n_looks;
};

/* From now on, until epochs_end(). *epochs is the caller's. */
void epochs_begin(struct epochs *epochs);
void epochs_end(struct epochs *epochs);

#endif
