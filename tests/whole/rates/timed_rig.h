/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One drawn chain, opened as a disk that guests may use, in a simulated machine whose clock is the
 * engine's: for programs linked with --wrap=engine_now_ns.
 */
#ifndef BLOCKPULL_TESTS_TIMED_RIG_H
#define BLOCKPULL_TESTS_TIMED_RIG_H

#include "engine/core/disk.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_chain.h"
#include "tests/machine/sim_source.h"

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)

struct timed_rig {
	struct sim_chain chain;
	struct sim *sim;
	struct sim_sources *sources; /* or NULL */
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	struct bpull_event event; /* the last one */
	unsigned n_events;
	uint64_t begin_ns; /* of the job */
};

/* No job is started. */
void timed_rig_open(struct timed_rig *rig, const struct sim_chain_how *how);
/* The same; the files below the image are sources like this one. */
void timed_rig_open_far(struct timed_rig *rig, const struct sim_chain_how *how,
			const struct sim_source_how *source);
void timed_rig_start(struct timed_rig *rig, const struct bpull_job_options *job);
void timed_rig_close(struct timed_rig *rig);

struct bpull_job_info timed_rig_info(const struct timed_rig *rig);
/* A round, and its event. */
void timed_rig_turn(struct timed_rig *rig);
/* The same; a millisecond passes where nothing else happens. */
void timed_rig_turn_and_wait(struct timed_rig *rig);
/* Until the job's event, which is COMPLETED. How long it took, ns. */
uint64_t timed_rig_run(struct timed_rig *rig);

#endif
