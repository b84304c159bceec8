/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every call of a guest's little session, failing: the n-th of its kind for
 * every n. The session is fixed, and so is the machine's seed, so n counts the
 * same calls each time: requests of every kind, a few side by side, with a pull
 * or with copy-on-read beside them. Each time:
 *
 * - A request that fails was in flight, with the right code; what can be tried again
 *   is, and no answer tells of it; what comes later succeeds, unless
 * - a barrier or a table write failed (I7): then nothing is written any more,
 *   and every later write, discard and flush says so, while reads go on.
 * - What is left opens, checks, reads as the model says, keeps its snapshots,
 *   also after a power cut on top of it.
 * - The same session on it, without a failure, succeeds; the pull completes;
 *   the image is clean.
 *
 * Random failures under random guests are test_model.c's; they never know which
 * call they left out.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "io/base.h"
#include "tests/machine/sim_chains.h"
#include "tests/support/effort.h"
#include "tests/support/leaks.h"
#include "tests/support/time_limit.h"
#include "tests/whole/guest_trial.h"

#define MAX_NTH 5000 /* more calls than a session makes */

TIME_LIMIT(900);
TestSuite(faults_guest, .timeout = TIME_LIMIT_CLOCK(900));

/* Small disks: what takes its time is to judge each byte. */
static const struct sim_chain_how chains[] = {
	{ SIM_SMALL_CLUSTERS, SIM_SIZE(24, 2) },
	{ SIM_SMALL_QED, SIM_SIZE(12, 2) },
	/* Below it are compressed clusters. */
	{ SIM_V2(12), SIM_SIZE(12, 3) },
	{ SIM_SNAPSHOTS(2), SIM_SIZE(24, 2) },
	{ SIM_V3(14, 16), SIM_SIZE(6, 1), .extended = true },
	{ SIM_SMALL_CLUSTERS, SIM_SIZE(24, 1), .data_file = true },
	{ SIM_FULL_TABLE, SIM_SIZE(24, 1) },
	{ SIM_V3(10, 16), SIM_SIZE(24, 2), .compression = BPULL_COMPRESSION_OWN },
};

/* ---- what is left ---- */

static void judge_left(const struct guest_trial *t, struct sim *left, const char *when,
		       uint8_t *got)
{
	struct sim_verdict v;

	sim_guest_judge_cut(&t->guest, t->chain, left, got, &v);
	cr_assert(v.ok, "%s, %s: %s", t->what, when, v.text);
	cr_assert(!t->completed || !v.has_backing, "%s, %s: COMPLETED, and the link is there",
		  t->what, when);
}

/* got: the disk that is left. */
static void judge_cut(const struct guest_trial *t, enum sim_cut_mode mode, const char *when,
		      uint8_t *got)
{
	struct sim_cut how = { .mode = mode, .seed = t->fault.nth };
	struct sim *left = sim_cut(t->sim, &how);

	judge_left(t, left, when, got);
	sim_free(left);
}

/* got: the disk, for the second life. */
static void judge_first_life(struct guest_trial *t, bool is_exact, uint8_t *got)
{
	sim_clear_faults(t->sim);
	judge_cut(t, SIM_CUT_ALL_LOST, "then a power cut", got);
	if (!is_exact)
		judge_cut(t, SIM_CUT_RANDOM, "then a random power cut", got);
	judge_cut(t, SIM_CUT_NONE, "afterwards", got);
	for (uint64_t i = 0; is_exact && i < t->chain->guest_len; i++)
		cr_assert(model_is_legal(&t->guest.model, i, got[i]),
			  "%s, afterwards: byte %" PRIu64 " is %#x", t->what, i, got[i]);
}

static void live_again(struct guest_trial *t, const uint8_t *first)
{
	struct guest_trial again = { .chain = t->chain,
				     .sim = t->sim,
				     .fault = t->fault,
				     .with_job = true,
				     .is_again = true };
	uint8_t *got = malloc(t->chain->guest_len);
	struct sim_verdict v;
	struct sim *now;
	bool is_exact;
	int rc;

	snprintf(again.what, sizeof(again.what), "again, %.190s", t->what);
	model_begin(&again.guest.model, first, t->chain->guest_len);
	rc = guest_trial_live(&again, &is_exact);
	cr_assert_eq(rc, 0, "%s: it does not open: %s", again.what, strerror(-rc));
	cr_assert(again.completed && is_exact, "%s: not COMPLETED", again.what);
	now = sim_cut(t->sim, &(struct sim_cut){ .mode = SIM_CUT_NONE });
	sim_guest_judge_cut(&again.guest, t->chain, now, got, &v);
	cr_assert(v.ok && !v.n_leaks && !v.has_backing, "%s: %" PRIu64 " leaks: %s", again.what,
		  v.n_leaks, v.text);
	sim_free(now);
	for (uint64_t i = 0; i < t->chain->guest_len; i++)
		cr_assert(model_is_legal(&again.guest.model, i, got[i]),
			  "%s: byte %" PRIu64 " is %#x", again.what, i, got[i]);
	cr_assert(sim_chain_backing_is_same(t->chain, t->sim), "%s: a backing file was changed",
		  again.what);
	model_end(&again.guest.model);
	free(got);
}

static void describe(struct guest_trial *t)
{
	static const char *const ops[] = {
		"read", "write", "sync", "truncate", "writeback", "work"
	};
	const struct sim_fault *f = &t->fault;

	snprintf(t->what, sizeof(t->what), "chain %" PRIu64 "%s: %s number %" PRIu64 ": %s, %s",
		 t->chain->how.seed, t->with_job ? ", pulled" : "", ops[f->op], f->nth,
		 f->error ? strerror(-f->error) : "short",
		 f->persists  ? "it never passes"
		 : f->forever ? "for ever"
			      : "once");
}

/* False: the fault was never met. */
static bool try_fault(const struct sim_chain *chain, const struct sim_fault *fault, bool with_job)
{
	struct guest_trial t = { .chain = chain,
				 .fault = *fault,
				 .with_job = with_job,
				 .sim = sim_new(chain->how.seed) };
	uint8_t *left = malloc(chain->guest_len);
	bool hit, is_exact;
	int rc;

	describe(&t);
	sim_chain_put(chain, t.sim);
	model_begin(&t.guest.model, chain->want, chain->guest_len);
	sim_fail(t.sim, fault);
	rc = guest_trial_live(&t, &is_exact);
	hit = sim_n_faults_hit(t.sim);
	cr_assert(!rc || (hit && !guest_trial_passes(fault) && rc == guest_trial_code(fault)),
		  "%s: it does not open: %s", t.what, strerror(-rc));
	guest_trial_met.runs++;
	guest_trial_met.failed += t.n_failed;
	guest_trial_met.completed += t.completed;
	guest_trial_met.canceled_opens += rc != 0;
	judge_first_life(&t, is_exact, left);
	live_again(&t, left);
	model_end(&t.guest.model);
	free(left);
	sim_free(t.sim);
	return hit;
}

static void try_all(enum sim_op op, const struct sim_fault *faults, size_t n_faults)
{
	for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
		struct sim_chain_how how = chains[i];
		struct sim_chain chain;

		how.seed = i + 1;
		sim_chain_draw(&chain, &how);
		for (size_t k = 0; k < 2 * n_faults; k++) {
			struct sim_fault fault = faults[k / 2];

			fault.op = op;
			for (fault.nth = EFFORT_FIRST(i + k); fault.nth < MAX_NTH;
			     fault.nth += EFFORT_STEP)
				if (!try_fault(&chain, &fault, k % 2))
					break;
			cr_assert_lt(fault.nth, MAX_NTH);
			cr_assert(fault.nth > 1 || op == SIM_WORK, "nothing failed");
		}
		sim_chain_free(&chain);
		leaks_assert_none("a failing call");
	}
	fprintf(stderr,
		"operation %d: %" PRIu64 " sessions, %" PRIu64 " requests and jobs failed, %" PRIu64
		" disks given up, %" PRIu64 " pulls completed\n",
		(int)op, guest_trial_met.runs, guest_trial_met.failed, guest_trial_met.poisoned,
		guest_trial_met.completed);
}

#define TRY_ALL(op, ...)                                                   \
	do {                                                               \
		static const struct sim_fault faults_[] = { __VA_ARGS__ }; \
		try_all(op, faults_, ARRAY_LEN(faults_));                  \
	} while (0)

Test(faults_guest, a_failed_read_fails_only_requests_in_flight)
{
	TRY_ALL(SIM_READ, { .error = -EIO }, { .error = -EIO, .forever = true });
	cr_assert_gt(guest_trial_met.failed, EFFORT(1000));
	cr_assert_gt(guest_trial_met.completed, EFFORT(200));
}

Test(faults_guest, a_read_that_can_be_repeated_is_not_reported)
{
	TRY_ALL(SIM_READ, { .error = -EINTR }, { .error = -EAGAIN, .forever = true },
		{ .max_len = 1 }, { .max_len = 511, .forever = true });
	cr_assert_eq(guest_trial_met.failed, 0);
}

Test(faults_guest, a_failed_write_fails_only_requests_in_flight)
{
	TRY_ALL(SIM_WRITE, { .error = -EIO }, { .error = -EIO, .forever = true },
		{ .error = -EAGAIN, .persists = true });
	cr_assert_gt(guest_trial_met.failed, EFFORT(1000));
	cr_assert_gt(guest_trial_met.poisoned, EFFORT(500));
	cr_assert_gt(guest_trial_met.completed, EFFORT(300));
}

Test(faults_guest, a_write_without_space_gives_no_disk_up)
{
	TRY_ALL(SIM_WRITE, { .error = -ENOSPC }, { .error = -ENOSPC, .forever = true },
		{ .error = -EDQUOT }, { .error = -EDQUOT, .forever = true });
	cr_assert_gt(guest_trial_met.failed, EFFORT(1000));
	cr_assert_gt(guest_trial_met.completed, EFFORT(300));
}

Test(faults_guest, a_write_that_can_be_repeated_is_not_reported)
{
	TRY_ALL(SIM_WRITE, { .error = -EINTR, .forever = true }, { .error = -EAGAIN },
		{ .max_len = 1, .forever = true }, { .max_len = 511 });
	cr_assert_eq(guest_trial_met.failed, 0);
}

Test(faults_guest, a_failed_barrier_gives_the_disk_up)
{
	TRY_ALL(SIM_SYNC, { .error = -EIO }, { .error = -EIO, .forever = true },
		{ .error = -ENOSPC }, { .error = -EDQUOT, .forever = true },
		{ .error = -EINTR, .persists = true });
	cr_assert_gt(guest_trial_met.poisoned, EFFORT(300));
}

Test(faults_guest, a_barrier_that_can_be_repeated_is_not_reported)
{
	TRY_ALL(SIM_SYNC, { .error = -EINTR }, { .error = -EAGAIN, .forever = true });
	cr_assert_eq(guest_trial_met.failed, 0);
}

/* What workers do: decoding, and what comes before the first write. */
Test(faults_guest, failed_work_fails_only_requests_in_flight)
{
	TRY_ALL(SIM_WORK, { .error = -EIO }, { .error = -ENOMEM, .forever = true });
	cr_assert_gt(guest_trial_met.failed, EFFORT(50));
}
