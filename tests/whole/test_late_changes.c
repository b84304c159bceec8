/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is found out late: a base that changed while a job was paused, before what it copied is
 * committed, or while it was stopped, before it tries again; a compression type of which a failed
 * flush leaves unknown whether it is durable.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "tests/machine/sim_job.h"
#include "tests/support/effort.h"

TestSuite(late_changes, .timeout = 300);

#define COMMIT_LEN_SMALL (32 * KiB)

static void open_pull(struct sim_pull *pull, struct sim_chain *chain, struct sim *sim,
		      const struct sim_chain_how *how)
{
	sim_chain_draw(chain, how);
	sim_chain_put(chain, sim);
	cr_assert_eq(sim_pull_open(pull, chain, sim, NULL, 8 * MiB, COMMIT_LEN_SMALL), 0,
		     "seed %" PRIu64, how->seed);
}

static void close_pull(struct sim_pull *pull, struct sim_chain *chain, struct sim *sim)
{
	sim_pull_close(pull);
	sim_chain_free(chain);
	sim_free(sim);
}

/* ---- a base that changes under a pause ---- */

struct pause {
	const struct sim_chain *chain;
	bool only_changes, is_paused;
	uint64_t n_begun; /* commits, when the file was changed */
};

/* Once something was copied: paused, and another program writes to the lowest file. */
static void pause_and_change(struct sim_pull *pull, void *arg)
{
	struct pause *pause = arg;
	const char *name = pause->chain->files[pause->chain->n_files - 1].name;
	struct bpull_job_info info = { .size = sizeof(info) };

	bpull_job_get_info(pull->disk, &info);
	if (pause->is_paused || !pull->disk->since_opened.has_copied ||
	    info.state != BPULL_JOB_RUNNING)
		return;
	pause->is_paused = true;
	pause->n_begun = pull->disk->commits.n_begun;
	if (!pause->only_changes)
		bpull_job_pause(pull->disk);
	sim_file_overwrite(pull->sim, name, "new", 3, sim_file_len(pull->sim, name));
}

/* Pulls of many seeds, each beside a change; what must hold is judged where there was one. */
static void check_changes(bool only_changes,
			  void (*judge)(const struct sim_pull *pull, const struct pause *pause,
					uint64_t seed))
{
	unsigned n_changed = 0;

	for (uint64_t seed = 1; seed <= EFFORT(40); seed++) {
		struct sim_chain_how how = {
			.seed = seed, .format = IMAGE_QCOW2, .cluster_bits = 12, .n_clusters = 900
		};
		struct sim *sim = sim_new(seed);
		struct sim_pull pull = { 0 };
		struct sim_chain chain;
		struct pause pause = { .chain = &chain, .only_changes = only_changes };

		open_pull(&pull, &chain, sim, &how);
		pull.look = pause_and_change;
		pull.look_arg = &pause;
		cr_assert_eq(sim_pull_run(&pull), 0, "seed %" PRIu64 ": it sleeps", seed);
		n_changed += pause.is_paused;
		if (pause.is_paused)
			judge(&pull, &pause, seed);
		close_pull(&pull, &chain, sim);
	}
	cr_assert_geq(n_changed, EFFORT(10), "%u of 40", n_changed);
}

static void judge_paused(const struct sim_pull *pull, const struct pause *pause, uint64_t seed)
{
	(void)pause;
	cr_assert(pull->status == BPULL_JOB_FAILED && pull->event_error == -ESTALE,
		  "seed %" PRIu64 ": %s", seed, pull->message);
}

/* It fails by itself, without being resumed. A commit that begins over the change would leave a
 * mixture without a mark, if the process is killed then. */
Test(late_changes, a_paused_job_looks_before_it_commits)
{
	check_changes(false, judge_paused);
}

static void judge_running(const struct sim_pull *pull, const struct pause *pause, uint64_t seed)
{
	cr_assert_eq(pull->event_error, -ESTALE, "seed %" PRIu64 ": %s", seed, pull->message);
	/* One more is unwinding's. */
	cr_assert_leq(pull->disk->commits.n_begun, pause->n_begun + 1, "seed %" PRIu64, seed);
}

/* Nor does any other commit begin over it: the job fails when one is due, and not when it has
 * copied all of the chain. */
Test(late_changes, no_commit_begins_over_a_change)
{
	check_changes(true, judge_running);
}

/* ---- a base that changes and can be read no more ---- */

/* Another program writes to the lowest file, and no read succeeds: each time that the job was told
 * to go on, the reads fail again. */
static void change_and_fail_reads(struct sim_pull *pull, void *arg)
{
	struct pause *change = arg;
	const char *name = change->chain->files[change->chain->n_files - 1].name;

	if (!change->is_paused)
		sim_file_overwrite(pull->sim, name, "new", 3, sim_file_len(pull->sim, name));
	change->is_paused = true;
	sim_clear_faults(pull->sim);
	sim_fail(pull->sim,
		 &(struct sim_fault){ .op = SIM_READ, .nth = 1, .error = -EIO, .forever = true });
}

/* With nothing to commit, no commit looks at the files: a job that did not look when it is told to
 * go on would stop again and again. */
Test(late_changes, a_stopped_job_looks_before_it_goes_on)
{
	unsigned n_stopped = 0;

	for (uint64_t seed = 1; seed <= EFFORT(40); seed++) {
		struct sim_chain_how how = {
			.seed = seed, .format = IMAGE_QCOW2, .cluster_bits = 12, .n_clusters = 100
		};
		struct sim_pull pull = { 0 };
		struct sim *sim = sim_new(seed);
		struct sim_chain chain;
		struct pause change = { .chain = &chain };

		open_pull(&pull, &chain, sim, &how);
		pull.on_error = BPULL_ON_ERROR_STOP;
		pull.look = change_and_fail_reads;
		pull.look_arg = &change;
		cr_assert_eq(sim_pull_run(&pull), 0, "seed %" PRIu64 ": %u stops", seed,
			     pull.n_stops);
		cr_assert_leq(pull.n_stops, 1, "seed %" PRIu64 ": stopped again", seed);
		cr_assert_eq(pull.event_error, -ESTALE, "seed %" PRIu64 ": %s", seed, pull.message);
		n_stopped += pull.n_stops;
		close_pull(&pull, &chain, sim);
	}
	cr_assert_geq(n_stopped, EFFORT(10), "%u of 40", n_stopped);
}

/* ---- a type that may not be durable ---- */

/* The next job would compress in a type that a power cut may take back. */
Test(late_changes, a_type_whose_flush_failed_ends_all_writing)
{
	for (uint64_t seed = 1; seed <= EFFORT(20); seed++) {
		struct sim_chain_how how = { .seed = seed,
					     .format = IMAGE_QCOW2,
					     .version = 3,
					     .cluster_bits = 12,
					     .refcount_bits = 8, /* nothing is compressed */
					     .n_clusters = 40 };
		struct sim_pull pull = { .disk_flags = BPULL_DISK_GUEST_IO };
		struct sim *sim = sim_new(seed);
		struct sim_chain chain;
		bool is_zstd;

		open_pull(&pull, &chain, sim, &how);
		is_zstd = qcow2_of(disk_overlay(pull.disk))->hdr.compression ==
			  QCOW2_COMPRESSION_ZSTD;
		pull.compression = is_zstd ? BPULL_COMPRESSION_ZLIB : BPULL_COMPRESSION_ZSTD;
		sim_fail(sim, &(struct sim_fault){ .op = SIM_SYNC, .nth = 1, .error = -EIO });
		cr_assert_eq(sim_pull_run(&pull), -EIO, "seed %" PRIu64, seed);
		sim_clear_faults(sim);
		cr_assert_eq(sim_pull_run(&pull), -EIO, "seed %" PRIu64, seed);
		cr_assert(strstr(pull.error.message, "close it and open it again"), "%s",
			  pull.error.message);
		close_pull(&pull, &chain, sim);
	}
}
