/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See grow_trial.h. */
#include "tests/whole/chains/grow_trial.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "tests/machine/files/sim_private.h"

#define MAX_CALLS   100000
#define MAX_WAIT_MS 10000

static void pause_oom(const struct grow_trial *t)
{
	if (t->pause)
		t->pause();
}

static void resume_oom(const struct grow_trial *t)
{
	if (t->resume)
		t->resume();
}

/* ---- events ---- */

static void end_resize(struct grow_trial *t, int error)
{
	uint64_t len = t->grow_to;

	cr_assert(len, "%s: an event of no resize", t->what);
	cr_assert(!error || t->may_fail, "%s: a resize fails: %s", t->what, strerror(-error));
	t->grow_to = 0;
	t->n_failed += error != 0;
	t->n_grown += !error;
	if (!error)
		t->chain.guest_len = len;
	else if (t->guest.disk->poisoned)
		t->maybe_len = len;
	cr_assert(!t->maybe_len || error == -EIO || t->pause || sim_is_stopped(t->sim),
		  "%s: given up, and it says %s", t->what, strerror(-error));
	cr_assert_eq(bpull_disk_size(t->guest.disk), t->chain.guest_len, "%s: its size", t->what);
}

static void take_event(struct grow_trial *t, const struct bpull_event *event)
{
	if (event->type == BPULL_EVENT_IO && event->user_data == &t->grow_to) {
		end_resize(t, event->error);
	} else if (event->type == BPULL_EVENT_IO) {
		cr_assert(!event->error || t->may_fail, "%s: a request fails: %s", t->what,
			  strerror(-event->error));
		t->n_failed += event->error != 0;
		cr_assert(sim_guest_end(&t->guest, event), "%s: %s", t->what, t->guest.wrong);
	} else {
		t->job_runs = false;
		t->completed = event->status == BPULL_JOB_COMPLETED;
		t->n_failed += !t->completed;
		cr_assert(t->completed || t->may_fail, "%s: the pull: %s", t->what, event->message);
	}
}

static void run(struct grow_trial *t)
{
	for (unsigned i = 0; t->guest.n_in_flight || t->grow_to || t->job_runs; i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(t->engine), .events = POLLIN };
		struct bpull_event event;
		int n = bpull_engine_process(t->engine, &event, 1);

		cr_assert_geq(n, 0);
		if (n)
			take_event(t, &event);
		else
			cr_assert(i < MAX_CALLS && poll(&ready, 1, MAX_WAIT_MS) == 1,
				  "%s: it hangs", t->what);
	}
}

/* ---- the session ---- */

static void request(struct grow_trial *t, enum sim_guest_kind kind, uint64_t off, uint64_t len)
{
	struct sim_guest_request r = {
		.kind = kind,
		.off = off,
		.len = len,
		.cuts = { len / 3, len / 2 },
		.value = ++t->value,
	};

	pause_oom(t);
	sim_guest_submit(&t->guest, &r);
	resume_oom(t);
}

static void resize(struct grow_trial *t, uint64_t len)
{
	struct bpull_error error;
	int rc;

	if (t->forever)
		pause_oom(t);
	rc = bpull_disk_resize(t->guest.disk, len, &t->grow_to, &error);
	if (t->forever)
		resume_oom(t);
	cr_assert(!rc || (t->may_fail && error.message[0]), "%s: refused: %s", t->what,
		  error.message);
	t->grow_to = rc ? 0 : len;
	t->n_failed += rc != 0;
}

static void start_job(struct grow_trial *t)
{
	struct bpull_job_options o = { .size = sizeof(o), .base = sim_chain_base(&t->chain) };
	struct bpull_error error;
	int rc = bpull_job_start(t->guest.disk, &o, &error);

	cr_assert(!rc || t->may_fail, "%s: no pull: %s", t->what, error.message);
	t->job_runs = !rc;
	t->n_failed += rc != 0;
}

static void use_the_end(struct grow_trial *t, uint64_t old_len)
{
	request(t, SIM_GUEST_READ, old_len - 1000, t->chain.guest_len - old_len + 1000);
	request(t, SIM_GUEST_WRITE, t->chain.guest_len - 800, 700);
	run(t);
	request(t, SIM_GUEST_ZEROES, old_len - 200, 300);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	run(t);
}

static void session(struct grow_trial *t)
{
	const uint64_t old_len = t->chain.guest_len;

	request(t, SIM_GUEST_WRITE, old_len - 900, 300);
	resize(t, old_len + 512);
	request(t, SIM_GUEST_WRITE, old_len - 100, 100);
	request(t, SIM_GUEST_READ, old_len - 1000, 1000);
	run(t);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	request(t, SIM_GUEST_WRITE, t->chain.guest_len - 300, 300);
	run(t);
	resize(t, t->model_len);
	request(t, SIM_GUEST_WRITE, old_len / 2, 700);
	request(t, SIM_GUEST_FLUSH, 0, 0);
	run(t);
	if (!t->n_failed || !t->chain.how.to_base) /* else a commit may wait for its next try */
		use_the_end(t, old_len);
	start_job(t);
	request(t, SIM_GUEST_READ, 0, t->chain.guest_len);
	run(t);
}

static int open_disk(struct grow_trial *t)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = (enum bpull_format)t->chain.how.format,
					.backing_format = (enum bpull_format)t->chain.unnamed,
					.backing_rule = BPULL_BACKING_ANY,
					.flags = BPULL_DISK_GUEST_IO };
	struct io *io = sim_io(t->sim);
	struct file_opener *opener = sim_opener(t->sim);
	struct bpull_error error;
	int rc = engine_open_on(t->wrap_io ? t->wrap_io(io) : io,
				t->wrap_opener ? t->wrap_opener(opener) : opener, SIM_PULL_MEMORY,
				&t->engine);

	if (rc)
		return rc;
	rc = bpull_disk_open(t->engine, SIM_CHAIN_TOP, &o, &t->guest.disk, &error);
	cr_assert(!rc || t->may_fail, "%s: it does not open: %s", t->what, error.message);
	if (rc)
		bpull_engine_close(t->engine);
	return rc;
}

void grow_trial_begin(struct grow_trial *t, const struct sim_chain *chain, const uint8_t *first,
		      uint64_t len)
{
	t->chain = *chain;
	t->chain.guest_len = len;
	/* One L2 table more than the spare room of an L1 table is for, where those are small. */
	t->model_len =
		len + MIN(128 * KiB, UINT64_C(3) * chain->cluster_len / 8 * chain->cluster_len +
					     3 * chain->cluster_len);
	t->model_len = round_up(t->model_len, 512);
	t->first = sim_need(calloc(1, t->model_len));
	memcpy(t->first, first, len);
	model_begin(&t->guest.model, t->first, t->model_len);
}

int grow_trial_live(struct grow_trial *t)
{
	int rc = open_disk(t);

	if (rc)
		return rc;
	session(t);
	bpull_engine_close(t->engine);
	return 0;
}

void grow_trial_end(struct grow_trial *t)
{
	model_end(&t->guest.model);
	free(t->first);
}

/* ---- what is left ---- */

uint64_t grow_trial_judge(const struct grow_trial *t, struct sim *left, const char *when,
			  uint8_t *got)
{
	struct sim_chain now = t->chain;
	uint8_t *bytes = got ? got : sim_need(calloc(1, t->model_len));
	struct sim_verdict v;

	now.guest_len = sim_chain_disk_len(&t->chain, left);
	cr_assert(now.guest_len == t->chain.guest_len ||
			  (t->grow_to && now.guest_len == t->grow_to) ||
			  (t->maybe_len && now.guest_len == t->maybe_len),
		  "%s, %s: %" PRIu64 " bytes instead of %" PRIu64, t->what, when, now.guest_len,
		  t->chain.guest_len);
	sim_guest_judge_cut(&t->guest, &now, left, bytes, &v);
	cr_assert(v.ok, "%s, %s: %s", t->what, when, v.text);
	cr_assert(!t->completed || !v.has_backing, "%s, %s: COMPLETED, and there is a link",
		  t->what, when);
	if (!got)
		free(bytes);
	return now.guest_len;
}

void grow_trial_judge_cuts(const struct grow_trial *t, const char *when, uint64_t seed)
{
	static const struct sim_cut cuts[] = {
		{ .mode = SIM_CUT_ALL_LOST },   { .mode = SIM_CUT_ALL_KEPT },
		{ .mode = SIM_CUT_ONLY_FIRST }, { .mode = SIM_CUT_ONLY_LAST },
		{ .mode = SIM_CUT_ALL_BUT },    { .mode = SIM_CUT_RANDOM },
		{ .mode = SIM_CUT_RANDOM },
	};

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct sim_cut cut = cuts[i];
		struct sim *left;

		cut.seed = seed * ARRAY_LEN(cuts) + i;
		left = sim_cut(t->sim, &cut);
		grow_trial_judge(t, left, when, NULL);
		sim_free(left);
	}
}

void grow_trial_again(const struct grow_trial *t)
{
	struct grow_trial again = { .sim = t->sim };
	uint8_t *got = sim_need(calloc(1, t->model_len));
	uint64_t len = grow_trial_judge(t, t->sim, "afterwards", got);

	snprintf(again.what, sizeof(again.what), "again, %.140s", t->what);
	grow_trial_begin(&again, &t->chain, got, len);
	cr_assert_eq(grow_trial_live(&again), 0);
	cr_assert(again.n_grown == 2 && again.completed, "%s", again.what);
	grow_trial_judge(&again, t->sim, "at the end", NULL);
	grow_trial_end(&again);
	free(got);
}
