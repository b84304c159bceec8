/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Several processes of one simulated machine: each has a backend of its own, for an engine of its
 * own, and can be killed. Files, locks, clock, faults and operations are the machine's. What one
 * process reaps lets the requests of all of them go on; each is told of its own.
 *
 * Killing one leaves what is in the page cache, and of what was in flight some: unlike a power
 * cut's, its fate is decided at once, and later syncs make it durable.
 */
#ifndef BLOCKPULL_TESTS_SIM_PROCESS_H
#define BLOCKPULL_TESTS_SIM_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "io/io.h"
#include "tests/machine/files/sim.h"

#define SIM_MAX_PROCESSES 4

struct sim_process {
	struct io io; /* first; open from sim_process_begin() to the engine's close */
	struct sim_processes *all;
	int wake_fd;
	bool lives, is_dying;
	struct io_req *waiting, *flying,
		*over; /* submitted and not kicked; in flight; not reaped */
};

struct sim_processes {
	struct sim *sim; /* the caller's; another one after a power cut, when no process lives */
	struct sim_process list[SIM_MAX_PROCESSES];
	/* Planted: syncs of this file are told of, and not made. The caller's; NULL: none. */
	const char *unsynced;
	uint64_t n_unsynced;
};

/* The backend of process i, which does not live. */
struct io *sim_process_begin(struct sim_processes *all, unsigned i);
/* From now on all that it does fails with SIM_STOPPED and changes nothing, so that its engine can
 * be closed: between this and sim_process_buried() no other process may run. */
void sim_process_kill(struct sim_processes *all, unsigned i);
/* Its engine is closed. What was in flight has come to pass, in part or not at all. */
void sim_process_buried(struct sim_processes *all, unsigned i);
/* The power is gone: as sim_process_kill() of all of them, for a machine that is only looked at by
 * sim_cut() from then on, when all engines are closed. */
void sim_processes_stop(struct sim_processes *all);

#endif
