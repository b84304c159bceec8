/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See grow_trial.h. */
#include "tests/whole/chains/grow_trial.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/machine/files/sim_private.h"

/* ---- events ---- */

static void end_resize(struct grow_trial *t, int error)
{
	uint64_t len = t->grow_to;

	cr_assert(len, "%s: an event of no resize", t->base.what);
	cr_assert(!error || t->base.may_fail, "%s: a resize fails: %s", t->base.what,
		  strerror(-error));
	t->grow_to = 0;
	t->base.n_failed += error != 0;
	t->n_grown += !error;
	if (!error)
		t->chain.guest_len = len;
	else if (t->base.guest.disk->poisoned)
		t->maybe_len = len;
	cr_assert(!t->maybe_len || error == -EIO || t->base.pause || sim_is_stopped(t->base.sim),
		  "%s: given up, and it says %s", t->base.what, strerror(-error));
	cr_assert_eq(bpull_disk_size(t->base.guest.disk), t->chain.guest_len, "%s: its size",
		     t->base.what);
}

static void take_event(struct grow_trial *t, const struct bpull_event *event)
{
	if (event->type == BPULL_EVENT_IO && event->user_data == &t->grow_to)
		end_resize(t, event->error);
	else if (event->type == BPULL_EVENT_IO)
		trial_end_request(&t->base, event);
	else
		trial_end_job(&t->base, event);
}

static void run(struct grow_trial *t)
{
	while (t->base.guest.n_in_flight || t->grow_to || t->base.job_runs) {
		struct bpull_event event;

		trial_next(&t->base, &event);
		take_event(t, &event);
	}
}

/* ---- the session ---- */

static void request(struct grow_trial *t, enum sim_guest_kind kind, uint64_t off, uint64_t len)
{
	trial_request(&t->base, kind, off, len, NULL);
}

static void resize(struct grow_trial *t, uint64_t len)
{
	struct bpull_error error;
	int rc;

	if (t->base.forever)
		trial_pause(&t->base);
	rc = bpull_disk_resize(t->base.guest.disk, len, &t->grow_to, &error);
	if (t->base.forever)
		trial_resume(&t->base);
	cr_assert(!rc || (t->base.may_fail && error.message[0]), "%s: refused: %s", t->base.what,
		  error.message);
	t->grow_to = rc ? 0 : len;
	t->base.n_failed += rc != 0;
}

static void start_job(struct grow_trial *t)
{
	struct bpull_job_options o = { .size = sizeof(o), .base = sim_chain_base(&t->chain) };

	trial_start_job(&t->base, &o);
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
	if (!t->base.n_failed ||
	    !t->chain.how.to_base) /* else a commit may wait for its next try */
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

	return trial_open(&t->base, SIM_CHAIN_TOP, &o);
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
	model_begin(&t->base.guest.model, t->first, t->model_len);
}

int grow_trial_live(struct grow_trial *t)
{
	int rc = open_disk(t);

	if (rc)
		return rc;
	session(t);
	bpull_engine_close(t->base.engine);
	return 0;
}

void grow_trial_end(struct grow_trial *t)
{
	model_end(&t->base.guest.model);
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
		  "%s, %s: %" PRIu64 " bytes instead of %" PRIu64, t->base.what, when,
		  now.guest_len, t->chain.guest_len);
	sim_guest_judge_cut(&t->base.guest, &now, left, bytes, &v);
	if (v.ok)
		sim_pull_judge_snapshots(&t->chain, left, &v);
	cr_assert(v.ok, "%s, %s: %s", t->base.what, when, v.text);
	cr_assert(!t->base.completed || !v.has_backing, "%s, %s: COMPLETED, and there is a link",
		  t->base.what, when);
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
		left = sim_cut(t->base.sim, &cut);
		grow_trial_judge(t, left, when, NULL);
		sim_free(left);
	}
}

void grow_trial_again(const struct grow_trial *t)
{
	struct grow_trial again = { .base.sim = t->base.sim };
	uint8_t *got = sim_need(calloc(1, t->model_len));
	uint64_t len = grow_trial_judge(t, t->base.sim, "afterwards", got);

	snprintf(again.base.what, sizeof(again.base.what), "again, %.140s", t->base.what);
	grow_trial_begin(&again, &t->chain, got, len);
	cr_assert_eq(grow_trial_live(&again), 0);
	cr_assert(again.n_grown == 2 && again.base.completed, "%s", again.base.what);
	grow_trial_judge(&again, t->base.sim, "at the end", NULL);
	grow_trial_end(&again);
	free(got);
}
