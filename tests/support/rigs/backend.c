/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Opening a backend for a test, and waiting the way an embedder does: on the
 * descriptor, so that a wake-up that never comes fails the test.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "io/backends/backend.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/rigs/backend.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(100);
TestSuite(uring, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(100));
TestSuite(threads, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(100));
TestSuite(sim, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(100));

static void backend_open(struct backend *b)
{
	struct err err = { 0 };
	int ret = 0;

	if (!strcmp(b->name, "sim")) {
		b->sim = sim_new(b->rng);
		b->io = sim_io(b->sim);
		b->opener = sim_opener(b->sim);
		return;
	}
	b->opener = file_opener_posix();
	if (!strcmp(b->name, "uring")) {
		ret = io_open(IO_CHOICE_URING, BACKEND_DEPTH, &b->io, &err);
		if (ret == -ENOTSUP)
			scratch_skip("%s", err.message);
	} else {
		ret = io_open(IO_CHOICE_THREADS, BACKEND_DEPTH, &b->io, &err);
	}
	cr_assert_eq(ret, 0, "%s", err.message);
	cr_assert_str_eq(b->io->ops->name, b->name);
}

void backend_with(const char *name, void (*body)(struct backend *b))
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	struct backend b = { .name = name };
	const char *seed = getenv("BLOCKPULL_SEED");
	b.rng = seed ? strtoull(seed, NULL, 0)
		     : (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	fprintf(stderr, "%s: BLOCKPULL_SEED=%" PRIu64 "\n", name, b.rng);
	backend_open(&b);
	body(&b);
	io_close(b.io);
	sim_free(b.sim);
}

struct file *backend_file(struct backend *b, const char *name, const void *bytes, size_t len,
			  bool write)
{
	autofree char *zeros = calloc(1, len + 1);
	struct err err = { 0 };
	struct file *file;

	bytes = bytes ? bytes : zeros;
	if (b->sim) {
		sim_file_put(b->sim, name, bytes, len);
	} else {
		scratch_file(name, "x", 1);
		name = scratch(name);
		FILE *out = fopen(name, "w");
		cr_assert(out && fwrite(bytes, 1, len, out) == len && !fclose(out));
	}
	int ret = b->opener->open(b->opener, &(struct file_open){ .name = name, .write = write },
				  &file, &err);
	cr_assert_eq(ret, 0, "%s", err.message);
	return file;
}

bool backend_readable(struct backend *b, int timeout_ms)
{
	struct pollfd pfd = { .fd = io_fd(b->io), .events = POLLIN };
	int ret;
	/* Completions run on the submitting thread and may interrupt it. */
	do
		ret = poll(&pfd, 1, timeout_ms);
	while (ret < 0 && errno == EINTR);
	cr_assert_geq(ret, 0);
	return ret > 0;
}

void backend_wait(struct backend *b)
{
	struct io_req *out[16];
	while (b->io->n_in_flight) {
		cr_assert(backend_readable(b, 20000), "%s: %u in flight and no wake-up", b->name,
			  b->io->n_in_flight);
		io_reap(b->io, out, 1 + (unsigned)backend_below(b, ARRAY_LEN(out)));
	}
}

void backend_run(struct backend *b, struct io_req *reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		io_submit(b->io, &reqs[i]);
	io_kick(b->io);
	backend_wait(b);
}

uint64_t backend_below(struct backend *b, uint64_t n)
{
	b->rng = b->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (b->rng >> 33) % n;
}
