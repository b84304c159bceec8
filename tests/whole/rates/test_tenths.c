/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a limited job copies in a tenth of a second, wherever that begins, by a clock that is the
 * simulated machine's; also where a device stands still.
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "tests/whole/rates/timed_rig.h"

TestSuite(tenths, .timeout = 300);

#define TENTH_NS (SECOND / 10)

struct tenths {
	struct {
		uint64_t at_ns, bytes;
	} seen[1024];
	unsigned n, first; /* the first of the last tenth */
	uint64_t most;
};

static void tenths_note(struct tenths *t, uint64_t now_ns, uint64_t bytes)
{
	if (t->n && t->seen[t->n - 1].bytes == bytes)
		return;
	cr_assert_lt(t->n, ARRAY_LEN(t->seen));
	t->seen[t->n].at_ns = now_ns;
	t->seen[t->n++].bytes = bytes;
	while (t->seen[t->first].at_ns + TENTH_NS < now_ns)
		t->first++;
	t->most = MAX(t->most, bytes - (t->first ? t->seen[t->first - 1].bytes : 0));
}

/* The most that is copied in any tenth of a second. */
static uint64_t worst_tenth(uint64_t seed, uint64_t bandwidth, const struct sim_knobs *knobs)
{
	static struct tenths t;
	struct sim_chain_how how = { .seed = seed,
				     .format = IMAGE_QCOW2,
				     .version = 3,
				     .cluster_bits = 16,
				     .n_clusters = 24 * MiB >> 16,
				     .stretch = 256,
				     .max_depth = 2 };
	struct bpull_job_options job = { .size = sizeof(job), .bandwidth = bandwidth };
	struct timed_rig rig;

	t = (struct tenths){ .n = 0 };
	timed_rig_open(&rig, &how);
	*sim_knobs(rig.sim) = *knobs;
	timed_rig_start(&rig, &job);
	for (; !rig.n_events; timed_rig_turn_and_wait(&rig)) {
		struct bpull_job_info info = timed_rig_info(&rig);

		tenths_note(&t, sim_clock_ns(), info.copied_bytes + info.zero_bytes);
	}
	timed_rig_close(&rig);
	return t.most;
}

/* A burst, which is as much again, may follow an idle time. What a device holds up ends with what
 * was saved meanwhile: a run more, at most. */
Test(tenths, a_tenth_of_a_second_has_its_rate_and_a_burst)
{
	static const uint64_t kib[] = { 8192, 9000, 20000 };
	static const struct sim_knobs steady = { .max_delay_ns = 2 * MS }, stalls = {
		.hold_ops = 1 << SIM_READ, .hold_permille = 50, .hold_ns = 70 * MS
	};

	for (unsigned i = 0; i < ARRAY_LEN(kib); i++)
		for (uint64_t seed = 1; seed <= 2; seed++) {
			uint64_t rate = kib[i] * KiB, allowed = 2 * (rate / 10);

			cr_assert_leq(worst_tenth(seed, rate, &steady), allowed,
				      "seed %" PRIu64 ", %" PRIu64 " KiB/s", seed, kib[i]);
			cr_assert_leq(worst_tenth(seed, rate, &stalls), allowed + rate / 10,
				      "seed %" PRIu64 ", %" PRIu64 " KiB/s, stalls", seed, kib[i]);
		}
}
