/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See snap_trial.h: the disk, its events, and its snapshots. */
#include "tests/whole/chains/snap_trial.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "tests/machine/files/sim_private.h"
#include "tests/whole/chains/snap_private.h"

static unsigned count_files(const struct sim *sim)
{
	unsigned n = 0;

	for (const struct sim_file *file = sim->files; file; file = file->next)
		n += !file->is_removed;
	return n;
}

/* ---- events ---- */

void snap_take_event(struct snap_trial *t, const struct bpull_event *event)
{
	if (event->type == BPULL_EVENT_IO) {
		trial_end_request(&t->base, event);
	} else if (event->type == BPULL_EVENT_JOB && event->status != BPULL_JOB_READY) {
		trial_end_job(&t->base, event);
		t->job.is_stale = t->base.completed && event->message[0];
		cr_assert(!t->job.is_stale || t->base.may_fail, "%s: %s", t->base.what,
			  event->message);
	}
}

void snap_run(struct snap_trial *t)
{
	while (t->base.guest.n_in_flight || t->base.job_runs) {
		struct bpull_event event;

		trial_next(&t->base, &event);
		snap_take_event(t, &event);
	}
}

/* ---- snapshots ---- */

/* What was over is durable, and the images below hold what the disk reads now. */
static void note_taken(struct snap_trial *t, unsigned n)
{
	unsigned n_failed = t->base.n_failed;
	struct model_flush flush;
	uint8_t *held;

	snap_run(t); /* events of requests that ended before it */
	trial_pause(&t->base);
	model_flush_begin(&t->base.guest.model, &flush);
	model_flush_end(&t->base.guest.model, &flush);
	trial_resume(&t->base);
	trial_pause(&t->base);
	held = sim_need(malloc(snap_disk_len(t)));
	trial_resume(&t->base);
	trial_request(&t->base, SIM_GUEST_READ, 0, snap_disk_len(t), held);
	for (unsigned i = 0; i < n; i++)
		t->heads[t->n_taken + i].is_exact = !n_failed;
	snap_run(t);
	trial_pause(&t->base);
	for (unsigned i = 0; i < n && t->base.n_failed == n_failed; i++) {
		uint8_t *copy = sim_need(malloc(snap_disk_len(t)));

		memcpy(copy, held, snap_disk_len(t));
		t->heads[t->n_taken + i].held = copy;
	}
	trial_resume(&t->base);
	free(held);
	t->n_taken += n;
	t->n_files += n;
}

static void note_refused(struct snap_trial *t, const char *name, const struct bpull_error *error)
{
	cr_assert(t->base.may_fail || (t->base.job_runs && error->code == -EBUSY),
		  "%s: no snapshot: %s", t->base.what, error->message);
	cr_assert(error->message[0], "%s: no sentence", t->base.what);
	t->base.n_failed += error->code != -EBUSY;
	if (sim_is_stopped(t->base.sim))
		return;
	if (!t->may_leave)
		cr_assert_eq(count_files(t->base.sim), t->n_files,
			     "%s: '%s' was left, or its beginning", t->base.what, name);
	t->n_files = count_files(t->base.sim);
}

/* As wide as those of the image where that is so for the sake of new blocks. */
static uint32_t refcount_bits_of(const struct snap_trial *t, enum image_format format)
{
	return format == IMAGE_QCOW2 && t->chain->how.full_below ? t->chain->how.refcount_bits : 0;
}

void snap_take(struct snap_trial *t, const struct snap_new *list, unsigned n)
{
	struct bpull_create_options create[SNAP_AT_A_TIME];
	struct bpull_snapshot s[SNAP_AT_A_TIME];
	struct bpull_error error;
	int rc;

	if (sim_is_stopped(t->base.sim)) /* the one before it may have been on its way */
		return;
	for (unsigned i = 0; i < n; i++) {
		create[i] = (struct bpull_create_options){
			.size = sizeof(create[i]),
			.format = (enum bpull_format)list[i].format,
			.cluster_size = list[i].cluster_len,
			.refcount_bits = refcount_bits_of(t, list[i].format),
		};
		s[i] = (struct bpull_snapshot){ .size = sizeof(s[i]),
						.disk = t->base.guest.disk,
						.path = list[i].name,
						.create = &create[i] };
		t->trying[i] = (struct snap_head){ .name = list[i].name, .format = list[i].format };
	}
	t->n_trying = n;
	rc = bpull_disk_snapshot(s, n, &error);
	if (rc) {
		note_refused(t, list[0].name, &error);
		if (!sim_is_stopped(t->base.sim))
			t->n_trying = 0;
		return;
	}
	memcpy(&t->heads[t->n_taken + 1], t->trying, n * sizeof(t->trying[0]));
	t->n_trying = 0;
	note_taken(t, n);
	cr_assert(sim_is_stopped(t->base.sim) || count_files(t->base.sim) == t->n_files,
		  "%s: a file was left", t->base.what);
}

/* ---- the disk ---- */

int snap_open(struct snap_trial *t)
{
	const struct sim_chain *chain = t->chain;
	struct bpull_disk_options o = {
		.size = sizeof(o),
		.format = (enum bpull_format)t->heads[t->n_taken].format,
		.backing_trust = BPULL_TRUST_ALL, /* QED records no format but raw */
		.backing_rule = BPULL_BACKING_ANY,
		.flags = BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ * (chain->how.seed % 3 == 0),
	};

	return trial_open(&t->base, t->heads[t->n_taken].name, &o);
}

static const char *const *session_names;

void snap_trial_begin(struct snap_trial *t, const struct sim_chain *chain, const uint8_t *first,
		      const char *const *names)
{
	t->chain = chain;
	t->heads[0].name = t->first_name ? t->first_name : SIM_CHAIN_TOP;
	t->heads[0].format = t->first_name ? t->first_format : chain->how.format;
	t->n_files = count_files(t->base.sim);
	session_names = names;
	model_begin(&t->base.guest.model, first, chain->guest_len);
}

int snap_trial_live(struct snap_trial *t)
{
	int rc = snap_open(t);

	if (rc)
		return rc;
	if (t->job.kind)
		snap_session_job(t);
	else if (t->draws)
		snap_session_drawn(t, session_names);
	else
		snap_session_fixed(t, session_names);
	bpull_engine_close(t->base.engine);
	return 0;
}

void snap_trial_end(struct snap_trial *t)
{
	model_end(&t->base.guest.model);
	for (unsigned i = 0; i <= SNAP_MAX; i++)
		free(t->heads[i].held);
}
