/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Pulls from far away: each read takes 5 ms, whatever its length, and all bytes
 * come through one pipe. With enough of them under way only the pipe counts.
 * Time is the simulator's, so that the figures are the same on any machine.
 *
 * A file system that sleeps in each read was rejected: it would measure its own
 * threads, and this machine's.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "tests/support/images/build_image.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(300);
TestSuite(far, .timeout = TIME_LIMIT_CLOCK(300));

#define LATENCY_NS UINT64_C(5000000)
#define MEMORY     (48 * MiB) /* the default */
/* Of the time that the pipe alone takes. */
#define MAX_RATIO 1.2

struct scene {
	const char *what;
	enum image_format base;
	unsigned cluster_bits; /* of the base */
	uint64_t guest_len;
	uint64_t island_len, every_len; /* bytes of data, at each multiple */
	uint64_t rate;                  /* bytes/s */
	bool compressed;
};

static uint8_t *island_bytes(const struct scene *s)
{
	uint8_t *bytes = malloc(s->island_len);

	cr_assert(bytes);
	for (uint64_t at = 0; at < s->island_len; at += 4096)
		build_fill(bytes + at, 4096, (uint32_t)(1 + at / 4096));
	return bytes;
}

static void put_raw(const struct scene *s, struct sim *sim)
{
	uint8_t *bytes = island_bytes(s);

	sim_file_put_hole(sim, "/base", s->guest_len);
	for (uint64_t at = 0; at < s->guest_len; at += s->every_len)
		sim_file_poke(sim, "/base", bytes, s->island_len, at);
	free(bytes);
}

static void put_qcow2(const struct scene *s, struct sim *sim)
{
	uint64_t cluster_len = UINT64_C(1) << s->cluster_bits;
	struct build_how how = { .cluster_bits = s->cluster_bits, .guest_len = s->guest_len };
	struct build_cluster *clusters = calloc(s->guest_len / cluster_len, sizeof(clusters[0]));
	struct build_image image;

	cr_assert(clusters);
	for (uint64_t at = 0; at < s->guest_len; at += cluster_len)
		if (at % s->every_len < s->island_len)
			clusters[how.n_clusters++] =
				(struct build_cluster){ at / cluster_len, BUILD_DATA,
							(uint32_t)(1 + how.n_clusters) };
	how.clusters = clusters;
	image = build_image(&how);
	sim_file_put(sim, "/base", image.bytes, image.len);
	build_image_free(&image);
	free(clusters);
}

static void put_overlay(const struct scene *s, struct sim *sim)
{
	struct build_how how = { .guest_len = s->guest_len,
				 .backing_name = "base",
				 .backing_format = s->base == IMAGE_RAW ? "raw" : "qcow2" };
	struct build_image image = build_image(&how);

	sim_file_put(sim, SIM_CHAIN_TOP, image.bytes, image.len);
	build_image_free(&image);
}

/* The pull's time, in the time that the pipe takes for what was read. */
static double measure(const struct scene *s)
{
	struct sim_chain chain = { .how = { .format = IMAGE_QCOW2 }, .n_files = 2 };
	struct sim *sim = sim_new(1);
	struct sim_pull pull = { 0 };
	uint64_t begin_ns, begin_bytes, took_ns, bound_ns;
	int rc;

	s->base == IMAGE_RAW ? put_raw(s, sim) : put_qcow2(s, sim);
	put_overlay(s, sim);
	sim_knobs(sim)->far_latency_ns = LATENCY_NS;
	sim_knobs(sim)->far_rate = s->rate;
	rc = sim_pull_open(&pull, &chain, sim, NULL, MEMORY, 0);
	cr_assert_eq(rc, 0, "%s: %s", s->what, pull.error.message);
	begin_ns = sim_now_ns(sim);
	begin_bytes = sim_far_bytes(sim);
	rc = sim_pull_run(&pull);
	took_ns = sim_now_ns(sim) - begin_ns;
	bound_ns = (sim_far_bytes(sim) - begin_bytes) * UINT64_C(1000000000) / s->rate;
	cr_assert(!rc && pull.status == BPULL_JOB_COMPLETED, "%s: %s", s->what, pull.message);
	cr_assert(s->compressed || sim_far_bytes(sim) - begin_bytes >=
					   s->guest_len / s->every_len * s->island_len,
		  "%s: it read too little", s->what);
	sim_pull_close(&pull);
	sim_free(sim);
	fprintf(stderr, "%s: %.0f ms, the pipe alone %.0f\n", s->what, took_ns / 1e6,
		bound_ns / 1e6);
	return (double)took_ns / bound_ns;
}

static const struct scene scenes[] = {
	{ "dense, raw", IMAGE_RAW, 0, 96 * MiB, 1 * MiB, 1 * MiB, 400000000 },
	{ "dense, raw, a wide pipe", IMAGE_RAW, 0, 192 * MiB, 1 * MiB, 1 * MiB, 1000000000 },
	{ "dense, qcow2", IMAGE_QCOW2, 16, 96 * MiB, 1 * MiB, 1 * MiB, 400000000 },
	{ "dense, small clusters", IMAGE_QCOW2, 12, 64 * MiB, 1 * MiB, 1 * MiB, 400000000 },
	{ "dense, compressed", IMAGE_QCOW2, 16, 96 * MiB, 1 * MiB, 1 * MiB, 200000000, true },
	{ "pieces of 64 KiB, raw", IMAGE_RAW, 0, 192 * MiB, 64 * KiB, 256 * KiB, 400000000 },
	{ "pieces of 64 KiB, qcow2", IMAGE_QCOW2, 16, 192 * MiB, 64 * KiB, 256 * KiB, 400000000 },
};

Test(far, latency_hides_behind_the_bytes)
{
	for (size_t i = 0; i < ARRAY_LEN(scenes); i++) {
		double ratio = measure(&scenes[i]);

		cr_expect_leq(ratio, MAX_RATIO, "%s: %.2f times the pipe's time", scenes[i].what,
			      ratio);
	}
}
