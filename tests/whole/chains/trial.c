/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See trial.h. */
#include "tests/whole/chains/trial.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "engine/api/engine.h"
#include "tests/machine/files/sim.h"

#define MAX_CALLS   100000
#define MAX_WAIT_MS 10000

void trial_pause(const struct trial *t)
{
	if (t->pause)
		t->pause();
}

void trial_resume(const struct trial *t)
{
	if (t->resume)
		t->resume();
}

int trial_open(struct trial *t, const char *name, const struct bpull_disk_options *options)
{
	struct io *io = sim_io(t->sim);
	struct file_opener *opener = sim_opener(t->sim);
	struct bpull_error error;
	int rc = engine_open_on(t->wrap_io ? t->wrap_io(io) : io,
				t->wrap_opener ? t->wrap_opener(opener) : opener, SIM_PULL_MEMORY,
				&t->engine);

	if (rc)
		return rc;
	rc = bpull_disk_open(t->engine, name, options, &t->guest.disk, &error);
	cr_assert(!rc || t->may_fail, "%s: it does not open: %s", t->what, error.message);
	if (rc)
		bpull_engine_close(t->engine);
	return rc;
}

int trial_process(struct trial *t, struct bpull_event *event)
{
	if (t->look && t->job_runs)
		t->look(t);
	return bpull_engine_process(t->engine, event, 1);
}

void trial_next(struct trial *t, struct bpull_event *event)
{
	struct pollfd ready = { .fd = bpull_engine_fd(t->engine), .events = POLLIN };

	for (unsigned i = 0;; i++) {
		int n = trial_process(t, event);

		cr_assert_geq(n, 0);
		if (n)
			return;
		cr_assert(i < MAX_CALLS && poll(&ready, 1, MAX_WAIT_MS) == 1, "%s: it hangs",
			  t->what);
	}
}

void trial_end_request(struct trial *t, const struct bpull_event *event)
{
	cr_assert(!event->error || t->may_fail, "%s: a request fails: %s", t->what,
		  strerror(-event->error));
	t->n_failed += event->error != 0;
	cr_assert(sim_guest_end(&t->guest, event), "%s: %s", t->what, t->guest.wrong);
}

void trial_end_job(struct trial *t, const struct bpull_event *event)
{
	t->job_runs = false;
	t->end_error = event->error;
	snprintf(t->end_message, sizeof(t->end_message), "%s", event->message);
	t->end_info.size = sizeof(t->end_info);
	bpull_job_get_info(t->guest.disk, &t->end_info);
	t->completed = event->status == BPULL_JOB_COMPLETED;
	t->n_failed += !t->completed;
	cr_assert(t->completed || t->may_fail, "%s: the job: %s", t->what, event->message);
}

void trial_request(struct trial *t, enum sim_guest_kind kind, uint64_t off, uint64_t len,
		   uint8_t *out)
{
	struct sim_guest_request r = {
		.kind = kind,
		.off = off,
		.len = len,
		.cuts = { len / 3, len / 2 },
		.value = ++t->value,
		.out = out,
	};

	trial_pause(t);
	sim_guest_submit(&t->guest, &r);
	trial_resume(t);
}

void trial_start_job(struct trial *t, const struct bpull_job_options *options)
{
	struct bpull_error error;
	int rc = bpull_job_start(t->guest.disk, options, &error);

	cr_assert(!rc || t->may_fail, "%s: no job: %s", t->what, error.message);
	t->job_runs = !rc;
	t->n_failed += rc != 0;
}
