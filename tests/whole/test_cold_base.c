/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Pulls from bases that can be read past the page cache. The machine stops where such a read is
 * none that a kernel would take; short ones, refused ones and failing ones are read through the
 * cache, and the image has every byte.
 */
#include <errno.h>
#include <inttypes.h>

#include "io/base.h"
#include "tests/machine/sim_job.h"

#define N_SEEDS 40

TestSuite(cold_base, .timeout = 300);

/* What the job told: bytes past the cache, of all pulls since. */
static uint64_t told_len;

static void note_told(const struct sim_pull *pull, uint64_t seed)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	cr_assert_eq(bpull_job_get_info(pull->disk, &info), 1);
	cr_assert_leq(info.past_cache_bytes, info.source_bytes, "seed %" PRIu64, seed);
	told_len += info.past_cache_bytes;
}

/* Reads past the page cache. */
static uint64_t pull_one(uint64_t seed, const struct sim_knobs *more, struct sim_fault *fault)
{
	struct sim_chain_how how = { .seed = seed,
				     .format = seed % 4 ? IMAGE_QCOW2 : IMAGE_QED,
				     .cluster_bits = seed % 2 ? 16 : 12,
				     .n_clusters = seed % 2 ? 60 : 900 };
	struct sim *sim = sim_new(seed);
	struct sim_knobs *knobs = sim_knobs(sim);
	struct sim_pull pull = { 0 };
	struct sim_chain chain;
	struct sim_verdict v;
	uint64_t n;

	knobs->past_cache = more->past_cache;
	knobs->past_refused_permille = more->past_refused_permille;
	knobs->past_fails_permille = more->past_fails_permille;
	sim_chain_draw(&chain, &how);
	sim_chain_put(&chain, sim);
	if (fault)
		sim_fail(sim, fault);
	cr_assert_eq(sim_pull_open(&pull, &chain, sim, NULL, 8 * MiB, 0), 0);
	cr_assert_eq(sim_pull_run(&pull), 0, "seed %" PRIu64, seed);
	cr_assert_eq(pull.status, BPULL_JOB_COMPLETED, "seed %" PRIu64 ": %s", seed, pull.message);
	note_told(&pull, seed);
	sim_pull_close(&pull);
	sim_pull_judge(&chain, sim, &v);
	cr_assert(v.ok && !v.has_backing, "seed %" PRIu64 ": %s: %s", seed, chain.text, v.text);
	n = sim_n_past_cache(sim);
	sim_chain_free(&chain);
	sim_free(sim);
	return n;
}

static uint64_t pull_all(const struct sim_knobs *more)
{
	uint64_t n = 0;

	told_len = 0;
	for (uint64_t seed = 1; seed <= N_SEEDS; seed++)
		n += pull_one(seed, more, NULL);
	return n;
}

Test(cold_base, is_read_past_the_cache)
{
	uint64_t n = pull_all(&(struct sim_knobs){ .past_cache = true });

	cr_assert_geq(n, N_SEEDS);
	cr_expect_geq(told_len, n * 64 * KiB);
}

Test(cold_base, is_read_through_the_cache_where_there_is_no_other_way)
{
	cr_assert_eq(pull_all(&(struct sim_knobs){ 0 }), 0);
	cr_expect_eq(told_len, 0);
}

/* A file that refused one is asked for none after what is in flight, and the job tells so. */
Test(cold_base, a_refusal_is_the_last)
{
	struct sim_knobs more = { .past_cache = true, .past_refused_permille = 1000 };
	uint64_t some, some_len;

	cr_assert_eq(pull_all(&more), 0);
	cr_expect_eq(told_len, 0);
	more.past_refused_permille = 300;
	some = pull_all(&more);
	some_len = told_len;
	cr_assert(some && some_len, "some got through");
	more.past_refused_permille = 0;
	cr_assert_lt(some, pull_all(&more) / 2, "the others were not tried");
	cr_expect_lt(some_len, told_len / 2);
}

/* What the device can't read past the cache, the cache may have. */
Test(cold_base, a_failure_is_left_to_the_cache)
{
	struct sim_knobs more = { .past_cache = true, .past_fails_permille = 300 };

	cr_assert_geq(pull_all(&more), N_SEEDS / 2);
	cr_expect_gt(told_len, 0);
	more.past_fails_permille = 1000;
	cr_assert_eq(pull_all(&more), 0);
	cr_expect_eq(told_len, 0);
}
