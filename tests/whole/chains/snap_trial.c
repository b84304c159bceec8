/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See snap_trial.h: the disk, its events, and its snapshots. */
#include "tests/whole/chains/snap_trial.h"

#include <criterion/criterion.h>
#include <errno.h>

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

/* What was over is durable, and the image below holds what the disk reads now. */
static void note_taken(struct snap_trial *t)
{
	struct snap_head *below = &t->heads[t->n_taken];
	unsigned n_failed = t->base.n_failed;
	struct model_flush flush;

	snap_run(t); /* events of requests that ended before it */
	trial_pause(&t->base);
	model_flush_begin(&t->base.guest.model, &flush);
	model_flush_end(&t->base.guest.model, &flush);
	trial_resume(&t->base);
	trial_pause(&t->base);
	below->held = sim_need(malloc(snap_disk_len(t)));
	trial_resume(&t->base);
	below->is_exact = !n_failed;
	trial_request(&t->base, SIM_GUEST_READ, 0, snap_disk_len(t), below->held);
	snap_run(t);
	if (t->base.n_failed != n_failed) {
		free(below->held);
		below->held = NULL;
	}
	t->n_taken++;
	t->n_files++;
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

void snap_take(struct snap_trial *t, const char *name, enum image_format format,
	       uint32_t cluster_len)
{
	struct bpull_create_options create = { .size = sizeof(create),
					       .format = (enum bpull_format)format,
					       .cluster_size = cluster_len,
					       .refcount_bits = refcount_bits_of(t, format) };
	struct bpull_snapshot s = {
		.size = sizeof(s), .disk = t->base.guest.disk, .path = name, .create = &create
	};
	struct snap_head head = { .name = name, .format = format };
	struct bpull_error error;
	int rc;

	if (sim_is_stopped(t->base.sim)) /* the one before it may have been on its way */
		return;
	t->trying = head;
	rc = bpull_disk_snapshot(&s, 1, &error);
	if (rc) {
		note_refused(t, name, &error);
		if (!sim_is_stopped(t->base.sim))
			t->trying.name = NULL;
		return;
	}
	t->heads[t->n_taken + 1] = head;
	t->trying.name = NULL;
	note_taken(t);
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
