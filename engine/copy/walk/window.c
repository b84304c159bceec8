/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How many copy runs may be in flight, how long they are, and when the cursor rests because a
 * guest is at work.
 */
#include "engine/copy/walk/window.h"

#include "engine/commit/batch.h"
#include "engine/copy/walk/company.h"
#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/slots.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_set.h"
#include "engine/core/rate/beside.h"
#include "engine/core/rate/limiter.h"
#include "engine/core/rate/toll.h"
#include "io/base.h"

/* Runs in flight while a guest is at work, of which one waits: a guest that begins to need the
 * source waits behind two reads at most. */
#define MAX_BESIDE 2

/* The toll makes no rest longer than this for each BESIDE_MIN_LEN of a run. So runs of that length
 * that take 5 ms or less come at least every 21 ms, and longer ones as much later: 12 MiB/s and
 * more. Where runs are shorter, one is in flight for at least a 33rd of the time (TOLL_PARTS). */
#define MAX_TOLL_NS UINT64_C(16000000)

/* Guest first: while a guest is at work runs go one at a time, with rests in between that keep the
 * job to its share of the time. A run keeps processors, memory and the device busy, and with a
 * queue of them even a read of one page waits milliseconds (measured: the guest's 99th percentile
 * is 490 us with a quarter of the time, 1,400 us with one run after another). */
bool cursor_gives_way(const struct bpull_disk *disk)
{
	return (disk->walk->how.guest_share < 100 || disk->walk->how.by_latency) &&
	       !disk->walk->how.hurries && engine_guest_is_active(disk->engine);
}

/* Bytes that a run has at most while a guest is at work. */
static uint64_t beside_len(const struct bpull_disk *disk)
{
	return MAX(disk->walk->beside_len, (uint64_t)BESIDE_MIN_LEN);
}

static uint64_t rest_after(const struct bpull_disk *disk, uint64_t run_ns, uint64_t run_len)
{
	const struct copy_how *how = &disk->walk->how;
	uint64_t rest_ns = run_ns * (100 - how->guest_share) / how->guest_share;
	uint64_t max_ns = MAX_TOLL_NS * MAX(run_len / BESIDE_MIN_LEN, UINT64_C(1));

	if (!how->pays_toll)
		return rest_ns;
	return MAX(rest_ns, MIN(toll_rest_ns(&disk->engine->guests.toll, run_ns), max_ns));
}

void cursor_run_begins(struct bpull_disk *disk, uint64_t now_ns)
{
	struct engine_guests *guests = &disk->engine->guests;

	toll_run_begins(&guests->toll, now_ns, guests->n_over, cursor_gives_way(disk));
}

void cursor_run_waits(struct bpull_disk *disk, uint64_t now_ns)
{
	struct engine_guests *guests = &disk->engine->guests;

	toll_run_ends(&guests->toll, now_ns, guests->n_over, cursor_gives_way(disk));
}

void cursor_run_ends(struct bpull_disk *disk, const struct copy_run *p)
{
	struct engine_guests *guests = &disk->engine->guests;
	struct copy_walk *walk = disk->walk;
	uint64_t now_ns = engine_now_ns(), took_ns = now_ns - p->time.start_ns;
	bool gives_way = cursor_gives_way(disk);

	toll_run_ends(&guests->toll, now_ns, guests->n_over, gives_way);
	if (!gives_way)
		return;
	if (!walk->how.by_latency)
		walk->rest_ns = now_ns + rest_after(disk, took_ns - p->time.waited_ns, p->len);
	walk->beside_len = beside_next_len(beside_len(disk), p->len, took_ns);
}

/* Only job_run() ends the rest, with its own now_ns: if another check ended it, no timer would wake
 * the cursor. */
void cursor_wake_rested(struct bpull_disk *disk, uint64_t now_ns)
{
	if (now_ns >= disk->walk->rest_ns || !cursor_gives_way(disk))
		disk->walk->rest_ns = 0;
}

/* The job has had its share of the time beside a guest: it rests, or has its runs in flight. */
static bool has_its_share(const struct bpull_disk *disk)
{
	const struct copy_walk *walk = disk->walk;

	return walk->rest_ns || ((walk->runs.n > walk->n_waiting || walk->runs.n >= MAX_BESIDE) &&
				 cursor_gives_way(disk));
}

/* cursor_may_go(), if there is a buffer, and as far as convoys do not forbid it. */
static bool could_go(const struct bpull_disk *disk)
{
	const struct copy_walk *walk = disk->walk;
	const struct job *job = &disk->job;

	/* A verifying job samples holes before it copies: where the file system calls data a hole,
	 * copying the rest of the cluster would make zeros of it for good. */
	if (verify_is_on(disk) && !disk->verify->holes.done)
		return false;
	if (!job_goes_on(job))
		return false;
	if (job->step == JOB_PROVING)
		return true;
	/* One run that can't pay is enough: more would only keep buffers from other jobs. */
	return job->step == JOB_COPYING && !walk->mapping && !walk->throttle.first &&
	       walk->runs.n < disk->engine->budget.max_runs && !has_its_share(disk) &&
	       disk->engine->comp_len <= disk->engine->budget.comp_len &&
	       !commit_is_overdue(disk) && !verify_is_full(disk);
}

/* cursor_may_go(), as far as convoys do not forbid it. */
static bool may_go_alone(const struct bpull_disk *disk)
{
	return could_go(disk) && (disk->job.step == JOB_PROVING || slots_may_take(disk));
}

/* A commit's runs would write beyond the end of the lower image, which is still being made
 * longer. */
static bool is_too_short_below(const struct bpull_disk *disk)
{
	const struct copy_down *down = &disk->walk->down;

	return down->into && down->into->guests.len < down->end;
}

bool cursor_may_go(const struct bpull_disk *disk)
{
	return !is_too_short_below(disk) && may_go_alone(disk) && company_lets_go(disk);
}

bool cursor_is_ready(const struct bpull_disk *disk)
{
	return !disk->walk->runs.n && !disk->walk->cursor.n_pending && could_go(disk);
}

bool cursor_is_held(const struct bpull_disk *disk)
{
	return may_go_alone(disk) && company_is_held(disk);
}

/* A run, or a piece, is at most this part of what the rate allows in a second: then the rate of
 * each second is right but for a piece. Smaller pieces keep it no better and wake the program more
 * often. */
#define RATE_SHARE 10
#define MIN_LEN    (4 * KiB)

static uint64_t rate_len(const struct limiter *limiter)
{
	return limiter->rate ? MAX(MIN(limiter->rate / RATE_SHARE, limiter->burst), MIN_LEN)
			     : UINT64_MAX;
}

uint64_t cursor_piece_len(const struct bpull_disk *disk)
{
	uint64_t len =
		MIN(rate_len(&disk->walk->throttle.limiter), rate_len(&disk->engine->limiter));

	return MIN(len, (uint64_t)RUN_MAX_LEN);
}

/* Fewer granules than that are rounded up: with two thirds of what the rate allows there would be
 * half as many wake-ups again. More are rounded down: a run longer than the bucket goes before it
 * is paid for. */
#define FEW_GRANULES 4

static uint64_t whole_granules(uint64_t len, uint64_t granule_len)
{
	return len < FEW_GRANULES * granule_len ? round_up(len, granule_len)
						: round_down(len, granule_len);
}

uint64_t cursor_run_len(const struct bpull_disk *disk)
{
	uint64_t granule_len = disk_overlay(disk)->granule_len, len = cursor_piece_len(disk);

	if (engine_guest_is_active(disk->engine))
		len = MIN(len, beside_len(disk));
	return MAX(MIN(whole_granules(len, granule_len), (uint64_t)RUN_MAX_LEN), granule_len);
}

void cursor_kick(struct bpull_disk *disk)
{
	if (!disk->walk->cursor.n_pending && cursor_may_go(disk) &&
	    !range_set_is_empty(&disk->walk->todo))
		op_ready(&disk->walk->cursor);
}
