/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * blockpull-bench fanout, in two files: what is asked for and told (fanout.c), and the ways in
 * which many overlays get what one base has (fanout_measure.c).
 */
#ifndef BENCH_FANOUT_H
#define BENCH_FANOUT_H

#include <stdint.h>

#include "bench/rig/copies.h"
#include "bench/rig/timed.h"
#include "engine/blockpull.h"

#define FANOUT_MAX_IMAGES 256
#define FANOUT_AT_ONCE    8 /* processes */

enum fanout_way {
	FANOUT_TOGETHER, /* pulls of one engine; the base is a source that counts */
	FANOUT_APART,    /* pulls of a process each, of the same source */
	FANOUT_DIRECT,   /* pulls of one engine; the base is a file, written is with O_DIRECT */
	FANOUT_COPIES,   /* plain copies of the base, a process each */
	FANOUT_N_WAYS
};

struct fanout {
	enum bpull_format format; /* of the overlays */
	uint64_t n_images;
	uint64_t data_len; /* of the base, whole MiB */
	uint64_t delay_ns; /* each answer of the source takes */
	enum copies_method copies;
};

struct fanout_cost {
	struct timed_cost timed;
	uint64_t read_len;     /* bytes of the base: read of the source, or what the jobs count */
	uint64_t n_reads;      /* questions to the source; 0: not counted */
	uint64_t first_end_ns; /* the first image of all was done */
};

/* Makes the base in the current directory. 0 or an exit code. */
int fanout_make(const struct fanout *f);
/* Makes the overlays anew, and fills them; what it costs until all is durable. 0 or an exit
 * code. */
int fanout_run(const struct fanout *f, enum fanout_way way, struct fanout_cost *cost);
/* 0: each image has all of the base, and stands alone. Else an exit code. */
int fanout_judge(const struct fanout *f, enum fanout_way way);

#endif
