/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job promises of its rate beside its bandwidth, by a clock that is the simulated machine's:
 * so many requests a second and not one more; done by the deadline, and not long before; never less
 * than the least rate, though a guest wants the device, too.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "tests/whole/rates/timed_rig.h"

TestSuite(rates, .timeout = 300);

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

static uint64_t n_data_ops(const struct timed_rig *rig)
{
	return sim_n_ops(rig->sim, SIM_READ) + sim_n_ops(rig->sim, SIM_WRITE);
}

static void judge_within(const struct timed_rig *rig, uint64_t took_ns, uint64_t within_ns)
{
	cr_assert(took_ns * 100 >= within_ns * 98 && took_ns * 100 <= within_ns * 102,
		  "seed %" PRIu64 ": %s: %" PRIu64 " ms of %" PRIu64, rig->chain.how.seed,
		  rig->chain.text, took_ns / MS, within_ns / MS);
}

/* ---- requests a second ---- */

static void judge_iops(uint64_t seed, unsigned cluster_bits, uint64_t iops)
{
	struct sim_chain_how how = how_of(seed, cluster_bits, 12 * MiB);
	struct bpull_job_options job = { .size = sizeof(job), .iops = iops };
	struct bpull_job_info info;
	uint64_t took_ns, want_ns, slack_ns, n_ops;
	struct timed_rig rig;

	timed_rig_open(&rig, &how);
	timed_rig_start(&rig, &job);
	n_ops = n_data_ops(&rig);
	took_ns = timed_rig_run(&rig);
	info = timed_rig_info(&rig);
	n_ops = n_data_ops(&rig) - n_ops;
	cr_assert_eq(info.iops, iops);
	cr_assert_gt(info.n_requests, 20);
	cr_assert_leq(info.n_requests, n_ops, "seed %" PRIu64 ": some were not made", seed);
	want_ns = info.n_requests * SECOND / iops;
	/* The last run's debt is never waited for. */
	slack_ns = 16 * SECOND / iops;
	cr_assert(took_ns + slack_ns >= want_ns && took_ns <= want_ns + 20 * MS,
		  "seed %" PRIu64 ": %s: %" PRIu64 " requests in %" PRIu64 " ms, not %" PRIu64,
		  seed, rig.chain.text, info.n_requests, took_ns / MS, want_ns / MS);
	timed_rig_close(&rig);
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
	struct timed_rig rig;

	timed_rig_open(&rig, &how);
	timed_rig_start(&rig, &job);
	while (sim_clock_ns() - rig.begin_ns < 5 * SECOND)
		timed_rig_turn_and_wait(&rig);
	cr_assert_leq(timed_rig_info(&rig).n_requests, 12);
	rates.which = 1u << 31;
	cr_assert_eq(bpull_job_set_rates(rig.disk, &rates), -EINVAL);
	rates.which = BPULL_JOB_RATE_IOPS;
	cr_assert_eq(bpull_job_set_rates(rig.disk, &rates), 0);
	cr_assert_lt(timed_rig_run(&rig), 7 * SECOND);
	cr_assert_eq(timed_rig_info(&rig).iops, 0);
	cr_assert_eq(bpull_job_set_rates(rig.disk, &rates), -ENOENT);
	timed_rig_close(&rig);
}

/* ---- a budget that is shared with others ---- */

struct shared {
	uint64_t rate, next_ns, asked;
	unsigned n_early; /* asked although what was taken could not be used yet */
};

/* Takes turns with another program that takes as much each time. */
static uint64_t ask(void *opaque, uint64_t bytes)
{
	struct shared *s = opaque;
	uint64_t now_ns = sim_clock_ns(), wait_ns;

	s->n_early += s->asked && s->next_ns > now_ns + 2 * MiB * SECOND / s->rate;
	s->next_ns = MAX(s->next_ns, now_ns);
	wait_ns = s->next_ns - now_ns;
	s->next_ns += 2 * bytes * SECOND / s->rate;
	s->asked += bytes;
	return wait_ns;
}

Test(rates, a_pull_takes_its_turn_in_a_shared_budget)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct sim_chain_how how = how_of(seed, seed % 2 ? 16 : 19, 12 * MiB);
		struct bpull_job_options job = { .size = sizeof(job),
						 .flags = BPULL_JOB_START_PAUSED };
		struct shared shared = { .rate = MiB };
		uint64_t took_ns, want_ns;
		struct timed_rig rig;

		timed_rig_open(&rig, &how);
		timed_rig_start(&rig, &job);
		rig.engine->outside.ask = ask;
		rig.engine->outside.opaque = &shared;
		bpull_job_resume(rig.disk);
		took_ns = timed_rig_run(&rig);
		want_ns = 2 * shared.asked * SECOND / shared.rate;
		cr_assert_gt(shared.asked, MiB);
		cr_assert_eq(shared.n_early, 0, "seed %" PRIu64, seed);
		/* The last run may go when the one before it is paid for. */
		cr_assert(took_ns + 2 * SECOND >= want_ns && took_ns <= want_ns + 100 * MS,
			  "seed %" PRIu64 ": %s: %" PRIu64 " bytes in %" PRIu64 " ms", seed,
			  rig.chain.text, shared.asked, took_ns / MS);
		timed_rig_close(&rig);
	}
}

/* ---- by a deadline ---- */

Test(rates, a_pull_is_done_within_the_time_that_was_given)
{
	static const uint64_t times_ns[] = { 2 * SECOND, 5 * SECOND, 8 * SECOND, 20 * SECOND,
					     300 * SECOND };

	for (uint64_t seed = 1; seed <= 6; seed++)
		for (unsigned i = 0; i < ARRAY_LEN(times_ns); i++) {
			struct sim_chain_how how = how_of(seed, seed % 2 ? 16 : 12, 12 * MiB);
			struct bpull_job_options job = { .size = sizeof(job),
							 .within_ns = times_ns[i],
							 .bandwidth = seed % 3 ? 0 : 1000 };
			struct bpull_job_info info;
			uint64_t took_ns;
			struct timed_rig rig;

			timed_rig_open(&rig, &how);
			timed_rig_start(&rig, &job);
			took_ns = timed_rig_run(&rig);
			judge_within(&rig, took_ns, times_ns[i]);
			/* A hundredth is for the end; what is saved is foreseen. */
			cr_assert_geq(took_ns * 1000, times_ns[i] * 987,
				      "seed %" PRIu64 ": %" PRIu64, seed, took_ns);
			info = timed_rig_info(&rig);
			cr_assert_eq(info.within_ns, times_ns[i]);
			cr_assert_eq(info.deadline_ns, times_ns[i]);
			cr_assert_eq(info.bandwidth, job.bandwidth);
			cr_assert_eq(info.is_late, took_ns > times_ns[i],
				     "seed %" PRIu64 ": %" PRIu64 " us", seed, took_ns / 1000);
			timed_rig_close(&rig);
		}
}

/* Not one run goes before there is a limit. */
Test(rates, a_deadline_limits_from_the_first_run_on)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct sim_chain_how how = how_of(seed, 16, 12 * MiB);
		struct bpull_job_options job = { .size = sizeof(job), .within_ns = 300 * SECOND };
		struct timed_rig rig;
		uint64_t done;

		timed_rig_open(&rig, &how);
		timed_rig_start(&rig, &job);
		while (sim_clock_ns() - rig.begin_ns < SECOND)
			timed_rig_turn_and_wait(&rig);
		done = timed_rig_info(&rig).source_bytes;
		cr_assert_leq(done, 12 * MiB / 300 * 5 / 4, "seed %" PRIu64 ": %" PRIu64, seed,
			      done);
		timed_rig_run(&rig);
		timed_rig_close(&rig);
	}
}

Test(rates, a_pull_that_stood_still_makes_up_for_it)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct sim_chain_how how = how_of(seed, 16, 12 * MiB);
		struct bpull_job_options job = { .size = sizeof(job), .within_ns = 60 * SECOND };
		struct timed_rig rig;

		timed_rig_open(&rig, &how);
		timed_rig_start(&rig, &job);
		while (sim_clock_ns() - rig.begin_ns < 10 * SECOND)
			timed_rig_turn_and_wait(&rig);
		bpull_job_pause(rig.disk);
		while (sim_clock_ns() - rig.begin_ns < 40 * SECOND)
			timed_rig_turn_and_wait(&rig);
		bpull_job_resume(rig.disk);
		judge_within(&rig, timed_rig_run(&rig), 60 * SECOND);
		timed_rig_close(&rig);
	}
}

Test(rates, a_bandwidth_that_is_in_time_is_kept)
{
	struct sim_chain_how how = how_of(2, 16, 12 * MiB);
	struct bpull_job_options job = { .size = sizeof(job),
					 .within_ns = 3600 * SECOND,
					 .bandwidth = MiB };
	struct timed_rig rig;

	timed_rig_open(&rig, &how);
	timed_rig_start(&rig, &job);
	cr_assert_lt(timed_rig_run(&rig), 13 * SECOND);
	timed_rig_close(&rig);
}

Test(rates, a_deadline_may_come_while_the_job_runs)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct sim_chain_how how = how_of(seed, 16, 24 * MiB);
		struct bpull_job_options job = { .size = sizeof(job), .bandwidth = MiB };
		struct bpull_job_rates rates = { .size = sizeof(rates),
						 .which = BPULL_JOB_RATE_WITHIN,
						 .within_ns = 100 * SECOND };
		struct timed_rig rig;
		uint64_t took_ns;

		timed_rig_open(&rig, &how);
		timed_rig_start(&rig, &job);
		bpull_job_set_speed(rig.disk, 20000, 0);
		while (sim_clock_ns() - rig.begin_ns < 2 * SECOND)
			timed_rig_turn_and_wait(&rig);
		cr_assert_eq(bpull_job_set_rates(rig.disk, &rates), 0);
		took_ns = timed_rig_run(&rig) - 2 * SECOND;
		/* What is left was not counted: dense at its beginning, a disk is done early. */
		cr_assert(took_ns > 50 * SECOND && took_ns <= 102 * SECOND,
			  "seed %" PRIu64 ": %s: %" PRIu64 " ms", seed, rig.chain.text,
			  took_ns / MS);
		timed_rig_close(&rig);
	}
}

Test(rates, a_deadline_that_cannot_be_met_is_told_of)
{
	struct sim_chain_how how = how_of(2, 16, 12 * MiB);
	struct bpull_job_options job = { .size = sizeof(job), .within_ns = 20 * SECOND, .iops = 1 };
	struct bpull_job_rates rates = { .size = sizeof(rates), .which = BPULL_JOB_RATE_IOPS };
	struct timed_rig rig;

	timed_rig_open(&rig, &how);
	timed_rig_start(&rig, &job);
	while (sim_clock_ns() - rig.begin_ns < SECOND)
		timed_rig_turn_and_wait(&rig);
	cr_assert_not(timed_rig_info(&rig).is_late, "it can't know so early");
	while (sim_clock_ns() - rig.begin_ns < 8 * SECOND)
		timed_rig_turn_and_wait(&rig);
	cr_assert(timed_rig_info(&rig).is_late);
	cr_assert_gt(timed_rig_info(&rig).needed_rate, 0);
	cr_assert_eq(bpull_job_set_rates(rig.disk, &rates), 0);
	judge_within(&rig, timed_rig_run(&rig), 20 * SECOND);
	cr_assert_not(timed_rig_info(&rig).is_late, "it has made up for it");
	timed_rig_close(&rig);
}

Test(rates, the_time_that_is_left_is_told)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct sim_chain_how how = how_of(seed, 16, 24 * MiB);
		struct bpull_job_options job = { .size = sizeof(job), .within_ns = 100 * SECOND };
		struct timed_rig rig;

		timed_rig_open(&rig, &how);
		timed_rig_start(&rig, &job);
		for (uint64_t at_ns = 10 * SECOND; at_ns < 90 * SECOND; at_ns += SECOND) {
			uint64_t end_ns;

			while (sim_clock_ns() - rig.begin_ns < at_ns)
				timed_rig_turn_and_wait(&rig);
			end_ns = at_ns + timed_rig_info(&rig).left_ns;
			cr_assert(end_ns > 80 * SECOND && end_ns < 120 * SECOND,
				  "seed %" PRIu64 ": after %" PRIu64 " ms: %" PRIu64, seed,
				  at_ns / MS, end_ns / MS);
		}
		bpull_job_pause(rig.disk);
		timed_rig_turn_and_wait(&rig);
		cr_assert_eq(timed_rig_info(&rig).left_ns, 0);
		bpull_job_resume(rig.disk);
		timed_rig_run(&rig);
		cr_assert_eq(timed_rig_info(&rig).left_ns, 0);
		timed_rig_close(&rig);
	}
}

/* ---- no less than that ---- */

/* A guest always has a request on its way, and each read of a far base takes 20 ms: a job that
 * gives way has one run in two seconds. Bytes a second of ten. */
static uint64_t rate_beside_a_guest(uint64_t min_rate)
{
	static uint8_t bytes[512];
	struct sim_chain_how how = how_of(5, 16, 96 * MiB);
	struct bpull_job_options job = { .size = sizeof(job),
					 .guest_share = 1,
					 .min_rate = min_rate };
	unsigned n_asked = 0;
	uint64_t rate;
	struct timed_rig rig;

	timed_rig_open(&rig, &how);
	timed_rig_start(&rig, &job);
	sim_knobs(rig.sim)->far_latency_ns = 20 * MS;
	sim_knobs(rig.sim)->far_rate = GiB;
	while (sim_clock_ns() - rig.begin_ns < 10 * SECOND) {
		struct iovec iov = { bytes, sizeof(bytes) };

		for (; n_asked < rig.n_events + 2; n_asked++)
			bpull_write(rig.disk, &iov, 1, rig.chain.guest_len - 512, 0, NULL);
		timed_rig_turn_and_wait(&rig);
		cr_assert(!rig.n_events || rig.event.type == BPULL_EVENT_IO, "it is done");
	}
	rate = (timed_rig_info(&rig).copied_bytes + timed_rig_info(&rig).zero_bytes) / 10;
	timed_rig_close(&rig);
	return rate;
}

Test(rates, a_job_gives_way_to_guests_above_its_least_rate_only)
{
	uint64_t min_rate = 3 * MiB, gives_way, keeps;

	gives_way = rate_beside_a_guest(0);
	cr_assert_lt(gives_way, MiB, "%" PRIu64, gives_way);
	keeps = rate_beside_a_guest(min_rate);
	cr_assert_gt(keeps, min_rate / 100 * 95, "%" PRIu64, keeps);
	cr_assert_lt(keeps, min_rate * 2, "%" PRIu64 ": it does not give way any more", keeps);
}
