/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What `blockpull-bench guest` measures (guest_measure.c), apart from how it is
 * asked for and told (guest.c).
 */
#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/rig/load.h"
#include "engine/blockpull.h"

#define GUEST_MAX_SECONDS 3600
#define GUEST_MAX_PAIRS   (GUEST_MAX_SECONDS * 4 + 4)

enum guest_phase {
	GUEST_RAW,       /* io_uring on the file */
	GUEST_ALONE,     /* the library */
	GUEST_WITH_PULL, /* the library, while a job runs */
	GUEST_N_PHASES
};

struct guest_bench {
	enum load_kind kind;
	unsigned depth;
	uint64_t seconds;
	bool with_pull, json;
	enum bpull_format format;
	uint64_t area_len; /* of the guest's disk, from 0 on: what the requests go to */
	uint64_t data_len; /* behind it: what the base holds and is pulled */
	const char *dir;
};

struct guest_result {
	struct histogram histograms[GUEST_N_PHASES];
	uint64_t busy_ns[GUEST_N_PHASES];
	double ratios[GUEST_MAX_PAIRS]; /* of a pair's requests a second, library over raw */
	unsigned n_pairs;
	char no_raw[128]; /* why there are no pairs */
	uint64_t pulled_len;
	bool pull_over; /* it completed before the time was over */
};

/* Room that the files may take. */
uint64_t guest_room(const struct guest_bench *b);
/* Makes the files in the current directory and measures. 0 or an exit code. */
int guest_measure(const struct guest_bench *b, struct guest_result *result);

#endif
