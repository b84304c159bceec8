/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One test body, run on every backend: BACKEND_TEST(name) { ... } makes a test
 * of that name in the suites uring, threads and sim, with `b` open. Where
 * io_uring is forbidden its third is skipped, with the reason.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_RIGS_BACKEND_H
#define BLOCKPULL_TESTS_SUPPORT_RIGS_BACKEND_H

#include <criterion/criterion.h>

#include "io/base.h"
#include "io/io.h"
#include "tests/machine/files/sim.h"
#include "tests/support/files/scratch.h"

#define BACKEND_DEPTH 64

struct backend {
	const char *name;
	struct io *io;
	struct sim *sim; /* NULL for the real ones */
	struct file_opener *opener;
	uint64_t rng;
};

void backend_with(const char *name, void (*body)(struct backend *b));
/* A file of these bytes (NULL: zeros), opened. */
struct file *backend_file(struct backend *b, const char *name, const void *bytes, size_t len,
			  bool write);
/* Submitted, kicked and waited for, through poll() alone. */
void backend_run(struct backend *b, struct io_req *reqs, unsigned n);
/* Waits until nothing is in flight. Never more than this many milliseconds for one of them. */
void backend_wait(struct backend *b);
bool backend_readable(struct backend *b, int timeout_ms);
uint64_t backend_below(struct backend *b, uint64_t n);

#define BACKEND_ON(suite, name)                       \
	Test(suite, name)                             \
	{                                             \
		backend_with(#suite, backend_##name); \
	}
#define BACKEND_TEST(name)                             \
	static void backend_##name(struct backend *b); \
	BACKEND_ON(uring, name)                        \
	BACKEND_ON(threads, name)                      \
	BACKEND_ON(sim, name)                          \
	static void backend_##name(struct backend *b)

#endif
