/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A job that gives way by how long its guest's requests take, on a device that writes back in
 * bursts: nearly all of the guest's reads are as fast as without the job, and those during a
 * write-back take three times what the guest wants. So one of a hundred has to take that, over many
 * bursts, and not in each short time.
 * And one that rests by what its runs cost a guest.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/core/rate/latency.h"
#include "engine/core/rate/toll.h"
#include "tests/whole/rates/timed_rig.h"

#define EVERY_NS  (2 * MS)
#define TICK_NS   (MS / 4)
#define MAX_WAITS 1024 /* requests in flight */

TestSuite(give_way, .timeout = 300);

struct guest_play {
	struct timed_rig rig;
	uint64_t begun_ns[MAX_WAITS]; /* 0: the place is free */
	uint64_t next_ns, counts_from_ns;
	uint64_t read_off, read_len; /* it reads these bytes of the disk; 0: all */
	uint8_t bytes[4096];
	struct latency seen; /* as the guest sees it */
	uint64_t copied_then, copied;
};

/* The clock goes no further at once, so that the guest asks, and looks, when it would. */
static void tick(void *arg)
{
	struct sim *sim = arg;

	sim_later(sim, sim_now_ns(sim) + TICK_NS, tick, sim);
}

static const struct sim_knobs bursts = { .device_rate = 45 * MiB,
					 .write_back_ns = 2 * SECOND,
					 .stall_ns = 12 * MS };

/* source: what its base is; NULL: a file. */
static void open_far_play(struct guest_play *play, uint64_t seed, const struct sim_knobs *knobs,
			  const struct sim_source_how *source, const struct bpull_job_options *job)
{
	struct sim_chain_how how = { .seed = seed,
				     .format = IMAGE_QCOW2,
				     .version = 3,
				     .cluster_bits = 16,
				     .n_clusters = 320 * MiB >> 16,
				     .stretch = 16,
				     .max_depth = 1 };

	*play = (struct guest_play){ .next_ns = 0 };
	timed_rig_open_far(&play->rig, &how, source);
	*sim_knobs(play->rig.sim) = *knobs;
	timed_rig_start(&play->rig, job);
	play->next_ns = play->rig.begin_ns;
	tick(play->rig.sim);
}

static void open_play(struct guest_play *play, uint64_t seed, const struct sim_knobs *knobs,
		      const struct bpull_job_options *job)
{
	open_far_play(play, seed, knobs, NULL, job);
}

static void close_play(struct guest_play *play)
{
	sim_later_drop(play->rig.sim, play->rig.sim);
	timed_rig_close(&play->rig);
}

static void ask(struct guest_play *play)
{
	struct iovec iov = { play->bytes, sizeof(play->bytes) };
	uint64_t now_ns = sim_clock_ns();
	uint64_t blocks = (play->read_len ? play->read_len : play->rig.chain.guest_len) / 4096;
	unsigned i = 0;

	if (now_ns < play->next_ns)
		return;
	while (i < MAX_WAITS && play->begun_ns[i])
		i++;
	cr_assert_lt(i, MAX_WAITS, "no request ends");
	play->begun_ns[i] = now_ns;
	play->next_ns += EVERY_NS;
	bpull_read(play->rig.disk, &iov, 1, play->read_off + (uint64_t)rand() % blocks * 4096,
		   &play->begun_ns[i]);
}

static void take(struct guest_play *play)
{
	struct bpull_event events[16];
	int n = bpull_engine_process(play->rig.engine, events, 16);
	uint64_t now_ns = sim_clock_ns();

	for (int i = 0; i < n; i++) {
		uint64_t *begun_ns = events[i].user_data;

		cr_assert_eq(events[i].type, BPULL_EVENT_IO, "the job is over");
		cr_assert_eq(events[i].error, 0);
		if (now_ns >= play->counts_from_ns)
			latency_note(&play->seen, now_ns - *begun_ns);
		*begun_ns = 0;
	}
}

/* What its limit counts. */
static uint64_t done(const struct guest_play *play)
{
	return timed_rig_info(&play->rig).source_bytes;
}

/* So long, of which the second half counts: bytes/s that the job did then, and what 99 of 100
 * reads took less than. */
static uint64_t run_play(struct guest_play *play, uint64_t ns, uint64_t *p99_ns)
{
	uint64_t begin_ns = sim_clock_ns(), then = 0;

	srand((unsigned)play->rig.chain.how.seed);
	latency_start(&play->seen, 1);
	play->counts_from_ns = begin_ns + ns / 2;
	while (sim_clock_ns() < begin_ns + ns) {
		if (!then && sim_clock_ns() >= play->counts_from_ns)
			then = done(play);
		ask(play);
		take(play);
	}
	*p99_ns = latency_permille(&play->seen, 990);
	return (done(play) - then) * SECOND / (ns / 2);
}

Test(give_way, a_guest_sees_its_target_over_the_bursts_of_a_device)
{
	for (uint64_t seed = 1; seed <= 2; seed++) {
		static struct guest_play play;
		struct bpull_job_options job = { .size = sizeof(job), .guest_p99_ns = 4 * MS };
		struct bpull_job_info info;
		uint64_t p99_ns, rate;

		open_play(&play, seed, &bursts, &job);
		rate = run_play(&play, 60 * SECOND, &p99_ns);
		info = timed_rig_info(&play.rig);
		cr_assert_eq(info.guest_p99_ns, 4 * MS);
		cr_assert(info.guest_p99_now_ns >= MS && info.guest_p99_now_ns <= 8 * MS,
			  "seed %" PRIu64 ": it tells of %" PRIu64 " us", seed,
			  info.guest_p99_now_ns / 1000);
		cr_assert(p99_ns >= 4 * MS * 8 / 10 && p99_ns <= 4 * MS * 12 / 10,
			  "seed %" PRIu64 ": %" PRIu64 " us, at %" PRIu64 " KiB/s", seed,
			  p99_ns / 1000, rate / KiB);
		close_play(&play);
	}
}

Test(give_way, the_least_rate_comes_before_the_target)
{
	static struct guest_play play;
	struct bpull_job_options job = { .size = sizeof(job),
					 .guest_p99_ns = 4 * MS,
					 .min_rate = 3 * MiB };
	uint64_t p99_ns, rate;

	open_play(&play, 1, &bursts, &job);
	rate = run_play(&play, 20 * SECOND, &p99_ns);
	cr_assert_gt(p99_ns, 5 * MS, "the play is too easy");
	cr_assert(rate >= 3 * MiB * 95 / 100 && rate <= 3 * MiB * 115 / 100, "%" PRIu64 " KiB/s",
		  rate / KiB);
	close_play(&play);
}

static void set_rates(struct guest_play *play, uint32_t which, uint64_t guest_p99_ns,
		      uint64_t min_rate)
{
	struct bpull_job_rates rates = { .size = sizeof(rates),
					 .which = which,
					 .guest_p99_ns = guest_p99_ns,
					 .min_rate = min_rate };

	cr_assert_eq(bpull_job_set_rates(play->rig.disk, &rates), 0);
}

Test(give_way, the_target_and_the_least_rate_may_come_and_go_while_the_job_runs)
{
	static struct guest_play play;
	struct bpull_job_options job = { .size = sizeof(job), .bandwidth = 6 * MiB };
	uint64_t p99_ns, rate;

	open_play(&play, 1, &bursts, &job);
	rate = run_play(&play, 4 * SECOND, &p99_ns);
	cr_assert(p99_ns > 5 * MS && rate > 5 * MiB, "%" PRIu64 " us, %" PRIu64 " KiB/s",
		  p99_ns / 1000, rate / KiB);

	set_rates(&play, BPULL_JOB_RATE_GUEST_P99, 4 * MS, 0);
	rate = run_play(&play, 20 * SECOND, &p99_ns);
	cr_assert(p99_ns <= 4 * MS * 12 / 10 && rate < 2 * MiB,
		  "with a target: %" PRIu64 " us, %" PRIu64 " KiB/s", p99_ns / 1000, rate / KiB);

	set_rates(&play, BPULL_JOB_RATE_MIN, 0, 3 * MiB);
	rate = run_play(&play, 8 * SECOND, &p99_ns);
	cr_assert(rate >= 3 * MiB * 95 / 100 && rate <= 3 * MiB * 115 / 100,
		  "with a least rate: %" PRIu64 " KiB/s", rate / KiB);

	set_rates(&play, BPULL_JOB_RATE_GUEST_P99 | BPULL_JOB_RATE_MIN, 0, 0);
	rate = run_play(&play, 4 * SECOND, &p99_ns);
	cr_assert_gt(rate, 5 * MiB, "without both: %" PRIu64 " KiB/s", rate / KiB);
	close_play(&play);
}

/* What has not ended yet is late, too: else a device that hangs would look like a guest at rest. */
Test(give_way, a_guest_whose_requests_do_not_end_is_given_way_to)
{
	static const struct sim_knobs hangs = { .far_latency_ns = 3 * SECOND,
						.far_rate = 128 * MiB };
	static struct guest_play play;
	struct bpull_job_options job = { .size = sizeof(job), .guest_p99_ns = 4 * MS };
	const struct pace_guest *guest;
	uint64_t first, begin_ns;

	open_play(&play, 1, &hangs, &job);
	play.read_off = 5 * MiB; /* the base has these */
	play.read_len = 4096;
	guest = &play.rig.disk->job.pace.way.guest;
	first = guest->limit;
	begin_ns = sim_clock_ns();
	while (sim_clock_ns() < begin_ns + SECOND * 3 / 2) {
		ask(&play);
		take(&play);
	}
	cr_assert_eq(play.seen.n, 0, "the play is too easy");
	cr_assert_lt(guest->limit, first, "%" PRIu64 " of %" PRIu64 " KiB/s", guest->limit / KiB,
		     first / KiB);
	close_play(&play);
}

/* ---- rests by what the runs cost a guest ---- */

/* As if a guest's requests ended while the job rests only. A run takes 2 ms. Bytes/s. */
static uint64_t rate_at_full_toll(uint32_t share)
{
	static const struct sim_knobs link = { .far_latency_ns = 1, .far_rate = 128 * MiB };
	struct bpull_job_options job = { .size = sizeof(job), .guest_share = share };
	static struct guest_play play;
	uint64_t begin_ns, rate;

	open_play(&play, 1, &link, &job);
	begin_ns = sim_clock_ns();
	while (sim_clock_ns() < begin_ns + SECOND / 2) {
		struct toll *toll = &play.rig.engine->guests.toll;

		toll->runs = (struct toll_sum){ .ns = 16 * MS, .n = 0 };
		toll->rests = (struct toll_sum){ .ns = 16 * MS, .n = 1000000 };
		ask(&play);
		take(&play);
	}
	rate = done(&play) * 2;
	close_play(&play);
	return rate;
}

static void expect_rate(uint64_t rate, uint64_t min, uint64_t max)
{
	cr_expect(rate >= min && rate <= max,
		  "%" PRIu64 " KiB/s instead of %" PRIu64 " to %" PRIu64, rate / KiB, min / KiB,
		  max / KiB);
}

Test(give_way, a_job_rests_for_what_its_runs_cost_a_guest_but_never_starves)
{
	/* The chain has islands, so that most runs are shorter than they may be. */
	expect_rate(rate_at_full_toll(0), 7 * MiB, 16 * MiB);
	expect_rate(rate_at_full_toll(25), 20 * MiB, 40 * MiB);
}

/* ---- waiting costs a guest nothing ---- */

/* Bytes/s of a job whose base answers after 20 ms in the mean, beside a guest that reads all
 * of the disk, or what the job has copied before it is looked at. */
static uint64_t rate_over_far_base(bool reads_all)
{
	static const struct sim_source_how far = { .max_delay_ns = 40 * MS };
	static const struct sim_knobs memory;
	static struct guest_play play;
	struct bpull_job_options job = { .size = sizeof(job) };
	uint64_t p99_ns, rate;

	open_far_play(&play, 1, &memory, &far, &job);
	if (!reads_all) { /* these are data; the job leaves out zeros */
		play.read_off = MiB;
		play.read_len = 256 * KiB;
	}
	rate = run_play(&play, 4 * SECOND, &p99_ns);
	close_play(&play);
	return rate;
}

/* A run that waits for a source costs it nothing, either, unless it needs the source itself. */
Test(give_way, a_job_on_a_far_base_rests_for_its_latency_only_where_the_guest_needs_it)
{
	expect_rate(rate_over_far_base(false), 16 * MiB, 32 * MiB);
	expect_rate(rate_over_far_base(true), 2 * MiB, 8 * MiB);
}

/* A run that waits for tokens costs the guest nothing: no rest is due for that time. */
Test(give_way, a_limited_job_does_what_its_limit_says_beside_a_guest)
{
	static const uint64_t limits[] = { 512 * KiB, MiB, 20 * MiB };
	static const struct sim_knobs memory;

	for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		static struct guest_play play;
		struct bpull_job_options job = { .size = sizeof(job), .bandwidth = limits[i] };
		uint64_t p99_ns, rate;

		open_play(&play, 1, &memory, &job);
		rate = run_play(&play, 3 * SECOND, &p99_ns);
		expect_rate(rate, limits[i] * 95 / 100, limits[i] * 105 / 100);
		close_play(&play);
	}
}
