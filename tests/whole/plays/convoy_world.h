/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Disks on one base in one engine of the simulated machine, each with a job and with trouble of
 * its own, and their judge.
 */
#ifndef BLOCKPULL_TESTS_CONVOY_WORLD_H
#define BLOCKPULL_TESTS_CONVOY_WORLD_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "engine/copy/walk/walk.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_guest.h"
#include "tests/machine/sim_pull.h"

#define MS        UINT64_C(1000000)
#define MAX_CALLS 1000000
#define MAX_DISKS 8

/* The first disk's writes take seconds for a while, in calls. */
#define STALL_FROM 20
#define STALL_TO   60

enum trouble {
	UNDISTURBED,
	PAUSED,
	ABORTED,
	SLOW, /* its own rate */
	LATE, /* begins when others are under way */
	FULL, /* its file finds no space */
	BROKEN,
	N_TROUBLES
};

struct convoy_disk {
	struct sim_guest guest;
	char name[16];
	enum trouble trouble;
	bool runs, is_over;
	uint64_t when; /* calls from the start on */
	struct bpull_event end;
};

struct world {
	uint64_t seed, state;
	struct sim_chain chain;
	struct sim *sim;
	struct bpull_engine *engine;
	struct convoy_disk disks[MAX_DISKS];
	unsigned n;
	bool source_fails, stalls;
	bool is_counted; /* jobs read nothing but what they copy, and clone nothing */
};

#define world_assert(w, condition, ...)                                              \
	do {                                                                         \
		if (!(condition)) {                                                  \
			char text_[1200];                                            \
			snprintf(text_, sizeof(text_), __VA_ARGS__);                 \
			cr_assert_fail("CONVOY_SEED=%" PRIu64 ": %s: %s", (w)->seed, \
				       (w)->chain.text, text_);                      \
		}                                                                    \
	} while (0)

uint64_t world_draw(struct world *w, uint64_t n);
void world_take_events(struct world *w);
void world_start(struct world *w, struct convoy_disk *d);
/* Until it is another's turn, or for a while. */
void world_stall(struct world *w, const struct convoy_disk *d, uint64_t ns);
void world_end_stall(struct world *w);
bool world_is_at_work(const struct world *w, bool but_paused);
void world_run(struct world *w);
/* Of a broken disk, or where the source fails once, a job may fail. */
void world_judge_end(struct world *w, const struct convoy_disk *d);
void world_begin(struct world *w);
void world_end(struct world *w);

/* In all plays of this process. */
extern struct world_met {
	unsigned completed, failed, canceled, fed_late, left;
} world_met;

#endif
