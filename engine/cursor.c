/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The cursor: what to stream next. It walks the guest's disk once, passes over
 * what the overlay holds and what no layer holds without any I/O, and starts a
 * run for the rest as long as the window (one buffer a run) has room.
 *
 * A second walk, the proof, reads the overlay's tables from disk again before
 * the backing link is dropped and counts what is still unallocated though the
 * chain holds data: that must be exactly what was read and found zero.
 *
 * A list of all runs made beforehand was rejected: it costs memory by the
 * image's size, and a guest's writes would make it stale.
 */
#include <errno.h>

#include "engine/commit.h"
#include "engine/engine.h"
#include "engine/verify.h"
#include "io/base.h"

/* Extents looked at before others get their turn. */
#define MAX_EXTENTS_A_TURN 4096

/* While a guest is at work, and so long after: what lies between its requests is no idle time. */
#define GUEST_HOLD_NS UINT64_C(10000000)
/* Then a run is no longer than this, so that a request that needs its clusters waits less. */
#define GUEST_RUN_LEN (256 * KiB)

bool engine_guest_is_active(const struct bpull_engine *engine)
{
	return engine->n_guests || engine->guest_seen ||
	       (engine->last_guest_ns && engine_now_ns() - engine->last_guest_ns < GUEST_HOLD_NS);
}

/* Guest first: the job's share of the time. Runs one at a time, and between them a rest as long as the
 * share asks for: a run keeps processors, memory and the device busy, and with a queue of them even a
 * read of one page waits milliseconds (measured: the guest's 99th percentile is 490 us with a quarter
 * of the time, 1,400 us with one run after another). */
bool cursor_gives_way(const struct bpull_disk *disk)
{
	return disk->job.guest_share < 100 && engine_guest_is_active(disk->engine);
}

void cursor_rest(struct bpull_disk *disk, uint64_t start_ns)
{
	uint64_t now_ns = engine_now_ns(), share = disk->job.guest_share;

	if (cursor_gives_way(disk))
		disk->job.rest_ns = now_ns + (now_ns - start_ns) * (100 - share) / share;
}

/* Rest is over by the job's look at the clock, and by no other: a later look that found it over would
 * leave nobody to wake the cursor. */
void cursor_wake_rested(struct bpull_disk *disk, uint64_t now_ns)
{
	if (now_ns >= disk->job.rest_ns || !cursor_gives_way(disk))
		disk->job.rest_ns = 0;
}

static bool has_its_share(const struct bpull_disk *disk)
{
	return disk->job.rest_ns || (disk->job.runs.n && cursor_gives_way(disk));
}

/* May the cursor look for another run? */
static bool may_go(const struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	if (job->error || job->aborted || job->paused)
		return false;
	if (job->step == JOB_PROVING)
		return true;
	/* One run that can't pay is enough: more would only keep buffers from other jobs. */
	return job->step == JOB_COPYING && !job->mapping && !job->throttled_first &&
	       buf_n_free(disk->engine->bufs) && job->runs.n < disk->engine->max_runs &&
	       !has_its_share(disk) && disk->engine->comp_len <= disk->engine->comp_len_limit &&
	       !commit_is_overdue(disk) && !verify_is_full(disk);
}

/* Of a rate, so much is one run at most, or one piece of a cluster: over a second the rate is kept to a
 * piece. */
#define RATE_SHARE 256
#define MIN_LEN    (4 * KiB)

static uint64_t rate_len(const struct limiter *limiter)
{
	return limiter->rate ? MAX(MIN(limiter->rate / RATE_SHARE, limiter->burst), MIN_LEN)
			     : UINT64_MAX;
}

uint64_t cursor_piece_len(const struct bpull_disk *disk)
{
	uint64_t len = MIN(rate_len(&disk->job.limiter), rate_len(&disk->engine->limiter));

	return MIN(len, (uint64_t)RUN_MAX_LEN);
}

static uint64_t run_len(const struct bpull_disk *disk)
{
	uint64_t granule_len = disk_overlay(disk)->granule_len, len = cursor_piece_len(disk);

	if (engine_guest_is_active(disk->engine))
		len = MIN(len, GUEST_RUN_LEN);
	return MAX(round_down(len, MIN(granule_len, (uint64_t)RUN_MAX_LEN)), granule_len);
}

static int start_run(struct bpull_disk *disk, uint64_t len)
{
	void *buf = buf_get(disk->engine->bufs);
	int rc = populate_start(disk, disk->job.scan_off, MIN(len, run_len(disk)), buf);

	if (rc)
		buf_put(disk->engine->bufs, buf);
	return rc;
}

/* By sharing the source's blocks, where that can be. */
static int start_copy(struct bpull_disk *disk, uint64_t len, struct table_need *need)
{
	struct extent e;
	int rc = populate_find_clone(disk, disk->job.scan_off, len, &e, need);

	if (rc)
		return rc;
	return e.len ? populate_start_clone(disk, disk->job.scan_off, e.len) : start_run(disk, len);
}

/* Counts what the chain holds of an unallocated stretch; all of it or, on TABLE_NEED, none. Above a
 * base that stays, what was found zero has entries, so nothing may be left at all. */
static int count_unproven(struct bpull_disk *disk, uint64_t len, struct table_need *need)
{
	uint64_t at = disk->job.scan_off, end = at + len, sum = 0;
	struct extent e;

	if (disk->base_name) {
		disk->job.unproven_bytes += len;
		at = end;
	}
	for (; at < end; at += e.len) {
		int rc = chain_map(disk->chain, 1, at, end - at, &e, need);

		if (rc)
			return rc;
		if (e.kind != EXTENT_ZERO)
			sum += e.len;
	}
	disk->job.unproven_bytes += sum;
	disk->job.scan_off = end;
	return 0;
}

/* One extent further. 0, TABLE_NEED or -errno. */
static int advance(struct bpull_disk *disk, struct table_need *need)
{
	struct job *job = &disk->job;
	uint64_t len, end = disk_overlay(disk)->pull_len;
	enum plan_action action;
	int rc = plan_next(disk->chain, job->scan_off, end, &action, &len, need);

	if (rc)
		return rc;
	if (action == PLAN_COPY || action == PLAN_ZERO) {
		if (job->step == JOB_PROVING)
			return count_unproven(disk, MIN(len, 64 * MiB), need);
		return action == PLAN_COPY ? start_copy(disk, len, need)
					   : populate_start_zero(disk, job->scan_off, len);
	}
	job->scan_off += len;
	if (job->step == JOB_COPYING && job->n_rounds == 1)
		*(action == PLAN_SKIP ? &job->n.skipped_bytes : &job->n.present_bytes) += len;
	return 0;
}

static enum step cursor_step(struct op *op)
{
	struct bpull_disk *disk = op->disk;
	unsigned n = 0;

	while (may_go(disk) && disk->job.scan_off < disk_overlay(disk)->pull_len) {
		struct table_need need;
		int rc = advance(disk, &need);

		if (rc == TABLE_NEED) {
			load_ahead(disk, &need, disk->job.scan_off);
			return op_wait_table(op, &need);
		}
		if (rc) {
			op_set_error(op, rc, NULL, disk->job.scan_off, true);
			return STEP_NEXT;
		}
		if (++n == MAX_EXTENTS_A_TURN) {
			engine_again(disk->engine); /* job_run() kicks the cursor again */
			break;
		}
	}
	return STEP_WAIT;
}

static void cursor_fail(struct op *op)
{
	job_fail_op(op->disk, op);
}

static const struct op_kind cursor_kind = { "cursor", cursor_step, cursor_fail };

void cursor_start(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	op_init(&job->cursor, &cursor_kind, disk->engine, disk);
	job->scan_off = 0;
	job->given_up_off = UINT64_MAX;
	job->unproven_bytes = 0;
	op_ready(&job->cursor);
}

void cursor_go_back(struct bpull_disk *disk)
{
	struct job *job = &disk->job;

	/* A failed cursor is over as an operation; one that waits goes on by itself. */
	if (!job->cursor.n_pending)
		op_init(&job->cursor, &cursor_kind, disk->engine, disk);
	job->scan_off = MIN(job->scan_off, job->given_up_off);
	job->given_up_off = UINT64_MAX;
	engine_again(disk->engine);
}

void cursor_kick(struct bpull_disk *disk)
{
	if (!disk->job.cursor.n_pending && may_go(disk) &&
	    disk->job.scan_off < disk_overlay(disk)->pull_len)
		op_ready(&disk->job.cursor);
}

bool cursor_is_done(const struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	/* What a failed run gave up is walked again, or the job fails. */
	return job->scan_off >= disk_overlay(disk)->pull_len && !job->runs.first && !job->n_hints &&
	       job->given_up_off == UINT64_MAX;
}

uint64_t cursor_position(const struct bpull_disk *disk)
{
	const struct job *job = &disk->job;

	return MIN(job->runs.first ? populate_guest_off(job->runs.first) : job->scan_off,
		   job->given_up_off);
}
