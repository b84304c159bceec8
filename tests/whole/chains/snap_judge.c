/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The judge of snap_trial.h: what is left reads as it may. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/machine/files/sim_private.h"
#include "tests/whole/chains/snap_private.h"

static void read_head(const struct snap_trial *t, struct sim *left, const struct snap_head *head,
		      const char *when, uint8_t *got)
{
	struct sim_verdict v;

	cr_assert(sim_file_exists(left, head->name), "%s, %s: '%s' is not there", t->base.what,
		  when, head->name);
	sim_pull_read_head(t->chain, left, head->name, head->format, got, &v);
	cr_assert(v.ok, "%s, %s: '%s': %s", t->base.what, when, head->name, v.text);
}

static void judge_old_heads(const struct snap_trial *t, struct sim *left, const char *when,
			    bool now, uint8_t *got)
{
	for (unsigned i = 0; i < t->n_taken; i++) {
		const struct snap_head *head = &t->heads[i];

		if (!head->held || (!head->is_exact && !now))
			continue;
		read_head(t, left, head, when, got);
		for (uint64_t at = 0; at < snap_disk_len(t); at++)
			cr_assert_eq(got[at], head->held[at],
				     "%s, %s: '%s' at %" PRIu64 " is %#x, and was %#x",
				     t->base.what, when, head->name, at, got[at], head->held[at]);
	}
}

static enum image_format format_of(struct sim *left, const char *name)
{
	char magic[4];

	sim_file_peek(left, name, magic, sizeof(magic), 0);
	if (!memcmp(magic, "QFI\xfb", 4))
		return IMAGE_QCOW2;
	return memcmp(magic, "QED", 4) ? IMAGE_RAW : IMAGE_QED;
}

/* The file that the image was committed into is the disk, too. */
static void judge_new_image(const struct snap_trial *t, struct sim *left, const char *when,
			    uint8_t *got)
{
	struct snap_head head = { .name = snap_file_name(t, t->job.base) };
	uint64_t bad;

	if (t->job.kind != SNAP_COMMIT || t->job.top || !t->base.completed)
		return;
	head.format = format_of(left, head.name);
	if (head.format == IMAGE_RAW)
		sim_file_peek(left, head.name, got, snap_disk_len(t), 0);
	else
		read_head(t, left, &head, when, got);
	bad = model_illegal_after_cut(&t->base.guest.model, got);
	cr_assert_eq(bad, snap_disk_len(t),
		     "%s, %s: '%s' at %" PRIu64 " is %#x, which it may not be", t->base.what, when,
		     head.name, bad, bad < snap_disk_len(t) ? got[bad] : 0);
}

static void judge_inner_snapshots(const struct snap_trial *t, struct sim *left, const char *when)
{
	struct sim_verdict v;

	sim_pull_judge_snapshots(t->chain, left, &v);
	cr_assert(v.ok, "%s, %s: %s", t->base.what, when, v.text);
}

void snap_trial_judge(const struct snap_trial *t, struct sim *left, const char *when, bool now)
{
	uint8_t *got = sim_need(malloc(snap_disk_len(t))),
		*tried = sim_need(malloc(snap_disk_len(t)));
	const struct snap_head *head = &t->heads[t->n_taken];
	uint64_t bad;

	read_head(t, left, head, when, got);
	bad = t->job.is_stale ? snap_disk_len(t)
			      : model_illegal_after_cut(&t->base.guest.model, got);
	cr_assert_eq(bad, snap_disk_len(t),
		     "%s, %s: '%s' at %" PRIu64 " is %#x, which it may not be", t->base.what, when,
		     head->name, bad, bad < snap_disk_len(t) ? got[bad] : 0);
	/* The images of a call that did not return may be there: they are heads then. */
	for (unsigned i = 0; i < t->n_trying; i++) {
		if (!sim_file_exists(left, t->trying[i].name))
			continue;
		read_head(t, left, &t->trying[i], when, tried);
		cr_assert_arr_eq(tried, got, snap_disk_len(t), "%s, %s: '%s' reads otherwise",
				 t->base.what, when, t->trying[i].name);
	}
	judge_old_heads(t, left, when, now, got);
	judge_inner_snapshots(t, left, when);
	judge_new_image(t, left, when, got);
	free(got);
	free(tried);
}

void snap_trial_judge_cuts(const struct snap_trial *t, const char *when, uint64_t seed)
{
	static const struct sim_cut cuts[] = {
		{ .mode = SIM_CUT_NONE },
		{ .mode = SIM_CUT_ALL_LOST },
		{ .mode = SIM_CUT_ALL_KEPT },
		{ .mode = SIM_CUT_ONLY_FIRST },
		{ .mode = SIM_CUT_ONLY_LAST },
		{ .mode = SIM_CUT_ALL_BUT },
		{ .mode = SIM_CUT_RANDOM },
		{ .mode = SIM_CUT_RANDOM },
		{ .mode = SIM_CUT_ALL_LOST, .names = SIM_NAMES_NEW },
	};

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct sim_cut cut = cuts[i];
		struct sim *left;

		cut.seed = seed * ARRAY_LEN(cuts) + i;
		left = sim_cut(t->base.sim, &cut);
		snap_trial_judge(t, left, when, cut.mode == SIM_CUT_NONE);
		sim_free(left);
	}
}

void snap_trial_again(const struct snap_trial *t)
{
	static const char *const names[] = { "/again-1", "/again-2", "/again-3", "/again-4" };
	const struct snap_head *head = &t->heads[t->n_taken];
	struct snap_trial again = { .base.sim = t->base.sim,
				    .first_name = head->name,
				    .first_format = head->format };
	uint8_t *first = sim_need(malloc(snap_disk_len(t)));

	again.job.kind = t->job.kind;
	again.job.top = t->job.top;
	again.job.base = t->job.base;
	snprintf(again.base.what, sizeof(again.base.what), "again, %.140s", t->base.what);
	snap_trial_begin(&again, t->chain, first, names);
	read_head(t, t->base.sim, head, "before it goes on", first);
	cr_assert_eq(snap_trial_live(&again), 0, "%s", again.base.what);
	if (t->job.kind)
		cr_assert(again.base.completed, "%s: the job does not go on", again.base.what);
	else
		cr_assert_eq(again.n_taken, SNAP_FIXED, "%s", again.base.what);
	snap_trial_judge(&again, t->base.sim, "at the end", true);
	snap_trial_end(&again);
	free(first);
}
