/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See guest_trial.h. */
#include "tests/whole/guest_trial.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>

#include "engine/api/engine.h"
#include "engine/commit/state.h"
#include "io/base.h"

#define MAX_CALLS 100000
#define UNITS     192

struct guest_trial_met guest_trial_met;

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

static bool is_no_space(int error)
{
	return error == -ENOSPC || error == -EDQUOT;
}

bool guest_trial_passes(const struct sim_fault *f)
{
	return !f->error || ((f->error == -EINTR || f->error == -EAGAIN) && !f->persists);
}

int guest_trial_code(const struct sim_fault *f)
{
	return f->persists ? -EIO : f->error;
}

static bool may_fail_with(const struct guest_trial *t, int error)
{
	if (t->is_again || !sim_n_faults_hit(t->sim) || guest_trial_passes(&t->fault))
		return false;
	/* Without the words for it in the request's own answer: stalled commits
	 * (engine/commit/commit.c). */
	return error == guest_trial_code(&t->fault) ||
	       (error == -ENOSPC && is_no_space(t->fault.error)) ||
	       (error == -EIO && t->guest.disk->poisoned);
}

static bool only_reads(const struct sim_guest_request *r)
{
	return r->kind == SIM_GUEST_READ || r->kind == SIM_GUEST_STATUS;
}

static void judge_error(struct guest_trial *t, const struct sim_guest_request *r, int error)
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

static void take_job_event(struct guest_trial *t, const struct bpull_event *event)
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
static void watch_poisoned(struct guest_trial *t)
{
	uint64_t n = sim_n_ops(t->sim, SIM_WRITE);

	if (!t->guest.disk->poisoned)
		return;
	if (!t->n_writes_max)
		t->n_writes_max = n + sim_n_begun_later(t->sim, SIM_WRITE);
	cr_assert_leq(n, t->n_writes_max, "%s: written to after it was given up", t->what);
}

static void run_until_idle(struct guest_trial *t, bool job_too)
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

static void submit(struct guest_trial *t, const struct request_plan *s, uint8_t value)
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

static void run_session(struct guest_trial *t)
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
static int open_disk(struct guest_trial *t)
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
	t->engine->budget.commit_len = 4 * t->chain->cluster_len;
	rc = bpull_disk_open(t->engine, SIM_CHAIN_TOP, &o, &t->guest.disk, &error);
	if (rc) {
		cr_assert(error.message[0]);
		bpull_engine_close(t->engine);
	}
	return rc;
}

static int start_job(struct guest_trial *t)
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
static void judge_poisoned(struct guest_trial *t)
{
	int rc;

	if (!t->guest.disk->poisoned)
		return;
	guest_trial_met.poisoned++;
	rc = start_job(t);
	cr_assert_eq(rc, guest_trial_code(&t->fault), "%s: a job on it: %s", t->what,
		     strerror(-rc));
}

int guest_trial_live(struct guest_trial *t, bool *is_exact)
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
	if (t->fault.op == SIM_SYNC && sim_n_faults_hit(t->sim) > n_hits &&
	    !guest_trial_passes(&t->fault))
		cr_assert(t->guest.disk->poisoned || t->n_failed,
			  "%s: a failed barrier was not reported", t->what);
	/* Space may come back: with it the guest goes on. (A link that can't be dropped ends
	 * it.) */
	if (t->fault.op == SIM_WRITE && is_no_space(t->fault.error) && !t->with_job)
		cr_assert(!t->guest.disk->poisoned, "%s: it was given up", t->what);
	judge_poisoned(t);
	*is_exact = !t->guest.disk->poisoned;
	n_hits = sim_n_faults_hit(t->sim);
	bpull_engine_close(t->engine);
	*is_exact &= sim_n_faults_hit(t->sim) == n_hits || guest_trial_passes(&t->fault);
	return 0;
}
