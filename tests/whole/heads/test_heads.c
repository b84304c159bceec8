/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Disks over images that they share, of which the tree changes all the time (heads.h): snapshots,
 * commits, compactions, pulls, longer disks and new ones, beside guests, in several processes that
 * hold each other's locks, that are killed, in a machine that loses its power. At each moment each
 * head reads what its guest may read, and each image that no disk writes to what it did.
 *
 *   HEADS_SEED=first HEADS_SEEDS=n   others, or one again; HEADS_TRACE=1: what happens in it
 */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/effort.h"
#include "tests/support/time_limit.h"
#include "tests/whole/heads/heads.h"

/* The first seed that draws images of all kinds; those below are plain. */
#define FIRST_OF_KINDS 1000

TIME_LIMIT(900);
TestSuite(heads, .timeout = TIME_LIMIT_CLOCK(900));

static void play_from(uint64_t first, uint64_t n, const struct heads_how *how)
{
	for (uint64_t seed = first; seed < first + n; seed++) {
		struct heads_how so = *how;

		so.kinds = seed >= FIRST_OF_KINDS;
		heads_play(seed, &so);
	}
}

static void play_seeds(uint64_t n, const struct heads_how *how)
{
	uint64_t first = sim_pull_env("HEADS_SEED", 0), n_plain = n / 2;

	if (first) {
		play_from(first, sim_pull_env("HEADS_SEEDS", 1), how);
		return;
	}
	play_from(1, n_plain, how);
	play_from(FIRST_OF_KINDS, n - n_plain, how);
}

/* What was met, so that a play that meets nothing is seen. */
static bool tell(void)
{
	const struct heads_met *met = &heads_met;

	fprintf(stderr,
		"%u snapshots, %u pulls, %u compactions, %u commits (%u of the image), %u longer, "
		"%u born, %u insisted, %u built\n%u busy, %u refused, %u failed, %u canceled, %u "
		"without "
		"room, %u resumed\n%u kills, %u cuts, %u of them in a call, %u in a job; %u "
		"looks\n",
		met->snapshots, met->pulls, met->compactions, met->commits, met->active,
		met->resizes, met->born, met->insisted, met->built, met->busy, met->refused,
		met->failed, met->canceled, met->no_room, met->resumed, met->kills, met->cuts,
		met->died_in_call, met->died_in_job, met->looks);
	return sim_pull_env("HEADS_SEED", 0) || EFFORT(8) < 8; /* too few to say */
}

Test(heads, of_several_processes_keep_their_bytes)
{
	play_seeds(EFFORT(80), &(struct heads_how){ 0 });
	if (tell())
		return;
	cr_assert(heads_met.snapshots > 500 && heads_met.pulls > 100 &&
			  heads_met.compactions > 50 && heads_met.active > 50,
		  "too little was done");
	cr_assert_gt(heads_met.commits, heads_met.active);
	cr_assert_gt(heads_met.busy, 500, "no locks were met");
}

Test(heads, in_power_cuts_keep_what_was_flushed)
{
	play_seeds(EFFORT(44), &(struct heads_how){ .cuts = true });
	if (!tell())
		cr_assert_gt(heads_met.looks, 1000);
}

Test(heads, that_are_killed_and_lose_power_keep_what_was_flushed)
{
	play_seeds(EFFORT(80), &(struct heads_how){ .crashes = true });
	if (!tell())
		cr_assert(heads_met.kills > 100 && heads_met.cuts > 100 &&
				  heads_met.died_in_call > 100 && heads_met.died_in_job > 50,
			  "too few died");
}

Test(heads, without_room_keep_their_bytes_and_go_on)
{
	play_seeds(EFFORT(44), &(struct heads_how){ .room = true });
	if (!tell())
		cr_assert(heads_met.no_room > 5 && heads_met.resumed > 0, "there was room");
}

Test(heads, that_fail_keep_what_they_promised)
{
	play_seeds(EFFORT(44), &(struct heads_how){ .faults = true });
	if (!tell())
		cr_assert_gt(heads_met.failed, 20);
}

/* ---- planted bugs: a search that never saw one proves nothing ---- */

static void find_planted(enum heads_planted planted, bool cuts)
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (!pid) {
		play_seeds(100, &(struct heads_how){ .cuts = cuts, .planted = planted });
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == HEADS_FOUND,
		  "a planted bug was not found");
}

Test(heads, a_base_that_is_not_flushed_is_found) /* I11 */
{
	find_planted(HEADS_UNSYNCED, true);
}

Test(heads, an_image_that_is_read_without_a_lock_is_found)
{
	find_planted(HEADS_UNLOCKED, false);
}

Test(heads, an_image_that_is_not_emptied_is_found)
{
	find_planted(HEADS_UNEMPTIED, false);
}

Test(heads, zeros_that_are_not_committed_are_found)
{
	find_planted(HEADS_LOST_ZEROS, false);
}
