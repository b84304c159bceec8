/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Flattening on a machine whose directories forget: drawn chains are made into a
 * new file while each call fails in turn, and the power is cut at each operation.
 *
 * - After a cut, whatever it keeps of data and names, there is no file of the new
 *   name, or one with the whole right image.
 * - COMPLETED: it is there after each cut, and nothing else is.
 * - Another end: no file is there, under the new name or a temporary one, unless
 *   removing it is what failed.
 * - The source's files are what they were.
 *
 *   FLATTEN_SEED=first FLATTEN_SEEDS=n   other chains, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "engine/blockpull.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_chains.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"

#define NEW_NAME  "/new"
#define OFTEN_LEN (16 * KiB)

TIME_LIMIT(600);
TestSuite(flatten_sim, .timeout = TIME_LIMIT_CLOCK(600));

struct made {
	int rc; /* of opening, or of the job */
	bool completed;
	char message[1024];
};

static const struct {
	struct sim_chain_how from;
	enum image_format to;
} kinds[] = {
	{ { SIM_V3(9, 0), .n_clusters = 24 }, IMAGE_QCOW2 },
	{ { SIM_V2(10), .n_clusters = 12 }, IMAGE_RAW },
	{ { SIM_QED(12), .n_clusters = 6 }, IMAGE_QED },
	{ { SIM_QED(12), .n_clusters = 6 }, IMAGE_RAW },
	{ { SIM_V3(11, 0), .n_clusters = 8 }, IMAGE_QED },
};

/* ---- making it ---- */

static int open_flatten(struct sim_pull *pull, const struct sim_chain *chain, enum image_format to)
{
	struct bpull_disk_options from = {
		.size = sizeof(from),
		.backing_format = (enum bpull_format)chain->unnamed,
		.backing_trust = chain->unnamed ? BPULL_TRUST_ALONE : BPULL_TRUST_ALL,
		.backing_rule = BPULL_BACKING_ANY,
	};
	struct bpull_create_options out = { .size = sizeof(out), .format = (enum bpull_format)to };
	int rc = engine_open_on(sim_io(pull->sim), sim_opener(pull->sim), SIM_PULL_MEMORY,
				&pull->engine);

	if (to != IMAGE_RAW)
		out.cluster_size = 4096;
	if (rc) {
		pull->engine = NULL;
		return rc;
	}
	pull->engine->budget.commit_len = OFTEN_LEN;
	rc = bpull_flatten_open(pull->engine, SIM_CHAIN_TOP, &from, NEW_NAME, &out, &pull->disk,
				&pull->error);
	if (rc)
		sim_pull_close(pull);
	return rc;
}

static struct made make(struct sim *sim, const struct sim_chain *chain, enum image_format to)
{
	struct sim_pull pull = { .sim = sim };
	struct made made = { .rc = open_flatten(&pull, chain, to) };

	if (made.rc) {
		snprintf(made.message, sizeof(made.message), "%s", pull.error.message);
		return made;
	}
	made.rc = sim_pull_run(&pull);
	made.completed = !made.rc && pull.status == BPULL_JOB_COMPLETED;
	cr_assert(made.rc != -ETIME || sim_is_stopped(sim), "%s: it hangs", chain->text);
	snprintf(made.message, sizeof(made.message), "%s",
		 made.rc ? pull.error.message : pull.message);
	sim_pull_close(&pull);
	return made;
}

static struct sim *new_machine(const struct sim_chain *chain, uint64_t seed)
{
	struct sim *sim = sim_new(seed);

	sim_chain_put(chain, sim);
	return sim;
}

/* ---- judging it ---- */

static void judge_raw(const struct sim_chain *chain, struct sim *sim, struct sim_verdict *v)
{
	uint8_t *got = sim_need(malloc(chain->guest_len));

	*v = (struct sim_verdict){ .ok = sim_file_len(sim, NEW_NAME) == chain->guest_len };
	snprintf(v->text, sizeof(v->text), "its length is wrong");
	if (v->ok) {
		sim_file_peek(sim, NEW_NAME, got, chain->guest_len, 0);
		v->ok = !memcmp(got, chain->want, chain->guest_len);
		snprintf(v->text, sizeof(v->text), "its bytes are wrong");
	}
	free(got);
}

static void judge_tables(const struct sim_chain *chain, enum image_format to, struct sim *sim,
			 struct sim_verdict *v)
{
	struct sim_chain alone = *chain;

	alone.how.format = to;
	alone.how.n_snapshots = 0;
	alone.unnamed = IMAGE_UNKNOWN;
	sim_file_rename(sim, NEW_NAME, SIM_CHAIN_TOP);
	sim_pull_judge(&alone, sim, v);
	if (v->has_backing) {
		v->ok = false;
		snprintf(v->text, sizeof(v->text), "it has a backing file");
	}
}

/* `sim` is what is left after a cut; it is used up. */
static void judge(const struct sim_chain *chain, enum image_format to, struct sim *sim,
		  bool must_exist, const char *when, uint64_t n)
{
	struct sim_verdict v = { .ok = true };

	cr_assert(sim_chain_rest_is_same(chain, sim, 0), "%s: the source changed, %s %" PRIu64,
		  chain->text, when, n);
	cr_assert(!must_exist || sim_file_exists(sim, NEW_NAME), "%s: it is lost, %s %" PRIu64,
		  chain->text, when, n);
	if (sim_file_exists(sim, NEW_NAME) && to == IMAGE_RAW)
		judge_raw(chain, sim, &v);
	else if (sim_file_exists(sim, NEW_NAME))
		judge_tables(chain, to, sim, &v);
	cr_assert(v.ok, "%s: into format %d, %s %" PRIu64 ": %s", chain->text, (int)to, when, n,
		  v.text);
	sim_free(sim);
}

static void judge_cuts(const struct sim_chain *chain, enum image_format to, const struct sim *sim,
		       bool must_exist, const char *when, uint64_t n)
{
	static const struct sim_cut cuts[] = {
		{ .mode = SIM_CUT_ALL_LOST, .names = SIM_NAMES_OLD },
		{ .mode = SIM_CUT_ALL_LOST, .names = SIM_NAMES_NEW },
		{ .mode = SIM_CUT_ALL_KEPT, .names = SIM_NAMES_OLD },
		{ .mode = SIM_CUT_ALL_KEPT, .names = SIM_NAMES_NEW },
		{ .mode = SIM_CUT_RANDOM, .names = SIM_NAMES_NEW },
		{ .mode = SIM_CUT_RANDOM, .names = SIM_NAMES_RANDOM },
	};

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct sim_cut cut = cuts[i];

		cut.seed = n * ARRAY_LEN(cuts) + i;
		judge(chain, to, sim_cut(sim, &cut), must_exist, when, n);
	}
}

/* Files of the new name or a temporary one, as readers see them now. */
static unsigned count_new(const struct sim *sim)
{
	unsigned n = 0;

	for (const struct sim_file *file = sim->files; file; file = file->next)
		n += !file->is_removed &&
		     (!strcmp(file->name, NEW_NAME) || !strncmp(file->name, "/.new.", 6) ||
		      strstr(file->name, ".blockpull-"));
	return n;
}

/* ---- the tests ---- */

static void cut_at_each(const struct sim_chain *chain, enum image_format to, uint64_t seed)
{
	struct sim *sim = new_machine(chain, seed);
	struct made made = make(sim, chain, to);
	uint64_t n_ops = sim_n_all_ops(sim);

	cr_assert(made.completed, "%s: %d, %s", chain->text, made.rc, made.message);
	cr_assert_eq(count_new(sim), 1);
	judge_cuts(chain, to, sim, true, "after", 0);
	sim_free(sim);
	for (uint64_t k = 1; k <= n_ops; k++) {
		sim = new_machine(chain, seed);
		sim_stop_at(sim, k);
		made = make(sim, chain, to);
		judge_cuts(chain, to, sim, made.completed, "cut at", k);
		sim_free(sim);
	}
}

/* False: the machine made fewer such calls. */
static bool fail_nth(const struct sim_chain *chain, enum image_format to, uint64_t seed,
		     const struct sim_fault *fault)
{
	struct sim *sim = new_machine(chain, seed);
	struct made made;
	bool hit;

	sim_fail(sim, fault);
	made = make(sim, chain, to);
	hit = sim_n_faults_hit(sim);
	if (!made.completed && fault->op != SIM_REMOVE)
		cr_assert_eq(count_new(sim), 0,
			     "%s: a file stays, call %" PRIu64 " of kind %d (%s)", chain->text,
			     fault->nth, (int)fault->op, made.message);
	cr_assert(made.completed || made.message[0], "%s: fails without a sentence", chain->text);
	judge_cuts(chain, to, sim, made.completed, "failed call", fault->nth);
	sim_free(sim);
	return hit;
}

static void fail_each(const struct sim_chain *chain, enum image_format to, uint64_t seed)
{
	for (enum sim_op op = 0; op < SIM_N_OPS; op++)
		for (unsigned forever = 0; forever < 2; forever++)
			for (uint64_t nth = 1; fail_nth(chain, to, seed,
							&(struct sim_fault){ .op = op,
									     .nth = nth,
									     .error = -EIO,
									     .forever = forever });)
				nth++;
}

static void each_kind(uint64_t n_seeds, void (*try)(const struct sim_chain *chain,
						    enum image_format to, uint64_t seed))
{
	uint64_t first = sim_pull_env("FLATTEN_SEED", 1);
	uint64_t n = sim_pull_env("FLATTEN_SEEDS", EFFORT(n_seeds)) * ARRAY_LEN(kinds);

	for (uint64_t i = 0; i < n; i++) {
		struct sim_chain_how how = kinds[i % ARRAY_LEN(kinds)].from;
		struct sim_chain chain;

		how.seed = first + i / ARRAY_LEN(kinds);
		sim_chain_draw(&chain, &how);
		try(&chain, kinds[i % ARRAY_LEN(kinds)].to, how.seed);
		sim_chain_free(&chain);
	}
}

Test(flatten_sim, a_power_cut_leaves_no_half_image)
{
	each_kind(6, cut_at_each);
}

Test(flatten_sim, a_failed_call_leaves_no_half_image)
{
	each_kind(4, fail_each);
}
