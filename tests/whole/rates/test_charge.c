/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What runs pay, and for whom they do not wait, by a clock that is the
 * simulated machine's: a pull takes its bytes by its rate, not more and not
 * less; a pause and a guest do not wait for the tokens of a large cluster.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "engine/commit/batch.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "tests/whole/rates/timed_rig.h"

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

/* ---- several overlays of one base ---- */

#define N_CLONES 3

struct clones {
	struct timed_rig rig;
	struct bpull_disk *disks[N_CLONES];
	uint64_t held; /* bytes that each of them pays for */
};

static void clones_open(struct clones *clones, uint64_t seed)
{
	struct sim_chain_how how = { .seed = seed,
				     .format = IMAGE_QCOW2,
				     .version = 3,
				     .cluster_bits = 16,
				     .n_clusters = 6 * MiB >> 16,
				     .stretch = 3,
				     .max_depth = 1 };
	struct bpull_disk_options o = { .size = sizeof(o), .backing_rule = BPULL_BACKING_ANY };
	char name[16];

	timed_rig_open(&clones->rig, &how);
	sim_knobs(clones->rig.sim)->far_rate = GiB; /* only then it counts */
	o.backing_format = (enum bpull_format)clones->rig.chain.unnamed;
	clones->disks[0] = clones->rig.disk;
	for (unsigned i = 1; i < N_CLONES; i++) {
		snprintf(name, sizeof(name), "/clone%u", i);
		sim_chain_put_twin(&clones->rig.chain, clones->rig.sim, name);
		cr_assert_eq(bpull_disk_open(clones->rig.engine, name, &o, &clones->disks[i], NULL),
			     0);
	}
	clones->held = held_len(clones->rig.engine, clones->disks[0]->chain);
}

/* Pulls all at once. *info: all that they did. Returns how long it took, ns. */
static uint64_t clones_run(struct clones *clones, uint64_t own_rate, struct bpull_job_info *info)
{
	struct timed_rig *rig = &clones->rig;
	struct bpull_job_options job = { .size = sizeof(job), .bandwidth = own_rate };
	uint64_t begin_ns = sim_clock_ns(), took_ns;

	for (unsigned i = 0; i < N_CLONES; i++)
		cr_assert_eq(bpull_job_start(clones->disks[i], &job, NULL), 0);
	for (unsigned i = 0; rig->n_events < N_CLONES; i++) {
		cr_assert_lt(i, 4000000, "seed %" PRIu64 ": it hangs", rig->chain.how.seed);
		timed_rig_turn_and_wait(rig);
	}
	took_ns = sim_clock_ns() - begin_ns;
	*info = (struct bpull_job_info){ 0 };
	for (unsigned i = 0; i < N_CLONES; i++) {
		struct bpull_job_info one = { .size = sizeof(one) };

		cr_assert_eq(bpull_job_get_info(clones->disks[i], &one), 1);
		cr_assert_eq(one.status, BPULL_JOB_COMPLETED);
		cr_assert_eq(one.source_bytes + one.shared_bytes, clones->held,
			     "each has what it writes from the source or from another");
		cr_assert_geq(one.copied_bytes + one.zero_bytes, clones->held, "whole clusters");
		info->source_bytes += one.source_bytes;
		info->shared_bytes += one.shared_bytes;
	}
	return took_ns;
}

static void judge_clones(const struct clones *clones, const struct bpull_job_info *info,
			 uint64_t took_ns, uint64_t want_ns)
{
	uint64_t seed = clones->rig.chain.how.seed, far = sim_far_bytes(clones->rig.sim);

	cr_assert_gt(clones->held, MiB, "seed %" PRIu64, seed);
	cr_assert_eq(info->source_bytes, clones->held,
		     "seed %" PRIu64 ": the source was read %" PRIu64 " bytes of %" PRIu64, seed,
		     info->source_bytes, clones->held);
	cr_assert_eq(info->shared_bytes, (N_CLONES - 1) * clones->held);
	cr_assert_leq(far, clones->held + 512 * KiB, "seed %" PRIu64 ": really %" PRIu64, seed,
		      far);
	cr_assert(took_ns * 100 >= want_ns * 95 && took_ns * 100 <= want_ns * 105,
		  "seed %" PRIu64 ": %" PRIu64 " bytes each in %" PRIu64 " ms, not %" PRIu64, seed,
		  clones->held, took_ns / MS, want_ns / MS);
}

Test(charge, clones_of_a_base_write_at_the_rate_of_each)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct bpull_job_info info;
		struct clones clones;
		uint64_t took_ns;

		clones_open(&clones, seed);
		took_ns = clones_run(&clones, MiB, &info);
		judge_clones(&clones, &info, took_ns, clones.held * (1000 * MS) / MiB);
		timed_rig_close(&clones.rig);
	}
}

/* Read once, written three times: the engine's budget is for what is written. */
Test(charge, clones_of_a_base_share_the_rate_of_the_engine)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct bpull_job_info info;
		struct clones clones;
		uint64_t took_ns;

		clones_open(&clones, seed);
		bpull_engine_set_speed(clones.rig.engine, 2 * MiB, 0);
		took_ns = clones_run(&clones, 0, &info);
		judge_clones(&clones, &info, took_ns,
			     N_CLONES * clones.held * (1000 * MS) / (2 * MiB));
		timed_rig_close(&clones.rig);
	}
}

static uint64_t count_bytes(void *opaque, uint64_t bytes)
{
	*(uint64_t *)opaque += bytes;
	return 0;
}

Test(charge, clones_of_a_base_take_from_a_host_what_they_write)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct bpull_job_info info;
		struct clones clones;
		uint64_t taken = 0;

		clones_open(&clones, seed);
		clones.rig.engine->outside.ask = count_bytes;
		clones.rig.engine->outside.opaque = &taken;
		clones_run(&clones, 0, &info);
		cr_assert_eq(taken, N_CLONES * clones.held, "seed %" PRIu64 ": %" PRIu64, seed,
			     taken);
		cr_assert_eq(info.source_bytes, clones.held);
		timed_rig_close(&clones.rig);
	}
}
