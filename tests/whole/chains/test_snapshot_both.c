/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Two disks of one engine that get new images on top by one call, one of them two, the other's
 * between them, while each call to the machine fails in turn: both have them, or none has, and then
 * nothing is left of what was made.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "engine/api/engine.h"
#include "tests/machine/sim_chains.h"
#include "tests/machine/sim_pull.h"
#include "tests/support/effort.h"
#include "tests/support/time_limit.h"

#define WRITE_LEN 600

TIME_LIMIT(300);
TestSuite(snapshot_both, .timeout = TIME_LIMIT_CLOCK(300));

struct both {
	const struct sim_chain *chain;
	struct sim *sim;
	struct bpull_engine *engine;
	struct bpull_disk *disks[2];
	unsigned depth[2];
	char what[120];
};

static const char *const tops[] = { SIM_CHAIN_TOP, "/twin" };
/* Of the first disk, of the second, of the first. */
static const char *const news[] = { "/one", "/two", "/three" };
static const char *const more[] = { "/more-1", "/more-2", "/more-3" };

/* A write, or a flush; its result. */
static int request(struct both *b, unsigned d, uint8_t byte)
{
	uint8_t bytes[WRITE_LEN];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct bpull_event event;

	memset(bytes, byte, sizeof(bytes));
	if (byte)
		bpull_write(b->disks[d], &iov, 1, 100, 0, NULL);
	else
		bpull_flush(b->disks[d], NULL);
	while (!bpull_engine_process(b->engine, &event, 1)) {
		struct pollfd ready = { .fd = bpull_engine_fd(b->engine), .events = POLLIN };

		cr_assert_eq(poll(&ready, 1, 10000), 1, "%s: it hangs", b->what);
	}
	return event.error;
}

static void begin(struct both *b, const struct sim_chain *chain)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = (enum bpull_format)chain->how.format,
					.backing_trust = BPULL_TRUST_ALL,
					.backing_rule = BPULL_BACKING_ANY,
					.flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error;

	*b = (struct both){ .chain = chain, .sim = sim_new(chain->how.seed) };
	sim_chain_put(chain, b->sim);
	sim_chain_put_twin(chain, b->sim, tops[1]);
	cr_assert_eq(
		engine_open_on(sim_io(b->sim), sim_opener(b->sim), SIM_PULL_MEMORY, &b->engine), 0);
	for (unsigned d = 0; d < 2; d++) {
		cr_assert_eq(bpull_disk_open(b->engine, tops[d], &o, &b->disks[d], &error), 0, "%s",
			     error.message);
		b->depth[d] = bpull_disk_depth(b->disks[d]);
		cr_assert_eq(request(b, d, 0x11), 0);
	}
}

static int take(struct both *b, const char *const *names)
{
	struct bpull_snapshot s[3];
	struct bpull_error error;
	int rc;

	for (unsigned i = 0; i < ARRAY_LEN(s); i++)
		s[i] = (struct bpull_snapshot){ .size = sizeof(s[i]),
						.disk = b->disks[i % 2],
						.path = names[i] };
	rc = bpull_disk_snapshot(s, ARRAY_LEN(s), &error);
	for (unsigned d = 0; d < 2; d++) {
		b->depth[d] += rc ? 0 : 2 - d;
		cr_assert_eq(bpull_disk_depth(b->disks[d]), b->depth[d], "%s: disk %u", b->what, d);
	}
	return rc;
}

static unsigned n_there(const struct both *b, const char *const *names)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 3; i++)
		n += sim_file_exists(b->sim, names[i]);
	return n;
}

static void read_head(const struct both *b, const char *name, enum image_format format, int byte)
{
	uint8_t *got = malloc(b->chain->guest_len);
	struct sim_verdict v;

	sim_pull_read_head(b->chain, b->sim, name, format, got, &v);
	cr_assert(v.ok, "%s: %s: %s", b->what, name, v.text);
	cr_assert_eq(got[100], byte, "%s: %s: %#x", b->what, name, got[100]);
	cr_assert_eq(got[100 + WRITE_LEN - 1], byte);
	free(got);
}

/* False: there were fewer such calls. */
static bool fail_nth(const struct sim_chain *chain, const struct sim_fault *fault)
{
	bool hit, gave_up, was_taken;
	struct both b;
	int rc;

	begin(&b, chain);
	snprintf(b.what, sizeof(b.what), "seed %" PRIu64 ", call %" PRIu64 " of kind %d fails: %s",
		 chain->how.seed, fault->nth, (int)fault->op, strerror(-fault->error));
	sim_fail(b.sim, fault);
	rc = take(&b, news);
	hit = sim_n_faults_hit(b.sim);
	sim_clear_faults(b.sim);
	/* A commit that finds no space is tried again. */
	cr_assert(rc || !hit || fault->op == SIM_READ || fault->error == -ENOSPC,
		  "%s: it did not see", b.what);
	was_taken = !rc;
	if (fault->op != SIM_REMOVE)
		cr_assert_eq(n_there(&b, news), 3 * was_taken, "%s: %d", b.what, rc);
	gave_up = b.disks[0]->poisoned || b.disks[1]->poisoned;
	for (unsigned d = 0; d < 2 && !gave_up; d++) {
		cr_assert_eq(request(&b, d, 0x22), 0, "%s: disk %u takes no writes", b.what, d);
		cr_assert_eq(request(&b, d, 0), 0, "%s: disk %u takes no flush", b.what, d);
	}
	if (!gave_up)
		cr_assert_eq(take(&b, more), 0, "%s: none afterwards", b.what);
	bpull_engine_close(b.engine);
	if (!gave_up)
		read_head(&b, more[0], IMAGE_QCOW2, 0x22);
	for (unsigned d = 0; d < 2 && !gave_up; d++) {
		read_head(&b, tops[d], chain->how.format, was_taken ? 0x11 : 0x22);
		read_head(&b, more[d ? 1 : 2], IMAGE_QCOW2, 0x22);
	}
	sim_free(b.sim);
	return hit;
}

static void fail_each(const struct sim_chain *chain)
{
	static const enum sim_op ops[] = { SIM_READ,     SIM_WRITE,    SIM_SYNC,
					   SIM_TRUNCATE, SIM_OPEN,     SIM_CREATE,
					   SIM_RENAME,   SIM_DIR_OPEN, SIM_DIR_SYNC };

	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		for (unsigned kind = 0; kind < 2; kind++) {
			struct sim_fault fault = { .op = ops[i],
						   .nth = EFFORT_FIRST(i),
						   .error = kind ? -ENOSPC : -EIO };

			while (fail_nth(chain, &fault))
				fault.nth += EFFORT_STEP;
		}
}

Test(snapshot_both, a_failed_call_leaves_both_or_none)
{
	static const struct sim_chain_how kinds[] = {
		{ SIM_V3(9, 16), SIM_SIZE(24, 2) },
		{ SIM_SMALL_QED, SIM_SIZE(4, 1) },
	};

	for (uint64_t seed = 1; seed <= ARRAY_LEN(kinds); seed++) {
		struct sim_chain_how how = kinds[seed - 1];
		struct sim_chain chain;

		how.seed = seed;
		sim_chain_draw(&chain, &how);
		fail_each(&chain);
		sim_chain_free(&chain);
	}
}
