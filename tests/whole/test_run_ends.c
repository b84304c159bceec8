/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How a copy run ends beside the walk that it belongs to, or not: the failing
 * copy that follows a guest's read, the run on a full disk, the damaged
 * cluster, the hint that outlives its job. The end of the job is the same in
 * all of them, so what is asked is what it took.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/copy/walk/walk.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "io/base.h"
#include "tests/machine/sim_job.h"

TestSuite(run_ends, .timeout = 300);

/* ---- copies that follow reads are not the walk's ---- */

struct on_read {
	uint64_t seed;
	bool has_read;
};

static void process(struct sim_pull *pull, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct bpull_event event;

		bpull_engine_process(pull->engine, &event, 1);
	}
}

static void read_all(struct sim_pull *pull, void *arg)
{
	struct on_read *r = arg;
	static uint8_t buf[MiB];
	struct iovec iov = { buf, sizeof(buf) };
	uint64_t len = MIN(bpull_disk_size(pull->disk), (uint64_t)sizeof(buf));

	if (r->has_read)
		return;
	r->has_read = true;
	iov.iov_len = len;
	bpull_job_pause(pull->disk);
	/* The first write is of a copy that follows: the job's own runs have ended. */
	do
		process(pull, 1);
	while (pull->disk->walk->runs.n);
	if (pull->disk->job.step != JOB_COPYING) { /* they were all that there was to copy */
		bpull_job_resume(pull->disk);
		return;
	}
	bpull_read(pull->disk, &iov, 1, 0, NULL);
	sim_fail(pull->sim, &(struct sim_fault){ .op = SIM_WRITE, .nth = 1, .error = -EIO });
	process(pull, 2000);
	sim_clear_faults(pull->sim);
	bpull_job_resume(pull->disk);
}

/* One that fails leaves its range to the cursor, which comes by in the same walk. */
Test(run_ends, a_copy_that_follows_a_read_takes_nothing_off_the_walk)
{
	unsigned n_failed = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim_chain_how how = {
			.seed = seed, .format = IMAGE_QCOW2, .cluster_bits = 12, .n_clusters = 100
		};
		struct on_read r = { .seed = seed };
		struct sim_pull pull = { .disk_flags =
						 BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ };
		struct sim *sim = sim_new(seed);
		struct sim_chain chain;
		struct sim_verdict v;

		sim_chain_draw(&chain, &how);
		sim_chain_put(&chain, sim);
		cr_assert_eq(sim_pull_open(&pull, &chain, sim, NULL, 8 * MiB, 0), 0);
		pull.look = read_all;
		pull.look_arg = &r;
		cr_assert_eq(sim_pull_run(&pull), 0, "seed %" PRIu64, seed);
		cr_assert_eq(pull.status, BPULL_JOB_COMPLETED, "seed %" PRIu64 ": %s", seed,
			     pull.message);
		cr_assert_leq(pull.disk->walk->rounds.n, 1, "seed %" PRIu64 ": %s: %u walks", seed,
			      chain.text, pull.disk->walk->rounds.n);
		n_failed += sim_n_faults_hit(sim) > 0;
		sim_pull_close(&pull);
		sim_pull_judge(&chain, sim, &v);
		cr_assert(v.ok && !v.has_backing, "seed %" PRIu64 ": %s", seed, v.text);
		sim_chain_free(&chain);
		sim_free(sim);
	}
	cr_assert_geq(n_failed, 5, "%u of 20", n_failed);
}

/* ---- a full disk ---- */

/* What failed runs had written behind the end is cut off before the job ends. */
Test(run_ends, a_full_disk_gets_its_end_back)
{
	unsigned n_failed = 0;

	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct sim_chain_how how = { .seed = seed,
					     .format = seed % 4 ? IMAGE_QCOW2 : IMAGE_QED,
					     .cluster_bits = 12,
					     .n_clusters = 100 };
		struct sim_pull pull = { 0 };
		struct sim *sim = sim_new(seed);
		struct sim_chain chain;
		uint64_t len;

		sim_chain_draw(&chain, &how);
		sim_chain_put(&chain, sim);
		len = sim_file_len(sim, SIM_CHAIN_TOP);
		sim_file_limit(sim, SIM_CHAIN_TOP, len + (seed % 10 + 1) * 10000);
		cr_assert_eq(sim_pull_open(&pull, &chain, sim, NULL, 8 * MiB, 0), 0);
		cr_assert_eq(sim_pull_run(&pull), 0);
		if (pull.status == BPULL_JOB_FAILED) {
			cr_assert_eq(pull.event_error, -ENOSPC, "%s", pull.message);
			cr_assert_leq(sim_file_len(sim, SIM_CHAIN_TOP),
				      MAX(len, disk_overlay(pull.disk)->alloc_end),
				      "seed %" PRIu64
				      ": %s: the file is longer than what is in use",
				      seed, chain.text);
			n_failed++;
		}
		sim_pull_close(&pull);
		sim_chain_free(&chain);
		sim_free(sim);
	}
	cr_assert_geq(n_failed, 10, "%u of 40", n_failed);
}

/* ---- damage ---- */

/* All compressed data of the layers below becomes what no decoder takes. False: there is none. */
static bool spoil(struct sim_pull *pull)
{
	struct chain *chain = pull->disk->chain;
	uint64_t end = chain->layers[0]->guest_len;
	static uint8_t junk[4096];
	bool any = false;
	struct extent e;

	memset(junk, 0xff, sizeof(junk));
	for (uint64_t off = 0; off < end; off += e.len) {
		struct table_need need;
		int rc;

		while ((rc = chain_map(chain, 0, off, end - off, &e, &need)) == TABLE_NEED)
			cr_assert_eq(table_load_now(pull->engine->cache, &need), 0);
		cr_assert_eq(rc, 0);
		if (e.kind != EXTENT_COMPRESSED || !e.depth)
			continue;
		sim_file_poke(pull->sim, chain->layers[e.depth]->file->name, junk,
			      MIN(e.host_len, 16u), e.host_off);
		any = true;
	}
	return any;
}

/* It does not get better by waiting: so the job is failed, and not stopped. */
Test(run_ends, damage_fails_a_job_that_stops_at_errors)
{
	unsigned n_failed = 0;

	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct sim_chain_how how = {
			.seed = seed, .format = IMAGE_QCOW2, .cluster_bits = 12, .n_clusters = 60
		};
		struct sim_pull pull = { 0 };
		struct sim *sim = sim_new(seed);
		struct sim_chain chain;

		sim_chain_draw(&chain, &how);
		sim_chain_put(&chain, sim);
		cr_assert_eq(sim_pull_open(&pull, &chain, sim, NULL, 8 * MiB, 0), 0);
		pull.on_error = BPULL_ON_ERROR_STOP;
		if (spoil(&pull)) {
			cr_assert_eq(sim_pull_run(&pull), 0, "seed %" PRIu64, seed);
			cr_assert_eq(pull.status, BPULL_JOB_FAILED, "seed %" PRIu64, seed);
			cr_assert_eq(pull.event_error, -EUCLEAN, "seed %" PRIu64 ": %s", seed,
				     pull.message);
			cr_assert_eq(pull.n_stops, 0, "seed %" PRIu64 ": it was stopped", seed);
			n_failed++;
		}
		sim_pull_close(&pull);
		sim_chain_free(&chain);
		sim_free(sim);
	}
	cr_assert_geq(n_failed, 5, "%u of 60", n_failed);
}

/* ---- early write-back ---- */

static void refuse_uncached(struct sim_pull *pull, void *arg)
{
	(void)arg;
	disk_overlay(pull->disk)->data->past_cache.no_writes = true;
}

/* Its request uses the file: the job is not over before it is. The machine says so where a file is
 * closed. */
Test(run_ends, a_job_waits_for_its_write_back)
{
	uint64_t n_hints = 0;

	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct sim_chain_how how = { .seed = seed,
					     .format = IMAGE_QCOW2,
					     .cluster_bits = 16,
					     .n_clusters = 600,
					     .stretch = 40,
					     .max_depth = 1 };
		struct sim_pull pull = { 0 };
		struct sim *sim = sim_new(seed);
		struct sim_chain chain;

		sim_chain_draw(&chain, &how);
		sim_chain_put(&chain, sim);
		sim_knobs(sim)->hold_ops = 1u << SIM_WRITEBACK;
		sim_knobs(sim)->hold_permille = 1000;
		cr_assert_eq(sim_pull_open(&pull, &chain, sim, NULL, 16 * MiB, 0), 0);
		pull.look = refuse_uncached;
		cr_assert_eq(sim_pull_run(&pull), 0, "seed %" PRIu64, seed);
		cr_assert_eq(pull.status, BPULL_JOB_COMPLETED, "%s", pull.message);
		cr_assert_eq(sim_n_begun_later(sim, SIM_WRITEBACK), 0,
			     "seed %" PRIu64 ": COMPLETED, and a request is on its way", seed);
		n_hints += sim_n_ops(sim, SIM_WRITEBACK);
		sim_pull_close(&pull);
		sim_chain_free(&chain);
		sim_free(sim);
	}
	cr_assert_geq(n_hints, 3, "%" PRIu64, n_hints);
}
