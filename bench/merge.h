/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the parts of merge.c share: the verbs that make one file of two. */
#ifndef BENCH_MERGE_H
#define BENCH_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/rig/timed.h"

#define MERGE_PIECE_LEN (64u << 10)
#define MERGE_SCATTER   16u
#define MERGE_BUF_LEN   (1u << 20)

enum merge_method {
	MERGE_BLOCKPULL,
	MERGE_CEILING,
	MERGE_QEMU,
	MERGE_KEEP, /* of a commit: as MERGE_BLOCKPULL, but it does not empty the image */
	MERGE_N
};

struct merge {
	const char *verb;
	bool is_commit;
	unsigned pattern;
	uint64_t data_len, size, rounds;
	uint32_t cluster_size;
	const char *dir;
	bool json, keeps;
	enum merge_method methods[MERGE_N]; /* that are run, n_methods of them */
	unsigned n_methods;
	struct timed_cost *costs[MERGE_N];
};

/* Makes the files that every run begins with. An exit code. */
int merge_make(const struct merge *m);
/* One run of a method, timed, on files of its own; the first result is compared. An exit code. */
int merge_one_run(struct merge *m, unsigned method, uint64_t round);

#endif
