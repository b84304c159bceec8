/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job promises of its rate beside its bandwidth, by a clock that is the simulated machine's:
 * so many requests a second and not one more.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "engine/api/engine.h"
#include "engine/core/disk.h"
#include "io/base.h"
#include "tests/machine/sim_chain.h"
#include "tests/machine/sim_private.h"

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)

TestSuite(rates, .timeout = 300);

struct rig {
	struct sim_chain chain;
	struct sim *sim;
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	struct bpull_event event; /* the last one */
	unsigned n_events;
	uint64_t begin_ns, begin_ops;
};

static struct sim_chain_how how_of(uint64_t seed, unsigned cluster_bits, uint64_t len)
{
	return (struct sim_chain_how){ .seed = seed,
				       .format = IMAGE_QCOW2,
				       .version = 3,
				       .cluster_bits = cluster_bits,
				       .n_clusters = len >> cluster_bits,
				       .stretch = 4,
				       .max_depth = 2 };
}

static uint64_t n_data_ops(const struct rig *rig)
{
	return sim_n_ops(rig->sim, SIM_READ) + sim_n_ops(rig->sim, SIM_WRITE);
}

static void rig_open(struct rig *rig, const struct sim_chain_how *how,
		     const struct bpull_job_options *job)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.backing_rule = BPULL_BACKING_ANY,
					.flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error;

	*rig = (struct rig){ .sim = sim_new(how->seed) };
	sim_clock_reset();
	sim_chain_draw(&rig->chain, how);
	sim_chain_put(&rig->chain, rig->sim);
	o.backing_format = (enum bpull_format)rig->chain.unnamed;
	cr_assert_eq(engine_open_on(sim_io(rig->sim), sim_opener(rig->sim), 16 * MiB, &rig->engine),
		     0);
	cr_assert_eq(bpull_disk_open(rig->engine, SIM_CHAIN_TOP, &o, &rig->disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_job_start(rig->disk, job, &error), 0, "%s", error.message);
	rig->begin_ns = sim_clock_ns();
	rig->begin_ops = n_data_ops(rig);
}

static void rig_close(struct rig *rig)
{
	bpull_engine_close(rig->engine);
	sim_chain_free(&rig->chain);
	sim_free(rig->sim);
}

static struct bpull_job_info info_of(const struct rig *rig)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	cr_assert_eq(bpull_job_get_info(rig->disk, &info), 1);
	return info;
}

/* Time passes where nothing else happens. */
static void turn(struct rig *rig)
{
	rig->n_events += (unsigned)bpull_engine_process(rig->engine, &rig->event, 1);
	if (!rig->sim->n_flights && !rig->sim->n_waiting)
		sim_advance(rig->sim, MS);
}

static uint64_t run_to_end(struct rig *rig)
{
	for (unsigned i = 0; !rig->n_events; i++) {
		cr_assert_lt(i, 4000000, "seed %" PRIu64 ": it hangs", rig->chain.how.seed);
		turn(rig);
	}
	cr_assert_eq(rig->event.status, BPULL_JOB_COMPLETED, "%s", rig->event.message);
	return sim_clock_ns() - rig->begin_ns;
}

/* ---- requests a second ---- */

static void judge_iops(uint64_t seed, unsigned cluster_bits, uint64_t iops)
{
	struct sim_chain_how how = how_of(seed, cluster_bits, 12 * MiB);
	struct bpull_job_options job = { .size = sizeof(job), .iops = iops };
	struct bpull_job_info info;
	uint64_t took_ns, want_ns, slack_ns, n_ops;
	struct rig rig;

	rig_open(&rig, &how, &job);
	took_ns = run_to_end(&rig);
	info = info_of(&rig);
	n_ops = n_data_ops(&rig) - rig.begin_ops;
	cr_assert_eq(info.iops, iops);
	cr_assert_gt(info.n_requests, 20);
	cr_assert_leq(info.n_requests, n_ops, "seed %" PRIu64 ": some were not made", seed);
	want_ns = info.n_requests * SECOND / iops;
	/* The last run's debt is never waited for. */
	slack_ns = 16 * SECOND / iops;
	cr_assert(took_ns + slack_ns >= want_ns && took_ns <= want_ns + 20 * MS,
		  "seed %" PRIu64 ": %s: %" PRIu64 " requests in %" PRIu64 " ms, not %" PRIu64,
		  seed, rig.chain.text, info.n_requests, took_ns / MS, want_ns / MS);
	rig_close(&rig);
}

Test(rates, a_pull_makes_the_requests_that_its_rate_allows)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		judge_iops(seed, 12, 400);
		judge_iops(seed, 16, 20);
		judge_iops(seed, 16, 1000);
	}
}

Test(rates, a_limit_on_requests_changes_while_the_job_runs)
{
	struct sim_chain_how how = how_of(3, 16, 12 * MiB);
	struct bpull_job_options job = { .size = sizeof(job), .iops = 1 };
	struct bpull_job_rates rates = { .size = sizeof(rates), .which = BPULL_JOB_RATE_IOPS };
	struct rig rig;

	rig_open(&rig, &how, &job);
	while (sim_clock_ns() - rig.begin_ns < 5 * SECOND)
		turn(&rig);
	cr_assert_leq(info_of(&rig).n_requests, 12);
	rates.which = 1u << 31;
	cr_assert_eq(bpull_job_set_rates(rig.disk, &rates), -EINVAL);
	rates.which = BPULL_JOB_RATE_IOPS;
	cr_assert_eq(bpull_job_set_rates(rig.disk, &rates), 0);
	cr_assert_lt(run_to_end(&rig), 7 * SECOND);
	cr_assert_eq(info_of(&rig).iops, 0);
	cr_assert_eq(bpull_job_set_rates(rig.disk, &rates), -ENOENT);
	rig_close(&rig);
}
