/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How much a job has still to copy, and how long that takes: engine/job/progress/left.h. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/copy/walk/run_state.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/ranges/range_set.h"
#include "engine/job/progress/left.h"
#include "formats/chain/chain.h"
#include "io/base.h"
#include "io/scale.h"

#define DISK_LEN (256 * MiB) /* so a part is 1 MiB */
#define S        UINT64_C(1000000000)

static struct layer overlay = { .backed_len = DISK_LEN };
static struct chain chain;
static struct copy_walk walk;
static struct copy_run run;
static struct bpull_disk disk = { .chain = &chain, .walk = &walk };

static void set_up(void)
{
	chain.layers[0] = &overlay;
	range_set_init(&walk.todo, 4096);
	cr_assert_eq(range_set_add(&walk.todo, 0, DISK_LEN), 0);
	left_begin(&disk.job.left, DISK_LEN);
	disk.job.left.is_counted = true;
	disk.job.step = JOB_COPYING;
}

static void tear_down(void)
{
	range_set_free(&walk.todo);
}

TestSuite(left, .init = set_up, .fini = tear_down, .timeout = 60);

Test(left, what_was_counted_is_left_where_the_walk_has_not_been)
{
	left_add(&disk.job.left, MiB - 4096, 2 * MiB + 4096);
	cr_assert_eq(left_bytes(&disk), MiB + 8192);
	range_set_remove(&walk.todo, 0, MiB);
	cr_assert_eq(left_bytes(&disk), MiB + 4096);
	range_set_remove(&walk.todo, MiB, 2 * MiB);
	cr_assert_eq(left_bytes(&disk), 4096);
	range_set_remove(&walk.todo, 2 * MiB, 2 * MiB + 512 * KiB);
	cr_assert_eq(left_bytes(&disk), 2048, "half of a part has half of what it holds");
}

Test(left, a_new_count_forgets_the_last_one)
{
	left_add(&disk.job.left, 0, MiB);
	left_begin(&disk.job.left, DISK_LEN);
	disk.job.left.is_counted = true;
	cr_assert_eq(left_bytes(&disk), 0);
}

Test(left, the_last_part_has_no_end)
{
	overlay.backed_len = DISK_LEN + 4 * MiB;
	cr_assert_eq(range_set_add(&walk.todo, DISK_LEN, DISK_LEN + 4 * MiB), 0);
	left_add(&disk.job.left, DISK_LEN + MiB, DISK_LEN + 2 * MiB);
	cr_assert_eq(disk.job.left.held[JOB_LEFT_PARTS - 1], MiB);
	cr_assert_geq(left_bytes(&disk), MiB);
}

Test(left, nothing_behind_what_the_chain_backs_is_left)
{
	disk.job.left.is_counted = false;
	overlay.backed_len = MiB;
	cr_assert_eq(left_bytes(&disk), MiB);
}

Test(left, without_a_count_the_rest_holds_as_much_as_what_was_seen)
{
	disk.job.left.is_counted = false;
	cr_assert_eq(left_bytes(&disk), DISK_LEN, "nothing was seen yet");
	walk.counts.copied = MiB;
	walk.counts.skipped = 3 * MiB;
	cr_assert_eq(left_bytes(&disk), DISK_LEN / 4);
}

Test(left, runs_that_have_not_paid_are_left_too)
{
	range_set_clear(&walk.todo);
	run.len = 9000;
	run.plan.data_len = 5000;
	run.phase = COPY_RUN_LOCK;
	walk.runs.first = &run;
	cr_assert_eq(left_bytes(&disk), 9000);
	run.phase = COPY_RUN_CHARGE;
	cr_assert_eq(left_bytes(&disk), 5000);
	run.charge.charged_len = 5000;
	cr_assert_eq(left_bytes(&disk), 0);
}

Test(left, the_time_follows_from_how_fast_it_became_less)
{
	disk.job.left.is_counted = false;
	left_look(&disk, S);
	cr_assert_eq(disk.job.time_left.ns, 0, "one look says nothing");
	range_set_remove(&walk.todo, 0, DISK_LEN / 4);
	left_look(&disk, S + S / 4);
	cr_assert_eq(disk.job.time_left.n_looks, 1, "two looks lie half a second apart");
	left_look(&disk, 2 * S);
	cr_assert_eq(disk.job.time_left.ns, 3 * S);
	disk.job.paused = true;
	left_look(&disk, 3 * S);
	cr_assert_eq(disk.job.time_left.ns, 0, "a paused job has no end");
}

Test(left, the_time_is_that_of_the_last_looks)
{
	uint64_t bytes[40];

	disk.job.left.is_counted = false;
	for (unsigned i = 0; i < ARRAY_LEN(bytes); i++) { /* slow at first */
		left_look(&disk, (i + 1) * S);
		bytes[i] = left_bytes(&disk);
		range_set_remove(&walk.todo, i * MiB, i * MiB + (i < 30 ? 4096 : MiB));
	}
	cr_assert_eq(disk.job.time_left.ns,
		     scale(bytes[39], (JOB_LOOKS - 1) * S, 0, bytes[40 - JOB_LOOKS] - bytes[39],
			   &(uint64_t){ 0 }));
}

/* Each byte that was counted is left once, whatever the order in which the walk takes parts. */
Test(left, drawn_walks_add_up)
{
	for (unsigned seed = 1; seed <= 30; seed++) {
		uint64_t sum = 0;

		srand(seed);
		left_begin(&disk.job.left, DISK_LEN);
		disk.job.left.is_counted = true;
		range_set_clear(&walk.todo);
		cr_assert_eq(range_set_add(&walk.todo, 0, DISK_LEN), 0);
		for (unsigned i = 0; i < 200; i++) {
			uint64_t lo = (uint64_t)rand() % (DISK_LEN - 8 * MiB);
			uint64_t len = (uint64_t)rand() % (8 * MiB);

			left_add(&disk.job.left, lo, lo + len);
			sum += len;
		}
		cr_assert_eq(left_bytes(&disk), sum, "seed %u", seed);
		for (unsigned i = 0; i < 100; i++) {
			uint64_t part = (uint64_t)rand() % JOB_LEFT_PARTS;

			if (range_set_meets(&walk.todo, part * MiB, (part + 1) * MiB))
				sum -= disk.job.left.held[part];
			range_set_remove(&walk.todo, part * MiB, (part + 1) * MiB);
			cr_assert_eq(left_bytes(&disk), sum, "seed %u, part %" PRIu64, seed, part);
		}
	}
}
