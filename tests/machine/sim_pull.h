/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A pull inside the simulated machine; sim_pull_judge.h says what it left. */
#ifndef BLOCKPULL_TESTS_SIM_PULL_H
#define BLOCKPULL_TESTS_SIM_PULL_H

#include "engine/core/disk.h"
#include "io/base.h"
#include "tests/machine/sim_chain.h"
#include "tests/machine/sim_first.h"
#include "tests/machine/sim_pull_judge.h"

/* Engine memory with which a pull has two runs in flight and a cache that evicts. */
#define SIM_PULL_MEMORY (512 * KiB)

struct sim_pull {
	struct sim *sim;
	struct file_opener *opener; /* set before opening; NULL: the simulator's own */
	uint32_t disk_flags;        /* set before opening: enum bpull_disk_flags */
	/* Set before opening: as in struct bpull_disk_options. */
	int (*find_base)(void *opaque, const struct bpull_open_request *request,
			 struct bpull_base *base, struct bpull_error *error);
	void *find_opaque;
	struct bpull_engine *engine; /* NULL: not open */
	struct bpull_disk *disk;
	struct bpull_error error; /* of opening and starting */
	bool has_event;
	bool lost_event; /* the job concluded and sent none; status and error are from its info */
	enum bpull_job_status status;
	int event_error;
	char message[1024];
	uint64_t n_cloned; /* bytes */
	unsigned n_rounds; /* walks of the chain: more than one where the proof did not hold */
	uint64_t n_calls;  /* of bpull_engine_process() */
	unsigned compression;
	uint32_t piece_len; /* as in struct sim_chain_how */
	struct sim_first first;
	const char *base;
	/* enum bpull_on_error; when stopped, the machine is mended and it goes on. */
	uint32_t on_error;
	unsigned n_stops;
	unsigned n_ignored;     /* ranges left out (BPULL_ON_ERROR_IGNORE) */
	bool ignored_is_untold; /* one came without a code or a sentence */
	uint32_t flags;         /* enum bpull_job_flags */
	/* Called before each bpull_engine_process(); NULL for none. */
	void (*look)(struct sim_pull *pull, void *arg);
	void *look_arg;
	bool stop_is_told; /* by event and info alike */
};

/* Opens an engine on `io` (NULL: the simulator's own), which it takes over, and the chain as a
 * disk. commit_len 0: the engine's default. Of *pull only what is set before is looked at. 0 or
 * -errno with nothing left open. */
int sim_pull_open(struct sim_pull *pull, const struct sim_chain *chain, struct sim *sim,
		  struct io *io, uint64_t memory, uint64_t commit_len);
/* Starts the job and runs until its event. 0; what bpull_job_start() refused with; -ETIME where no
 * event comes in a number of calls that is plenty. */
int sim_pull_run(struct sim_pull *pull);
void sim_pull_close(struct sim_pull *pull);
/* All three with the simulator's own backend: 0 only where the job COMPLETED. */
int sim_pull_whole(const struct sim_chain *chain, struct sim *sim, uint64_t memory,
		   uint64_t commit_len, struct sim_pull *pull);

/* A number from the environment. */
uint64_t sim_pull_env(const char *name, uint64_t otherwise);

#endif
