/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two hundred overlays on one base, of which some are written to slowly, one fails and one is
 * aborted: the base is read once for all that are not far slower than the others, and none is
 * held by any of these.
 *
 *   CROWD_SEED=n   another base
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/api/engine.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(300);
TestSuite(convoy_crowd, .timeout = TIME_LIMIT_CLOCK(300));

#define MS        UINT64_C(1000000)
#define SECOND    (1000 * MS)
#define MAX_CALLS 2000000

#define N_DISKS  200
#define DISK_LEN (12 * MiB)
/* Of the disk a third is kept at once, as of 256 MiB and an engine's 64 MiB for so many jobs. */
#define KEPT_LEN  (4 * MiB)
#define FAR_RATE  (8 * MiB)
#define TABLE_LEN (64 * KiB) /* what each disk reads of the base's own tables */

enum {
	IS_SLOW = 50,
	FAILS = 100,
	IS_ABORTED = 150
};

struct crowd {
	struct sim_chain chain;
	struct sim *sim;
	struct bpull_engine *engine;
	struct bpull_disk *disks[N_DISKS];
	enum bpull_job_status status[N_DISKS];
	uint64_t read_len[N_DISKS], had_len[N_DISKS], over_ns[N_DISKS];
	unsigned n_over;
	const char *slow; /* disks whose names begin so are slow */
};

static void name_disk(char name[16], unsigned i)
{
	snprintf(name, 16, i ? "/top%u" : SIM_CHAIN_TOP, i);
}

/* Time passes for those that wait where nothing else happens. */
static void tick(void *arg)
{
	struct crowd *c = arg;

	sim_later(c->sim, sim_now_ns(c->sim) + 20 * MS, tick, c);
}

static bool is_slow(const struct crowd *c, unsigned i)
{
	char name[16];

	name_disk(name, i);
	return !strncmp(name, c->slow, strlen(c->slow));
}

static void open_crowd(struct crowd *c, uint64_t memory, const char *slow, uint64_t seed)
{
	struct sim_chain_how how = { .seed = seed,
				     .cluster_bits = 16,
				     .n_clusters = DISK_LEN >> 16,
				     .stretch = DISK_LEN >> 17,
				     .max_depth = 1,
				     .format = IMAGE_QCOW2 };
	struct bpull_disk_options o = { .size = sizeof(o), .backing_rule = BPULL_BACKING_ANY };
	struct bpull_error error;

	*c = (struct crowd){ .slow = slow };
	sim_chain_draw(&c->chain, &how);
	o.format = (enum bpull_format)c->chain.how.format;
	o.backing_format = (enum bpull_format)c->chain.unnamed;
	c->sim = sim_new(how.seed);
	sim_clock_reset();
	sim_chain_put(&c->chain, c->sim);
	*sim_knobs(c->sim) = (struct sim_knobs){ .max_delay_ns = 5 * MS,
						 .far_rate = FAR_RATE,
						 .far_latency_ns = MS };
	cr_assert_eq(engine_open_on(sim_io(c->sim), sim_opener(c->sim), memory, &c->engine), 0);
	c->engine->convoys.max_len = KEPT_LEN;
	c->engine->convoys.member_len = 0;
	for (unsigned i = 0; i < N_DISKS; i++) {
		char name[16];

		name_disk(name, i);
		if (i)
			sim_chain_put_twin(&c->chain, c->sim, name);
		cr_assert_eq(bpull_disk_open(c->engine, name, &o, &c->disks[i], &error), 0, "%s",
			     error.message);
	}
}

static void start_all(struct crowd *c)
{
	struct bpull_job_options o = { .size = sizeof(o), .copy = BPULL_COPY_READ };
	struct bpull_error error;

	for (unsigned i = 0; i < N_DISKS; i++)
		cr_assert_eq(bpull_job_start(c->disks[i], &o, &error), 0, "%s", error.message);
}

static void note_end(struct crowd *c, const struct bpull_event *event)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	unsigned i = 0;

	while (c->disks[i] != event->disk)
		i++;
	bpull_job_get_info(c->disks[i], &info);
	c->status[i] = event->status;
	c->read_len[i] = info.source_bytes;
	c->had_len[i] = info.source_bytes + info.shared_bytes;
	c->over_ns[i] = sim_now_ns(c->sim);
	c->n_over++;
}

/* Each write of a slow one takes slow_ns. */
static void run_crowd(struct crowd *c, uint64_t slow_ns)
{
	struct bpull_event events[16];

	sim_knobs(c->sim)->hold_ops = slow_ns ? 1 << SIM_WRITE : 0;
	sim_knobs(c->sim)->hold_permille = 1000;
	sim_knobs(c->sim)->hold_prefix = c->slow;
	sim_knobs(c->sim)->hold_ns = slow_ns;
	sim_fail(c->sim, &(struct sim_fault){ .op = SIM_WRITE,
					      .nth = 4,
					      .error = -EIO,
					      .persists = true,
					      .name = "/top100" });
	tick(c);
	start_all(c);
	for (unsigned i = 0; c->n_over < N_DISKS; i++) {
		int n = bpull_engine_process(c->engine, events, ARRAY_LEN(events));

		cr_assert_lt(i, MAX_CALLS, "it hangs: %u are over", c->n_over);
		for (int k = 0; k < n; k++)
			note_end(c, &events[k]);
		if (sim_far_bytes(c->sim) >= MiB)
			bpull_job_abort(c->disks[IS_ABORTED]);
	}
	sim_later_drop(c->sim, c);
}

static void judge_disks(struct crowd *c)
{
	struct sim *left;
	uint8_t *got = sim_need(malloc(c->chain.guest_len));

	bpull_engine_close(c->engine);
	left = sim_cut(c->sim, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	for (unsigned i = 0; i < N_DISKS; i++) {
		bool is_done = i != FAILS && i != IS_ABORTED;
		struct sim_verdict v;
		char name[16];

		name_disk(name, i);
		cr_assert_eq(sim_chain_link_of(&c->chain, left, name),
			     is_done ? c->chain.n_files : 1, "%s", name);
		if (i)
			sim_file_rename(left, name, SIM_CHAIN_TOP);
		sim_pull_read(&c->chain, left, got, &v);
		cr_assert(v.ok, "%s: %s", name, v.text);
		cr_assert_arr_eq(got, c->chain.want, c->chain.guest_len, "%s", name);
	}
	free(got);
	sim_free(left);
}

static void close_crowd(struct crowd *c)
{
	judge_disks(c);
	sim_free(c->sim);
	sim_chain_free(&c->chain);
}

/* When the last of all but the slow ones was over. */
static uint64_t others_over_ns(const struct crowd *c)
{
	uint64_t ns = 0;

	for (unsigned i = 0; i < N_DISKS; i++)
		ns = is_slow(c, i) ? ns : MAX(ns, c->over_ns[i]);
	return ns;
}

static void judge_ends(const struct crowd *c)
{
	for (unsigned i = 0; i < N_DISKS; i++)
		cr_assert_eq(c->status[i],
			     i == FAILS        ? BPULL_JOB_FAILED
			     : i == IS_ABORTED ? BPULL_JOB_CANCELED
					       : BPULL_JOB_COMPLETED,
			     "disk %u", i);
}

/* So many bytes come from the base for all together. */
static void judge_read(const struct crowd *c, const char *what, uint64_t read_len)
{
	uint64_t base_len = c->had_len[0];

	cr_assert_gt(base_len, DISK_LEN / 3, "the base has too little");
	cr_assert_leq(read_len * 100, base_len * 105 + TABLE_LEN * 100,
		      "%s: %" PRIu64 " bytes of %" PRIu64, what, read_len, base_len);
}

static uint64_t read_by_all(const struct crowd *c)
{
	uint64_t len = 0;

	for (unsigned i = 0; i < N_DISKS; i++)
		len += c->read_len[i];
	return len;
}

static struct crowd *play_crowd(uint64_t seed, uint64_t memory, const char *slow, uint64_t slow_ns)
{
	static struct crowd c;

	open_crowd(&c, memory, slow, sim_pull_env("CROWD_SEED", seed));
	run_crowd(&c, slow_ns);
	judge_ends(&c);
	return &c;
}

/* The base is packed. */
Test(convoy_crowd, one_that_is_written_slowly_is_waited_for)
{
	struct crowd *c = play_crowd(4, 16 * MiB, "/top50", 200 * MS);

	judge_read(c, "asked for", read_by_all(c));
	judge_read(c, "came", sim_far_bytes(c->sim));
	close_crowd(c);
}

/* It stalls, as far as the others can tell: they wait for it once, and then it is no longer theirs
 * to wait for. */
Test(convoy_crowd, one_that_is_far_slower_holds_nobody_for_long)
{
	struct crowd *c = play_crowd(11, 16 * MiB, "/top50", 10 * SECOND);
	uint64_t others_ns = others_over_ns(c);

	judge_read(c, "of the others", read_by_all(c) - c->read_len[IS_SLOW]);
	cr_assert_leq(others_ns, 7 * SECOND, "the others took %" PRIu64 " ms", others_ns / MS);
	cr_assert_gt(c->over_ns[IS_SLOW], 3 * others_ns, "it was not slow");
	close_crowd(c);
}

/* The others are over in less than `part` percent of the time after which the first slow one is. */
static void judge_slow(const struct crowd *c, unsigned part)
{
	uint64_t others_ns = others_over_ns(c), slow_ns = UINT64_MAX, slow_len = 0;

	for (unsigned i = 0; i < N_DISKS; i++) {
		if (!is_slow(c, i))
			continue;
		slow_ns = MIN(slow_ns, c->over_ns[i]);
		slow_len += c->read_len[i];
	}
	judge_read(c, "of the others", read_by_all(c) - slow_len);
	cr_assert_lt(others_ns * 100, slow_ns * part,
		     "the others took %" PRIu64 " ms, the first slow one %" PRIu64, others_ns / MS,
		     slow_ns / MS);
}

Test(convoy_crowd, eleven_that_are_far_slower_hold_no_other)
{
	struct crowd *c = play_crowd(12, 48 * MiB, "/top5", 2 * SECOND);

	judge_slow(c, 33);
	close_crowd(c);
}

/* There are five. Each of the slow ones has one until the others have waited for it in vain. */
Test(convoy_crowd, more_than_there_are_buffers_hold_no_other_for_ever)
{
	struct crowd *c = play_crowd(12, 16 * MiB, "/top5", 2 * SECOND);

	judge_slow(c, 80);
	close_crowd(c);
}
