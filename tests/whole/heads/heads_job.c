/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs of the disks (heads.h): what is asked for, whether another disk's locks forbid it, whose
 * content it changes, and what its end must have done.
 */
#include <errno.h>
#include <string.h>

#include "engine/api/engine.h"
#include "engine/core/disk.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/whole/heads/heads.h"

static const char *name_of(const struct heads *all, unsigned image)
{
	if (image == HEADS_NONE)
		return "nothing";
	return image < all->n_images ? all->images[image].name : "a stranger";
}

static const char *kind_name(const struct heads_job *job)
{
	static const char *const names[] = { "pull", "compaction", "commit" };

	return names[job->kind];
}

/* ---- what is asked for ---- */

static void draw_pull(struct heads *all, struct heads_job *job, const unsigned *chain, unsigned n)
{
	unsigned top = job->kind == HEADS_PULL ? 0 : 1 + (unsigned)heads_below(all, n - 2);
	unsigned base = top + 2 + (unsigned)heads_below(all, n - top - 1);

	job->top = chain[top];
	job->base = job->link = base < n ? chain[base] : HEADS_NONE;
	job->linker = chain[top];
}

static void draw_commit(struct heads *all, struct heads_job *job, const unsigned *chain, unsigned n)
{
	unsigned top = heads_below(all, 2) ? 0 : (unsigned)heads_below(all, n - 1);
	unsigned base = top + 1 + (unsigned)heads_below(all, n - top - 1);

	job->top = chain[top];
	job->base = job->link = chain[base];
	job->keeps = !top && !heads_below(all, 4);
	job->linker = HEADS_NONE;
	if (top)
		job->linker = chain[top - 1];
	else if (base > 1 && !job->keeps)
		job->linker = chain[0];
}

/* False: the chain is too short for it. */
static bool draw_job(struct heads *all, const struct heads_head *h, struct heads_job *job)
{
	unsigned chain[HEADS_IMAGES], n = heads_chain(all, h->top, chain);

	*job = (struct heads_job){ .kind = (enum heads_job_kind)heads_below(all, 3) };
	if (n < 2 || (job->kind == HEADS_COMPACT && n < 3))
		return false;
	if (job->kind == HEADS_COMMIT)
		draw_commit(all, job, chain, n);
	else
		draw_pull(all, job, chain, n);
	return true;
}

/* By another disk, of what it is to write to. */
static enum heads_use use_by_others(const struct heads *all, const struct heads_head *h,
				    const struct heads_job *job)
{
	enum heads_use use = HEADS_FREE;

	if (job->linker != HEADS_NONE && job->linker != h->top)
		use = heads_use_of(all, job->linker, h);
	return job->kind == HEADS_COMMIT ? MAX(use, heads_use_of(all, job->base, h)) : use;
}

/* What a disk with this top reads is changed by it. */
static bool is_changed(const struct heads *all, const struct heads_job *job, unsigned top)
{
	bool changes = false;

	if (job->kind != HEADS_COMMIT || heads_reads(all, top, job->top))
		return false;
	for (unsigned i = all->images[job->top].below; !changes; i = all->images[i].below) {
		changes = heads_reads(all, top, i);
		if (i == job->base)
			break;
	}
	return changes;
}

static bool changes_a_head(const struct heads *all, const struct heads_head *h,
			   const struct heads_job *job)
{
	for (const struct heads_head *o = all->heads; o < all->heads + HEADS_MAX; o++)
		if (o != h && o->is_used && is_changed(all, job, o->top))
			return true;
	return false;
}

/* What these hold from now on is not known. */
static void forget_changed(struct heads *all, struct heads_head *h, const struct heads_job *job)
{
	h->old_top = job->kind == HEADS_COMMIT ? HEADS_NONE : h->old_top;
	for (struct heads_head *o = all->heads; o < all->heads + HEADS_MAX; o++)
		/* A head that is open has let go of that image; the tree has it still. */
		if (o != h && o->is_used && !o->guest.disk && is_changed(all, job, o->top)) {
			heads_say(all, "%s is lost", all->images[o->top].name);
			heads_end(o);
			heads_met.insisted++;
		}
	for (unsigned i = 0; i < all->n_images; i++)
		if (!all->images[i].is_gone && is_changed(all, job, i))
			heads_image_forget(all, i);
}

/* ---- starting ---- */

static struct bpull_job_options draw_options(struct heads *all, const struct heads_head *h,
					     struct heads_job *job)
{
	struct bpull_job_options o = {
		.size = sizeof(o),
		.type = job->kind == HEADS_COMMIT ? BPULL_JOB_TYPE_COMMIT : BPULL_JOB_TYPE_PULL,
		.top = job->top == h->top ? NULL : name_of(all, job->top),
		.base = job->base == HEADS_NONE ? NULL : name_of(all, job->base),
		.guest_share = heads_below(all, 3) ? 100 : 0,
		.bandwidth = heads_below(all, 2) * GiB,
		.on_error = all->how.room ? BPULL_ON_ERROR_ENOSPC : BPULL_ON_ERROR_REPORT,
	};

	job->manual = !heads_below(all, 4);
	if (job->manual)
		o.flags |= BPULL_JOB_MANUAL_FINALIZE;
	if (job->keeps || heads_plant_keep(all, h, job))
		o.flags |= BPULL_JOB_KEEP;
	if (job->kind != HEADS_COMMIT && !heads_below(all, 4))
		o.flags |= BPULL_JOB_VERIFY;
	if (all->how.kinds && job->kind != HEADS_COMMIT && !heads_below(all, 4))
		o.compression = BPULL_COMPRESSION_OWN + (uint32_t)heads_below(all, 3);
	return o;
}

/* Which of these it is, is not modelled: a format that lacks something, sizes that don't go
 * together, a name without room. */
static bool may_refuse(const struct heads *all, int rc, const char *why)
{
	if (all->how.room && rc == -EIO && strstr(why, "an earlier write to it failed"))
		return true;
	return rc == -ENOTSUP || rc == -EINVAL || rc == -ENAMETOOLONG || all->how.faults ||
	       (all->how.room && rc == -ENOSPC);
}

/* Nothing that was asked for before can change a file meanwhile, in no process. */
static bool is_still(const struct heads *all)
{
	for (unsigned p = 0; p < HEADS_PROCESSES; p++)
		if (all->engines[p] && all->engines[p]->io->n_in_flight)
			return false;
	return !all->was_hurt;
}

void heads_start_job(struct heads *all, struct heads_head *h)
{
	enum heads_use use;
	bool is_busy, was_still;
	struct bpull_job_options o;
	struct bpull_error error = { 0 };
	struct heads_job job;
	uint64_t before;
	int rc;

	heads_hear_of_ends(all);
	if (sim_is_stopped(all->machine.sim) || !draw_job(all, h, &job))
		return;
	all->acting = h->process;
	is_busy = h->job.runs;
	use = use_by_others(all, h, &job);
	if (!use && changes_a_head(all, h, &job) && heads_below(all, 8))
		return; /* the command refuses it: tests/bb/chain/test_commit.py */
	o = draw_options(all, h, &job);
	if (!is_busy) {
		job.runs = true;
		h->job = job;
	}
	was_still = is_still(all);
	before = sim_pull_hash_all(all->machine.sim);
	rc = bpull_job_start(h->guest.disk, &o, &error);
	heads_say(all, "%s: %s of %s into %s, link of %s%s: %d %s", name_of(all, h->top),
		  kind_name(&job), name_of(all, job.top), name_of(all, job.base),
		  name_of(all, job.linker), job.keeps ? ", keeping" : "", rc,
		  rc ? error.message : "");
	if (!is_busy && (!rc || (!use && sim_is_stopped(all->machine.sim))))
		forget_changed(all, h, &job);
	if (sim_is_stopped(all->machine.sim))
		return;
	heads_met.busy += rc == -EBUSY;
	heads_met.refused += rc && rc != -EBUSY;
	/* The end of a disk's growth may have come, and not be told yet. */
	heads_assert(all,
		     may_refuse(all, rc, error.message) || (!rc && !is_busy && use != HEADS_USED) ||
			     (rc == -EBUSY && (is_busy || use || h->grow_to)),
		     "%s: a %s of %s into %s starts: %d %s", name_of(all, h->top), kind_name(&job),
		     name_of(all, job.top), name_of(all, job.base), rc, error.message);
	heads_assert(all, !rc || error.message[0], "a job is refused without a word");
	heads_assert(all, !rc || !was_still || before == sim_pull_hash_all(all->machine.sim),
		     "a job is refused, and files have changed: %s", error.message);
	if (!is_busy)
		h->job.runs = !rc;
	if (!rc)
		heads_plant_job(all, h);
}

void heads_steer_job(struct heads *all, struct heads_head *h)
{
	struct bpull_disk *disk = h->guest.disk;

	switch (heads_below(all, 9)) {
	case 0:
		if (heads_below(all, 3))
			break;
		h->job.is_aborted = true;
		bpull_job_abort(disk);
		break;
	case 1: bpull_job_pause(disk); break;
	case 2:
	case 3: bpull_job_finalize(disk); break;
	case 4: bpull_job_set_speed(disk, heads_below(all, 2) * GiB, 0); break;
	default:
		heads_met.resumed += h->job.is_stopped;
		bpull_job_resume(disk);
		h->job.is_stopped = false;
	}
}

/* ---- its end ---- */

/* What was committed is what the upper image holds, as far as that is known. */
static void know_base(struct heads *all, const struct heads_job *job)
{
	struct heads_image *base = &all->images[job->base];
	const struct heads_image *top = &all->images[job->top];
	uint64_t end = MIN(all->images[job->linker].len, MAX(base->len, top->len));
	uint64_t len = heads_len_of(all, all->machine.sim, job->base);

	base->len = len;
	if (!top->held || end < len)
		return;
	base->held = sim_need(calloc(1, all->max_len));
	memcpy(base->held, top->held, MIN(top->len, len));
}

static void pivot(struct heads *all, struct heads_head *h, const struct bpull_event *event)
{
	unsigned old = h->top;
	bool is_stale = event->message[0] || h->job.keeps;

	heads_assert(all, !event->message[0] || all->how.faults || all->how.room, "%s",
		     event->message);
	h->top = h->job.base;
	/* What is written to that one from now on its bitmaps don't say, as those of any image
	 * whose backing file is written to. */
	free(all->images[old].mapped);
	all->images[old].mapped = NULL;
	all->images[h->top].len = h->len;
	h->old_top = is_stale || h->grow_to ? HEADS_NONE : old;
	heads_met.active++;
}

static void completed(struct heads *all, struct heads_head *h, const struct bpull_event *event)
{
	const struct heads_job *job = &h->job;
	unsigned chain[HEADS_IMAGES];

	if (job->linker != HEADS_NONE) {
		all->images[job->linker].below = job->link;
		all->images[job->linker].n_old_links = 0; /* done means durable */
	}
	if (job->kind == HEADS_COMMIT && job->top == h->top)
		pivot(all, h, event);
	else if (job->kind == HEADS_COMMIT)
		know_base(all, job);
	heads_met.pulls += job->kind == HEADS_PULL;
	heads_met.compactions += job->kind == HEADS_COMPACT;
	heads_met.commits += job->kind == HEADS_COMMIT;
	heads_assert(all, bpull_disk_depth(h->guest.disk) == heads_chain(all, h->top, chain),
		     "%s has %u images instead of %u", name_of(all, h->top),
		     bpull_disk_depth(h->guest.disk), heads_chain(all, h->top, chain));
}

static void judge_link(struct heads *all, const struct heads_job *job,
		       const struct bpull_event *event)
{
	unsigned is;

	if (job->linker == HEADS_NONE)
		return;
	is = heads_link_of(all, all->machine.sim, job->linker);
	if (strstr(event->message, "can't be known") && is == job->link) {
		heads_link_loosen(all, job->linker);
		all->images[job->linker].below = is;
	}
	heads_assert(all, is == all->images[job->linker].below,
		     "status %d, and the link of %s leads to %s instead of %s", (int)event->status,
		     name_of(all, job->linker), name_of(all, is),
		     name_of(all, all->images[job->linker].below));
}

void heads_take_job_event(struct heads *all, struct heads_head *h, const struct bpull_event *event)
{
	if (event->type == BPULL_EVENT_JOB_STOPPED) {
		heads_assert(all, all->how.room || all->how.faults, "it stopped: %s",
			     event->message);
		h->job.is_stopped = true;
		heads_met.no_room++;
		return;
	}
	if (event->type != BPULL_EVENT_JOB || event->status == BPULL_JOB_READY)
		return;
	heads_assert(all, h->job.runs, "an end of no job");
	heads_say(all, "%s: its %s ends: %d %s", name_of(all, h->top), kind_name(&h->job),
		  (int)event->status, event->message);
	h->job.runs = h->job.is_stopped = false;
	if (sim_is_stopped(all->machine.sim)) { /* its end is not heard any more */
		h->job.runs = true;
		return;
	}
	if (event->status == BPULL_JOB_COMPLETED)
		completed(all, h, event);
	heads_met.failed += event->status == BPULL_JOB_FAILED;
	heads_met.canceled += event->status == BPULL_JOB_CANCELED;
	heads_assert(all,
		     event->status != BPULL_JOB_FAILED || all->how.faults ||
			     (all->how.room && event->error == -ENOSPC),
		     "%s: its %s failed: %s", name_of(all, h->top), kind_name(&h->job),
		     event->message);
	heads_assert(all, event->status != BPULL_JOB_CANCELED || h->job.is_aborted,
		     "%s: its %s was canceled without an abort", name_of(all, h->top),
		     kind_name(&h->job));
	judge_link(all, &h->job, event);
	if (h->job.kind == HEADS_COMMIT && h->job.base != h->top)
		all->images[h->job.base].len = heads_len_of(all, all->machine.sim, h->job.base);
}

/* What a commit that was killed has written below may be what the guest wrote last, and did not
 * flush. The disk that goes on shows it, and flushes its own image alone. So the kernel has written
 * it back here at once: that a cut loses it later is not judged. */
static void write_back(struct heads *all, unsigned image)
{
	struct sim *sim = all->machine.sim;

	sim_log_sync(sim_file_find(sim, all->images[image].name), ++sim->event, false);
	if (all->images[image].data[0])
		sim_log_sync(sim_file_find(sim, all->images[image].data), ++sim->event, false);
}

void heads_job_died(struct heads *all, struct heads_head *h, const struct sim *sim)
{
	const struct heads_job *job = &h->job;

	if (job->runs && job->linker != HEADS_NONE) {
		unsigned is = heads_link_of(all, sim, job->linker);

		heads_assert(all, is == all->images[job->linker].below || is == job->link,
			     "the link of %s leads to %s", name_of(all, job->linker),
			     name_of(all, is));
		if (is != all->images[job->linker].below)
			heads_link_loosen(all, job->linker);
		all->images[job->linker].below = is;
	}
	if (job->runs && job->kind == HEADS_COMMIT) {
		all->images[job->base].len = heads_len_of(all, sim, job->base);
		write_back(all, job->base);
	}
	h->job = (struct heads_job){ 0 };
}
