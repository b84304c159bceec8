/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of a pull from bases that the program supplies, failing, as in test_oom.c: each
 * source is closed once, each question is ended once (sim_source.c ends the program otherwise), and
 * a second pull brings the image to its end.
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "io/base.h"
#include "tests/machine/sim_chains.h"
#include "tests/machine/sim_source.h"
#include "tests/support/time_limit.h"
#include "tests/whole/faults/oom.h"
#include "tests/whole/faults/oom_pull.h"

#define N_CHAINS 3 /* OOM_CHAINS=n for more */

TIME_LIMIT(1200);
TestSuite(oom_source, .timeout = TIME_LIMIT_CLOCK(1200));

static const struct sim_chain_how chains[] = {
	{ SIM_V3(12, 16), SIM_SIZE_MIXED(30, 1) },
	{ SIM_SMALL_QED, SIM_SIZE_MIXED(30, 2) },
	{ SIM_V3(12, 16), SIM_SIZE_MIXED(30, 2) },
};

/* ---- Sources, whose memory is not counted ---- */

static const struct bpull_source_ops *real;

static void read_it(void *source, void *buf, size_t len, uint64_t off,
		    enum bpull_source_asker asker, struct bpull_source_ask *ask)
{
	oom_pause();
	real->read(source, buf, len, off, asker, ask);
	oom_resume();
}

static void tell_extents(void *source, uint64_t off, uint64_t len, enum bpull_source_asker asker,
			 struct bpull_source_ask *ask)
{
	oom_pause();
	real->extents(source, off, len, asker, ask);
	oom_resume();
}

static void close_it(void *source)
{
	real->close(source);
}

static int find(void *opaque, const struct bpull_open_request *request, struct bpull_base *base,
		struct bpull_error *error)
{
	static const struct bpull_source_ops paused = {
		.size = sizeof(paused), .read = read_it, .extents = tell_extents, .close = close_it
	};
	int rc;

	oom_pause();
	rc = sim_sources_find(opaque, request, base, error);
	oom_resume();
	if (rc)
		return rc;
	real = base->source.ops;
	base->source.ops = &paused;
	return 0;
}

static struct sim_sources *make_sources(const struct sim_chain *chain, struct sim *sim)
{
	struct sim_sources *sources = sim_sources_new(sim);

	for (unsigned i = 1; i < chain->n_files; i++)
		sim_sources_add(sources, chain->files[i].name + 1,
				&(struct sim_source_how){
					.block_size = 512,
					.max_size = 65536,
					.max_delay_ns = 100000,
					.chunk_size = chain->how.seed % 2 ? 4096 : 0,
					.has_extents = true,
					.has_identity = true,
				});
	return sources;
}

/* ---- Pulls ---- */

static int pull(struct oom_run *run)
{
	struct sim_sources *sources = make_sources(run->chain, run->sim);
	struct sim_pull pull = { .find_base = find, .find_opaque = sources };
	int rc = oom_run_pull(run, &pull);

	sim_sources_free(sources);
	return rc;
}

static void try_all(bool forever)
{
	uint64_t n_chains = sim_pull_env("OOM_CHAINS", N_CHAINS);
	uint64_t n_runs = oom_try_pulls(chains, ARRAY_LEN(chains), n_chains, forever, pull);

	cr_assert_geq(n_runs, n_chains * 60, "only %" PRIu64 " runs", n_runs);
}

Test(oom_source, a_pull_survives_one_failed_allocation)
{
	try_all(false);
}

Test(oom_source, a_pull_without_memory_fails_and_can_be_repeated)
{
	try_all(true);
}
