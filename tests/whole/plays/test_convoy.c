/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Many disks of one engine over the same base, pulled at the same time, in one
 * simulated machine that counts what is read of backing files. What one job reads
 * feeds the others: undisturbed, all of them together read no more than one alone.
 * Some are paused, aborted, slow, late, or find no space or a broken disk; the others
 * go on, and no disk ever holds another byte than it may.
 *
 *   CONVOY_SEEDS=n CONVOY_SEED=first   more of them, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/api/engine.h"
#include "engine/copy/walk/walk.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_guest.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"

#define MS        UINT64_C(1000000)
#define MAX_CALLS 1000000
#define MAX_DISKS 8

/* The first disk's writes take seconds for a while, in calls. */
#define STALL_FROM 20
#define STALL_TO   60

TIME_LIMIT(600);
TestSuite(convoy, .timeout = TIME_LIMIT_CLOCK(600));

enum trouble {
	UNDISTURBED,
	PAUSED,
	ABORTED,
	SLOW, /* its own rate */
	LATE, /* begins when others are under way */
	FULL, /* its file finds no space */
	BROKEN,
	N_TROUBLES
};

struct convoy_disk {
	struct sim_guest guest;
	char name[16];
	enum trouble trouble;
	bool runs, is_over;
	uint64_t when; /* calls from the start on */
	struct bpull_event end;
};

struct world {
	uint64_t seed, state;
	struct sim_chain chain;
	struct sim *sim;
	struct bpull_engine *engine;
	struct convoy_disk disks[MAX_DISKS];
	unsigned n;
	bool source_fails, stalls;
	bool is_counted; /* jobs read nothing but what they copy, and clone nothing */
};

/* In all plays of this process. */
static struct {
	unsigned completed, failed, canceled, fed_late, left;
} met;

#define world_assert(w, condition, ...)                                              \
	do {                                                                         \
		if (!(condition)) {                                                  \
			char text_[1200];                                            \
			snprintf(text_, sizeof(text_), __VA_ARGS__);                 \
			cr_assert_fail("CONVOY_SEED=%" PRIu64 ": %s: %s", (w)->seed, \
				       (w)->chain.text, text_);                      \
		}                                                                    \
	} while (0)

static uint64_t draw(struct world *w, uint64_t n)
{
	w->state = sim_mix(w->state, 7);
	return n ? w->state % n : 0;
}

/* ---- events ---- */

static void take_events(struct world *w)
{
	struct bpull_event events[4];
	int n = bpull_engine_process(w->engine, events, 4);

	for (int i = 0; i < n; i++) {
		struct convoy_disk *d = w->disks;

		while (d->guest.disk != events[i].disk)
			d++;
		if (events[i].type == BPULL_EVENT_IO) {
			world_assert(w, sim_guest_end(&d->guest, &events[i]), "%s: %s", d->name,
				     d->guest.wrong);
			continue;
		}
		d->end = events[i];
		d->is_over = true;
	}
	/* Time passes where nothing else happens. */
	if (!w->sim->n_flights && !w->sim->n_waiting)
		sim_advance(w->sim, MS);
}

/* ---- what a disk does ---- */

static void open_disk(struct world *w, struct convoy_disk *d)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = (enum bpull_format)w->chain.how.format,
					.backing_format = (enum bpull_format)w->chain.unnamed,
					.backing_rule = BPULL_BACKING_ANY,
					.flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error;

	world_assert(w, !bpull_disk_open(w->engine, d->name, &o, &d->guest.disk, &error),
		     "%s does not open: %s", d->name, error.message);
}

static void wait_for_guest(struct world *w, struct convoy_disk *d)
{
	for (unsigned i = 0; d->guest.n_in_flight; i++) {
		world_assert(w, i < MAX_CALLS, "a request hangs");
		take_events(w);
	}
}

/* Each overlay holds a few clusters of its own: their runs do not end in the same places. */
static void write_some(struct world *w, struct convoy_disk *d)
{
	for (uint64_t n = draw(w, 4); n; n--) {
		struct sim_guest_request r = { .kind = SIM_GUEST_WRITE };

		r.len = 1 + draw(w, UINT64_C(3) * w->chain.cluster_len);
		r.off = draw(w, w->chain.guest_len - MIN(r.len, w->chain.guest_len - 1));
		r.len = MIN(r.len, w->chain.guest_len - r.off);
		r.cuts[0] = r.cuts[1] = r.len / 2;
		r.value = (uint8_t)(1 + draw(w, 255));
		sim_guest_submit(&d->guest, &r);
	}
	wait_for_guest(w, d);
	/* Else they may be lost where the disk fails later. */
	sim_guest_submit(&d->guest, &(struct sim_guest_request){ .kind = SIM_GUEST_FLUSH });
	wait_for_guest(w, d);
}

static void start(struct world *w, struct convoy_disk *d)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .flags = draw(w, 3) || w->is_counted ? 0 : BPULL_JOB_VERIFY,
				       .copy = draw(w, 4) || w->is_counted ? BPULL_COPY_READ
									   : BPULL_COPY_AUTO };
	struct bpull_error error;

	if (d->trouble == SLOW)
		o.bandwidth = 256 * KiB;
	world_assert(w, !bpull_job_start(d->guest.disk, &o, &error), "%s: no job: %s", d->name,
		     error.message);
	d->runs = true;
}

/* Until it is another's turn, or for a while. */
static void stall(struct world *w, const struct convoy_disk *d, uint64_t ns)
{
	struct sim_knobs *knobs = sim_knobs(w->sim);

	knobs->hold_ops = 1 << SIM_WRITE;
	knobs->hold_permille = 1000;
	knobs->hold_name = d->name;
	knobs->hold_ns = ns;
}

static void end_stall(struct world *w)
{
	sim_knobs(w->sim)->hold_ops = 0;
}

/* Its time has come. */
static void disturb(struct world *w, struct convoy_disk *d)
{
	struct sim_fault fault = { .op = SIM_WRITE,
				   .nth = 1 + draw(w, 4),
				   .error = -EIO,
				   .persists = true,
				   .name = d->name };

	switch (d->trouble) {
	case PAUSED: bpull_job_pause(d->guest.disk); break;
	case ABORTED: bpull_job_abort(d->guest.disk); break;
	case LATE: start(w, d); break;
	case FULL: sim_file_limit(w->sim, d->name, sim_file_len(w->sim, d->name)); break;
	case BROKEN: sim_fail(w->sim, &fault); break;
	case SLOW:
	case UNDISTURBED:
	case N_TROUBLES: break;
	}
}

/* ---- a play ---- */

static bool is_at_work(const struct world *w, bool but_paused)
{
	for (const struct convoy_disk *d = w->disks; d < w->disks + w->n; d++)
		if (!d->is_over && !(but_paused && d->trouble == PAUSED))
			return true;
	return false;
}

static void run(struct world *w)
{
	for (uint64_t i = 1; is_at_work(w, true); i++) {
		world_assert(w, i < MAX_CALLS, "it hangs");
		for (struct convoy_disk *d = w->disks; d < w->disks + w->n; d++)
			if (d->when == i)
				disturb(w, d);
		if (w->stalls && i == STALL_FROM)
			stall(w, &w->disks[0], 0);
		if (i == STALL_TO)
			end_stall(w);
		take_events(w);
		for (const struct convoy_disk *d = w->disks; d < w->disks + w->n; d++)
			met.fed_late += d->guest.disk->walk->company.begun.guest_off != 0;
	}
	for (struct convoy_disk *d = w->disks; d < w->disks + w->n; d++) {
		world_assert(w, d->runs, "%s was not started", d->name);
		if (!d->is_over)
			bpull_job_resume(d->guest.disk);
	}
	for (unsigned i = 0; is_at_work(w, false); i++) {
		world_assert(w, i < MAX_CALLS, "the paused ones hang");
		take_events(w);
	}
}

/* As the machine's only overlay: what it reads, and that it is sound. */
static void judge(struct world *w, const struct convoy_disk *d)
{
	struct sim *left = sim_cut(w->sim, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	uint8_t *got = sim_need(malloc(w->chain.guest_len));
	struct sim_verdict v;
	unsigned link = sim_chain_link_of(&w->chain, left, d->name);
	bool done = d->end.status == BPULL_JOB_COMPLETED;

	world_assert(w, link == (done ? w->chain.n_files : 1), "%s: status %d, and the link is %u",
		     d->name, (int)d->end.status, link);
	if (strcmp(d->name, SIM_CHAIN_TOP) != 0)
		sim_file_rename(left, d->name, SIM_CHAIN_TOP);
	sim_pull_read(&w->chain, left, got, &v);
	world_assert(w, v.ok, "%s: %s", d->name, v.text);
	for (uint64_t i = 0; i < w->chain.guest_len; i++)
		world_assert(w, model_is_legal(&d->guest.model, i, got[i]),
			     "%s: byte %" PRIu64 " is %#x", d->name, i, got[i]);
	free(got);
	sim_free(left);
}

/* Of a broken disk, or where the source fails once, a job may fail. */
static void judge_end(struct world *w, const struct convoy_disk *d)
{
	bool may_fail = d->trouble == FULL || d->trouble == BROKEN || w->source_fails;

	met.completed += d->end.status == BPULL_JOB_COMPLETED;
	met.failed += d->end.status == BPULL_JOB_FAILED;
	met.canceled += d->end.status == BPULL_JOB_CANCELED;
	world_assert(w, d->end.status != BPULL_JOB_FAILED || may_fail, "%s failed: %s", d->name,
		     d->end.message);
	world_assert(w, d->end.status != BPULL_JOB_CANCELED || d->trouble == ABORTED,
		     "%s was canceled", d->name);
}

static void begin(struct world *w)
{
	static const uint64_t kept[] = { 0, 128 * KiB, 1 * MiB };

	w->sim = sim_new(w->seed);
	sim_clock_reset();
	sim_chain_put(&w->chain, w->sim);
	*sim_knobs(w->sim) = (struct sim_knobs){ .max_delay_ns = draw(w, 2) * 5 * MS,
						 .short_permille = (unsigned)draw(w, 2) * 100,
						 .may_clone = sim_knobs(w->sim)->may_clone,
						 .clones = sim_knobs(w->sim)->clones };
	cr_assert_eq(engine_open_on(sim_io(w->sim), sim_opener(w->sim), 16 * MiB, &w->engine), 0);
	w->engine->budget.commit_len = (1 + draw(w, 40)) * 64 * KiB;
	if (w->seed % 3 == 2) {
		w->engine->convoys.max_len = kept[draw(w, ARRAY_LEN(kept))];
		w->engine->convoys.member_len = 0;
	}
	for (unsigned i = 0; i < w->n; i++) {
		struct convoy_disk *d = &w->disks[i];

		snprintf(d->name, sizeof(d->name), i ? "/top%u" : SIM_CHAIN_TOP, i);
		if (i)
			sim_chain_put_twin(&w->chain, w->sim, d->name);
		model_begin(&d->guest.model, w->chain.want, w->chain.guest_len);
		open_disk(w, d);
		if (i || !w->is_counted) /* else one alone need not read it all */
			write_some(w, d);
	}
	sim_knobs(w->sim)->far_rate = 1 * GiB;
	sim_knobs(w->sim)->far_latency_ns = draw(w, 3) * MS;
}

static void end(struct world *w)
{
	bpull_engine_close(w->engine);
	for (unsigned i = 0; i < w->n; i++) {
		judge(w, &w->disks[i]);
		model_end(&w->disks[i].guest.model);
	}
	sim_free(w->sim);
	sim_chain_free(&w->chain);
}

static void draw_world(struct world *w, uint64_t seed, unsigned n)
{
	static const unsigned bits[] = { 12, 16, 16, 19 };
	struct sim_chain_how how = { .seed = seed / 2 + 1,
				     .cluster_bits = bits[seed / 2 % ARRAY_LEN(bits)],
				     .stretch = 1 + seed % 40,
				     .max_depth = 1 + seed % 3,
				     .format = seed % 7 ? IMAGE_QCOW2 : IMAGE_QED };

	how.n_clusters = (unsigned)((1 + seed % 6) * MiB >> how.cluster_bits) + 1;
	if (how.cluster_bits == 12)
		how.n_clusters = MIN(how.n_clusters, 400);
	*w = (struct world){ .seed = seed, .state = seed, .n = n };
	sim_chain_draw(&w->chain, &how);
}

/* Bytes that undisturbed jobs of n disks read of backing files. */
static uint64_t read_by(uint64_t seed, unsigned n)
{
	struct world w;
	uint64_t len;

	draw_world(&w, seed, n);
	w.is_counted = true;
	begin(&w);
	for (unsigned i = 0; i < n; i++)
		start(&w, &w.disks[i]);
	run(&w);
	len = sim_far_bytes(w.sim);
	for (unsigned i = 0; i < n; i++)
		judge_end(&w, &w.disks[i]);
	end(&w);
	return len;
}

static void play(uint64_t seed)
{
	struct world w;

	draw_world(&w, seed, 2 + (unsigned)(seed % (MAX_DISKS - 1)));
	begin(&w);
	for (unsigned i = 0; i < w.n; i++) {
		struct convoy_disk *d = &w.disks[i];

		d->when = 1 + draw(&w, 60);
		d->trouble = i && draw(&w, 2) ? (enum trouble)draw(&w, N_TROUBLES) : UNDISTURBED;
		if (d->trouble != LATE)
			start(&w, d);
	}
	w.source_fails = !draw(&w, 3);
	w.stalls = seed % 2;
	if (w.source_fails)
		sim_fail(w.sim,
			 &(struct sim_fault){ .op = SIM_READ,
					      .nth = 1 + draw(&w, 10),
					      .error = -EIO,
					      .persists = true,
					      .name = w.chain.files[w.chain.n_files - 1].name });
	run(&w);
	for (unsigned i = 0; i < w.n; i++)
		judge_end(&w, &w.disks[i]);
	end(&w);
}

/* ---- a stall ---- */

/* Else the machine's clock would jump over the time in which the others wait. */
static void tick(void *arg)
{
	struct world *w = arg;

	sim_later(w->sim, sim_now_ns(w->sim) + 20 * MS, tick, w);
}

#define STALL_DISKS 4
#define STALL_RATE  (512 * KiB)

/* Bytes that disks read of a base which takes half a minute to read, where so many of them stall
 * for so long, one after the other. */
static uint64_t read_with_stalls(uint64_t seed, unsigned n_stalled, uint64_t ns)
{
	struct sim_chain_how how = { .seed = seed,
				     .cluster_bits = 16,
				     .n_clusters = 48 * MiB >> 16,
				     .stretch = 384,
				     .max_depth = 1,
				     .format = IMAGE_QCOW2 };
	struct world w = { .seed = 3 * seed, .state = seed, .n = STALL_DISKS, .is_counted = true };
	unsigned n_begun = 0;
	uint64_t len;

	sim_chain_draw(&w.chain, &how);
	begin(&w);
	sim_knobs(w.sim)->far_rate = STALL_RATE;
	sim_knobs(w.sim)->far_latency_ns = MS;
	tick(&w);
	for (unsigned i = 0; i < w.n; i++)
		start(&w, &w.disks[i]);
	for (unsigned i = 0; is_at_work(&w, false); i++) {
		uint64_t from = (2 + 4 * (uint64_t)n_begun) * MiB;

		world_assert(&w, i < MAX_CALLS, "it hangs");
		if (n_begun < n_stalled && sim_far_bytes(w.sim) >= from)
			stall(&w, &w.disks[1 + n_begun++], ns);
		take_events(&w);
		if (sim_far_bytes(w.sim) >= from + MiB / 2)
			end_stall(&w);
	}
	sim_later_drop(w.sim, &w);
	len = sim_far_bytes(w.sim);
	for (unsigned i = 0; i < w.n; i++)
		judge_end(&w, &w.disks[i]);
	end(&w);
	return len;
}

static void judge_stalls(uint64_t seed, unsigned n_stalled, uint64_t ns, uint64_t most)
{
	uint64_t len = read_with_stalls(seed, n_stalled, ns);

	cr_assert_leq(len, most,
		      "CONVOY_SEED=%" PRIu64 ": %u stalls of %" PRIu64 " ms: %" PRIu64
		      " bytes read where %" PRIu64 " are enough",
		      seed, n_stalled, ns / MS, len, most);
}

/* The others wait for it for three seconds when they are a window ahead, and then go on. What is
 * read once more is what they come on by until its stall is over, but for what is kept: of the
 * longer one 4 MiB at most. */
static void stall_for(uint64_t seed)
{
	uint64_t none = read_with_stalls(seed, 0, 0);

	cr_assert_gt(none, 16 * MiB, "the base has too little for a gap to show");
	judge_stalls(seed, 1, 3000 * MS, none + 64 * KiB);
	judge_stalls(seed, 1, 12000 * MS, none + 4 * MiB);
	judge_stalls(seed, 3, 12000 * MS, none + 3 * 4 * MiB);
}

static void for_seeds(void (*each)(uint64_t seed), uint64_t n)
{
	uint64_t first = sim_pull_env("CONVOY_SEED", 0);

	n = sim_pull_env("CONVOY_SEEDS", first ? 1 : n);
	for (uint64_t seed = MAX(first, UINT64_C(1)); n; seed++, n--)
		each(seed);
}

/* All with room to keep what is read: seeds that begin() gives no less. */
static void compare(uint64_t seed)
{
	uint64_t one, many;

	if (seed % 3 == 2)
		return;
	one = read_by(seed, 1);
	many = read_by(seed, 2 + (unsigned)(seed % (MAX_DISKS - 1)));
	cr_assert_leq(many, one + one / 50 + 64 * KiB,
		      "CONVOY_SEED=%" PRIu64 ": %u disks read %" PRIu64
		      " bytes, and one alone %" PRIu64,
		      seed, 2 + (unsigned)(seed % (MAX_DISKS - 1)), many, one);
}

Test(convoy, reads_its_base_once)
{
	for_seeds(compare, EFFORT(20));
}

Test(convoy, a_stall_costs_what_the_others_come_on_by)
{
	stall_for(2); /* bases that hold enough */
	stall_for(3);
}

Test(convoy, goes_on_without_those_in_trouble)
{
	for_seeds(play, EFFORT(60));
	/* An eighth is too few for all kinds of trouble. */
	if (sim_pull_env("CONVOY_SEED", 0) || sim_pull_env("CONVOY_SEEDS", 0) || EFFORT_DIVISOR > 1)
		return;
	cr_assert_gt(met.failed, EFFORT(10));
	cr_assert_gt(met.canceled, EFFORT(4));
	cr_assert_gt(met.fed_late, EFFORT(10), "no late one has begun in the middle");
}
