/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Several disks of one engine over the same backing files, in one simulated
 * machine: guests and jobs beside each other, one that completes, is aborted,
 * closed and opened again while the others run. They share layers, cached
 * tables, buffers, the queue that merges writes and a limiter. What one drops
 * the others still read; only what no disk reads is used for something else. What
 * fails under one is no other's loss, and a power cut leaves each what it may.
 *
 *   NEIGHBOUR_SEEDS=n NEIGHBOUR_SEED=first   more of them, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "io/base.h"
#include "tests/machine/sim_guest.h"
#include "tests/machine/sim_private.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/time_limit.h"

#define N_DISKS   3
#define MAX_CALLS 200000

TIME_LIMIT(900);
TestSuite(neighbours, .timeout = TIME_LIMIT_CLOCK(900));

static const char *const names[N_DISKS] = { SIM_CHAIN_TOP, "/twin", "/third" };

struct house {
	uint64_t seed, state;
	bool faults; /* the machine fails now and then */
	bool cuts;   /* look at what power cuts would leave */
	unsigned n_broken;
	struct sim_chain chain;
	struct sim *sim;
	struct bpull_engine *engine;
	struct door {
		struct sim_guest guest; /* disk NULL: it is closed */
		bool job_runs;
		unsigned link, target; /* indexes of the chain's files; n_files: none */
		bool is_unknown; /* the link: a header write failed, which may have done anything */
		bool is_lost;    /* closed while nothing could be written: not opened again */
	} doors[N_DISKS];
	bool is_ruined[SIM_CHAIN_MAX_DEPTH + 1];
};

static struct {
	uint64_t completed, beside, ruined, closed_beside, failed, poisoned, cut;
} met;

#define CHECK(h, condition, ...)                                                        \
	do {                                                                            \
		if (!(condition)) {                                                     \
			char text_[2400];                                               \
			snprintf(text_, sizeof(text_), __VA_ARGS__);                    \
			cr_assert_fail("NEIGHBOUR_SEED=%" PRIu64 ": %s: %s", (h)->seed, \
				       (h)->chain.text, text_);                         \
		}                                                                       \
	} while (0)

static uint64_t below(struct house *h, uint64_t n)
{
	h->state = sim_mix(h->state, 1);
	return n ? h->state % n : 0;
}

static unsigned n_open(const struct house *h)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N_DISKS; i++)
		n += h->doors[i].guest.disk != NULL;
	return n;
}

/* ---- what a disk drops ---- */

/* A disk that is closed names its files still. */
static bool is_used(const struct house *h, unsigned file)
{
	for (unsigned i = 0; i < N_DISKS; i++)
		if (h->doors[i].link <= file)
			return true;
	return false;
}

/* By a disk that is open; for sure: whose job can't have dropped it, with an event not taken
 * yet. */
static bool is_read(const struct house *h, unsigned file, bool for_sure)
{
	for (unsigned i = 0; i < N_DISKS; i++) {
		const struct door *d = &h->doors[i];

		if (d->link <= file && d->guest.disk && !(for_sure && d->job_runs))
			return true;
	}
	return false;
}

static void drop(struct house *h, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		const char *name = h->chain.files[i].name;
		uint64_t len = h->chain.files[i].file_len;
		bool is_open = sim_file_is_open(h->sim, name);
		uint8_t *junk;

		CHECK(h, is_open || !is_read(h, i, true), "%s is closed under a neighbour", name);
		CHECK(h, !is_open || is_read(h, i, false), "%s is open, and no disk reads it",
		      name);
		if (is_used(h, i) || h->is_ruined[i])
			continue;
		h->is_ruined[i] = true;
		met.ruined++;
		junk = sim_need(malloc(len + 1));
		memset(junk, 0xee, len);
		sim_file_overwrite(h->sim, name, junk, len, 0);
		free(junk);
	}
}

/* ---- what fails ---- */

static bool may_fail(const struct house *h, int error)
{
	return h->faults && (error == -EIO || error == -ENOSPC);
}

static void mend(struct house *h)
{
	sim_clear_faults(h->sim);
	for (unsigned i = 0; i < N_DISKS; i++)
		sim_file_limit(h->sim, names[i], 0);
	h->n_broken = 0;
}

/* Under one of the disks, under what they share, or under whichever comes next. */
static void break_it(struct house *h)
{
	static const enum sim_op ops[] = { SIM_READ, SIM_READ, SIM_WRITE, SIM_WRITE, SIM_SYNC };
	const char *const files[] = { NULL, names[below(h, N_DISKS)],
				      h->chain.files[1 + below(h, h->chain.n_files - 1)].name };
	const char *name = files[below(h, ARRAY_LEN(files))];
	struct sim_fault fault = { .op = ops[below(h, ARRAY_LEN(ops))],
				   .nth = 1 + below(h, 8),
				   .error = below(h, 2) ? -EIO : -ENOSPC,
				   .forever = !below(h, 3),
				   .name = name };

	if (h->n_broken++ == SIM_MAX_FAULTS)
		mend(h);
	if (name == files[1] && name && below(h, 2)) {
		sim_file_limit(h->sim, name, sim_file_len(h->sim, name) + below(h, 8) * 512);
		return;
	}
	if (fault.op == SIM_READ)
		fault.error = -EIO;
	sim_fail(h->sim, &fault);
}

/* ---- events ---- */

static void judge_link(struct house *h, struct door *d, const struct bpull_event *event)
{
	unsigned is = sim_chain_link_of(&h->chain, h->sim, names[d - h->doors]);
	unsigned want = event->status == BPULL_JOB_COMPLETED ? d->target : d->link;

	if (is == d->target && d->guest.disk->poisoned)
		d->is_unknown = true;
	else
		CHECK(h, is == want, "%s: status %d, and the link is %u, not %u",
		      names[d - h->doors], (int)event->status, is, want);
}

static void end_job(struct house *h, struct door *d, const struct bpull_event *event)
{
	bool done = event->status == BPULL_JOB_COMPLETED;
	unsigned old = d->link;

	CHECK(h, event->status != BPULL_JOB_FAILED || h->faults, "the job failed: %s",
	      event->message);
	judge_link(h, d, event);
	met.failed += event->status == BPULL_JOB_FAILED;
	d->job_runs = false;
	if (!done)
		return;
	d->link = d->target;
	met.completed++;
	for (unsigned i = 0; i < N_DISKS; i++)
		met.beside += &h->doors[i] != d && h->doors[i].guest.n_in_flight;
	drop(h, old, d->link);
}

static void take_events(struct house *h)
{
	struct bpull_event events[4];
	int n = bpull_engine_process(h->engine, events, 1 + (int)below(h, 4));

	for (int i = 0; i < n; i++) {
		struct door *d = h->doors;

		while (d->guest.disk != events[i].disk)
			d++;
		if (events[i].type != BPULL_EVENT_IO) {
			end_job(h, d, &events[i]);
			continue;
		}
		CHECK(h, !events[i].error || may_fail(h, events[i].error), "a request failed: %s",
		      strerror(-events[i].error));
		CHECK(h, sim_guest_end(&d->guest, &events[i]), "%s: %s", names[d - h->doors],
		      d->guest.wrong);
	}
}

static bool is_busy(const struct house *h, const struct door *only, bool job_too)
{
	for (const struct door *d = h->doors; d < h->doors + N_DISKS; d++)
		if ((!only || d == only) && (d->guest.n_in_flight || (job_too && d->job_runs)))
			return true;
	return false;
}

static void run_until(struct house *h, const struct door *only, bool job_too)
{
	for (unsigned i = 0; is_busy(h, only, job_too); i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(h->engine), .events = POLLIN };

		CHECK(h, i < MAX_CALLS && (!i || poll(&ready, 1, 5000) == 1), "it hangs");
		take_events(h);
	}
}

/* ---- what a disk does ---- */

static void open_door(struct house *h, struct door *d)
{
	struct bpull_disk_options o = {
		.size = sizeof(o),
		.format = (enum bpull_format)h->chain.how.format,
		.backing_format = (enum bpull_format)h->chain.unnamed,
		.backing_rule = BPULL_BACKING_ANY,
		.flags = BPULL_DISK_GUEST_IO | (below(h, 2) ? BPULL_DISK_COPY_ON_READ : 0),
	};
	struct bpull_error error;
	int rc = bpull_disk_open(h->engine, names[d - h->doors], &o, &d->guest.disk, &error);

	CHECK(h, !rc || may_fail(h, rc), "%s does not open: %s", names[d - h->doors],
	      error.message);
	if (rc)
		d->guest.disk = NULL;
}

/* What was not written before it was closed is gone, and so is its guest. */
static void note_loss(struct house *h, struct door *d)
{
	if (!d->guest.disk)
		return;
	met.poisoned += d->guest.disk->poisoned != 0;
	d->is_lost = d->guest.disk->poisoned || h->n_broken;
	d->is_unknown |= d->is_lost && d->job_runs;
}

static void close_door(struct house *h, struct door *d)
{
	unsigned old = d->link, is;

	run_until(h, d, false);
	met.closed_beside += is_busy(h, NULL, true);
	note_loss(h, d);
	bpull_disk_close(d->guest.disk);
	d->guest.disk = NULL;
	d->job_runs = false;
	is = sim_chain_link_of(&h->chain, h->sim, names[d - h->doors]);
	CHECK(h, is == old || is == d->target, "closed, and the link is %u", is);
	if (!d->is_unknown) /* else it may be either, and the files are its own still */
		d->link = is;
	drop(h, old, h->chain.n_files);
}

static void start(struct house *h, struct door *d)
{
	unsigned n = h->chain.n_files, target = n;
	struct bpull_job_options o = { .size = sizeof(o),
				       .guest_share = below(h, 3) ? 100 : 0,
				       .bandwidth = below(h, 2) * GiB,
				       .flags = below(h, 3) ? 0 : BPULL_JOB_VERIFY };
	struct bpull_error error;

	if (h->chain.how.format == IMAGE_QCOW2 && d->link + 1 < n && below(h, 2))
		target = d->link + 1 + (unsigned)below(h, n - d->link - 1);
	if (target < n)
		o.base = h->chain.files[target].name;
	if (bpull_job_start(d->guest.disk, &o, &error)) {
		CHECK(h, h->faults, "no job: %s", error.message);
		return;
	}
	d->target = target;
	d->job_runs = true;
}

static void request(struct house *h, struct door *d)
{
	static const enum sim_guest_kind kinds[] = { SIM_GUEST_READ,    SIM_GUEST_READ,
						     SIM_GUEST_READ,    SIM_GUEST_WRITE,
						     SIM_GUEST_WRITE,   SIM_GUEST_ZEROES,
						     SIM_GUEST_DISCARD, SIM_GUEST_FLUSH,
						     SIM_GUEST_STATUS };
	uint64_t disk_len = h->chain.guest_len;
	struct sim_guest_request r = { .kind = kinds[below(h, ARRAY_LEN(kinds))] };

	if (d->guest.model.n_versions >= MODEL_MAX_VERSIONS)
		r.kind = SIM_GUEST_READ;
	r.len = 1 + below(h, MIN(disk_len, UINT64_C(6) * h->chain.cluster_len));
	r.off = below(h, disk_len - r.len + 1);
	r.cuts[0] = r.cuts[1] = below(h, r.len + 1);
	r.value = r.kind == SIM_GUEST_WRITE ? 1 + (uint8_t)below(h, 255) : 0;
	sim_guest_submit(&d->guest, &r);
}

static void live(struct house *h, struct door *d)
{
	if (!d->guest.disk) {
		if (!below(h, 4) && !d->is_lost)
			open_door(h, d);
		return;
	}
	if (d->guest.n_in_flight < 6 && below(h, 4))
		request(h, d);
	switch (below(h, 40)) {
	case 0:
	case 1:
	case 2:
	case 3:
		if (!d->job_runs)
			start(h, d);
		break;
	case 4: bpull_job_abort(d->guest.disk); break;
	case 5: bpull_job_pause(d->guest.disk); break;
	case 6:
	case 7:
	case 8: bpull_job_resume(d->guest.disk); break;
	case 9: close_door(h, d); break;
	case 10: bpull_disk_set_copy_on_read(d->guest.disk, (int)below(h, 2)); break;
	case 11: bpull_engine_set_speed(h->engine, below(h, 2) * GiB, 0); break;
	}
}

/* ---- after a power cut ---- */

/* As the machine's only overlay, now and then pulled to its end. */
static void judge_cut_of(struct house *h, const struct door *d, struct sim *machine)
{
	const char *name = names[d - h->doors];
	struct sim *left = sim_cut(machine, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	uint8_t *got = sim_need(malloc(h->chain.guest_len));
	struct sim_chain after = h->chain;
	struct sim_verdict v;
	struct sim_pull again;
	unsigned link = sim_chain_link_of(&h->chain, left, name);

	CHECK(h, link == d->link || (link == d->target && (d->job_runs || d->is_unknown)),
	      "%s after a cut: the link is %u, not %u", name, link, d->link);
	if (strcmp(name, SIM_CHAIN_TOP) != 0)
		sim_file_rename(left, name, SIM_CHAIN_TOP);
	sim_guest_judge_cut(&d->guest, &h->chain, left, got, &v);
	CHECK(h, v.ok, "%s after a cut: %s", name, v.text);
	after.want = got;
	if (link < h->chain.n_files && !below(h, 8)) {
		int rc = sim_pull_whole(&after, left, SIM_PULL_MEMORY, 0, &again);

		CHECK(h, !rc, "%s pulled after a cut: %s%s", name, again.error.message,
		      again.message);
		sim_pull_judge(&after, left, &v);
		CHECK(h, v.ok && !v.n_leaks, "%s pulled after a cut: %s", name, v.text);
	}
	free(got);
	sim_free(left);
}

/* All disks lose at the same moment. */
static void judge_cut(struct house *h, enum sim_cut_mode mode)
{
	struct sim *left =
		sim_cut(h->sim, &(struct sim_cut){ .mode = mode, .seed = below(h, UINT32_MAX) });

	met.cut++;
	sim_knobs(left)->hold_ops = 0;
	for (unsigned i = 0; i < N_DISKS; i++)
		judge_cut_of(h, &h->doors[i], left);
	sim_free(left);
}

static void cut_now(struct house *h)
{
	static const enum sim_cut_mode modes[] = { SIM_CUT_ALL_LOST, SIM_CUT_ALL_KEPT,
						   SIM_CUT_ONLY_LAST, SIM_CUT_RANDOM,
						   SIM_CUT_RANDOM };

	judge_cut(h, modes[below(h, ARRAY_LEN(modes))]);
}

/* ---- the end ---- */

/* As the machine's only overlay. */
static void judge(struct house *h, const struct door *d)
{
	const char *name = names[d - h->doors];
	struct sim *left = sim_cut(h->sim, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	uint8_t *got = sim_need(malloc(h->chain.guest_len));
	struct sim_verdict v;

	if (strcmp(name, SIM_CHAIN_TOP) != 0)
		sim_file_rename(left, name, SIM_CHAIN_TOP);
	sim_pull_read(&h->chain, left, got, &v);
	CHECK(h, v.ok && !v.n_leaks, "%s at the end: %s", name, v.text);
	for (uint64_t i = 0; i < h->chain.guest_len; i++)
		CHECK(h, model_is_legal(&d->guest.model, i, got[i]),
		      "%s at the end: byte %" PRIu64 " is %#x; the link is %u of %u", name, i,
		      got[i], sim_chain_link(&h->chain, left), h->chain.n_files);
	free(got);
	sim_free(left);
}

static void play(struct house *h)
{
	h->sim = sim_new(h->seed);
	sim_chain_put(&h->chain, h->sim);
	for (unsigned i = 1; i < N_DISKS; i++)
		sim_chain_put_twin(&h->chain, h->sim, names[i]);
	if (h->seed % 4 == 3) {
		sim_knobs(h->sim)->hold_ops = 1u << h->seed / 4 % 3;
		sim_knobs(h->sim)->hold_permille = 200;
	}
	cr_assert_eq(engine_open_on(sim_io(h->sim), sim_opener(h->sim),
				    below(h, 2) ? SIM_PULL_MEMORY : 8 * MiB, &h->engine),
		     0);
	h->engine->commit_len = (1 + below(h, 40)) * 4096;
	for (unsigned i = 0; i < N_DISKS; i++) {
		h->doors[i].link = 1;
		model_begin(&h->doors[i].guest.model, h->chain.want, h->chain.guest_len);
		open_door(h, &h->doors[i]);
	}
	for (unsigned n = 60 + (unsigned)below(h, 200); n; n--) {
		live(h, &h->doors[below(h, N_DISKS)]);
		if (below(h, 3))
			take_events(h);
		if (h->cuts && !below(h, 6))
			cut_now(h);
		if (h->faults && !below(h, 12))
			break_it(h);
		if (h->faults && !below(h, 12))
			mend(h);
	}
	mend(h);
	run_until(h, NULL, false);
	if (n_open(h) && below(h, 2)) {
		for (unsigned i = 0; i < N_DISKS; i++)
			if (h->doors[i].job_runs)
				bpull_job_resume(h->doors[i].guest.disk);
		run_until(h, NULL, true);
	}
	for (unsigned i = 0; i < N_DISKS; i++) {
		note_loss(h, &h->doors[i]);
		h->doors[i].is_unknown |= h->doors[i].job_runs;
	}
	bpull_engine_close(h->engine);
	if (h->faults) {
		judge_cut(h, SIM_CUT_ALL_KEPT);
		judge_cut(h, SIM_CUT_ALL_LOST);
	}
	for (unsigned i = 0; i < N_DISKS; i++) {
		if (!h->faults)
			judge(h, &h->doors[i]);
		model_end(&h->doors[i].guest.model);
	}
	sim_free(h->sim);
}

static void play_seeds(bool faults, bool cuts, uint64_t n_ci)
{
	uint64_t first = sim_pull_env("NEIGHBOUR_SEED", 0), n = first ? 1 : n_ci;

	n = sim_pull_env("NEIGHBOUR_SEEDS", n / (first ? 1 : SIM_PULL_SLOWDOWN));
	for (uint64_t seed = MAX(first, UINT64_C(1)); n; seed++, n--) {
		struct house h = { .seed = seed, .state = seed, .faults = faults, .cuts = cuts };
		struct sim_chain_how how = { .seed = seed / 4 + 1,
					     .n_clusters = 10 + seed % 30,
					     .cluster_bits = 12,
					     .clone = seed / 4 % 4,
					     .format = seed % 5 ? IMAGE_QCOW2 : IMAGE_QED };

		sim_chain_draw(&h.chain, &how);
		play(&h);
		sim_chain_free(&h.chain);
	}
}

static bool is_few(void)
{
	return sim_pull_env("NEIGHBOUR_SEED", 0) || met.completed < 100;
}

Test(neighbours, over_the_same_files)
{
	play_seeds(false, false, 1200);
	if (is_few())
		return;
	cr_assert_gt(met.beside, met.completed / 4, "no guest was at work beside the end of a job");
	cr_assert_gt(met.closed_beside, 50);
	cr_assert_gt(met.ruined, 50);
}

Test(neighbours, of_which_some_fail)
{
	play_seeds(true, false, 200);
	if (is_few())
		return;
	cr_assert_gt(met.failed, 30);
	cr_assert_gt(met.poisoned, 30);
}

Test(neighbours, in_power_cuts)
{
	play_seeds(false, true, 60);
	if (is_few())
		return;
	cr_assert_gt(met.cut, 500);
}
