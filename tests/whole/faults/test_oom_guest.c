/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every allocation of a guest's requests, failing, once and for ever, with a pull
 * that verifies beside them: each request still ends in one event, with 0 or
 * -ENOMEM; nothing leaks (run it with the address sanitizer); what succeeded is
 * there, the rest is what it was or what was to be written; and the same on the
 * image that is left, with memory, succeeds.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "engine/api/engine.h"
#include "io/base.h"
#include "tests/machine/files/sim_private.h"
#include "tests/machine/sim_chains.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/time_limit.h"
#include "tests/whole/faults/oom.h"

#define MAX_CALLS 100000

TestSuite(oom_guest, .timeout = TIME_LIMIT_CLOCK(1200));

static const struct sim_chain_how chains[] = {
	{ SIM_SMALL_CLUSTERS, SIM_SIZE(60, 2) },
	{ SIM_SNAPSHOTS(1), SIM_SIZE(50, 1) },
	{ SIM_SMALL_QED, SIM_SIZE(40, 2) },
	{ SIM_V2(12), SIM_SIZE(30, 1) },
	{ SIM_V3(12, 0), SIM_SIZE(30, 1), .compression = BPULL_COMPRESSION_OWN },
};

struct visit {
	const struct sim_chain *chain;
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	uint8_t *want;      /* the guest's disk */
	uint8_t *uncertain; /* by byte: a failed request was to change it */
	uint8_t *buf;
	uint8_t *unflushed; /* by byte: written, and lost where the tables can't be */
	char *n_submitted;  /* a number, as the requests' user_data */
	bool forever;
	int error; /* the first */
	char what[120];
};

static int result_of(struct visit *v)
{
	for (unsigned i = 0; i < MAX_CALLS; i++) {
		struct pollfd ready = { .fd = bpull_engine_fd(v->engine), .events = POLLIN };
		struct bpull_event event;
		int n = bpull_engine_process(v->engine, &event, 1);

		cr_assert_geq(n, 0);
		if (n == 1 && event.type == BPULL_EVENT_IO) {
			cr_assert_eq(event.user_data, v->n_submitted,
				     "%s: an event of another request", v->what);
			return event.error;
		}
		cr_assert(n || poll(&ready, 1, 10000) == 1, "%s: a request hangs", v->what);
	}
	cr_assert_fail("%s: a request does not end", v->what);
	return 0;
}

/* A request waits for its own memory (engine/guest/submit.c): for ever where there never is any. */
static void begin(const struct visit *v)
{
	if (v->forever)
		oom_pause();
}

static void begun(const struct visit *v)
{
	if (v->forever)
		oom_resume();
}

/* The request's end: what it was to do is done, or, where it failed, may be. */
static void took(struct visit *v, uint64_t off, uint64_t len, int byte)
{
	int rc = result_of(v);

	cr_assert(!rc || rc == -ENOMEM || rc == -EIO, "%s: %s", v->what, strerror(-rc));
	v->error = v->error ? v->error : rc;
	if (byte < 0)
		return;
	memset(rc ? v->uncertain + off : v->want + off, rc ? 1 : byte, len);
	if (!rc)
		memset(v->uncertain + off, 0, len);
	memset(v->unflushed + off, 1, len);
}

static void write_at(struct visit *v, uint64_t off, uint64_t len, int byte, uint32_t flags)
{
	struct iovec iov[2] = { { v->buf, len / 2 }, { v->buf + len / 2, len - len / 2 } };

	memset(v->buf, byte, len);
	begin(v);
	bpull_write(v->disk, iov, 2, off, flags, ++v->n_submitted);
	begun(v);
	took(v, off, len, byte);
}

static void read_at(struct visit *v, uint64_t off, uint64_t len)
{
	struct iovec iov = { v->buf, len };
	int rc;

	begin(v);
	bpull_read(v->disk, &iov, 1, off, ++v->n_submitted);
	begun(v);
	rc = result_of(v);
	cr_assert(!rc || rc == -ENOMEM, "%s: %s", v->what, strerror(-rc));
	v->error = v->error ? v->error : rc;
	for (uint64_t i = 0; !rc && i < len; i++)
		cr_assert(v->uncertain[off + i] || v->buf[i] == v->want[off + i],
			  "%s: byte %" PRIu64 " reads %#x, not %#x", v->what, off + i, v->buf[i],
			  v->want[off + i]);
}

static void flush(struct visit *v)
{
	int rc;

	begin(v);
	bpull_flush(v->disk, ++v->n_submitted);
	begun(v);
	rc = result_of(v);
	cr_assert(!rc || rc == -ENOMEM || rc == -EIO, "%s: %s", v->what, strerror(-rc));
	v->error = v->error ? v->error : rc;
	if (!rc)
		memset(v->unflushed, 0, v->chain->guest_len);
}

/* Of every kind, on every kind of place. */
static void requests(struct visit *v)
{
	uint64_t len = v->chain->guest_len, part = len / 8;
	struct bpull_extent extents[4];

	read_at(v, 0, part);
	for (unsigned i = 0; i < 8; i++)
		write_at(v, i * part + 100, 300 + 200 * i, 0x40 + (int)i, i % 4 ? 0 : BPULL_IO_FUA);
	begin(v);
	bpull_write_zeroes(v->disk, part + 50, 2 * part, BPULL_IO_UNMAP, ++v->n_submitted);
	begun(v);
	took(v, part + 50, 2 * part, 0);
	begin(v);
	bpull_discard(v->disk, 4 * part, part, ++v->n_submitted);
	begun(v);
	memset(v->uncertain + 4 * part, 1, part); /* zeros, or what was there */
	took(v, 0, 0, -1);
	flush(v);
	begin(v);
	bpull_block_status(v->disk, 0, len, extents, 4, ++v->n_submitted);
	begun(v);
	took(v, 0, 0, -1);
	write_at(v, 4 * part, part, 0x77, 0);
	write_at(v, 5 * part + 1, 1000, 0x78, 0);
	read_at(v, 3 * part, 5 * part);
	flush(v);
}

/* 0, or why there was none. */
static int open_disk(struct visit *v, struct sim *sim)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = (enum bpull_format)v->chain->how.format,
					.backing_format = (enum bpull_format)v->chain->unnamed,
					.backing_rule = BPULL_BACKING_ANY,
					.flags = BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ };
	struct bpull_error error;
	int rc = engine_open_on(oom_io(sim_io(sim)), oom_opener(sim_opener(sim)), SIM_PULL_MEMORY,
				&v->engine);

	if (rc)
		return rc;
	v->engine->budget.commit_len = 4 * v->chain->cluster_len;
	rc = bpull_disk_open(v->engine, SIM_CHAIN_TOP, &o, &v->disk, &error);
	if (rc)
		bpull_engine_close(v->engine);
	return rc;
}

static void run_visit(struct visit *v, struct sim *sim)
{
	struct bpull_job_options job = { .size = sizeof(job),
					 .flags = BPULL_JOB_VERIFY,
					 .compression = v->chain->how.compression };
	struct bpull_error error;
	int rc = open_disk(v, sim);

	if (rc) {
		cr_assert_eq(rc, -ENOMEM, "%s: %s", v->what, strerror(-rc));
		v->error = rc;
		return;
	}
	rc = bpull_job_start(v->disk, &job, &error);
	cr_assert(!rc || rc == -ENOMEM, "%s: %s", v->what, strerror(-rc));
	v->error = rc;
	requests(v);
	bpull_engine_close(v->engine);
	/* Tables that could not be written for want of memory: as after a failed write (I7). */
	for (uint64_t i = 0; i < v->chain->guest_len; i++)
		v->uncertain[i] |= v->unflushed[i];
}

static void judge(const struct visit *v, struct sim *sim)
{
	struct sim_chain now = *v->chain;
	uint8_t *got = sim_need(malloc(now.guest_len));
	struct sim_verdict verdict;

	sim_pull_read(&now, sim, got, &verdict);
	cr_assert(verdict.ok, "%s: %s", v->what, verdict.text);
	for (uint64_t i = 0; i < now.guest_len; i++)
		cr_assert(v->uncertain[i] || got[i] == v->want[i],
			  "%s: byte %" PRIu64 " is %#x, not %#x", v->what, i, got[i], v->want[i]);
	free(got);
}

/* False: no allocation was the n-th. */
static bool try_oom(const struct sim_chain *chain, uint64_t nth, bool forever)
{
	struct sim *sim = sim_new(nth);
	struct visit v = { .chain = chain,
			   .forever = forever,
			   .buf = sim_need(malloc(chain->guest_len)) };
	uint64_t n_failed;

	snprintf(v.what, sizeof(v.what), "chain %" PRIu64 ": allocation %" PRIu64 " fails %s",
		 chain->how.seed, nth, forever ? "for ever" : "once");
	v.want = sim_need(malloc(chain->guest_len));
	memcpy(v.want, chain->want, chain->guest_len);
	v.uncertain = sim_need(calloc(1, chain->guest_len));
	v.unflushed = sim_need(calloc(1, chain->guest_len));
	sim_chain_put(chain, sim);
	oom_arm(nth, forever);
	run_visit(&v, sim);
	n_failed = oom_disarm();
	cr_assert(!v.error || n_failed, "%s: %s", v.what, strerror(-v.error));
	judge(&v, sim);
	v.error = 0;
	run_visit(&v, sim);
	cr_assert_eq(v.error, 0, "%s, again: %s", v.what, strerror(-v.error));
	judge(&v, sim);
	free(v.want);
	free(v.uncertain);
	free(v.unflushed);
	free(v.buf);
	sim_free(sim);
	return n_failed;
}

static void try_all(bool forever)
{
	uint64_t n_runs =
		oom_try_all(chains, ARRAY_LEN(chains), ARRAY_LEN(chains), forever, try_oom);

	cr_assert_gt(n_runs, 500, "only %" PRIu64 " runs", n_runs);
}

Test(oom_guest, a_guest_survives_one_failed_allocation)
{
	try_all(false);
}

Test(oom_guest, requests_without_memory_end_with_an_error)
{
	try_all(true);
}
