/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What runs pay, and for whom they do not wait, by a clock that is the
 * simulated machine's: a pull takes its bytes by its rate, not more and not
 * less; a pause and a guest do not wait for the tokens of a large cluster.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "engine/api/engine.h"
#include "engine/commit/batch.h"
#include "engine/copy/run_state.h"
#include "engine/copy/walk.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "tests/whole/timed_rig.h"

TestSuite(charge, .timeout = 300);

/* Bytes that the chain holds and the overlay does not. */
static uint64_t held_len(struct bpull_engine *engine, struct chain *chain)
{
	uint64_t sum = 0, end = chain->layers[0]->guest_len;

	for (uint64_t off = 0, len; off < end; off += len) {
		struct extent own, below = { 0 };
		struct table_need need;
		int rc;

		len = 0;
		while ((rc = chain_map(chain, 0, off, end - off, &own, &need)) == TABLE_NEED ||
		       (!rc &&
			(rc = chain_map(chain, 1, off, own.len, &below, &need)) == TABLE_NEED))
			cr_assert_eq(table_load_now(engine->cache, &need), 0);
		cr_assert_eq(rc, 0);
		len = below.len;
		if (own.depth && own.kind != EXTENT_ZERO)
			sum += len;
	}
	return sum;
}

/* Returns what the job has to pay for, bytes. */
static uint64_t open_and_start(struct timed_rig *rig, const struct sim_chain_how *how,
			       uint64_t rate)
{
	struct bpull_job_options job = { .size = sizeof(job), .bandwidth = rate };
	uint64_t held;

	timed_rig_open(rig, how);
	held = held_len(rig->engine, rig->disk->chain);
	timed_rig_start(rig, &job);
	return held;
}

/* A run that waits for tokens lets its clusters go, maps again when it has them, and has paid by
 * then; one of a large cluster pays piece by piece. */
static void judge_time(unsigned cluster_bits, uint64_t seed, uint64_t rate)
{
	struct sim_chain_how how = { .seed = seed,
				     .format = IMAGE_QCOW2,
				     .version = 3,
				     .cluster_bits = cluster_bits,
				     .n_clusters = (6 * MiB) >> cluster_bits,
				     .stretch = 3,
				     .max_depth = 2 };
	uint64_t held, took_ns, want_ns, slack_ns;
	struct timed_rig rig;

	held = open_and_start(&rig, &how, rate);
	took_ns = timed_rig_run(&rig);
	want_ns = held * (UINT64_C(1000) * MS) / rate;
	slack_ns = want_ns / 20 + 300 * MS; /* a few pieces */
	cr_assert(took_ns + slack_ns >= want_ns && took_ns <= want_ns + slack_ns,
		  "seed %" PRIu64 ": %s: %" PRIu64 " bytes in %" PRIu64 " ms, not %" PRIu64, seed,
		  rig.chain.text, held, took_ns / MS, want_ns / MS);
	cr_assert_gt(held, MiB / 2, "seed %" PRIu64, seed);
	timed_rig_close(&rig);
}

Test(charge, a_pull_takes_what_its_rate_says)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		judge_time(12, seed, 1 * MiB);
		judge_time(16, seed, 1 * MiB);
		judge_time(19, seed, 300000);
	}
}

/* In the middle of a cluster of 512 KiB that takes some seconds. */
static bool open_in_a_cluster(struct timed_rig *rig, uint64_t seed)
{
	struct sim_chain_how how = { .seed = seed,
				     .format = IMAGE_QCOW2,
				     .version = 3,
				     .cluster_bits = 19,
				     .n_clusters = 8,
				     .max_depth = 1 };

	open_and_start(rig, &how, 64 * KiB);
	for (unsigned i = 0;; i++) {
		struct bpull_job_info info = timed_rig_info(rig);

		cr_assert(i < 1000000, "seed %" PRIu64 ": it hangs", seed);
		if (rig->n_events) {
			timed_rig_close(rig);
			return false;
		}
		if (info.copied_bytes > 16 * KiB && info.copied_bytes < 256 * KiB &&
		    rig->disk->walk->throttle.first)
			return true;
		timed_rig_turn_and_wait(rig);
	}
}

Test(charge, a_pause_does_not_wait_for_tokens)
{
	unsigned n_tried = 0;

	for (uint64_t seed = 1; seed <= 6; seed++) {
		uint64_t begin_ns;
		struct timed_rig rig;

		if (!open_in_a_cluster(&rig, seed))
			continue;
		n_tried++;
		begin_ns = sim_clock_ns();
		bpull_job_pause(rig.disk);
		for (unsigned i = 0; i < 5000; i++)
			timed_rig_turn(&rig);
		cr_assert_lt(sim_clock_ns() - begin_ns, 1000 * MS, "seed %" PRIu64, seed);
		cr_assert_null(rig.disk->walk->runs.first, "seed %" PRIu64 ": a run is left", seed);
		cr_assert(commit_is_clean(rig.disk),
			  "seed %" PRIu64 ": what was copied is not durable", seed);
		bpull_job_resume(rig.disk);
		bpull_job_set_speed(rig.disk, 0, 0);
		for (unsigned i = 0; i < 1000000 && !rig.n_events; i++)
			timed_rig_turn_and_wait(&rig);
		cr_assert_eq(rig.event.status, BPULL_JOB_COMPLETED);
		timed_rig_close(&rig);
	}
	cr_assert_geq(n_tried, 2);
}

Test(charge, a_guest_does_not_wait_for_tokens)
{
	static uint8_t bytes[512];
	unsigned n_tried = 0;

	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct iovec iov = { bytes, sizeof(bytes) };
		uint64_t begin_ns;
		struct timed_rig rig;

		if (!open_in_a_cluster(&rig, seed))
			continue;
		n_tried++;
		begin_ns = sim_clock_ns();
		bpull_write(rig.disk, &iov, 1, copy_run_guest_off(rig.disk->walk->throttle.first),
			    0, NULL);
		for (unsigned i = 0; i < 5000 && !rig.n_events; i++)
			timed_rig_turn(&rig);
		cr_assert_eq(rig.n_events, 1, "seed %" PRIu64 ": the guest waits", seed);
		cr_assert(rig.event.type == BPULL_EVENT_IO && !rig.event.error);
		cr_assert_lt(sim_clock_ns() - begin_ns, 1000 * MS, "seed %" PRIu64, seed);
		timed_rig_close(&rig);
	}
	cr_assert_geq(n_tried, 2);
}
