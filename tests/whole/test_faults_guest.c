/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every call of a guest's little session, failing: the n-th of its kind for
 * every n. The session is fixed, and so is the machine's seed, so n counts the
 * same calls each time: requests of every kind, a few side by side, with a pull
 * or with copy-on-read beside them. Each time:
 *
 * - Who fails was in flight, with the right code; what can be tried again is,
 *   and nobody hears of it; what comes later succeeds, unless
 * - a barrier or a table write failed (I7): then nothing is written any more,
 *   and every later write, discard and flush says so, while reads go on.
 * - What is left opens, checks, reads as the model says, keeps its snapshots,
 *   also after a power cut on top of it.
 * - The same session on it, without a failure, succeeds; the pull completes;
 *   the image is clean.
 *
 * Random failures under random guests are test_model.c's; they never know which
 * call they left out.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "engine/commit/state.h"
#include "io/base.h"
#include "tests/support/leaks.h"
#include "tests/machine/sim_guest.h"
#include "tests/support/time_limit.h"

#define MAX_NTH   5000 /* more calls than a session makes */
#define MAX_CALLS 100000
#define UNITS     192

TIME_LIMIT(900);
TestSuite(faults_guest, .timeout = TIME_LIMIT_CLOCK(900));

/* Small disks: what takes its time is to judge each byte. */
static const struct sim_chain_how chains[] = {
	{ .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 9,
	  .n_clusters = 24,
	  .max_depth = 2 },
	{ .format = IMAGE_QED, .cluster_bits = 12, .n_clusters = 12, .max_depth = 2 },
	/* Below it are compressed clusters. */
	{ .format = IMAGE_QCOW2,
	  .version = 2,
	  .cluster_bits = 12,
	  .n_clusters = 12,
	  .max_depth = 3 },
	{ .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 10,
	  .refcount_bits = 16,
	  .n_clusters = 24,
	  .max_depth = 2,
	  .n_snapshots = 2 },
	{ .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 14,
	  .refcount_bits = 16,
	  .n_clusters = 6,
	  .max_depth = 1,
	  .extended = true },
	{ .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 9,
	  .n_clusters = 24,
	  .max_depth = 1,
	  .data_file = true },
	{ .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 9,
	  .refcount_bits = 64,
	  .n_clusters = 24,
	  .max_depth = 1,
	  .full_table = true },
	{ .format = IMAGE_QCOW2,
	  .version = 3,
	  .cluster_bits = 10,
	  .refcount_bits = 16,
	  .n_clusters = 24,
	  .max_depth = 2,
	  .compression = BPULL_COMPRESSION_OWN },
};

/* ---- the session ---- */

struct request_plan {
	enum sim_guest_kind kind;
	unsigned at, n;  /* eighths of a cluster */
	unsigned skew;   /* bytes it begins later and ends earlier */
	uint32_t flags;  /* enum bpull_io_flags */
	bool ends_group; /* what was submitted so far ends before the next */
};

#define TOGETHER false
#define END      true

static const struct request_plan session[] = {
	{ SIM_GUEST_READ, 0, 40, 0, 0, TOGETHER },
	{ SIM_GUEST_READ, 100, 20, 7, 0, TOGETHER },
	{ SIM_GUEST_WRITE, 12, 3, 5, 0, TOGETHER },
	{ SIM_GUEST_STATUS, 0, 160, 0, 0, END },

	{ SIM_GUEST_WRITE, 40, 24, 0, 0, TOGETHER },
	{ SIM_GUEST_WRITE, 76, 10, 0, 0, TOGETHER },
	{ SIM_GUEST_WRITE, 120, 8, 0, BPULL_IO_FUA, TOGETHER },
	{ SIM_GUEST_READ, 60, 40, 1, 0, END },

	{ SIM_GUEST_FLUSH, 0, 0, 0, 0, TOGETHER },
	{ SIM_GUEST_WRITE, 44, 2, 0, 0, TOGETHER },
	{ SIM_GUEST_READ, 0, 100, 0, 0, END },

	{ SIM_GUEST_ZEROES, 48, 20, 0, BPULL_IO_UNMAP, TOGETHER },
	{ SIM_GUEST_ZEROES, 90, 7, 3, 0, TOGETHER },
	{ SIM_GUEST_DISCARD, 120, 16, 0, 0, TOGETHER },
	{ SIM_GUEST_READ, 8, 64, 0, 0, END },

	{ SIM_GUEST_FLUSH, 0, 0, 0, 0, END },

	{ SIM_GUEST_WRITE, 40, 50, 0, 0, TOGETHER }, /* into space let go */
	{ SIM_GUEST_READ, 30, 80, 2, 0, TOGETHER },
	{ SIM_GUEST_FLUSH, 0, 0, 0, 0, END },

	{ SIM_GUEST_WRITE, 128, 33, 1, 0, TOGETHER },
	{ SIM_GUEST_WRITE, 14, 1, 0, BPULL_IO_FUA, TOGETHER },
	{ SIM_GUEST_DISCARD, 44, 8, 0, 0, END },

	{ SIM_GUEST_FLUSH, 0, 0, 0, 0, END },
	{ SIM_GUEST_WRITE, 60, 16, 0, 0, END },
	{ SIM_GUEST_FLUSH, 0, 0, 0, 0, TOGETHER },
	{ SIM_GUEST_FLUSH, 0, 0, 0, 0, END },
	{ SIM_GUEST_READ, 0, 160, 0, 0, END },
};

/* ---- one trial ---- */

struct trial {
	const struct sim_chain *chain;
	struct sim *sim;
	struct sim_fault fault;
	bool with_job; /* else with copy-on-read */
	struct bpull_engine *engine;
	struct sim_guest guest;
	/* When the requests in flight were submitted. */
	bool was_hit, was_poisoned, was_stalled, was_committing;
	bool job_runs, completed;
	unsigned n_failed;     /* requests and jobs */
	uint64_t n_writes_max; /* once it is poisoned: those that were under way then; else 0 */
	bool is_again;         /* nothing may fail */
	char what[200];
};

static struct {
	uint64_t runs, failed, poisoned, completed, canceled_opens;
} met;

static bool is_no_space(int error)
{
	return error == -ENOSPC || error == -EDQUOT;
}

/* Tried again until it works: nobody hears of it. */
static bool passes(const struct sim_fault *f)
{
	return !f->error || ((f->error == -EINTR || f->error == -EAGAIN) && !f->persists);
}

/* What a call that met the fault says; one that never passes has been given up. */
static int code_of(const struct sim_fault *f)
{
	return f->persists ? -EIO : f->error;
}

static bool may_fail_with(const struct trial *t, int error)
{
	if (t->is_again || !sim_n_faults_hit(t->sim) || passes(&t->fault))
		return false;
	/* Without the words for it in the request's own answer: stalled commits
	 * (engine/commit/commit.c). */
	return error == code_of(&t->fault) || (error == -ENOSPC && is_no_space(t->fault.error)) ||
	       (error == -EIO && t->guest.disk->poisoned);
}

static bool only_reads(const struct sim_guest_request *r)
{
	return r->kind == SIM_GUEST_READ || r->kind == SIM_GUEST_STATUS;
}

static void judge_error(struct trial *t, const struct sim_guest_request *r, int error)
{
	bool once = !t->fault.forever && !t->fault.persists; /* else it goes on failing */

	if (t->was_poisoned && !only_reads(r)) {
		cr_assert_eq(error, -EIO, "%s: after it was given up, request %d ends with %s",
			     t->what, (int)r->kind, strerror(-error));
		return;
	}
	if (!error)
		return;
	t->n_failed++;
	cr_assert(may_fail_with(t, error), "%s: request %d fails: %s", t->what, (int)r->kind,
		  strerror(-error));
	cr_assert(!only_reads(r) || t->fault.op == SIM_READ || t->fault.op == SIM_WORK,
		  "%s: a read fails: %s", t->what, strerror(-error));
	/* Later ones fail while a commit waits for the space that a flush will find, or when it
	 * begins to wait, or the disk is given up, meanwhile: the table write that failed was one
	 * of several. */
	if (!once || !t->was_hit || t->guest.disk->poisoned || t->was_committing ||
	    (t->was_stalled && r->kind != SIM_GUEST_FLUSH))
		return;
	cr_assert_fail("%s: request %d fails long after: %s", t->what, (int)r->kind,
		       strerror(-error));
}

static void take_job_event(struct trial *t, const struct bpull_event *event)
{
	cr_assert_eq(event->type, BPULL_EVENT_JOB, "%s", t->what);
	t->job_runs = false;
	t->completed = event->status == BPULL_JOB_COMPLETED;
	if (t->completed)
		return;
	t->n_failed++;
	cr_assert_eq(event->status, BPULL_JOB_FAILED, "%s", t->what);
	cr_assert(may_fail_with(t, event->error), "%s: the job fails: %s (%s)", t->what,
		  strerror(-event->error), event->message);
	cr_assert(event->message[0], "%s: the job says nothing", t->what);
}

/* I7: nothing new is written. */
static void watch_poisoned(struct trial *t)
{
	uint64_t n = sim_n_ops(t->sim, SIM_WRITE);

	if (!t->guest.disk->poisoned)
		return;
	if (!t->n_writes_max)
		t->n_writes_max = n + sim_n_begun_later(t->sim, SIM_WRITE);
	cr_assert_leq(n, t->n_writes_max, "%s: written to after it was given up", t->what);
}

static void run_until_idle(struct trial *t, bool job_too)
{
	for (unsigned i = 0; t->guest.n_in_flight || (job_too && t->job_runs); i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(t->engine), .events = POLLIN };
		struct bpull_event event;
		int n;

		cr_assert(i < MAX_CALLS && poll(&ready, 1, 10000) == 1, "%s: it hangs", t->what);
		n = bpull_engine_process(t->engine, &event, 1);
		cr_assert_geq(n, 0);
		watch_poisoned(t);
		if (n && event.type == BPULL_EVENT_IO) {
			judge_error(t, event.user_data, event.error);
			cr_assert(sim_guest_end(&t->guest, &event), "%s: %s", t->what,
				  t->guest.wrong);
		} else if (n) {
			take_job_event(t, &event);
		}
	}
}

static void submit(struct trial *t, const struct request_plan *s, uint8_t value)
{
	uint64_t unit = (uint64_t)t->chain->cluster_len * t->chain->how.n_clusters / UNITS,
		 len = s->n * unit - 2 * s->skew;
	struct sim_guest_request r = {
		.kind = s->kind,
		.off = s->at * unit + s->skew,
		.len = len,
		.flags = s->flags,
		.cuts = { len / 3, len / 2 },
		.value = value,
	};

	sim_guest_submit(&t->guest, &r);
}

static void run_session(struct trial *t)
{
	struct bpull_disk *disk = t->guest.disk;
	uint8_t value = t->is_again ? 0x80 : 1;

	for (size_t i = 0; i < ARRAY_LEN(session); i++) {
		bool begins = !i || session[i - 1].ends_group;

		if (begins) {
			t->was_hit = sim_n_faults_hit(t->sim);
			t->was_poisoned = disk->poisoned;
			t->was_stalled = commit_is_stalled(disk);
			t->was_committing = commit_is_running(disk) && !t->was_stalled;
		}
		submit(t, &session[i], value++);
		if (session[i].ends_group)
			run_until_idle(t, false);
	}
	run_until_idle(t, true);
}

/* 0, or why there is none. */
static int open_disk(struct trial *t)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = (enum bpull_format)t->chain->how.format,
					.backing_format = (enum bpull_format)t->chain->unnamed,
					.backing_rule = BPULL_BACKING_ANY,
					.flags = BPULL_DISK_GUEST_IO |
						 (t->with_job ? 0 : BPULL_DISK_COPY_ON_READ) };
	struct bpull_error error;
	int rc = engine_open_on(sim_io(t->sim), sim_opener(t->sim), SIM_PULL_MEMORY, &t->engine);

	cr_assert_eq(rc, 0);
	t->engine->commit_len = 4 * t->chain->cluster_len;
	rc = bpull_disk_open(t->engine, SIM_CHAIN_TOP, &o, &t->guest.disk, &error);
	if (rc) {
		cr_assert(error.message[0]);
		bpull_engine_close(t->engine);
	}
	return rc;
}

static int start_job(struct trial *t)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .guest_share = 100, /* it never waits for the clock */
				       .compression = t->chain->how.compression };
	struct bpull_error error;
	int rc = bpull_job_start(t->guest.disk, &o, &error);

	t->job_runs = !rc;
	return rc;
}

/* I7: a poisoned disk takes no job either. */
static void judge_poisoned(struct trial *t)
{
	int rc;

	if (!t->guest.disk->poisoned)
		return;
	met.poisoned++;
	rc = start_job(t);
	cr_assert_eq(rc, code_of(&t->fault), "%s: a job on it: %s", t->what, strerror(-rc));
}

/* Opens, runs, closes. Sets *is_exact: all that was written must be there. 0, or why it did not
 * open. */
static int live(struct trial *t, bool *is_exact)
{
	uint64_t n_hits;
	int rc = open_disk(t);

	*is_exact = false;
	if (rc)
		return rc;
	n_hits = sim_n_faults_hit(t->sim);
	rc = t->with_job ? start_job(t) : 0;
	if (rc) {
		t->n_failed++;
		cr_assert(may_fail_with(t, rc), "%s: no job: %s", t->what, strerror(-rc));
	}
	run_session(t);
	if (t->fault.op == SIM_SYNC && sim_n_faults_hit(t->sim) > n_hits && !passes(&t->fault))
		cr_assert(t->guest.disk->poisoned || t->n_failed,
			  "%s: nobody heard of a failed barrier", t->what);
	/* Space may come back: with it the guest goes on. (A link that can't be dropped ends
	 * it.) */
	if (t->fault.op == SIM_WRITE && is_no_space(t->fault.error) && !t->with_job)
		cr_assert(!t->guest.disk->poisoned, "%s: it was given up", t->what);
	judge_poisoned(t);
	*is_exact = !t->guest.disk->poisoned;
	n_hits = sim_n_faults_hit(t->sim);
	bpull_engine_close(t->engine);
	*is_exact &= sim_n_faults_hit(t->sim) == n_hits || passes(&t->fault);
	return 0;
}

/* ---- what is left ---- */

static void judge_left(const struct trial *t, struct sim *left, const char *when, uint8_t *got)
{
	struct sim_verdict v;

	sim_guest_judge_cut(&t->guest, t->chain, left, got, &v);
	cr_assert(v.ok, "%s, %s: %s", t->what, when, v.text);
	cr_assert(!t->completed || !v.has_backing, "%s, %s: COMPLETED, and the link is there",
		  t->what, when);
}

/* got: the disk that is left. */
static void judge_cut(const struct trial *t, enum sim_cut_mode mode, const char *when, uint8_t *got)
{
	struct sim_cut how = { .mode = mode, .seed = t->fault.nth };
	struct sim *left = sim_cut(t->sim, &how);

	judge_left(t, left, when, got);
	sim_free(left);
}

/* got: the disk, for the second life. */
static void judge_first_life(struct trial *t, bool is_exact, uint8_t *got)
{
	sim_clear_faults(t->sim);
	judge_cut(t, SIM_CUT_ALL_LOST, "then a power cut", got);
	if (!is_exact)
		judge_cut(t, SIM_CUT_RANDOM, "then a random power cut", got);
	judge_cut(t, SIM_CUT_NONE, "afterwards", got);
	for (uint64_t i = 0; is_exact && i < t->chain->guest_len; i++)
		cr_assert(model_is_legal(&t->guest.model, i, got[i]),
			  "%s, afterwards: byte %" PRIu64 " is %#x", t->what, i, got[i]);
}

static void live_again(struct trial *t, const uint8_t *first)
{
	struct trial again = { .chain = t->chain,
			       .sim = t->sim,
			       .fault = t->fault,
			       .with_job = true,
			       .is_again = true };
	uint8_t *got = malloc(t->chain->guest_len);
	struct sim_verdict v;
	struct sim *now;
	bool is_exact;
	int rc;

	snprintf(again.what, sizeof(again.what), "again, %.190s", t->what);
	model_begin(&again.guest.model, first, t->chain->guest_len);
	rc = live(&again, &is_exact);
	cr_assert_eq(rc, 0, "%s: it does not open: %s", again.what, strerror(-rc));
	cr_assert(again.completed && is_exact, "%s: not COMPLETED", again.what);
	now = sim_cut(t->sim, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	sim_guest_judge_cut(&again.guest, t->chain, now, got, &v);
	cr_assert(v.ok && !v.n_leaks && !v.has_backing, "%s: %" PRIu64 " leaks: %s", again.what,
		  v.n_leaks, v.text);
	sim_free(now);
	for (uint64_t i = 0; i < t->chain->guest_len; i++)
		cr_assert(model_is_legal(&again.guest.model, i, got[i]),
			  "%s: byte %" PRIu64 " is %#x", again.what, i, got[i]);
	cr_assert(sim_chain_backing_is_same(t->chain, t->sim), "%s: a backing file was changed",
		  again.what);
	model_end(&again.guest.model);
	free(got);
}

static void describe(struct trial *t)
{
	static const char *const ops[] = {
		"read", "write", "sync", "truncate", "writeback", "work"
	};
	const struct sim_fault *f = &t->fault;

	snprintf(t->what, sizeof(t->what), "chain %" PRIu64 "%s: %s number %" PRIu64 ": %s, %s",
		 t->chain->how.seed, t->with_job ? ", pulled" : "", ops[f->op], f->nth,
		 f->error ? strerror(-f->error) : "short",
		 f->persists  ? "it never passes"
		 : f->forever ? "for ever"
			      : "once");
}

/* False: the fault was never met. */
static bool try_fault(const struct sim_chain *chain, const struct sim_fault *fault, bool with_job)
{
	struct trial t = { .chain = chain,
			   .fault = *fault,
			   .with_job = with_job,
			   .sim = sim_new(chain->how.seed) };
	uint8_t *left = malloc(chain->guest_len);
	bool hit, is_exact;
	int rc;

	describe(&t);
	sim_chain_put(chain, t.sim);
	model_begin(&t.guest.model, chain->want, chain->guest_len);
	sim_fail(t.sim, fault);
	rc = live(&t, &is_exact);
	hit = sim_n_faults_hit(t.sim);
	cr_assert(!rc || (hit && !passes(fault) && rc == code_of(fault)),
		  "%s: it does not open: %s", t.what, strerror(-rc));
	met.runs++;
	met.failed += t.n_failed;
	met.completed += t.completed;
	met.canceled_opens += rc != 0;
	judge_first_life(&t, is_exact, left);
	live_again(&t, left);
	model_end(&t.guest.model);
	free(left);
	sim_free(t.sim);
	return hit;
}

static void try_all(enum sim_op op, const struct sim_fault *faults, size_t n_faults)
{
	for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
		struct sim_chain_how how = chains[i];
		struct sim_chain chain;

		how.seed = i + 1;
		sim_chain_draw(&chain, &how);
		for (size_t k = 0; k < 2 * n_faults; k++) {
			struct sim_fault fault = faults[k / 2];

			fault.op = op;
			for (fault.nth = 1; fault.nth < MAX_NTH; fault.nth++)
				if (!try_fault(&chain, &fault, k % 2))
					break;
			cr_assert_lt(fault.nth, MAX_NTH);
			cr_assert(fault.nth > 1 || op == SIM_WORK, "nothing failed");
		}
		sim_chain_free(&chain);
		leaks_assert_none("a failing call");
	}
	fprintf(stderr,
		"operation %d: %" PRIu64 " sessions, %" PRIu64 " requests and jobs failed, %" PRIu64
		" disks given up, %" PRIu64 " pulls completed\n",
		(int)op, met.runs, met.failed, met.poisoned, met.completed);
}

#define TRY_ALL(op, ...)                                                   \
	do {                                                               \
		static const struct sim_fault faults_[] = { __VA_ARGS__ }; \
		try_all(op, faults_, ARRAY_LEN(faults_));                  \
	} while (0)

Test(faults_guest, a_failed_read_fails_only_requests_in_flight)
{
	TRY_ALL(SIM_READ, { .error = -EIO }, { .error = -EIO, .forever = true });
	cr_assert_gt(met.failed, 1000);
	cr_assert_gt(met.completed, 200);
}

Test(faults_guest, a_read_that_can_be_repeated_is_not_reported)
{
	TRY_ALL(SIM_READ, { .error = -EINTR }, { .error = -EAGAIN, .forever = true },
		{ .max_len = 1 }, { .max_len = 511, .forever = true });
	cr_assert_eq(met.failed, 0);
}

Test(faults_guest, a_failed_write_fails_only_requests_in_flight)
{
	TRY_ALL(SIM_WRITE, { .error = -EIO }, { .error = -EIO, .forever = true },
		{ .error = -EAGAIN, .persists = true });
	cr_assert_gt(met.failed, 1000);
	cr_assert_gt(met.poisoned, 500);
	cr_assert_gt(met.completed, 300);
}

Test(faults_guest, a_write_without_space_gives_no_disk_up)
{
	TRY_ALL(SIM_WRITE, { .error = -ENOSPC }, { .error = -ENOSPC, .forever = true },
		{ .error = -EDQUOT }, { .error = -EDQUOT, .forever = true });
	cr_assert_gt(met.failed, 1000);
	cr_assert_gt(met.completed, 300);
}

Test(faults_guest, a_write_that_can_be_repeated_is_not_reported)
{
	TRY_ALL(SIM_WRITE, { .error = -EINTR, .forever = true }, { .error = -EAGAIN },
		{ .max_len = 1, .forever = true }, { .max_len = 511 });
	cr_assert_eq(met.failed, 0);
}

Test(faults_guest, a_failed_barrier_gives_the_disk_up)
{
	TRY_ALL(SIM_SYNC, { .error = -EIO }, { .error = -EIO, .forever = true },
		{ .error = -ENOSPC }, { .error = -EDQUOT, .forever = true },
		{ .error = -EINTR, .persists = true });
	cr_assert_gt(met.poisoned, 300);
}

Test(faults_guest, a_barrier_that_can_be_repeated_is_not_reported)
{
	TRY_ALL(SIM_SYNC, { .error = -EINTR }, { .error = -EAGAIN, .forever = true });
	cr_assert_eq(met.failed, 0);
}

/* What workers do: decoding, and what comes before the first write. */
Test(faults_guest, failed_work_fails_only_requests_in_flight)
{
	TRY_ALL(SIM_WORK, { .error = -EIO }, { .error = -ENOMEM, .forever = true });
	cr_assert_gt(met.failed, 50);
}
