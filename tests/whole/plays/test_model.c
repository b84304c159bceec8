/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A guest and jobs in the simulated machine: random requests, up to 16 in
 * flight, overlapping or not, on any kind of image, while the chain is pulled,
 * whole or to a file of it, paused, aborted, pulled again, asked about;
 * completions in any order, transfers of any length; files that a job has
 * dropped used for something else at once. Every read is legal (model.c), every
 * request has one event, the link is what the job's end says, and what is left
 * reads as the guest read it last, is clean and keeps its snapshots (play.h).
 *
 *   MODEL_SEEDS=n MODEL_SEED=first   more of them, or one again
 *   MODEL_HANG=seconds               of the processor, until a play is given up
 */
#include <sys/wait.h>

#include "tests/whole/plays/play.h"
#include "tests/support/effort.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(1200);
TestSuite(model, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(1200));

static void draw(struct sim_chain *chain, uint64_t seed)
{
	struct sim_chain_how how = { .seed = seed / 8 + 1, .n_clusters = 12 + seed / 8 % 40 };

	switch (seed / 8 % 8) {
	case 0:
		how.format = IMAGE_QED;
		how.cluster_bits = 12;
		break;
	case 1:
	case 2:
		how.format = IMAGE_QCOW2;
		how.version = 3;
		how.cluster_bits = 9 + seed / 64 % 3;
		how.n_snapshots = 1 + seed / 64 % 2;
		how.refcount_bits = 4u << seed / 64 % 3;
		break;
	case 3:
		how.format = IMAGE_QCOW2;
		how.version = 3;
		how.data_file = true;
		break;
	case 4:
		how.format = IMAGE_QCOW2;
		how.version = 2;
		break;
	case 5:
		how.format = IMAGE_QCOW2;
		how.full_block = true;
		break;
	case 6:
		how.format = IMAGE_QCOW2;
		how.compression = BPULL_COMPRESSION_OWN;
		break;
	default:
		how.format = IMAGE_QCOW2;
		how.version = 3;
		break;
	}
	if (!how.cluster_bits)
		how.cluster_bits = 9 + seed / 64 % 4;
	/* Whole blocks are what can be shared. */
	if (seed / 8 % 8 >= 4 && seed / 64 % 2) {
		how.cluster_bits = 12;
		how.clone = 1 + seed / 128 % 3;
	}
	if (how.version == 3)
		how.autoclear = seed / 8 % 2; /* bitmaps that hold */
	sim_chain_draw(chain, &how);
}

/* Eight plays on each chain: drawing one costs as much as a play. */
static void play_seeds(uint64_t part, uint64_t n_parts, uint64_t n, const struct play *how)
{
	uint64_t n_states = 0;
	uint64_t first = sim_pull_env("MODEL_SEED", 0),
		 n_seeds = sim_pull_env("MODEL_SEEDS", EFFORT(n));
	struct sim_chain chain;

	if (first) {
		n_seeds = part ? 0 : sim_pull_env("MODEL_SEEDS", 1);
	} else {
		first = 8 + part * (n_seeds / n_parts);
		n_seeds /= n_parts;
	}
	for (uint64_t seed = first; seed < first + n_seeds; seed++) {
		if (seed == first || seed % 8 == 0)
			(how->shapes  ? play_draw_shape
			 : how->types ? play_draw_types
			 : how->grows ? play_draw_grow
				      : draw)(&chain, seed);
		n_states += play(&chain, seed, how);
		if (seed == first + n_seeds - 1 || seed % 8 == 7)
			sim_chain_free(&chain);
	}
	if (n_seeds < EFFORT(1000) || how->base_changes)
		return;
	for (unsigned i = 0; i < SIM_GUEST_N_KINDS; i++)
		cr_assert_gt(play_met.requests[i], EFFORT(100));
	cr_assert_gt(play_met.completed, EFFORT(100));
	cr_assert_gt(play_met.canceled, EFFORT(30));
	cr_assert_gt(play_met.guest_at_end, EFFORT(30), "no layers were dropped under a guest");
	cr_assert_gt(play_met.aborted_with_guest, EFFORT(30));
	cr_assert(how->shapes || how->types || play_met.bitmaps_cleared > EFFORT(100));
	cr_assert_gt(play_met.asked, EFFORT(100));
	cr_assert_gt(play_met.later_jobs, EFFORT(30));
	fprintf(stderr,
		"seeds %" PRIu64 " to %" PRIu64 ": %" PRIu64 " pulls completed, %" PRIu64
		" canceled, %" PRIu64 " states after power cuts\n",
		first, first + n_seeds - 1, play_met.completed, play_met.canceled, n_states);
}

#define N_PLAYS         4500
#define N_PLAYS_CUT     2000
#define N_PLAYS_SPACE   2500
#define N_PLAYS_BASE    2000
#define N_PLAYS_SHAPES  160
#define N_PLAYS_LATE    400
#define N_PLAYS_TYPES   800
#define N_PLAYS_GROW    400
#define N_PLAYS_SOURCES 300

Test(model, guests_beside_jobs_read_what_they_wrote_1)
{
	play_seeds(0, 2, N_PLAYS, &(struct play){ 0 });
}

Test(model, guests_beside_jobs_read_what_they_wrote_2)
{
	play_seeds(1, 2, N_PLAYS, &(struct play){ 0 });
}

/* Events that stay where they are, while the next job is started: each comes, in order, and says
 * what the state did. */
Test(model, events_that_are_left_come_in_order)
{
	play_seeds(0, 1, N_PLAYS_LATE, &(struct play){ .late_events = true });
	play_seeds(0, 1, N_PLAYS_LATE / 4, &(struct play){ .late_events = true, .faults = true });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	fprintf(stderr, "%" PRIu64 " jobs began before the last one's event was taken\n",
		play_met.early);
	cr_assert_gt(play_met.early, EFFORT(60));
}

/* Images at the borders of their formats: with guests, cuts, and disks that are full. */
Test(model, images_at_the_borders_of_formats_read_right)
{
	play_seeds(0, 1, N_PLAYS_SHAPES, &(struct play){ .shapes = true });
}

Test(model, a_cut_spoils_no_image_at_the_borders)
{
	play_seeds(0, 1, N_PLAYS_SHAPES / 6, &(struct play){ .shapes = true, .cuts = true });
}

Test(model, a_full_disk_spoils_no_image_at_the_borders)
{
	play_seeds(0, 1, N_PLAYS_SHAPES / 4, &(struct play){ .shapes = true, .space = true });
}

/* The type of compression changes beside the guest, for good or until a commit finds room. */
Test(model, the_compression_type_changes_beside_a_guest)
{
	play_seeds(0, 1, N_PLAYS_TYPES, &(struct play){ .types = true });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	fprintf(stderr, "the type changed %" PRIu64 " times, %" PRIu64 " refused\n", play_met.types,
		play_met.types_refused);
	cr_assert_gt(play_met.types_with_guest, EFFORT(100));
	if (EFFORT_DIVISOR == 1) /* the few plays of a sanitizer's build may meet none */
		cr_assert_gt(play_met.types_refused, 10);
}

Test(model, a_full_disk_spoils_no_change_of_type)
{
	play_seeds(0, 1, N_PLAYS_TYPES * 3 / 2, &(struct play){ .types = true, .space = true });
}

Test(model, a_request_that_fails_spoils_no_change_of_type)
{
	play_seeds(0, 1, N_PLAYS_TYPES / 2, &(struct play){ .types = true, .faults = true });
}

Test(model, a_cut_spoils_no_change_of_type)
{
	play_seeds(0, 1, N_PLAYS_TYPES / 4, &(struct play){ .types = true, .cuts = true });
}

/* The disk becomes longer beside its guest, and between jobs. */
Test(model, a_disk_becomes_longer_beside_its_guest)
{
	play_seeds(0, 1, N_PLAYS_GROW, &(struct play){ .grows = true });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	fprintf(stderr, "%" PRIu64 " disks became longer, %" PRIu64 " by an L1 table\n",
		play_met.grown, play_met.grown_far);
	cr_assert_gt(play_met.grown_far, EFFORT(30));
	cr_assert_gt(play_met.grow_with_guest, EFFORT(100));
	cr_assert_gt(play_met.grow_busy, EFFORT(100));
}

Test(model, a_cut_leaves_a_longer_disk_one_of_two_lengths)
{
	play_seeds(0, 1, N_PLAYS_GROW, &(struct play){ .grows = true, .cuts = true });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	fprintf(stderr, "%" PRIu64 " cuts while a disk grew\n", play_met.grow_cuts);
	cr_assert_gt(play_met.grow_cuts, EFFORT(100));
}

Test(model, a_disk_that_fails_to_become_longer_loses_nothing)
{
	play_seeds(0, 1, N_PLAYS_GROW, &(struct play){ .grows = true, .faults = true });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	cr_assert_gt(play_met.grow_failed, EFFORT(30));
}

Test(model, a_disk_without_room_to_become_longer_loses_nothing)
{
	play_seeds(0, 1, N_PLAYS_GROW, &(struct play){ .grows = true, .space = true });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	cr_assert_gt(play_met.grow_failed, EFFORT(30));
}

/* The lower files are bases that the program supplies: they answer late and in any order, are away
 * for a time, fail, lie where digests are expected, and come back as another one. */
Test(model, sources_may_answer_late_and_in_any_order)
{
	play_seeds(0, 1, N_PLAYS_SOURCES, &(struct play){ .sources = PLAY_SOURCES });
}

Test(model, a_job_waits_for_a_source_that_is_away)
{
	play_seeds(0, 1, N_PLAYS_SOURCES * 2,
		   &(struct play){ .sources = PLAY_SOURCES | PLAY_SOURCES_LEAVE });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	fprintf(stderr, "%" PRIu64 " absences, %" PRIu64 " jobs paused, %" PRIu64 " went on\n",
		play_met.left, play_met.stopped_away, play_met.resumed_away);
	cr_assert_gt(play_met.stopped_away, EFFORT(30));
	cr_assert_gt(play_met.resumed_away, EFFORT(20));
	cr_assert_gt(play_met.not_opened, EFFORT(20));
}

Test(model, a_source_that_fails_or_lies_spoils_nothing)
{
	play_seeds(0, 1, N_PLAYS_SOURCES,
		   &(struct play){ .sources = PLAY_SOURCES | PLAY_SOURCES_FAIL });
	if (!sim_pull_env("MODEL_SEED", 0))
		cr_assert_gt(play_met.failed, EFFORT(30));
}

Test(model, an_image_of_two_sources_is_marked)
{
	play_seeds(0, 1, N_PLAYS_SOURCES * 3,
		   &(struct play){ .sources = PLAY_SOURCES | PLAY_SOURCES_CHANGE |
					      PLAY_SOURCES_LEAVE });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	fprintf(stderr, "%" PRIu64 " sources became others, %" PRIu64 " images were marked\n",
		play_met.others, play_met.marked);
	cr_assert_gt(play_met.others, EFFORT(30));
	cr_assert_gt(play_met.marked, EFFORT(10));
}

Test(model, a_cut_beside_a_source_loses_nothing_flushed)
{
	play_seeds(0, 1, N_PLAYS_SOURCES / 2,
		   &(struct play){ .sources = PLAY_SOURCES | PLAY_SOURCES_LEAVE | PLAY_SOURCES_FAIL,
				   .cuts = true });
}

Test(model, a_request_that_fails_beside_a_source_spoils_no_other)
{
	play_seeds(0, 1, N_PLAYS_SOURCES,
		   &(struct play){ .sources = PLAY_SOURCES | PLAY_SOURCES_LEAVE, .faults = true });
}

/* What one met can be met again: with other memory, behind other plays. */
Test(model, the_same_seed_is_the_same_play)
{
	for (uint64_t seed = 8; seed < 8 + EFFORT(100); seed++) {
		struct sim_chain chain;
		uint64_t trace;
		void *other;

		draw(&chain, seed);
		play(&chain, seed, &(struct play){ 0 });
		trace = play_met.trace;
		other = malloc(seed * 48);
		play(&chain, seed + 1, &(struct play){ 0 });
		play(&chain, seed, &(struct play){ 0 });
		cr_assert_eq(trace, play_met.trace, "MODEL_SEED=%" PRIu64 " is two plays", seed);
		free(other);
		sim_chain_free(&chain);
	}
}

/* The same with the power gone at random moments. */
Test(model, a_power_cut_loses_nothing_that_was_flushed_1)
{
	play_seeds(0, 2, N_PLAYS_CUT, &(struct play){ .cuts = true });
}

Test(model, a_power_cut_loses_nothing_that_was_flushed_2)
{
	play_seeds(1, 2, N_PLAYS_CUT, &(struct play){ .cuts = true });
}

/* Reads, writes and barriers that fail, disks that are full. */
Test(model, a_request_that_fails_spoils_no_other)
{
	play_seeds(0, 1, N_PLAYS_CUT, &(struct play){ .faults = true });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	cr_assert_gt(play_met.failed, EFFORT(100));
	cr_assert_gt(play_met.poisoned, EFFORT(30));
	cr_assert_gt(play_met.stopped, EFFORT(30));
	fprintf(stderr, "%" PRIu64 " requests failed, %" PRIu64 " disks were given up\n",
		play_met.failed, play_met.poisoned);
}

/* A disk that is full and has room again, beside jobs that fail of it or wait: in every commit, the
 * one that detaches too. Nothing was written wrongly, so nothing is given up. */
Test(model, a_disk_without_room_is_not_given_up)
{
	play_seeds(0, 1, N_PLAYS_SPACE, &(struct play){ .space = true });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	cr_assert_gt(play_met.failed, EFFORT(100));
	cr_assert_gt(play_met.full_jobs, EFFORT(30));
	cr_assert_gt(play_met.stopped, EFFORT(30));
	cr_assert_gt(play_met.aborted_stopped, EFFORT(10));
}

static void replay(uint64_t seed, const struct play *how)
{
	struct sim_chain chain;

	draw(&chain, seed);
	play(&chain, seed, how);
	sim_chain_free(&chain);
}

/* Others write to a backing file while a job reads it, in any of its states: it must not say that
 * it is done, and keep the link. */
Test(model, a_job_whose_base_changed_keeps_the_link)
{
	play_seeds(0, 1, N_PLAYS_BASE, &(struct play){ .base_changes = true });
	if (sim_pull_env("MODEL_SEED", 0))
		return;
	fprintf(stderr, "%" PRIu64 " bases changed under a job\n", play_met.changed_bases);
	cr_assert_gt(play_met.changed_bases, EFFORT(300));
	cr_assert_gt(play_met.cut_bases, EFFORT(50));
	cr_assert_gt(play_met.marked, EFFORT(200));
}

/* A base that was cut short: each try to read it fails, and the job is told to go on each time. */
Test(model, a_base_that_can_be_read_no_more_ends_the_job)
{
	replay(7948, &(struct play){ .base_changes = true });
}

/* In a child, which ends at the first thing that is wrong. */
static void find_planted(enum planted planted, bool cuts)
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (!pid) {
		play_seeds(0, 2, 20000, &(struct play){ .cuts = cuts, .planted = planted });
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == PLAY_FOUND,
		  "a planted bug was not found");
}

Test(model, space_reused_before_its_entries_are_durable_is_found) /* I5 */
{
	find_planted(PLANTED_EARLY, true);
}

Test(model, space_reused_under_reads_is_found) /* I5 */
{
	find_planted(PLANTED_UNDRAINED, false);
}
