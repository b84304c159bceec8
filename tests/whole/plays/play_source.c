/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A chain whose lower files are bases that the program supplies (sim_source.h): all from one of
 * them on. They are away for a time, fail, lie where digests are expected, and come back as
 * another one. A request fails only where a question was ended badly while it was in flight; a job
 * that finds one away pauses, tells that once and goes on by itself; what is left after a power cut
 * reads through the right bases as it should.
 */
#include <errno.h>
#include <string.h>

#include "formats/core/layer_header.h"
#include "tests/machine/sim_source.h"
#include "tests/whole/plays/play.h"

#define SECOND UINT64_C(1000000000)

void play_sources_begin(struct play *p)
{
	unsigned n = p->chain->n_files;
	bool fails = p->sources & PLAY_SOURCES_FAIL;

	if (!p->sources)
		return;
	p->first_source = 1 + (unsigned)play_below(p, n - 1);
	p->bases = sim_sources_new(p->sim);
	for (unsigned i = p->first_source; i < n; i++) {
		struct sim_source_how how = sim_source_draw(p->seed * 8 + i, fails);

		sim_sources_add(p->bases, p->chain->files[i].name + 1, &how);
	}
}

void play_sources_free(struct play *p)
{
	sim_sources_free(p->bases);
}

void play_sources_give(const struct play *p, struct bpull_disk_options *o)
{
	o->find_base = p->sources ? sim_sources_find : NULL;
	o->find_opaque = p->bases;
}

bool play_is_source(const struct play *p, unsigned i)
{
	return p->sources && i >= p->first_source;
}

const char *play_base_name(const struct play *p, unsigned i)
{
	return p->chain->files[i].name + play_is_source(p, i);
}

bool play_base_is_open(const struct play *p, unsigned i)
{
	if (play_is_source(p, i))
		return sim_source_n_open(p->bases, i - p->first_source);
	return sim_file_is_open(p->sim, p->chain->files[i].name);
}

uint64_t play_n_bad(const struct play *p)
{
	return p->sources ? sim_sources_n_bad(p->bases) : 0;
}

uint64_t play_n_bad_over(const struct play *p)
{
	return p->sources ? sim_sources_n_bad_over(p->bases) : 0;
}

/* ---- What befalls them ---- */

static unsigned n_sources(const struct play *p)
{
	return p->chain->n_files - p->first_source;
}

static void leave(struct play *p, unsigned i)
{
	static const uint64_t most[] = { SECOND / 1000, 4 * SECOND, 100 * SECOND };
	uint64_t ns = 1 + play_below(p, most[play_below(p, ARRAY_LEN(most))]);

	sim_source_leave(p->bases, i, sim_now_ns(p->sim) + ns);
	play_met.left++;
}

void play_sources_return(struct play *p)
{
	for (unsigned i = 0; p->sources && i < n_sources(p); i++)
		sim_source_leave(p->bases, i, 0);
}

/* All that was asked is over, and nothing fails any more but what is another one. */
void play_sources_be_right(struct play *p)
{
	play_sources_return(p);
	if (p->sources)
		sim_sources_may_fail(p->bases, false);
}

/* A job ran then: it must not say that it is done. */
static void note_other(void *arg)
{
	struct play *p = arg;

	play_met.others++;
	p->is_stale = true;
	if (!p->job_runs || p->base_changed)
		return;
	p->base_changed = true;
	p->changed_in = p->guest.disk->job.step;
	p->may_have_let_go = p->guest.disk->link.leaving || p->guest.disk->link.changed ||
			     sim_chain_link(p->chain, p->sim) == p->target;
}

static void change(struct play *p)
{
	unsigned i = p->link < p->first_source ? 0 : p->link - p->first_source;

	if (p->is_other || p->link >= p->chain->n_files)
		return;
	p->is_other = true;
	sim_source_change(p->bases, i + (unsigned)play_below(p, n_sources(p) - i), note_other, p);
}

void play_sources_act(struct play *p)
{
	unsigned i = p->sources ? (unsigned)play_below(p, n_sources(p)) : 0;

	if (p->sources & PLAY_SOURCES_FAIL)
		sim_sources_may_fail(p->bases, true);
	if (p->sources & PLAY_SOURCES_LEAVE && !play_below(p, 10))
		leave(p, i);
	if (p->sources & PLAY_SOURCES_CHANGE && p->job_runs && !play_below(p, 40))
		change(p);
}

/* One that is in use still, of a job that begins. */
bool play_has_stale(const struct play *p)
{
	for (unsigned i = p->first_source; p->is_stale && i < p->chain->n_files; i++)
		if (i >= p->link && sim_source_is_stale(p->bases, i - p->first_source))
			return true;
	return false;
}

/* ---- Opening ---- */

/* While some are away, of which nothing stays open. */
void play_sources_try_open(struct play *p, const struct bpull_disk_options *o)
{
	uint64_t n_bad = play_n_bad(p);
	struct bpull_error error;
	int rc;

	if (p->sources == PLAY_SOURCES || !p->sources || play_below(p, 3))
		return;
	if (p->sources & PLAY_SOURCES_LEAVE)
		leave(p, (unsigned)play_below(p, n_sources(p)));
	sim_sources_may_fail(p->bases, p->sources & PLAY_SOURCES_FAIL);
	rc = bpull_disk_open(p->engine, SIM_CHAIN_TOP, o, &p->guest.disk, &error);
	CHECK(p, !rc == (n_bad == play_n_bad(p)), "%d questions failed, and opening says %s %s",
	      (int)(play_n_bad(p) - n_bad), strerror(-rc), error.message);
	CHECK(p, !rc || error.message[0], "it does not say why it does not open");
	play_met.not_opened += rc != 0;
	if (!rc)
		bpull_disk_close(p->guest.disk);
	for (unsigned i = p->first_source; i < p->chain->n_files; i++)
		CHECK(p, !play_base_is_open(p, i), "%s is open still", play_file(p, i));
	play_sources_be_right(p);
}

/* ---- What a job tells of them ---- */

void play_sources_stopped(struct play *p, const struct bpull_event *event)
{
	CHECK(p, p->sources & PLAY_SOURCES_LEAVE && sim_sources_counts(p->bases).away,
	      "the job says that a source is away, and none was");
	CHECK(p, !p->away_is_told, "it tells a second time that a source is away: %s",
	      event->message);
	play_met.stopped_away++;
	p->away_is_told = true;
	if (!p->ending && !play_below(p, 6))
		play_abort_job(p);
}

void play_sources_resumed(struct play *p)
{
	CHECK(p, p->away_is_told, "the job says that a source is back, and told of none away");
	p->away_is_told = p->is_stopped = false;
	play_met.resumed_away++;
}

/* None has answered since the job met that one is away. What was answered in the round before may
 * be met in this one. */
static bool has_no_answer(const struct play *p)
{
	for (unsigned i = 0; i < n_sources(p); i++)
		if (sim_source_n_good(p->bases, i) != p->good_then[i])
			return false;
	return true;
}

/* Looked at after each round: a job must not take a source for back that is away all the time. */
void play_sources_watch(struct play *p)
{
	enum job_step step = p->guest.disk->job.step;
	bool was = p->job_is_away;

	if (!p->sources)
		return;
	p->job_is_away = p->job_runs && p->guest.disk->job.fault.is_away;
	if (!was && p->job_is_away)
		memcpy(p->good_then, p->good_before, sizeof(p->good_then));
	memcpy(p->good_before, p->good_now, sizeof(p->good_before));
	for (unsigned i = 0; i < n_sources(p); i++)
		p->good_now[i] = sim_source_n_good(p->bases, i);
	/* One that has all it needs goes on without, where a guest has written what was missing. */
	if (was && !p->job_is_away && (step == JOB_COPYING || step == JOB_PROVING))
		CHECK(p, !has_no_answer(p),
		      "the job takes a source for back, and none has answered");
}

void play_sources_ended(struct play *p, enum bpull_job_status status)
{
	CHECK(p, status != BPULL_JOB_COMPLETED || !p->away_is_told,
	      "COMPLETED, and it did not tell that the source is back");
	p->away_is_told = false;
}

bool play_sources_may_fail_job(const struct play *p, int error)
{
	struct sim_sources_counts n = { 0 };

	if (p->sources)
		n = sim_sources_counts(p->bases);
	return (error == -EIO && n.failed) || (error == -EBADMSG && n.wrong) ||
	       (error == -ESTALE && n.stale);
}

bool play_sources_may_fail(struct play *p, const struct sim_guest_request *r, int error)
{
	if (!p->sources || play_n_bad(p) == p->n_bad_at[r - p->guest.requests])
		return false;
	return error == -EIO || (error == -EBADMSG && sim_sources_counts(p->bases).wrong);
}

/* ---- What is left ---- */

/* The chain is pulled once more, through bases that are right, after a power cut. */
int play_sources_pull(const struct play *p, const struct sim_chain *chain, struct sim *sim,
		      struct sim_pull *pull)
{
	struct sim_sources *bases = sim_sources_new(sim);
	int rc;

	for (unsigned i = p->first_source; i < p->chain->n_files; i++) {
		struct sim_source_how how = sim_source_draw(p->seed * 8 + i, false);

		sim_sources_add(bases, p->chain->files[i].name + 1, &how);
	}
	*pull = (struct sim_pull){ .find_base = sim_sources_find, .find_opaque = bases };
	rc = sim_pull_open(pull, chain, sim, NULL, SIM_PULL_MEMORY, 0);
	if (!rc) {
		rc = sim_pull_run(pull);
		sim_pull_close(pull);
	}
	if (!rc && pull->status != BPULL_JOB_COMPLETED)
		rc = pull->event_error ? pull->event_error : -EPROTO;
	sim_sources_free(bases);
	return rc;
}

/* The disk is closed beside a job that has copied, and one of its sources is another one. */
bool play_sources_must_be_marked(const struct play *p)
{
	const struct bpull_disk *disk = p->guest.disk;

	return p->closed_with_job && p->is_stale && p->base_changed && !p->may_have_let_go &&
	       disk->since_opened.has_copied && !disk->poisoned &&
	       layer_has_claims(disk_overlay(disk));
}

/* No pull goes over the mixture, through bases that are right. */
void play_sources_judge_mark(struct play *p)
{
	struct sim *left = sim_cut(p->sim, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	struct sim_chain now = *p->chain;
	struct sim_pull again;
	int rc;

	now.how.to_base = false;
	rc = play_sources_pull(p, &now, left, &again);
	CHECK(p, rc == -EPERM || sim_chain_link(p->chain, left) != p->link,
	      "closed over a base that is another one, and a pull says %s", strerror(-rc));
	play_met.marked++;
	sim_free(left);
}
