/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What blockpull-bench stall measures a guest's reads beside. */
#ifndef BENCH_STALL_H
#define BENCH_STALL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/rig/histogram.h"
#include "engine/blockpull.h"

#define STALL_GUEST_LEN (UINT64_C(64) << 20)
/* Bytes of the files beside the large tables. */
#define STALL_ROOM (8 * STALL_GUEST_LEN)

/* What is done to the other disk meanwhile. */
enum stall_phase {
	STALL_ALONE,
	STALL_OPEN,          /* for a guest: its tables are audited */
	STALL_CLOSE,         /* of that */
	STALL_REFUSED,       /* open, while another program has it locked */
	STALL_OPEN_JOB,      /* for a job: headers only */
	STALL_START,         /* above the large image, whose tables are mapped */
	STALL_START_OWN,     /* of a large image itself, which is audited, too */
	STALL_CHECK,         /* whether a job would start that changes the compression type */
	STALL_CLOSE_JOB,     /* a close that aborts that job */
	STALL_START_GUEST,   /* of such a job on a large image that a guest writes to */
	STALL_FINALIZE,      /* a job's end: a file without a name is closed, and its space freed */
	STALL_FINALIZE_FLAT, /* a flatten's: the new file gets its name */
	STALL_ABORT_FLAT,    /* a flatten's, which removes its file */
	STALL_N_PHASES
};

struct stall {
	uint64_t size, times;
	const char *dir;
	bool json;
	struct bpull_engine *engine;
	struct bpull_disk *guest;
	atomic_int phase; /* to which the guest's reads are put down now */
	atomic_ulong n_reads;
	atomic_bool stop;
	atomic_int guest_error;
	struct histogram reads[STALL_N_PHASES];
	uint64_t longest_ns[STALL_N_PHASES]; /* of the operation itself */
};

/* Makes the files of all disks. 0 or an exit code. */
int stall_make(const struct stall *b);
/* Does to other disks whatever has a phase, while the guest reads. 0 or an exit code. */
int stall_run_others(struct stall *b);

#endif
