/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A play's jobs: one after the other on one open disk, of the whole chain or
 * down to a file of it, completed, failed, aborted in any state. FAILED and
 * CANCELED mean that the link is what it was, COMPLETED that it is what the job
 * was to make it, in the header's bytes as they are in the file.
 */
#include <string.h>

#include "engine/core/copied.h"
#include "tests/whole/plays/play.h"

struct play_met play_met;

const char *play_file(const struct play *p, unsigned i)
{
	return i < p->chain->n_files ? p->chain->files[i].name : "none";
}

/* ---- its end ---- */

static void judge_depth(struct play *p)
{
	unsigned want = 1 + p->chain->n_files - p->link;

	CHECK(p, bpull_disk_depth(p->guest.disk) == want,
	      "the disk has %u images, and the link is %s", bpull_disk_depth(p->guest.disk),
	      play_file(p, p->link));
}

static void completed(struct play *p)
{
	unsigned old = p->link;

	CHECK(p, !p->base_changed || p->may_have_let_go,
	      "COMPLETED, and a backing file was changed (in step %d)", (int)p->changed_in);
	p->link = p->target;
	play_met.completed++;
	play_met.later_jobs += p->n_jobs > 1;
	play_met.guest_at_end += p->guest.n_in_flight != 0;
	play_met.dropped += p->link - old;
	judge_depth(p);
	for (unsigned i = old; i < p->link; i++)
		CHECK(p, !play_base_is_open(p, i), "COMPLETED, and %s is open still",
		      p->chain->files[i].name);
	play_ruin(p, old, p->link);
}

/* A header write that failed may have done anything; nothing else takes the link away unsaid. */
static bool may_be_unknown(const struct play *p)
{
	return p->guest.disk->poisoned;
}

static void judge_link(struct play *p, enum bpull_job_status status, const char *message)
{
	unsigned is = sim_chain_link(p->chain, p->sim);
	bool done = status == BPULL_JOB_COMPLETED;
	unsigned want = done ? p->target : p->link;

	CHECK(p, is == want || (!done && is == p->target && may_be_unknown(p)),
	      "the job to %s says %s (%s), and the link is %s instead of %s",
	      play_file(p, p->target),
	      done                         ? "COMPLETED"
	      : status == BPULL_JOB_FAILED ? "FAILED"
					   : "CANCELED",
	      message, is == SIM_CHAIN_NO_FILE ? "strange" : play_file(p, is), play_file(p, want));
}

static void judge_info(struct play *p, const struct bpull_event *event)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	CHECK(p, bpull_job_get_info(p->guest.disk, &info) == 1 && info.state == BPULL_JOB_CONCLUDED,
	      "the job's event has come, and its state is %d", (int)info.state);
	CHECK(p, info.status == event->status && info.error == event->error,
	      "the event says %d (%d), the info %d (%d)", (int)event->status, event->error,
	      (int)info.status, info.error);
}

static bool may_fail(const struct play *p, int error)
{
	if (p->base_changed || play_sources_may_fail_job(p, error))
		return true;
	if (p->space)
		return error == -ENOSPC;
	return p->faults;
}

void play_abort_job(struct play *p)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	play_met.aborted_with_guest += p->guest.n_in_flight > 0;
	play_met.aborted_stopped += p->is_stopped;
	p->is_aborted = true;
	bpull_job_get_info(p->guest.disk, &info);
	CHECK(p, !bpull_job_abort(p->guest.disk) || info.state == BPULL_JOB_CONCLUDED,
	      "abort is refused in state %d", (int)info.state);
}

static void pause_job(struct play *p)
{
	p->waits = true;
	bpull_job_pause(p->guest.disk);
}

static void resume(struct play *p)
{
	p->waits = false;
	bpull_job_resume(p->guest.disk);
}

static void stopped(struct play *p, const struct bpull_event *event)
{
	play_met.stopped++;
	p->is_stopped = true;
	if (event->error == -EHOSTUNREACH) {
		play_sources_stopped(p, event);
		return;
	}
	p->waits = true;
	if (p->ending || play_below(p, 3)) {
		play_mend(p);
		resume(p);
		p->is_stopped = false;
	} else if (play_below(p, 2)) {
		play_abort_job(p);
	}
}

static void finalize(struct play *p);

/* It may have been finalized before the event was taken. */
static void ready(struct play *p)
{
	p->is_ready = true;
	if (p->ending || play_below(p, 2))
		finalize(p);
}

/* The job is over: so its event says, or its state. */
static void conclude(struct play *p, enum bpull_job_status status, int error, const char *message)
{
	CHECK(p, status != BPULL_JOB_FAILED || may_fail(p, error), "the job failed: %s %s",
	      strerror(-error), message);
	judge_link(p, status, message);
	play_sources_ended(p, status);
	play_judge_bitmaps(p, p->sim, p->has_written);
	p->job_runs = p->is_ready = p->is_stopped = false;
	if (status == BPULL_JOB_COMPLETED)
		completed(p);
	else
		play_judge_mark(p, message);
	play_met.canceled += status == BPULL_JOB_CANCELED;
	play_met.full_jobs += p->space && status == BPULL_JOB_FAILED;
	p->base_changed = false;
}

/* Of a job that was followed by another one: all else was judged when that was started. */
static void end_early(struct play *p, const struct bpull_event *event)
{
	const struct play_early *is = &p->early[0];

	if (event->type == BPULL_EVENT_JOB_STOPPED || event->status == BPULL_JOB_READY)
		return;
	CHECK(p, event->status == is->status && event->error == is->error,
	      "the event says %d (%d), the info said %d (%d) before the next job",
	      (int)event->status, event->error, (int)is->status, is->error);
	memmove(p->early, p->early + 1, --p->n_early * sizeof(p->early[0]));
}

void play_end_job(struct play *p, const struct bpull_event *event)
{
	bool is_over = event->type == BPULL_EVENT_JOB && event->status != BPULL_JOB_READY;

	CHECK(p, !is_over || event->status != BPULL_JOB_FAILED || event->message[0],
	      "it does not say why");
	if (p->n_early) {
		end_early(p, event);
	} else if (event->type == BPULL_EVENT_JOB_STOPPED) {
		stopped(p, event);
	} else if (event->type == BPULL_EVENT_JOB_RESUMED) {
		play_sources_resumed(p);
	} else if (event->status == BPULL_JOB_READY) {
		ready(p);
	} else {
		judge_info(p, event);
		conclude(p, event->status, event->error, event->message);
	}
}

void play_watch_job(struct play *p)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	if (!bpull_job_get_info(p->guest.disk, &info))
		return;
	CHECK(p, info.cur >= p->last_cur && info.cur <= info.end, "cur fell, or passed the end");
	p->last_cur = info.cur;
}

/* ---- its begin ---- */

/* A file below the one the overlay names now, or none. */
static unsigned draw_target(struct play *p)
{
	unsigned n = p->chain->n_files;

	if (p->chain->how.format == IMAGE_QED || p->link + 1 >= n || play_below(p, 5) < 2)
		return n;
	return p->link + 1 + (unsigned)play_below(p, n - p->link - 1);
}

/* Bytes/s: the clock is the machine's, so that slow costs nothing. */
static uint64_t draw_speed(struct play *p)
{
	static const uint64_t speeds[] = { 0, 0, 4096, 1 * MiB, 4 * GiB };

	return speeds[play_below(p, ARRAY_LEN(speeds))];
}

static void start(struct play *p)
{
	unsigned target = draw_target(p);
	struct bpull_job_options o = {
		.size = sizeof(o),
		.flags = play_below(p, 3) ? 0 : BPULL_JOB_MANUAL_FINALIZE,
		.guest_share = play_below(p, 3) ? 100 : 0,
		.base = target < p->chain->n_files ? play_base_name(p, target) : NULL,
		/* A source's name that could be a path is recorded on the program's word alone. */
		.base_name = target < p->chain->n_files && play_is_source(p, target)
				     ? play_base_name(p, target)
				     : NULL,
		.on_error = (uint32_t)play_below(p, 3),
		.copy = play_below(p, 4) ? BPULL_COPY_AUTO : BPULL_COPY_READ,
		.compression = play_draw_compression(p),
	};
	bool is_growing = p->guest.disk->guests.is_growing;
	struct sim_first first = { .n = 0 };
	unsigned type = play_type(p);
	uint64_t n_bad = play_n_bad(p);
	struct bpull_error error;

	if (p->chain->how.piece_len) {
		o.bandwidth = draw_speed(p);
		o.burst = p->chain->how.piece_len;
	}
	if (p->has_first) {
		sim_first_draw(&first, play_below(p, UINT32_MAX), p->chain->guest_len);
		/* The base is slow now and then: what lies around the guest's reads comes first. */
		p->guest.disk->guests.below_ns = play_below(p, 2) ? UINT64_C(1) << 40 : 0;
	}
	o.first = first.ranges;
	o.n_first = first.n;
	o.flags |= play_below(p, 2) ? BPULL_JOB_VERIFY : 0;
	o.flags |= play_below(p, 8) ? 0 : BPULL_JOB_START_PAUSED;
	if (bpull_job_start(p->guest.disk, &o, &error)) {
		CHECK(p,
		      is_growing || p->faults || p->space || n_bad < play_n_bad(p) ||
			      play_has_stale(p) || play_refuses_type(p, &o, &error),
		      "a job to %s is refused: %s", play_file(p, target), error.message);
		return;
	}
	CHECK(p, !is_growing, "a job was started while the disk grows");
	play_note_type(p, type);
	p->job_runs = true;
	p->is_ready = p->is_stopped = p->is_aborted = false;
	p->base_changed = play_has_stale(p);
	p->changed_in = JOB_COPYING;
	p->may_have_let_go = false;
	p->waits = o.flags & BPULL_JOB_START_PAUSED;
	p->target = target;
	p->n_jobs++;
	p->last_cur = 0;
	if (p->guest.disk->verify) /* now and then it is full */
		p->guest.disk->verify->max_items = 2 + play_below(p, 60);
}

static bool is_concluded(const struct play *p)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	return bpull_job_get_info(p->guest.disk, &info) && info.state == BPULL_JOB_CONCLUDED;
}

/* One that is over as its state says, before its event is taken. */
static void start_early(struct play *p)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	if (!p->late_events || p->n_early == PLAY_MAX_EARLY || !is_concluded(p))
		return;
	bpull_job_get_info(p->guest.disk, &info);
	conclude(p, info.status, info.error, "");
	p->early[p->n_early++] = (struct play_early){ .status = info.status, .error = info.error };
	play_met.early++;
	start(p);
}

/* ---- while it runs ---- */

static void finalize(struct play *p)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	int rc;

	bpull_job_get_info(p->guest.disk, &info);
	rc = bpull_job_finalize(p->guest.disk);
	CHECK(p, !rc == (info.state == BPULL_JOB_WAITING), "finalize says %d in state %d", rc,
	      (int)info.state);
}

static void storm(struct play *p)
{
	for (unsigned i = 1 + (unsigned)play_below(p, 6); i; i--) {
		if (play_below(p, 2))
			pause_job(p);
		else
			resume(p);
		if (play_below(p, 2))
			play_take_events(p);
		if (!p->job_runs)
			return;
	}
	resume(p);
}

void play_urge_job(struct play *p)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	/* One that waits for a source goes on by itself. */
	if (!p->sources || p->waits)
		resume(p);
	bpull_job_get_info(p->guest.disk, &info);
	if (p->is_ready && info.state == BPULL_JOB_WAITING)
		bpull_job_finalize(p->guest.disk);
}

void play_steer_job(struct play *p)
{
	struct bpull_disk *disk = p->guest.disk;

	switch (play_below(p, !p->job_runs ? 4 : p->late_events && is_concluded(p) ? 2 : 16)) {
	case 0:
		if (!p->job_runs)
			start(p);
		else
			start_early(p);
		break;
	case 1: play_ask(p); break;
	case 3: pause_job(p); break;
	case 4:
	case 5:
	case 6: resume(p); break;
	case 7:
		if (!play_below(p, 3))
			play_abort_job(p);
		break;
	case 8: bpull_disk_set_copy_on_read(disk, (int)play_below(p, 2)); break;
	case 9:
	case 10: finalize(p); break;
	case 11: bpull_job_set_speed(disk, draw_speed(p), p->chain->how.piece_len); break;
	case 12: storm(p); break;
	case 13:
	case 14: play_ask(p); break;
	default: break;
	}
}
