/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest and a pull in the simulated machine: random requests, up to 16 in
 * flight, overlapping or not, on any kind of image, while the chain is pulled,
 * paused, aborted, pulled again; completions in any order, transfers of any
 * length. Every read is legal (model.c), every request has one event, and what
 * is left at the end reads as the guest read it last, is clean, keeps its
 * snapshots, and stands alone where the pull said so.
 *
 *   MODEL_SEEDS=n MODEL_SEED=first   more of them, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/verify.h"
#include "io/base.h"
#include "formats/qcow2.h"
#include "tests/scratch.h"
#include "tests/sim_guest.h"
#include "tests/sim_private.h"
#include "tests/sim_pull.h"

#define MAX_CALLS  200000
#define QEMU_EVERY 500

TestSuite(model, .init = scratch_make, .fini = scratch_remove, .timeout = 1200);

/* Bugs put into the overlay's operations: the plays must find them (I5). */
enum planted {
	PLANTED_NONE,
	/* Space is counted free before the entries without it are durable. */
	PLANTED_EARLY,
	/* Space is used again while reads that began before may still meet it. */
	PLANTED_UNDRAINED,
};
#define PLANTED_FOUND 42 /* exit code */

struct play {
	uint64_t seed, state;
	struct sim_chain *chain;
	struct sim *sim;
	struct bpull_engine *engine;
	struct sim_guest guest;
	bool job_runs, completed, closed_with_job;
	bool cuts;   /* look at what power cuts would leave */
	bool faults; /* the machine fails now and then, and so may requests */
	enum planted planted;
	struct layer_ops ops; /* the overlay's, with a planted bug */
	uint64_t n_states;
	uint64_t last_cur;
};

/* What was met at least once, over all seeds. */
static struct {
	uint64_t requests[SIM_GUEST_N_KINDS], failed, poisoned, stopped, completed, canceled,
		guest_at_end, aborted_with_guest;
} met;

static uint64_t below(struct play *p, uint64_t n)
{
	p->state ^= p->state << 13;
	p->state ^= p->state >> 7;
	p->state ^= p->state << 17;
	return n ? (p->state * UINT64_C(2685821657736338717) >> 20) % n : 0;
}

#define CHECK(p, condition, ...)                                                    \
	do {                                                                        \
		if (!(condition)) {                                                 \
			char text_[2400];                                           \
			snprintf(text_, sizeof(text_), __VA_ARGS__);                \
			if ((p)->planted)                                           \
				_exit(PLANTED_FOUND);                               \
			cr_assert_fail("MODEL_SEED=%" PRIu64 ": %s: %s", (p)->seed, \
				       (p)->chain->text, text_);                    \
		}                                                                   \
	} while (0)

/* ---- requests ---- */

static void choose_range(struct play *p, struct sim_guest_request *r)
{
	uint64_t disk_len = p->chain->guest_len,
		 align = UINT64_C(1) << (below(p, 3) * below(p, 5) + below(p, 2) * 9);
	uint64_t max = below(p, 3) ? 3 * p->chain->cluster_len : 20 * p->chain->cluster_len;

	r->len = 1 + below(p, MIN(max, disk_len));
	r->off = below(p, disk_len - r->len + 1);
	if (below(p, 2)) {
		r->off = round_down(r->off, align);
		r->len = MIN(round_up(r->len, align), disk_len - r->off);
	}
	if (!below(p, 10)) /* whole clusters */
		r->off = round_down(r->off, p->chain->cluster_len);
}

static void start_request(struct play *p)
{
	static const enum sim_guest_kind kinds[] = {
		SIM_GUEST_READ,   SIM_GUEST_READ,   SIM_GUEST_READ,    SIM_GUEST_READ,
		SIM_GUEST_WRITE,  SIM_GUEST_WRITE,  SIM_GUEST_WRITE,   SIM_GUEST_WRITE,
		SIM_GUEST_ZEROES, SIM_GUEST_ZEROES, SIM_GUEST_DISCARD, SIM_GUEST_FLUSH,
		SIM_GUEST_STATUS,
	};
	struct sim_guest_request r = { .kind = kinds[below(p, ARRAY_LEN(kinds))] };

	if (p->guest.model.n_versions == MODEL_MAX_VERSIONS && r.kind != SIM_GUEST_FLUSH &&
	    r.kind != SIM_GUEST_STATUS)
		r.kind = SIM_GUEST_READ;
	choose_range(p, &r);
	if (r.kind == SIM_GUEST_WRITE)
		r.value = 1 + (uint8_t)below(p, 255);
	met.requests[r.kind]++;
	r.cuts[0] = below(p, r.len + 1);
	r.cuts[1] = r.cuts[0] + below(p, r.len - r.cuts[0] + 1);
	r.flags = below(p, 12) ? 0 : BPULL_IO_FUA;
	if (r.kind == SIM_GUEST_ZEROES)
		r.flags |= below(p, 2) ? BPULL_IO_UNMAP : 0;
	else if (r.kind != SIM_GUEST_WRITE)
		r.flags = 0;
	sim_guest_submit(&p->guest, &r);
}

static void end_request(struct play *p, const struct bpull_event *event)
{
	int error = event->error;

	CHECK(p, !error || (p->faults && (error == -EIO || error == -ENOSPC)),
	      "a request failed: %s", strerror(-error));
	met.failed += error != 0;
	CHECK(p, sim_guest_end(&p->guest, event), "%s", p->guest.wrong);
}

static void mend_everything(struct play *p)
{
	sim_clear_faults(p->sim);
	sim_file_limit(p->sim, SIM_CHAIN_TOP, 0);
}

/* ---- the job ---- */

static void end_job(struct play *p, const struct bpull_event *event)
{
	if (event->type == BPULL_EVENT_JOB_STOPPED) {
		met.stopped++;
		mend_everything(p);
		bpull_job_resume(p->guest.disk);
		return;
	}
	if (event->status == BPULL_JOB_READY) {
		CHECK(p, !bpull_job_finalize(p->guest.disk), "finalize is refused");
		return;
	}
	CHECK(p, p->faults || event->status != BPULL_JOB_FAILED, "the job failed: %s",
	      event->message);
	p->job_runs = false;
	p->completed = event->status == BPULL_JOB_COMPLETED;
	met.completed += p->completed;
	met.canceled += !p->completed;
	met.guest_at_end += p->completed && p->guest.n_in_flight;
}

static void watch_job(struct play *p)
{
	struct bpull_job_info info;

	if (!bpull_job_info(p->guest.disk, &info))
		return;
	CHECK(p, info.cur >= p->last_cur && info.cur <= info.end, "cur fell, or passed the end");
	p->last_cur = info.cur;
}

static void steer_job(struct play *p)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .flags = p->faults || below(p, 4)
							? 0
							: BPULL_JOB_MANUAL_FINALIZE,
				       .guest_share = below(p, 3) ? 100 : 0,
				       .base = sim_chain_base(p->chain),
				       .on_error = (uint32_t)below(p, 3),
				       .compression = below(p, 2) ? p->chain->how.compression : 0 };
	struct bpull_error error;

	o.flags |= below(p, 2) ? BPULL_JOB_VERIFY : 0;
	switch (below(p, p->job_runs ? 12 : 3)) {
	case 0:
		if (p->job_runs || p->completed)
			break;
		if (bpull_job_start(p->guest.disk, &o, &error)) {
			CHECK(p, p->faults, "the job is refused: %s", error.message);
			break;
		}
		p->job_runs = true;
		p->last_cur = 0;
		if (p->guest.disk->job.verify) /* now and then it is full */
			p->guest.disk->job.verify->max_items = 2 + below(p, 60);
		break;
	case 3: bpull_job_pause(p->guest.disk); break;
	case 4:
	case 5:
	case 6: bpull_job_resume(p->guest.disk); break;
	case 7:
		if (below(p, 3))
			break;
		met.aborted_with_guest += p->guest.n_in_flight > 0;
		bpull_job_abort(p->guest.disk);
		break;
	case 8: bpull_disk_set_copy_on_read(p->guest.disk, (int)below(p, 2)); break;
	default: break;
	}
}

static void take_events(struct play *p)
{
	struct bpull_event events[4];
	int n = bpull_engine_process(p->engine, events, 1 + (int)below(p, 4));

	CHECK(p, n >= 0, "process() failed");
	for (int i = 0; i < n; i++)
		if (events[i].type == BPULL_EVENT_IO)
			end_request(p, &events[i]);
		else
			end_job(p, &events[i]);
	watch_job(p);
}

static void run_until(struct play *p, bool job_too)
{
	for (unsigned i = 0; p->guest.n_in_flight || (job_too && p->job_runs); i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(p->engine), .events = POLLIN };

		CHECK(p, i < MAX_CALLS, "it hangs with %u requests", p->guest.n_in_flight);
		take_events(p);
		if (p->guest.n_in_flight || (job_too && p->job_runs))
			CHECK(p, poll(&ready, 1, 5000) == 1, "nothing happens with %u requests",
			      p->guest.n_in_flight);
	}
}

/* ---- power cuts ---- */

/* The image opens, checks without errors, holds in each byte what it may, keeps its snapshots, and, if
 * the pull has said that it is done, its link is gone (I4); one in a few is pulled to its end. */
static void judge_cut(struct play *p, const struct sim_cut *how)
{
	struct sim *left = sim_cut(p->sim, how);
	struct sim_chain after = *p->chain;
	uint8_t *got = sim_need(malloc(p->chain->guest_len));
	struct sim_verdict v;
	struct sim_pull again;
	bool had_link;

	sim_guest_judge_cut(&p->guest, p->chain, left, got, &v);
	CHECK(p, v.ok, "after a cut (mode %d, seed %" PRIu64 "): %s", (int)how->mode, how->seed,
	      v.text);
	CHECK(p, !p->completed || !v.has_backing, "COMPLETED, and a cut brings the link back");
	had_link = v.has_backing;
	p->n_states++;
	/* Without a link there is nothing to pull: leaks stay for check --repair. */
	if (had_link && !below(p, 8)) {
		int rc = sim_pull_whole(p->chain, left, SIM_PULL_MEMORY, 0, &again);

		after.want = got;
		after.how.n_snapshots = 0;
		CHECK(p, !rc, "pulled after a cut: %s %s%s", strerror(-rc), again.error.message,
		      again.message);
		sim_pull_judge(&after, left, &v);
		CHECK(p, v.ok && !v.n_leaks && !v.has_backing, "pulled after a cut: %s", v.text);
		sim_pull_judge_snapshots(p->chain, left, &v);
		CHECK(p, v.ok, "pulled after a cut: %s", v.text);
	}
	free(got);
	sim_free(left);
}

/* Data gone, tables there: what each order of writes must survive. The image's tables are all but the
 * writes of whole runs; any line between them will do, as each state must be legal. */
static bool keep_short(void *arg, const char *name, uint64_t off, uint64_t len)
{
	return !strcmp(name, SIM_CHAIN_TOP) && len <= *(uint64_t *)arg;
}

static void cut_now(struct play *p)
{
	static const enum sim_cut_mode modes[] = { SIM_CUT_ALL_LOST,  SIM_CUT_ALL_KEPT,
						   SIM_CUT_ONLY_LAST, SIM_CUT_RANDOM,
						   SIM_CUT_RANDOM,    SIM_CUT_CHOSEN };
	uint64_t limit = UINT64_C(8) << below(p, 8);
	struct sim_cut how = { .mode = modes[below(p, ARRAY_LEN(modes))],
			       .seed = below(p, UINT32_MAX),
			       .keep = keep_short,
			       .arg = &limit };

	judge_cut(p, &how);
}

/* ---- faults ---- */

static void break_something(struct play *p)
{
	static const enum sim_op ops[] = { SIM_READ,  SIM_READ,  SIM_WRITE,
					   SIM_WRITE, SIM_WRITE, SIM_SYNC };
	struct sim_fault fault = { .op = ops[below(p, ARRAY_LEN(ops))],
				   .nth = 1 + below(p, 12),
				   .error = below(p, 2) ? -EIO : -ENOSPC };

	if (below(p, 2)) {
		sim_file_limit(p->sim, SIM_CHAIN_TOP,
			       sim_file_len(p->sim, SIM_CHAIN_TOP) + below(p, 8) * 512);
		return;
	}
	if (fault.op == SIM_READ)
		fault.error = -EIO;
	sim_fail(p->sim, &fault);
}

/* Nothing is written any more behind a failed barrier or table write (I7); and a write that failed may
 * have left anything of itself. So what is there must be what a power cut may leave. */
static void judge_faults(struct play *p)
{
	bool poisoned = p->guest.disk->poisoned;

	met.poisoned += poisoned;
	bpull_engine_close(p->engine);
	p->completed = false; /* the last job may have failed behind it */
	judge_cut(p, &(struct sim_cut){ .mode = SIM_CUT_ALL_KEPT });
	judge_cut(p, &(struct sim_cut){ .mode = SIM_CUT_ALL_LOST });
}

/* ---- a play ---- */

static int tables_durable_early(struct layer *layer, bool with_last, struct table_need *need)
{
	return qcow2_tables_durable(layer, true, need);
}

static int tables_durable_undrained(struct layer *layer, bool with_last, struct table_need *need)
{
	int rc = qcow2_tables_durable(layer, true,
				      need); /* sooner: without cuts that shows nothing */

	qcow2_drained(layer);
	return rc;
}

static void plant(struct play *p)
{
	struct layer *overlay = disk_overlay(p->guest.disk);

	if (!p->planted || !overlay->ops->tables_durable)
		return;
	p->ops = *overlay->ops;
	p->ops.tables_durable =
		p->planted == PLANTED_EARLY ? tables_durable_early : tables_durable_undrained;
	overlay->ops = &p->ops;
}

static void open_disk(struct play *p)
{
	struct bpull_disk_options o = {
		.size = sizeof(o),
		.format = (enum bpull_format)p->chain->how.format,
		.backing_format = (enum bpull_format)p->chain->unnamed,
		.backing_rule = BPULL_BACKING_ANY,
		.flags = BPULL_DISK_GUEST_IO | (below(p, 2) ? BPULL_DISK_COPY_ON_READ : 0),
	};
	struct bpull_error error;
	int rc = engine_open_on(sim_io(p->sim), sim_opener(p->sim),
				below(p, 3) ? SIM_PULL_MEMORY : 8 * MiB, &p->engine);

	CHECK(p, !rc, "no engine");
	p->engine->commit_len = (1 + below(p, 40)) * 4096;
	if (p->seed % 4 == 1) /* so little that requests must wait for commits */
		p->engine->changed_len_limit = 8 * KiB;
	rc = bpull_disk_open(p->engine, SIM_CHAIN_TOP, &o, &p->guest.disk, &error);
	CHECK(p, !rc, "it does not open: %s", error.message);
	plant(p);
}

/* The whole disk, by the guest's own reads: what is judged by others afterwards. */
static void read_all(struct play *p, uint8_t *out)
{
	uint64_t part = 32 * p->chain->cluster_len;

	for (uint64_t at = 0; at < p->chain->guest_len; at += part) {
		uint64_t len = MIN(part, p->chain->guest_len - at);

		sim_guest_submit(&p->guest, &(struct sim_guest_request){ .kind = SIM_GUEST_READ,
									 .off = at,
									 .len = len,
									 .cuts = { len, len },
									 .out = out + at });
		for (unsigned i = 0; p->guest.n_in_flight; i++) {
			CHECK(p, i < MAX_CALLS, "it hangs");
			take_events(p);
		}
	}
}

static void judge_end(struct play *p, uint8_t *last)
{
	struct sim_chain after = *p->chain;
	struct sim_verdict v;
	bool ran;

	after.want = last;
	after.how.n_snapshots = 0;
	sim_pull_judge(&after, p->sim, &v);
	CHECK(p, v.ok, "at the end: %s", v.text);
	CHECK(p, !v.n_leaks, "%" PRIu64 " clusters leaked: %s", v.n_leaks, v.text);
	CHECK(p, p->closed_with_job || v.has_backing == !p->completed, "the link is %s",
	      v.has_backing ? "there" : "gone");
	CHECK(p, sim_chain_backing_is_same(p->chain, p->sim), "a backing file was changed");
	sim_pull_judge_snapshots(p->chain, p->sim, &v);
	CHECK(p, v.ok, "%s", v.text);
	if (p->seed % QEMU_EVERY == 0)
		sim_pull_judge_qemu(&after, p->sim, scratch_dir(), &v, &ran);
	CHECK(p, v.ok, "%s", v.text);
}

static uint64_t play(struct sim_chain *chain, uint64_t seed, const struct play *how)
{
	struct play p = { .cuts = how->cuts,
			  .faults = how->faults,
			  .planted = how->planted,
			  .seed = seed,
			  .chain = chain,
			  .sim = sim_new(seed),
			  .state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1 };
	uint8_t *last = sim_need(malloc(chain->guest_len));
	unsigned n_steps = 5 + (unsigned)below(&p, 60),
		 width = 1 + (unsigned)below(&p, SIM_GUEST_MAX);

	sim_chain_put(chain, p.sim);
	sim_knobs(p.sim)->short_permille = (unsigned)(seed % 3 * 150);
	sim_knobs(p.sim)->retry_permille = (unsigned)(seed % 5 * 20);
	sim_knobs(p.sim)->no_discard = seed % 11 == 0;
	sim_knobs(p.sim)->discard_fails_permille = seed % 4 == 2 ? 500 : 0;
	if (seed % 4 == 0) /* a few take very long */
		sim_knobs(p.sim)->max_delay_ns = UINT64_C(1) << (14 + seed / 4 % 14);
	model_begin(&p.guest.model, chain->want, chain->guest_len);
	open_disk(&p);
	for (unsigned i = 0; i < n_steps; i++) {
		if (p.guest.n_in_flight < width && below(&p, 4))
			start_request(&p);
		if (!below(&p, 4))
			steer_job(&p);
		if (below(&p, 3))
			take_events(&p);
		if (p.cuts && !below(&p, 3))
			cut_now(&p);
		if (p.faults && !below(&p, 12))
			break_something(&p);
		if (p.faults && !below(&p, 12))
			mend_everything(&p);
	}
	mend_everything(&p);
	if (p.job_runs && below(&p, 3)) {
		bpull_job_resume(p.guest.disk);
		run_until(&p, true);
	}
	run_until(&p, false);
	if (p.faults) {
		judge_faults(&p);
		goto over;
	}
	read_all(&p, last);
	p.closed_with_job = p.job_runs; /* it may be aborted, or win */
	bpull_engine_close(p.engine);
	judge_end(&p, last);
over:
	model_end(&p.guest.model);
	free(last);
	sim_free(p.sim);
	return p.n_states;
}

static void draw(struct sim_chain *chain, uint64_t seed)
{
	struct sim_chain_how how = { .seed = seed / 8 + 1, .n_clusters = 12 + seed / 8 % 40 };

	switch (seed / 8 % 8) {
	case 0:
		how.format = IMAGE_QED;
		how.cluster_bits = 12;
		break;
	case 1:
	case 2:
		how.format = IMAGE_QCOW2;
		how.version = 3;
		how.cluster_bits = 9 + seed / 64 % 3;
		how.n_snapshots = 1 + seed / 64 % 2;
		how.refcount_bits = 4u << seed / 64 % 3;
		break;
	case 3:
		how.format = IMAGE_QCOW2;
		how.version = 3;
		how.data_file = true;
		break;
	case 4:
		how.format = IMAGE_QCOW2;
		how.version = 2;
		break;
	case 5:
		how.format = IMAGE_QCOW2;
		how.full_block = true;
		break;
	case 6:
		how.format = IMAGE_QCOW2;
		how.compression = BPULL_COMPRESSION_OWN;
		break;
	default:
		how.format = IMAGE_QCOW2;
		how.version = 3;
		break;
	}
	how.to_base = how.format != IMAGE_QED && seed / 64 % 3 == 0;
	if (!how.cluster_bits)
		how.cluster_bits = 9 + seed / 64 % 4;
	sim_chain_draw(chain, &how);
}

/* Eight plays on each chain: drawing one costs as much as a play. */
static void play_seeds(uint64_t part, uint64_t n_parts, uint64_t n, const struct play *how)
{
	uint64_t n_states = 0;
	uint64_t first = sim_pull_env("MODEL_SEED", 0),
		 n_seeds = sim_pull_env("MODEL_SEEDS", n / SIM_PULL_SLOWDOWN);
	struct sim_chain chain;

	if (first) {
		n_seeds = part ? 0 : sim_pull_env("MODEL_SEEDS", 1);
	} else {
		first = 8 + part * (n_seeds / n_parts);
		n_seeds /= n_parts;
	}
	for (uint64_t seed = first; seed < first + n_seeds; seed++) {
		if (seed == first || seed % 8 == 0)
			draw(&chain, seed);
		n_states += play(&chain, seed, how);
		if (seed == first + n_seeds - 1 || seed % 8 == 7)
			sim_chain_free(&chain);
	}
	if (n_seeds < 1000)
		return;
	for (unsigned i = 0; i < SIM_GUEST_N_KINDS; i++)
		cr_assert_gt(met.requests[i], 100);
	cr_assert_gt(met.completed, 100);
	cr_assert_gt(met.canceled, 30);
	cr_assert_gt(met.guest_at_end, 30, "no layers were dropped under a guest");
	cr_assert_gt(met.aborted_with_guest, 30);
	fprintf(stderr,
		"seeds %" PRIu64 " to %" PRIu64 ": %" PRIu64 " pulls completed, %" PRIu64
		" canceled, %" PRIu64 " states after power cuts\n",
		first, first + n_seeds - 1, met.completed, met.canceled, n_states);
}

#define N_PLAYS     100000
#define N_PLAYS_CUT 10000

Test(model, guests_1)
{
	play_seeds(0, 2, N_PLAYS, &(struct play){ 0 });
}

Test(model, guests_2)
{
	play_seeds(1, 2, N_PLAYS, &(struct play){ 0 });
}

/* The same with the power gone at random moments. */
Test(model, cuts_1)
{
	play_seeds(0, 2, N_PLAYS_CUT, &(struct play){ .cuts = true });
}

Test(model, cuts_2)
{
	play_seeds(1, 2, N_PLAYS_CUT, &(struct play){ .cuts = true });
}

/* Reads, writes and barriers that fail, disks that are full. */
Test(model, faults)
{
	play_seeds(0, 1, N_PLAYS_CUT, &(struct play){ .faults = true });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	cr_assert_gt(met.failed, 100);
	cr_assert_gt(met.poisoned, 30);
	cr_assert_gt(met.stopped, 30);
	fprintf(stderr, "%" PRIu64 " requests failed, %" PRIu64 " disks were given up\n",
		met.failed, met.poisoned);
}

/* In a child, which ends at the first thing that is wrong. */
static void find_planted(enum planted planted, bool cuts)
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (!pid) {
		play_seeds(0, 2, 20000, &(struct play){ .cuts = cuts, .planted = planted });
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == PLANTED_FOUND,
		  "a planted bug was not found");
}

Test(model, space_reused_before_its_entries_are_durable_is_found) /* I5 */
{
	find_planted(PLANTED_EARLY, true);
}

Test(model, space_reused_under_reads_is_found) /* I5 */
{
	find_planted(PLANTED_UNDRAINED, false);
}
