/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Guest reads that take their bytes from copy runs, in orders made by hand: what they wait for, and
 * what becomes of them where the run can't read, has to wait, or is the job's.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>

#include "engine/api/engine.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "io/buf.h"
#include "tests/machine/sim_pull.h"
#include "tests/machine/sim_source.h"
#include "tests/support/images/build_image.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(readers, .timeout = TIME_LIMIT_CLOCK(60));

#define CLUSTER   (64 * KiB)
#define DISK_LEN  (16 * CLUSTER)
#define MS        UINT64_C(1000000)
#define FAR_NS    UINT64_C(100000000000) /* a timer that is set to never */
#define MAX_CALLS 5000

struct request {
	uint8_t bytes[4096];
	uint64_t off;
	bool is_over;
	unsigned nth; /* to be over */
	int error;
};

static struct sim *sim;
static struct sim_sources *sources;
static struct bpull_engine *engine;
static struct bpull_disk *disk;
static uint8_t base[DISK_LEN];

/* An overlay that is empty, and a raw base full of bytes, which is a source. */
static void open_image(const struct build_how *top, const struct sim_source_how *how,
		       uint32_t flags)
{
	struct build_image image = build_image(top);
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = BPULL_FORMAT_QCOW2,
					.flags = BPULL_DISK_GUEST_IO | flags,
					.find_base = sim_sources_find };
	struct bpull_error error;
	int rc;

	sim_clock_reset();
	sim = sim_new(1);
	for (uint64_t at = 0; at < DISK_LEN; at += 4096)
		build_fill(base + at, 4096, (uint32_t)(1 + at / 4096));
	sim_file_put(sim, SIM_CHAIN_TOP, image.bytes, image.len);
	sim_file_put(sim, "/base", base, DISK_LEN);
	build_image_free(&image);
	sources = sim_sources_new(sim);
	sim_sources_add(sources, "base", how);
	o.find_opaque = sources;
	rc = engine_open_on(sim_io(sim), sim_opener(sim), 64 * MiB, &engine);
	cr_assert_eq(rc, 0);
	rc = bpull_disk_open(engine, SIM_CHAIN_TOP, &o, &disk, &error);
	cr_assert_eq(rc, 0, "%s", error.message);
}

static void open_over(const struct sim_source_how *how, uint32_t flags)
{
	open_image(&(struct build_how){ .guest_len = DISK_LEN,
					.backing_name = "base",
					.backing_format = "raw" },
		   how, flags);
}

static void close_it(void)
{
	bpull_engine_close(engine);
	sim_sources_free(sources);
	sim_free(sim);
}

static void take_events(void)
{
	static unsigned n_over;
	struct bpull_event events[8];
	int n = bpull_engine_process(engine, events, 8);

	for (int i = 0; i < n; i++) {
		struct request *r = events[i].user_data;

		if (events[i].type != BPULL_EVENT_IO)
			continue;
		r->is_over = true;
		r->nth = n_over++;
		r->error = events[i].error;
	}
}

/* Nothing is on its way: the clock goes on to the engine's timer. */
static bool pass_time(void)
{
	uint64_t at_ns = engine->loop.timer_ns;

	if (engine->io->n_in_flight || !at_ns || at_ns > sim_clock_ns() + FAR_NS)
		return false;
	if (at_ns > sim_clock_ns())
		sim_advance(sim, at_ns - sim_clock_ns());
	return true;
}

static void run_to(bool (*is_so)(void *arg), void *arg)
{
	for (unsigned i = 0; !is_so(arg); i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(engine), .events = POLLIN };

		cr_assert_lt(i, MAX_CALLS, "it does not end");
		cr_assert(!i || pass_time() || poll(&ready, 1, 5000) == 1, "nothing happens");
		take_events();
	}
}

static bool is_over(void *arg)
{
	return ((struct request *)arg)->is_over;
}

static bool is_asked(void *arg)
{
	return sim_sources_counts(sources).asked >= *(uint64_t *)arg;
}

static bool has_no_run(void *arg)
{
	(void)arg;
	return !disk->guests.runs_on_read.n;
}

static void submit(struct request *r, uint64_t off)
{
	struct iovec iov = { r->bytes, sizeof(r->bytes) };

	*r = (struct request){ .off = off };
	bpull_read(disk, &iov, 1, off, r);
}

static void expect_read(const struct request *r)
{
	cr_assert(r->is_over);
	cr_assert_eq(r->error, 0, "%d", r->error);
	cr_assert_arr_eq(r->bytes, base + r->off, sizeof(r->bytes));
}

static void hold_writes(unsigned permille)
{
	sim_knobs(sim)->hold_ops = 1u << SIM_WRITE;
	sim_knobs(sim)->hold_permille = permille;
}

Test(readers, a_read_is_over_before_its_copy_is_written)
{
	struct request r;

	open_over(&(struct sim_source_how){ .max_delay_ns = MS }, BPULL_DISK_COPY_ON_READ);
	hold_writes(1000);
	submit(&r, 5 * CLUSTER + 4096);
	run_to(is_over, &r);
	expect_read(&r);
	cr_assert_eq(disk->guests.runs_on_read.n, 1);
	cr_assert(engine->io->n_in_flight, "the copy was written first");
	hold_writes(0);
	run_to(has_no_run, NULL);
	cr_assert_eq(sim_source_n_read(sources, 0), CLUSTER);
	close_it();
}

/* Those that come while the first one's question is out, and while its copy is written. */
Test(readers, reads_of_one_cluster_ask_once)
{
	struct request r[15];

	open_over(&(struct sim_source_how){ .max_delay_ns = MS }, BPULL_DISK_COPY_ON_READ);
	hold_writes(1000);
	for (unsigned i = 0; i < 12; i++)
		submit(&r[i], 3 * CLUSTER + (uint64_t)(11 - i) * 4096);
	for (unsigned i = 0; i < 12; i++)
		run_to(is_over, &r[i]);
	for (unsigned i = 12; i < 15; i++) {
		submit(&r[i], 3 * CLUSTER + (uint64_t)i * 4096);
		run_to(is_over, &r[i]);
	}
	for (unsigned i = 0; i < 15; i++)
		expect_read(&r[i]);
	cr_assert_eq(disk->guests.runs_on_read.n, 1, "it was over too early to tell");
	cr_assert_eq(sim_sources_counts(sources).asked, 1);
	hold_writes(0);
	close_it();
}

/* What can't be read may be bytes that the guest does not want. */
Test(readers, a_read_whose_run_fails_is_tried_alone)
{
	struct request r;

	open_over(&(struct sim_source_how){ .max_delay_ns = MS }, BPULL_DISK_COPY_ON_READ);
	sim_fail(sim,
		 &(struct sim_fault){ .op = SIM_READ, .nth = 1, .error = -EIO, .name = "/base" });
	submit(&r, 0);
	run_to(is_over, &r);
	expect_read(&r);
	cr_assert_eq(sim_sources_counts(sources).failed, 1);
	run_to(has_no_run, NULL);
	close_it();
}

Test(readers, a_guest_waits_once_for_a_source_that_is_away)
{
	const uint64_t patience_ns = 30000 * MS;
	struct request r, other;
	uint64_t begun_ns;

	open_over(&(struct sim_source_how){ .max_delay_ns = MS, .patience_ns = patience_ns },
		  BPULL_DISK_COPY_ON_READ);
	begun_ns = sim_clock_ns();
	sim_source_leave(sources, 0, UINT64_MAX / 2);
	submit(&r, 0);
	submit(&other, 8192);
	run_to(is_over, &r);
	run_to(is_over, &other);
	cr_assert_eq(r.error, -EIO);
	cr_assert_eq(other.error, -EIO);
	cr_assert_lt(sim_clock_ns() - begun_ns, patience_ns + 1000 * MS);
	cr_assert_eq(sim_sources_counts(sources).away, 1);
	sim_source_leave(sources, 0, 0);
	submit(&r, 0);
	run_to(is_over, &r);
	expect_read(&r);
	close_it();
}

Test(readers, what_the_job_is_reading_is_not_read_again)
{
	struct bpull_job_options o = { .size = sizeof(o), .guest_share = 100 };
	struct bpull_error error;
	struct request r;
	uint64_t n = 1;

	open_over(&(struct sim_source_how){ .max_delay_ns = 50 * MS }, 0);
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	run_to(is_asked, &n);
	submit(&r, 2 * CLUSTER);
	run_to(is_over, &r);
	expect_read(&r);
	cr_assert_eq(sim_source_n_reread(sources, 0), 0);
	close_it();
}

static void submit_write(struct request *w, uint64_t off)
{
	struct iovec iov = { w->bytes, 512 };

	*w = (struct request){ .off = off };
	bpull_write(disk, &iov, 1, off, 0, w);
}

/* The write has the cluster until it is over: the guest's read does not wait for it. */
Test(readers, a_read_beside_a_write_goes_alone)
{
	struct request r, w;

	open_over(&(struct sim_source_how){ .max_delay_ns = MS }, BPULL_DISK_COPY_ON_READ);
	submit_write(&w, 9 * CLUSTER); /* the disk's first */
	run_to(is_over, &w);
	hold_writes(1000);
	submit_write(&w, CLUSTER);
	submit(&r, CLUSTER + 8192);
	run_to(is_over, &r);
	run_to(is_over, &w);
	expect_read(&r);
	cr_assert_eq(w.error, 0);
	cr_assert_lt(r.nth, w.nth);
	close_it();
}

/* ---- buffers ---- */

/* A short copy has a part of a buffer, and others have the rest. */
static uint8_t *take_part(void)
{
	return buf_shrink(engine->bufs, buf_get(engine->bufs), 4096);
}

static bool has_copied(void *arg)
{
	return is_over(arg) && has_no_run(NULL);
}

/* It is written as a whole cluster: zeros behind the disk's end. */
Test(readers, the_copy_of_a_disks_short_end_stays_in_its_buffer)
{
	struct build_how top = { .cluster_bits = 18,
				 .guest_len = 256 * KiB + 8192,
				 .backing_name = "base",
				 .backing_format = "raw" };
	uint8_t *before, *behind;
	struct request r;

	open_image(&top, &(struct sim_source_how){ .max_delay_ns = MS }, BPULL_DISK_COPY_ON_READ);
	before = take_part();
	behind = take_part();
	cr_assert_gt(behind, before);
	memset(behind, 0x5a, 4096);
	buf_put(engine->bufs, before);
	submit(&r, 256 * KiB);
	run_to(has_copied, &r);
	expect_read(&r);
	for (unsigned i = 0; i < 4096; i++)
		cr_assert_eq(behind[i], 0x5a, "byte %u of another buffer is %#x", i, behind[i]);
	buf_put(engine->bufs, behind);
	close_it();
}
