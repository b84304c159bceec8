/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A base that a program supplies costs its link: what a guest reads of it with copy-on-read comes
 * from there once, and from the overlay ever after. Random reads, many in flight, of one cluster
 * and of many, on any chain; the simulated sources count each of their bytes.
 *
 *   ONCE_SEEDS=n ONCE_SEED=first   more of them, or one again
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "engine/core/disk.h"
#include "tests/machine/sim_guest.h"
#include "tests/machine/sim_pull.h"
#include "tests/machine/sim_source.h"
#include "tests/support/random.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(300);
TestSuite(read_once, .timeout = TIME_LIMIT_CLOCK(300));

#define N_SEEDS   200
#define N_READS   120
#define FAR_NS    UINT64_C(100000000000) /* a timer that is set to never */
#define MAX_CALLS 20000

struct trial {
	uint64_t seed, state;
	bool extended; /* the overlay has extended L2 entries */
	struct sim_chain chain;
	struct sim *sim;
	struct sim_sources *sources;
	struct bpull_engine *engine;
	struct sim_guest guest;
};

static uint64_t below(struct trial *t, uint64_t n)
{
	return random_below(&t->state, n);
}

static void draw_chain(struct trial *t)
{
	struct sim_chain_how how = { .seed = t->seed, .n_clusters = 8 + (unsigned)below(t, 40) };

	how.format = t->seed % 4 || t->extended ? IMAGE_QCOW2 : IMAGE_QED;
	if (how.format == IMAGE_QCOW2) {
		how.version = 3; /* 2 has no entries for zeros that were read */
		how.cluster_bits = 9 + (unsigned)below(t, 8);
		how.refcount_bits = 16;
		how.n_snapshots = !t->extended && !below(t, 4);
		how.extended = t->extended;
		if (t->extended)
			how.cluster_bits = 14 + (unsigned)below(t, 3);
	} else {
		how.cluster_bits = 12 + (unsigned)below(t, 5);
	}
	sim_chain_draw(&t->chain, &how);
}

static bool is_qcow2(const struct sim_chain_file *file)
{
	return file->len >= 4 && !memcmp(file->bytes, "QFI\xfb", 4);
}

/* Blocks that are no longer than a cluster: else two of them share one. */
static void add_sources(struct trial *t)
{
	static const uint32_t blocks[] = { 0, 1, 512 };

	t->sources = sim_sources_new(t->sim);
	for (unsigned i = 1; i < t->chain.n_files; i++) {
		struct sim_source_how how = {
			.block_size = blocks[below(t, ARRAY_LEN(blocks))],
			.max_size = below(t, 2) ? 64 * KiB : 0,
			.shared_tail = is_qcow2(&t->chain.files[i]) ? 1024 : 0,
			.max_delay_ns = UINT64_C(1000000) << below(t, 6),
			.has_extents = below(t, 2),
			.has_identity = below(t, 2),
			.inside_permille = (unsigned)below(t, 3) * 200,
		};

		sim_sources_add(t->sources, t->chain.files[i].name + 1, &how);
	}
}

static void open_trial(struct trial *t)
{
	struct bpull_disk_options o = {
		.size = sizeof(o),
		.backing_rule = BPULL_BACKING_ANY,
		.flags = BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ,
		.find_base = sim_sources_find,
	};
	struct bpull_error error;
	int rc;

	t->state = t->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	draw_chain(t);
	sim_clock_reset();
	t->sim = sim_new(t->seed);
	sim_chain_put(&t->chain, t->sim);
	add_sources(t);
	o.format = (enum bpull_format)t->chain.how.format;
	o.backing_format = (enum bpull_format)t->chain.unnamed;
	o.find_opaque = t->sources;
	sim_knobs(t->sim)->short_permille = (unsigned)below(t, 2) * 100;
	sim_knobs(t->sim)->max_delay_ns = UINT64_C(1) << below(t, 24);
	model_begin(&t->guest.model, t->chain.want, t->chain.guest_len);
	rc = engine_open_on(sim_io(t->sim), sim_opener(t->sim), 64 * MiB, &t->engine);
	cr_assert_eq(rc, 0);
	rc = bpull_disk_open(t->engine, SIM_CHAIN_TOP, &o, &t->guest.disk, &error);
	cr_assert_eq(rc, 0, "seed %" PRIu64 ": %s: %s", t->seed, error.message, t->chain.text);
}

static void close_trial(struct trial *t)
{
	bpull_engine_close(t->engine);
	model_end(&t->guest.model);
	sim_sources_free(t->sources);
	sim_free(t->sim);
	sim_chain_free(&t->chain);
}

static void take_events(struct trial *t)
{
	struct bpull_event events[8];
	int n = bpull_engine_process(t->engine, events, 8);

	for (int i = 0; i < n; i++) {
		cr_assert_eq(events[i].error, 0, "seed %" PRIu64 ": %d", t->seed, events[i].error);
		cr_assert(sim_guest_end(&t->guest, &events[i]), "seed %" PRIu64 ": %s", t->seed,
			  t->guest.wrong);
	}
}

/* Nothing is on its way: the clock goes on to what the engine has set its timer to. */
static bool pass_time(struct trial *t)
{
	uint64_t at_ns = t->engine->loop.timer_ns;

	if (t->engine->io->n_in_flight || !at_ns || at_ns > sim_clock_ns() + FAR_NS)
		return false;
	if (at_ns > sim_clock_ns())
		sim_advance(t->sim, at_ns - sim_clock_ns());
	return true;
}

/* Until so many of the guest's reads are left, and, if it is asked for, no copy. */
static void run_to(struct trial *t, unsigned n_left, bool copies_too)
{
	const struct guests *guests = &t->guest.disk->guests;

	for (unsigned i = 0;
	     t->guest.n_in_flight > n_left || (copies_too && guests->runs_on_read.n); i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(t->engine), .events = POLLIN };

		cr_assert_lt(i, MAX_CALLS, "seed %" PRIu64 ": it does not end", t->seed);
		cr_assert(!i || pass_time(t) || poll(&ready, 1, 5000) == 1,
			  "seed %" PRIu64 ": nothing happens", t->seed);
		take_events(t);
	}
}

/* A page, a few clusters, or much; some in the order of a program that reads a file. */
static void submit_read(struct trial *t, uint64_t *next)
{
	uint64_t disk_len = t->chain.guest_len;
	uint64_t max = below(t, 3) ? 4096 : below(t, 2) ? 3 * t->chain.cluster_len : disk_len;
	struct sim_guest_request r = { .kind = SIM_GUEST_READ };

	r.len = 1 + below(t, MIN(max, disk_len));
	r.off = below(t, 3) ? *next : below(t, disk_len);
	r.off = r.off < disk_len ? r.off : 0;
	r.len = MIN(r.len, disk_len - r.off);
	r.cuts[0] = below(t, r.len + 1);
	r.cuts[1] = r.cuts[0] + below(t, r.len - r.cuts[0] + 1);
	*next = r.off + r.len;
	sim_guest_submit(&t->guest, &r);
}

/* A compressed cluster that is longer than the overlay's is read again for a part that no run could
 * take with the others. */
static bool may_come_again(const struct trial *t, const struct sim_chain_file *file)
{
	return is_qcow2(file) && 1u << be32(file->bytes + 20) > t->chain.cluster_len;
}

static void judge(const struct trial *t)
{
	for (unsigned i = 1; i < t->chain.n_files; i++)
		if (!may_come_again(t, &t->chain.files[i]))
			cr_expect_eq(sim_source_n_reread(t->sources, i - 1), 0,
				     "seed %" PRIu64 ": %" PRIu64 " of %" PRIu64
				     " bytes of %s were read again: %s",
				     t->seed, sim_source_n_reread(t->sources, i - 1),
				     sim_source_n_read(t->sources, i - 1), t->chain.files[i].name,
				     t->chain.text);
}

/* Returns how many bytes of a thousand were read again. */
static uint64_t read_randomly(uint64_t n, bool extended)
{
	uint64_t first = sim_pull_env("ONCE_SEED", 1), n_read = 0, n_reread = 0;

	n = sim_pull_env("ONCE_SEEDS", n);
	for (uint64_t seed = first; seed < first + n; seed++) {
		struct trial t = { .seed = seed, .extended = extended };
		unsigned width;
		uint64_t next = 0;

		open_trial(&t);
		width = 1 + (unsigned)below(&t, SIM_GUEST_MAX);
		for (unsigned i = 0; i < N_READS; i++) {
			run_to(&t, width - 1, false);
			submit_read(&t, &next);
			if (below(&t, 2))
				take_events(&t);
		}
		run_to(&t, 0, true);
		if (!extended)
			judge(&t);
		for (unsigned i = 0; i + 1 < t.chain.n_files; i++) {
			n_read += sim_source_n_read(t.sources, i);
			n_reread += sim_source_n_reread(t.sources, i);
		}
		close_trial(&t);
	}
	fprintf(stderr, "%" PRIu64 " bytes were read, %" PRIu64 " of them again\n", n_read,
		n_reread);
	cr_assert_gt(n_read, 1000 * n);
	return n_reread * 1000 / n_read;
}

Test(read_once, each_byte_of_a_source_comes_once)
{
	cr_assert_leq(read_randomly(N_SEEDS, false), 1);
}

/* A run has the lock of a whole cluster of which it reads a part, where the overlay has the rest or
 * the base has zeros: reads of other parts go alone meanwhile. */
Test(read_once, with_subclusters_hardly_any_comes_twice)
{
	cr_assert_leq(read_randomly(N_SEEDS / 3, true), 120);
}
