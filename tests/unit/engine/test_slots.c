/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How many of the engine's buffers a disk may hold (engine/copy/walk/slots.h). */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/slots.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/clock.h"
#include "engine/core/convoy.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "io/buf.h"

#define SECOND  UINT64_C(1000000000)
#define N_SLOTS 16u
#define N_DISKS 3u

TestSuite(slots, .timeout = 60);

static struct bpull_engine engine;
static struct bpull_disk disks[N_DISKS];
static struct convoy apart = { .is_parted = true, .n = 1 };

static void begin(void)
{
	engine.bufs = buf_pool_new(RUN_MAX_LEN, N_SLOTS * RUN_MAX_LEN);
	engine.disks = disks;
	for (unsigned i = 0; i < N_DISKS; i++) {
		disks[i] = (struct bpull_disk){ .engine = &engine };
		disks[i].next = i + 1 < N_DISKS ? &disks[i + 1] : NULL;
		disks[i].walk = calloc(1, sizeof(*disks[i].walk));
	}
}

static void free_runs(struct run_list *runs)
{
	while (runs->first) {
		struct copy_run *run = runs->first;

		runs->first = run->next;
		buf_put(engine.bufs, run->buf);
		free(run);
	}
}

static void end(void)
{
	for (unsigned i = 0; i < N_DISKS; i++) {
		free_runs(&disks[i].walk->runs);
		free_runs(&disks[i].guests.runs_on_read);
		free(disks[i].walk);
	}
	buf_pool_free(engine.bufs);
}

static void start(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		disks[i].job.step = JOB_COPYING;
	slots_look(&engine);
}

/* One more run holds a buffer. */
static void hold(struct run_list *runs)
{
	struct copy_run *run = calloc(1, sizeof(*run));

	run->buf = buf_get(engine.bufs);
	cr_assert_not_null(run->buf);
	run->next = runs->first;
	runs->first = run;
}

/* Begins runs as long as the disk may. */
static unsigned take_all(struct bpull_disk *disk)
{
	unsigned n = 0;

	for (; slots_may_take(disk); n++)
		hold(&disk->walk->runs);
	return n;
}

static void part(struct bpull_disk *disk, uint64_t run_ns)
{
	disk->walk->company.member.convoy = &apart;
	disk->walk->company.member.runs.last_ns = run_ns;
	disk->walk->company.ended_ns = engine_now_ns();
	slots_look(&engine);
}

Test(slots, a_disk_alone_leaves_some_for_one_that_begins_later, .init = begin, .fini = end)
{
	start(1);
	cr_assert_eq(take_all(&disks[0]), 14);
	start(2);
	cr_assert_gt(take_all(&disks[1]), 0);
}

Test(slots, disks_whose_writes_hang_leave_room_for_others, .init = begin, .fini = end)
{
	start(3);
	cr_assert_eq(take_all(&disks[0]), 6);
	cr_assert_eq(take_all(&disks[1]), 4);
	cr_assert_eq(take_all(&disks[2]), 3);
}

Test(slots, the_last_buffer_is_for_a_disk_that_has_none, .init = begin, .fini = end)
{
	start(2);
	while (buf_n_free(engine.bufs) > 1)
		hold(&disks[0].walk->runs);
	cr_assert(slots_may_take(&disks[1]) && !slots_may_take(&disks[0]));
	hold(&disks[1].walk->runs);
	cr_assert_not(slots_may_take(&disks[1]), "there is none");
}

Test(slots, copies_behind_reads_and_what_is_read_back_count, .init = begin, .fini = end)
{
	struct verify verify = { .n_reading = 2 };

	start(2);
	for (unsigned i = 0; i < 3; i++)
		hold(&disks[0].guests.runs_on_read);
	disks[0].verify = &verify;
	cr_assert(slots_may_take(&disks[0]), "13 are free");
	hold(&disks[0].walk->runs);
	hold(&disks[1].walk->runs);
	cr_assert_not(slots_may_take(&disks[0]), "six are held, 11 are free");
}

/* A shrunk buffer counts as what it is. */
Test(slots, small_runs_are_no_share, .init = begin, .fini = end)
{
	start(2);
	for (unsigned i = 0; i < 32; i++) {
		hold(&disks[0].walk->runs);
		disks[0].walk->runs.first->buf =
			buf_shrink(engine.bufs, disks[0].walk->runs.first->buf, 4096);
	}
	cr_assert(slots_may_take(&disks[0]));
}

Test(slots, a_parted_job_leaves_a_quarter_to_those_in_time, .init = begin, .fini = end)
{
	start(2);
	part(&disks[1], SECOND);
	for (unsigned i = 0; i < 12; i++)
		hold(&disks[0].walk->runs);
	cr_assert_not(slots_may_take(&disks[1]));
	disks[1].walk->company.ended_ns -= 7 * SECOND;
	cr_assert_not(slots_may_take(&disks[1]));
	disks[1].walk->company.ended_ns -= 2 * SECOND;
	cr_assert(slots_may_take(&disks[1]), "it has not had one for long");
	hold(&disks[1].walk->runs);
	cr_assert_not(slots_may_take(&disks[1]), "it has one");
}

Test(slots, where_all_are_parted_none_is_spared, .init = begin, .fini = end)
{
	start(2);
	part(&disks[1], SECOND);
	for (unsigned i = 0; i < 12; i++)
		hold(&disks[0].walk->runs);
	part(&disks[0], SECOND);
	cr_assert(slots_may_take(&disks[1]));
}

Test(slots, who_copies_is_counted, .init = begin, .fini = end)
{
	start(3);
	cr_assert_eq(engine.n_copying, 3);
	disks[0].job.paused = true;
	disks[1].job.aborted = true;
	disks[2].job.fault.error = -5;
	slots_look(&engine);
	cr_assert_eq(engine.n_copying, 0);
	disks[0].guests.runs_on_read.n = 1;
	disks[1].job = (struct job){ .step = JOB_VERIFYING };
	disks[2].job = (struct job){ .step = JOB_READY };
	slots_look(&engine);
	cr_assert_eq(engine.n_copying, 2);
	part(&disks[1], 1);
	cr_assert(engine.n_copying == 2 && engine.n_in_time == 1);
}
