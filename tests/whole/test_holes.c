/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Holes that lie, inside the simulated machine: the file system of the chain
 * calls all of a file, or all behind some byte, a hole, whatever is there. Where
 * that file system is not known a pull must not notice. Where the list or the user
 * trusts it wrongly a pull loses data, and one that verifies does not.
 *
 *   SIM_SEEDS=n SIM_SEED=first   more of them, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/machine/sim_pull.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(600);
TestSuite(holes_sim, .timeout = TIME_LIMIT_CLOCK(600));

struct scene {
	uint64_t seed;
	bool known; /* the file system is one of those known to tell the truth */
	uint32_t disk_flags, job_flags;
	struct sim *sim;
	struct sim_chain chain;
	struct sim_pull pull;
	struct sim_verdict verdict;
};

static void lie(struct scene *s)
{
	/* One that is known is believed of a QED overlay's own tables, and no pull looks behind
	 * that. */
	for (unsigned i = s->known; i < s->chain.n_files; i++) {
		const struct sim_chain_file *file = &s->chain.files[i];
		bool all = s->seed % 3 == 0;

		sim_file_lie(s->sim, file->name,
			     all ? 0 : sim_pull_hash(&s->chain, s->sim) % (file->file_len + 1));
	}
}

/* The judge reads what is on the disks. */
static void tell_the_truth(struct scene *s)
{
	for (unsigned i = 0; i < s->chain.n_files; i++)
		sim_file_lie(s->sim, s->chain.files[i].name, UINT64_MAX);
}

static void play(struct scene *s)
{
	struct sim_chain_how how = {
		.seed = s->seed,
		.format = s->seed % 4 ? IMAGE_QCOW2 : IMAGE_QED,
		.compression = s->seed % 8 == 5 ? BPULL_COMPRESSION_OWN : 0,
		.to_base = s->seed % 4 && s->seed % 3 == 1,
	};
	int rc;

	s->sim = sim_new(s->seed);
	sim_chain_draw(&s->chain, &how);
	sim_chain_put(&s->chain, s->sim);
	sim_knobs(s->sim)->holes_unknown = !s->known;
	lie(s);
	s->pull = (struct sim_pull){ .disk_flags = s->disk_flags };
	rc = sim_pull_open(&s->pull, &s->chain, s->sim, NULL, SIM_PULL_MEMORY, 0);
	s->pull.flags = s->job_flags;
	if (!rc)
		rc = sim_pull_run(&s->pull);
	cr_assert_eq(rc, 0, "seed %" PRIu64 ": %s: %s", s->seed, s->chain.text,
		     s->pull.error.message);
	sim_pull_close(&s->pull);
	tell_the_truth(s);
	sim_pull_judge(&s->chain, s->sim, &s->verdict);
}

static void end(struct scene *s)
{
	sim_chain_free(&s->chain);
	sim_free(s->sim);
}

/* Calls `judge` for every seed with a scene of that kind; returns how many said true. */
static uint64_t each_seed(uint64_t n, const struct scene *kind, bool (*judge)(struct scene *s))
{
	uint64_t first = sim_pull_env("SIM_SEED", 1), n_true = 0;

	n = sim_pull_env("SIM_SEEDS", EFFORT(n));
	fprintf(stderr, "seeds %" PRIu64 " to %" PRIu64 "\n", first, first + n - 1);
	for (uint64_t seed = first; seed < first + n; seed++) {
		struct scene s = *kind;

		s.seed = seed;
		play(&s);
		n_true += judge(&s);
		end(&s);
	}
	return n_true;
}

static bool is_right(struct scene *s)
{
	cr_assert_eq(s->pull.status, BPULL_JOB_COMPLETED, "seed %" PRIu64 ": %s: %s", s->seed,
		     s->chain.text, s->pull.message);
	cr_assert(s->verdict.ok, "seed %" PRIu64 ": %s: %s", s->seed, s->chain.text,
		  s->verdict.text);
	return true;
}

Test(holes_sim, an_unknown_file_system_is_read)
{
	each_seed(300, &(struct scene){ 0 }, is_right);
}

Test(holes_sim, a_verifying_job_reads_what_only_the_user_trusts)
{
	each_seed(300,
		  &(struct scene){ .disk_flags = BPULL_DISK_TRUST_HOLES,
				   .job_flags = BPULL_JOB_VERIFY },
		  is_right);
}

Test(holes_sim, read_means_that_not_even_the_known_are_believed)
{
	each_seed(150, &(struct scene){ .known = true, .disk_flags = BPULL_DISK_READ_HOLES },
		  is_right);
}

static bool is_lost(struct scene *s)
{
	cr_assert_eq(s->pull.status, BPULL_JOB_COMPLETED, "seed %" PRIu64 ": %s: %s", s->seed,
		     s->chain.text, s->pull.message);
	return !s->verdict.ok;
}

/* The lies are such that they would be seen: both words are taken where they are to be taken. */
Test(holes_sim, who_is_trusted_wrongly_loses_data)
{
	if (sim_pull_env("SIM_SEEDS", 0)) /* one seed need not have a raw file */
		return;
	cr_assert_gt(
		each_seed(100, &(struct scene){ .disk_flags = BPULL_DISK_TRUST_HOLES }, is_lost),
		EFFORT(10));
	cr_assert_gt(each_seed(100, &(struct scene){ .known = true }, is_lost), EFFORT(10));
}

/* Samples: what they find keeps the link, and with it all of the data, also in a pull to a base. */
static bool is_caught(struct scene *s)
{
	if (s->pull.status == BPULL_JOB_COMPLETED)
		return false;
	cr_assert_eq(s->pull.status, BPULL_JOB_FAILED);
	cr_assert_eq(s->pull.event_error, -EBADMSG, "seed %" PRIu64 ": %s", s->seed,
		     s->pull.message);
	cr_assert(strstr(s->pull.message, "a hole") && strstr(s->pull.message, "link is kept"),
		  "%s", s->pull.message);
	cr_assert(s->verdict.has_backing, "seed %" PRIu64, s->seed);
	cr_assert(s->verdict.ok, "seed %" PRIu64 ": %s: %s", s->seed, s->chain.text,
		  s->verdict.text);
	return true;
}

Test(holes_sim, samples_catch_a_known_file_system_that_lies)
{
	const struct scene kind = { .known = true, .job_flags = BPULL_JOB_VERIFY };

	if (!sim_pull_env("SIM_SEEDS", 0))
		cr_assert_gt(each_seed(300, &kind, is_caught), EFFORT(60));
	else
		each_seed(0, &kind, is_caught);
}

static bool is_clean(struct scene *s)
{
	return s->verdict.ok && s->pull.status == BPULL_JOB_COMPLETED;
}

/* With the truth told, samples fail no job. */
Test(holes_sim, samples_of_true_holes_are_zeros)
{
	for (uint64_t seed = 1; seed <= EFFORT(100); seed++) {
		struct scene s = { .seed = seed, .known = true };
		struct sim_chain_how how = { .seed = seed };

		s.sim = sim_new(seed);
		sim_chain_draw(&s.chain, &how);
		sim_chain_put(&s.chain, s.sim);
		cr_assert_eq(sim_pull_open(&s.pull, &s.chain, s.sim, NULL, SIM_PULL_MEMORY, 0), 0);
		s.pull.flags = BPULL_JOB_VERIFY;
		cr_assert_eq(sim_pull_run(&s.pull), 0);
		sim_pull_close(&s.pull);
		sim_pull_judge(&s.chain, s.sim, &s.verdict);
		cr_assert(is_clean(&s), "seed %" PRIu64 ": %s: %s %s", seed, s.chain.text,
			  s.pull.message, s.verdict.text);
		end(&s);
	}
}
